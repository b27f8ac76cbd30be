"""The bar picture of evaluation.py: order, pages, numbers in the bars, and names in any script."""

import itertools
import warnings

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.collections import PolyCollection

from imagenet_errors.error_types import ERROR_CODES, ERROR_TYPES
from imagenet_errors.plots import error_bars

TITLES = ["class overlap", "missing multi-label", "fine-grained", "model failure"]


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """Draw bars; gives the axes of every page."""
    drawn, close = [], pyplot.close
    monkeypatch.setattr(pyplot, "close", drawn.append)

    def run(counts, name="model{}".format, remarks=("",) * 4, titles=TITLES):
        before, counts = len(drawn), np.asarray(counts)
        models = [name(number) for number in range(len(counts))]
        error_bars.draw(models, titles, counts, list(remarks), "imagenet", tmp_path / "bars.png")
        assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")
        return [figure.axes[0] for figure in drawn[before:]]

    yield run
    for figure in drawn:
        close(figure)


def evenly(errors) -> np.ndarray:
    """Counts of four error types, a quarter of the errors each."""
    return np.column_stack([np.asarray(errors) // 4] * 4)


def names(axes) -> list[str]:
    """From top to bottom."""
    found = [text for text in axes.texts if text.get_text().endswith(" errors)")]
    return [text.get_text() for text in sorted(found, key=lambda text: text.get_position()[1])]


def numbers(axes) -> list[str]:
    return [text.get_text() for text in axes.texts if not text.get_text().endswith(" errors)")]


def heading(axes) -> str:
    return axes.figure.texts[0].get_text()


def test_models_stand_from_fewest_to_most_errors(draw):
    (axes,) = draw(evenly([400, 80, 1200, 80]))
    counts = {1: "80", 3: "80", 0: "400", 2: "1,200"}
    assert names(axes) == [f"model{model}  ({count} errors)" for model, count in counts.items()]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # downwards
    assert heading(axes) == "imagenet"


def test_bars_have_the_lengths_of_the_shares_and_say_them(draw):
    counts = [[10, 20, 30, 40], [0, 97, 2, 1]]
    (axes,) = draw(counts)
    bars = [one for one in axes.collections if isinstance(one, PolyCollection)]
    lengths = [[np.ptp(path.vertices[:, 0]) for path in one.get_paths()] for one in bars]
    assert np.transpose(lengths) == pytest.approx(np.array(counts))
    assert sorted(numbers(axes)) == ["10", "20", "30", "40", "97"]  # none where no room is
    for text in axes.texts:
        if text.get_text() in ("10", "40"):
            assert text.get_position() == ((5, 0) if text.get_text() == "10" else (80, 0))


def test_upper_bounds_are_marked_in_the_bars(draw):
    (axes,) = draw([[10, 20, 30, 40]], remarks=["", "", "skipped", "at most"])
    assert numbers(axes) == ["10", "20", "30", "≤40"]


@pytest.mark.parametrize(("count", "pages"), [(40, 1), (41, 2), (90, 3), (120, 3)])
def test_pages_hold_up_to_forty_models_each(draw, tmp_path, count, pages):
    errors = np.random.default_rng(3).permutation(count) * 4
    drawn = draw(evenly(errors))
    shown = [name for axes in drawn for name in names(axes)]
    assert shown == [f"model{model}  ({errors[model]:,} errors)" for model in np.argsort(errors)]
    assert len(drawn) == pages
    assert max(len(names(axes)) for axes in drawn) <= 40
    assert [f"page {n} of {pages}" in heading(axes) for n, axes in enumerate(drawn, 1)] == [pages > 1] * pages
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["bars.png", "bars_2.png", "bars_3.png"][:pages]


def test_pages_of_an_earlier_picture_are_removed(draw, tmp_path):
    draw(evenly(np.arange(100)))
    draw(evenly(np.arange(7)))
    assert [path.name for path in tmp_path.iterdir()] == ["bars.png"]


def test_of_many_models_an_even_choice_is_drawn(draw):
    errors = np.random.default_rng(3).permutation(962) * 4
    drawn = draw(evenly(errors))
    models = [int(name.split()[0].removeprefix("model")) for axes in drawn for name in names(axes)]
    shown = errors[models]
    assert len(shown) == 120
    assert (shown[0], shown[-1]) == (0, 4 * 961)
    assert {8, 9} >= {step // 4 for step in np.diff(shown).tolist()}
    assert all("120 of 962 models, evenly spaced from fewest to most errors" in heading(axes) for axes in drawn)


@pytest.mark.parametrize("name", ["{:x}", "module--model_{:060}"])
def test_texts_of_a_page_do_not_overlap_and_stay_inside(draw, name):
    counts, remarks = np.random.default_rng(5).integers(0, 500, (40, 7)), ["", "", "", "skipped", *["at most"] * 3]
    (axes,) = draw(counts, name.format, remarks, [ERROR_TYPES[code].title for code in ERROR_CODES])
    figure = axes.figure
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in (*axes.texts, *figure.texts, *figure.legends[0].get_texts())]
    assert min(min(box.x0, box.y0) for box in boxes) >= 0
    assert all(box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in boxes)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_names_in_any_script_are_drawn_without_a_warning(draw):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (axes,) = draw(evenly([4, 8, 12]), ["ünïcödé 模型 Ω", "عربي 🙂", "price $x$"].__getitem__)
    assert [name.split("  (")[0] for name in names(axes)] == ["ünïcödé 模型 Ω", "عربي 🙂", r"price \$x\$"]
