"""Pictures of reports: what is drawn is what the reference and the profile say."""

import numpy as np
import pytest

from imagenet_errors.analysis.reference import load_reference
from imagenet_errors.analysis.shares import ERROR_NAMES
from imagenet_errors.errors import InputError
from imagenet_errors.plots.kappas import draw_kappas
from imagenet_errors.plots.places import Panel, Point, draw_places

KAPPAS = np.array([[1, 0.6, np.nan], [0.6, 1, 0.2], [np.nan, 0.2, 1]])


@pytest.fixture(scope="module")
def reference():
    return load_reference("imagenet")


def make_panels(*points):
    x = np.linspace(70, 90, 20)
    return [Panel(name, "top-1 errors", x, x / 2, x, x / 2, x / 2 - 1, x / 2 + 1, points) for name in ERROR_NAMES]


def test_curves_are_what_is_expected_at_each_accuracy(reference):
    curves = reference.compute_curves("organism")
    for name, curve in zip(ERROR_NAMES, curves, strict=True):
        for at in (1, 60, 150):
            place = reference.place("organism", name, curve.mla[at], 10.0)
            expected = (curve.expected[at], curve.low[at], curve.high[at])
            if place is None:
                assert np.isnan(expected).all()
            else:
                assert expected == pytest.approx((place.expected, place.low, place.high))


def test_pictures_have_the_same_bytes_each_time(tmp_path):
    points = (Point(80, 41, 39, 43, False), Point(85, None, None, None, False), Point(75, 39, 38, 40, True))[:2]
    for name in ("one.png", "two.png", "one.svg", "two.svg"):
        draw_places(make_panels(*points), ["a", "b $x$"], "models", tmp_path / name)
        draw_kappas(["a", "b", "c"], KAPPAS, "three", tmp_path / f"kappas_{name}")
    for suffix in ("png", "svg"):
        for prefix in ("", "kappas_"):
            one, two = (tmp_path / f"{prefix}{name}.{suffix}" for name in ("one", "two"))
            assert one.read_bytes() == two.read_bytes()
    assert ">b $x$<" in (tmp_path / "one.svg").read_text() or "b $x$" in (tmp_path / "one.svg").read_text()


def test_bound_is_marked_and_unknown_share_named(tmp_path):
    draw_places(make_panels(Point(80, 41, None, None, True)), ["a"], "models", tmp_path / "bound.svg")
    draw_places(make_panels(Point(80, None, None, None, False)), ["a"], "models", tmp_path / "unknown.svg")
    bound, unknown = ((tmp_path / f"{name}.svg").read_text() for name in ("bound", "unknown"))
    assert ("at most" in bound, "at most" in unknown) == (True, False)
    assert ("<!-- unknown -->" in bound, "<!-- unknown -->" in unknown) == (False, True)


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"a picture is a file named \.png, \.pdf, \.svg"):
        draw_kappas(["a", "b", "c"], KAPPAS, "three", tmp_path / "kappas.docx")
    assert not list(tmp_path.iterdir())


def test_report_draws_one_model_two_and_more(call, analysed, tmp_path):
    models = ("pytorch--resnet50", "imagenetx--ViT", "pytorch--alexnet")
    sizes = []
    for number in (1, 2, 3):
        compared = ("--compare", *models[1:number]) if number > 1 else ()
        flags = ("--model", models[0], *compared, "--artefacts_dir", analysed / "artefacts", "--format", "csv")
        done = call("report", *flags, "--picture", tmp_path / f"{number}.png")
        assert done.status == 0, done.stderr
        sizes.append((tmp_path / f"{number}.png").stat().st_size)
    assert min(sizes) > 20_000
