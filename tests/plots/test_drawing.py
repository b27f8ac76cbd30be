"""The pictures: colours, markers, legends, layout, formats, reproducible bytes, cost."""

import hashlib
import itertools
import resource
import subprocess

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.markers import MarkerStyle
from matplotlib.text import Text
from matplotlib.transforms import Affine2D

import utils_plot
from imagenet_errors.paths import PUBLISHED_TABLES
from imagenet_errors.plots import drawing, markers
from imagenet_errors.plots.figure_table import load_figures
from imagenet_errors.plots.model_frames import load_frames
from tests.conftest import COMMITTED, ROOT, refused, run_script
from tests.helpers.plain_figures import CORPORA, SHADES, made_tables, plain_points, read, read_tables, write_tables
from tests.helpers.processes import children_watched

ROWS = read(ROOT / "artefacts/figures.csv")
FIGURES = load_figures(COMMITTED)
MAIN = [figure for figure in FIGURES if figure.inflections]
THREE = next(figure for figure in FIGURES if len(figure.groups) == 3 and not figure.inflections)
ONE = next(figure for figure in FIGURES if figure.groups == ("all",) and not figure.inflections)
MARKERS = {
    "training_data": {corpus: known[2] for corpus, known in CORPORA.items()},
    "training_data_group": {"small (< 5M)": "o", "medium (< 50M)": "d", "large (< 500M)": "^", "xlarge (> 500M)": "s"},
    "arch_group": {
        **{"ResNet": "o", "EfficientNet": "P", "CNN": "*", "RegNet": "p", "ConvNeXt": "X", "Hybrid": "2"},
        **{"MetaFormer": "1", "MLP": "4", "ViT": "^", "XCiT": "<", "MaxViT": ">", "Swin": "d", "EVA": "v", "BEIT": "D"},
    },
    "arch_family": {"mlp": "o", "cnn": "d", "transformer": "^", "hybrid": "s"},
    "pretrain_method": {
        **{"Standard": "o", "Semi-Supervised Learning": "s", "Self-Supervised Learning": "*", "Distillation": "d"},
        **{"CLIP Training": "P", "Adversarial Training": "X"},
    },
}
SHOWABLE = [*MARKERS, "training_data_size", "num_params"]


def quick(kept, values) -> list:
    """Parameters of a test of which only the `kept` values run outside the heavy checks."""
    return [value if value in kept else pytest.param(value, marks=pytest.mark.heavy) for value in values]


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draw a figure of the tables in `folder`; gives matplotlib's figure, laid out as in the file."""
    kept = []
    close = pyplot.close
    monkeypatch.setattr(pyplot, "close", kept.append)

    def run(figure, folder=tmp_path, **options):
        frames = load_frames(folder, figure.dataset)
        drawing.draw_figure(figure, frames, drawing.DrawingOptions(tmp_path / "out", (), **options))
        kept[-1].set_dpi(300)
        kept[-1].canvas.draw()
        return kept[-1]

    yield run
    for canvas in kept:
        close(canvas)


@pytest.fixture
def draw(call, tmp_path):
    """`utils_plot.py` on the tables in `tmp_path`."""

    def run(*flags, out="out", figure=ONE, jobs=1):
        folders = ("--stats_dir", tmp_path, "--results_dir", tmp_path / out)
        which = ("--dataset", figure.dataset, "--figure", figure.file_stem)
        return call("utils_plot", *folders, *which, "--jobs", jobs, *flags)

    return run


def close_to(color, expected: str) -> bool:
    """Equal to within one step per channel."""
    return np.abs(np.array(to_rgba(color)[:3]) - np.array(to_rgba(expected)[:3])).max() * 255 < 1.001


def clouds(canvas) -> list[PathCollection]:
    """In the order in which matplotlib draws them."""
    found = [one for one in canvas.axes[0].collections if isinstance(one, PathCollection)]
    return sorted(found, key=PathCollection.get_zorder)


def marks_drawn(canvas) -> list[tuple[float, float, tuple, np.ndarray]]:
    """(x, y, colour, vertices of the mark) of every point."""
    found = []
    for cloud in clouds(canvas):
        colors = cloud.get_facecolors() if len(cloud.get_facecolors()) else cloud.get_edgecolors()
        places = np.asarray(cloud.get_offsets())
        colors = np.broadcast_to(colors, (len(places), 4))
        found += [(*xy, tuple(color), cloud.get_paths()[0].vertices) for xy, color in zip(places, colors, strict=True)]
    return found


def is_mark(vertices: np.ndarray, code: str) -> bool:
    style = MarkerStyle(code)
    expected = style.get_path().transformed(style.get_transform()).vertices
    return vertices.shape == expected.shape and np.allclose(vertices, expected)


def legend_texts(canvas) -> list[str]:
    return [text.get_text() for legend in canvas.legends for text in legend.get_texts()]


# --- colours and shapes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", SHADES)
def test_corpora_have_the_specified_shades(group):
    sizes = pd.DataFrame({"training_data_size": [known[0] for known in CORPORA.values()]})
    shades = markers.ColorScale.from_points(sizes, "training_data_size")
    positions = shades.positions(sizes.training_data_size)
    assert positions == pytest.approx([known[4] for known in CORPORA.values()], abs=6e-4)
    for color, (corpus, known) in zip(shades.colors(group, sizes.training_data_size), CORPORA.items(), strict=True):
        assert close_to(color, known[SHADES[group]]), corpus


@pytest.mark.parametrize("column", MARKERS)
def test_values_have_the_specified_markers(column):
    assert list(markers.MARKERS[column].items()) == list(MARKERS[column].items())
    assert all(markers.marker_code(column, value) == code for value, code in MARKERS[column].items())


@pytest.mark.parametrize("figure", [ONE, THREE], ids=["all", "three"])
def test_points_are_drawn_at_their_place_in_shade_and_marker_of_their_corpus(drawn, tmp_path, figure):
    write_tables(tmp_path, made_tables(36))
    canvas = drawn(figure)
    row = next(row for row in ROWS if row["file_stem"] == figure.file_stem and row["dataset"] == figure.dataset)
    tables = read_tables(tmp_path, "imagenet")
    corpus = {model["model_dir_id"]: model["training_data"] for model in tables["all"]}
    found = marks_drawn(canvas)
    expected = plain_points(row, tables)
    assert len(found) == len(expected) == 36 * len(figure.groups)
    for group, model, x, y in expected:
        known = CORPORA[corpus[model]]
        assert any(
            np.allclose((x, y), mark[:2]) and close_to(mark[2], known[SHADES[group]]) and is_mark(mark[3], known[2])
            for mark in found
        ), (group, model)


def test_unknown_corpus_is_grey_and_leaves_the_other_shades(drawn, tmp_path):
    tables = made_tables(24)
    for rows in tables.values():
        rows[3]["training_data"] = "My images (7M)"
        rows[5]["training_data"] = ""
    write_tables(tmp_path, tables)
    canvas = drawn(ONE)
    odd = [mark for mark in marks_drawn(canvas) if is_mark(mark[3], "h")]
    assert len(odd) == 2
    assert all(len({round(channel, 3) for channel in mark[2][:3]}) == 1 for mark in odd)  # grey
    assert legend_texts(canvas)[-1] == "unknown"
    for corpus in ("ImageNet-1k (1.2M)", "Instagram (3.6B)"):
        assert sum(close_to(mark[2], CORPORA[corpus][8]) for mark in marks_drawn(canvas)) == 2


def test_only_unknown_corpora_can_be_drawn(drawn, tmp_path):
    tables = made_tables(5)
    for rows in tables.values():
        for row in rows:
            row["training_data"] = "mine"
    write_tables(tmp_path, tables)
    canvas = drawn(THREE)
    assert legend_texts(canvas) == ["organisms", "artifacts", "others", "unknown"]
    assert all(is_mark(mark[3], "h") for mark in marks_drawn(canvas))


def test_rare_corpora_are_drawn_over_common_ones(drawn):
    canvas = drawn(ONE, PUBLISHED_TABLES)
    counts = [len(cloud.get_offsets()) for cloud in clouds(canvas)]
    assert sum(counts) == 962
    assert counts == sorted(counts, reverse=True)
    common = [cloud for cloud in clouds(canvas) if len(cloud.get_offsets()) > 100]
    assert [len(cloud.get_offsets()) for cloud in common] == [757, 131]
    for cloud in clouds(canvas):
        is_hollow = len(cloud.get_facecolors()) == 0
        assert is_hollow == (cloud in common)
        assert (cloud.get_sizes()[0] < 12) == (cloud in common)


def test_rare_corpora_are_drawn_over_common_ones_of_all_groups(drawn):
    canvas = drawn(THREE, PUBLISHED_TABLES)
    are_common = [len(cloud.get_offsets()) > 100 for cloud in clouds(canvas)]
    assert are_common == [True] * 6 + [False] * 30


# --- layout ----------------------------------------------------------------------------------------------------------


def boxes_of_marks(canvas) -> np.ndarray:
    """[n, 4] left, bottom, right, top of every mark, in pixels."""
    boxes = []
    for cloud in clouds(canvas):
        centres = canvas.axes[0].transData.transform(cloud.get_offsets())
        scale = Affine2D().scale(np.sqrt(cloud.get_sizes()[0]) * canvas.dpi / 72)
        around = cloud.get_paths()[0].get_extents().transformed(scale)
        boxes.append(np.hstack([centres + around.min, centres + around.max]))
    return np.vstack(boxes)


def overlap(one, other) -> bool:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return width > 0.5 and height > 0.5  # pixels of 300 to the inch


def well_laid_out(canvas) -> bool:
    """No mark or text leaves the picture, no texts overlap, and no key lies on the axes or on another key."""
    renderer, whole = canvas.canvas.get_renderer(), canvas.bbox
    marked = boxes_of_marks(canvas)
    assert marked[:, :2].min() >= 0
    assert (marked[:, 2:] <= (whole.x1, whole.y1)).all()
    assert not any(cloud.get_clip_on() for cloud in clouds(canvas))
    (x_low, x_high), (y_low, y_high) = canvas.axes[0].get_xlim(), canvas.axes[0].get_ylim()
    places = np.vstack([cloud.get_offsets() for cloud in clouds(canvas)])
    assert (places >= (x_low, y_low)).all()
    assert (places <= (x_high, y_high)).all()

    texts = [text for text in canvas.findobj(Text) if text.get_visible() and text.get_text().strip()]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    assert len(boxes) > 8
    assert [text for text, box in boxes if min(box.x0, box.y0) < 0 or box.x1 > whole.x1 or box.y1 > whole.y1] == []
    assert [(a[0], b[0]) for a, b in itertools.combinations(boxes, 2) if overlap(a[1], b[1])] == []
    keys = [legend.get_window_extent(renderer) for legend in canvas.legends]
    framed = canvas.axes[0].get_tightbbox(renderer)
    assert not any(overlap(key, framed) for key in keys)
    assert not any(overlap(*pair) for pair in itertools.combinations(keys, 2))
    return True


@pytest.mark.parametrize("at", quick([0, 2, 11], range(len(MAIN))))
def test_main_figure_shows_all_points_texts_and_lines(drawn, at):
    canvas = drawn(MAIN[at], PUBLISHED_TABLES)
    assert well_laid_out(canvas)
    labels = [text for text in legend_texts(canvas) if "slope" in text]
    bends = MAIN[at].inflections.values()
    assert len(labels) == sum(1 if bend is None else 2 for bend in bends)
    assert all(" r -0." in text or " r 0." in text for text in labels)
    assert len(canvas.axes[0].lines) == 2 * len(labels)


@pytest.mark.parametrize("options", [{"marker": "arch_group"}, {"color": "num_params"}, {"fit_by": "pretrain_method"}])
def test_legends_of_other_columns_fit_into_the_picture(drawn, options):
    figure = next(figure for figure in MAIN if len(figure.groups) == 1)
    assert well_laid_out(drawn(figure, PUBLISHED_TABLES, **options))


@pytest.mark.heavy
def test_every_figure_shows_all_points_and_texts(drawn, monkeypatch):
    monkeypatch.setitem(pyplot.rcParams, "figure.max_open_warning", 0)
    for figure in FIGURES:
        canvas = drawn(figure, PUBLISHED_TABLES)
        assert well_laid_out(canvas), figure.file_stem
        canvas.clear()


def test_axes_are_the_published_ones(drawn, tmp_path):
    write_tables(tmp_path, made_tables(12))
    figure = next(figure for figure in MAIN if figure.dataset == "imagenet" and len(figure.groups) == 2)
    axes = drawn(figure).axes[0]
    row = next(row for row in ROWS if row["file_stem"] == figure.file_stem)
    assert axes.get_xlim() == (float(row["x_min"]), float(row["x_max"]))
    assert axes.get_ylim() == (float(row["y_min"]), float(row["y_max"]))
    assert axes.get_xticks().tolist() == [float(tick) for tick in row["x_ticks"].split()]
    assert axes.get_yticks().tolist() == [float(tick) for tick in row["y_ticks"].split()]
    assert axes.get_xlabel() == row["x_label"]
    assert row["y_label"] in (axes.get_ylabel(), axes.get_title(loc="left"), axes.get_title())


def test_base_imagenet_a_plots_against_imagenet_a_accuracy(draw, tmp_path, monkeypatch):
    write_tables(tmp_path, made_tables(12, "imagenet-a"), "imagenet-a")
    figure = next(figure for figure in MAIN if figure.dataset == "imagenet-a" and figure.groups == ("all",))
    kept, close = [], pyplot.close
    monkeypatch.setattr(pyplot, "close", kept.append)
    assert draw("--base", "imagenet-a", "--format", "png", "--save_data", figure=figure).status == 0
    axes = kept[0].axes[0]
    rows = read_tables(tmp_path, "imagenet-a")["all"]
    accuracies = [100 * int(row["num_group_correct"]) / 7500 for row in rows]
    assert max(accuracies) > 70
    assert axes.get_xlim()[0] == 0
    assert axes.get_xlim()[1] > max(accuracies)
    assert axes.get_xticks().tolist() == list(range(0, 71, 10))
    assert "ImageNet-A" in axes.get_xlabel()
    saved = read(tmp_path / f"out/figures/imagenet-a/{figure.file_stem}.csv")
    assert [float(row["x"]) for row in saved] == pytest.approx(accuracies, abs=1e-9)
    close(kept[0])


# --- flags -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", quick(["arch_group", "num_params"], SHOWABLE))
def test_column_can_be_shown_by_markers_and_colours(drawn, tmp_path, column):
    write_tables(tmp_path, made_tables(48))
    values = set(load_frames(tmp_path, "imagenet")["all"][column].dropna())
    by_shape = drawn(THREE, marker=column)
    marks = marks_drawn(by_shape)
    assert len(marks) == 48 * 3
    if column in MARKERS:
        present = values & set(MARKERS[column])
        assert present <= set(legend_texts(by_shape))
        found = {code for code in MARKERS[column].values() if any(is_mark(mark[3], code) for mark in marks)}
        assert found == {MARKERS[column][value] for value in present}
    shades = {tuple(np.round(mark[2], 4)) for mark in marks_drawn(drawn(ONE, color=column))}
    assert 0.8 * len(values) <= len(shades) <= len(values)  # a scale has 256 steps


@pytest.mark.parametrize("flag", ["--marker", "--color", "--fit_by"])
@pytest.mark.parametrize(("name", "word"), [("arch_groups", "did you mean 'arch_group'"), ("model_dir_id", "unknown")])
def test_column_that_cannot_be_shown_is_refused(draw, tmp_path, flag, name, word):
    write_tables(tmp_path, made_tables(3))
    assert refused(draw(flag, name), f"{flag}: ", word)
    assert not list(tmp_path.rglob("*.p*"))


def test_column_that_the_tables_lack_is_refused(draw, tmp_path):
    tables = made_tables(3)
    write_tables(tmp_path, {g: [{k: r[k] for k in r if k != "num_params"} for r in tables[g]] for g in tables})
    assert refused(draw("--color", "num_params"), "num_params")


def test_formats_are_what_their_suffixes_say(draw, tmp_path):
    write_tables(tmp_path, made_tables(3))
    assert draw("--format", "svg,pdf,png").status == 0
    files = {path.suffix: path.read_bytes() for path in (tmp_path / "out/figures/imagenet").iterdir()}
    assert sorted(files) == [".pdf", ".png", ".svg"]
    assert files[".png"].startswith(b"\x89PNG\r\n\x1a\n")
    assert files[".pdf"].startswith(b"%PDF-")
    assert b"%%EOF" in files[".pdf"][-20:]
    assert b"<svg" in files[".svg"]
    assert files[".svg"].rstrip().endswith(b"</svg>")


def test_bare_run_writes_into_the_ignored_results_folder(monkeypatch):
    monkeypatch.setattr("sys.argv", ["utils_plot.py"])
    folder = utils_plot.parse_args().results_dir / "figures"
    assert folder == ROOT / "results" / "figures"
    assert subprocess.run(["git", "check-ignore", "-q", folder], cwd=ROOT).returncode == 0


def test_png_and_pdf_are_written_by_default(draw, tmp_path):
    write_tables(tmp_path, made_tables(3))
    assert draw().status == 0
    assert sorted(path.suffix for path in (tmp_path / "out/figures/imagenet").iterdir()) == [".pdf", ".png"]


def test_same_tables_give_the_same_bytes_in_every_run_and_process(draw, tmp_path):
    write_tables(tmp_path, made_tables(14))
    several = THREE.__class__(**{**vars(THREE), "file_stem": "*num_collapsed_mappings_rel*"})
    found = {}
    for out, jobs in (("first", 1), ("again", 1), ("apart", 2)):
        assert draw("--save_data", "--format", "png", out=out, figure=several, jobs=jobs).status == 0
        files = sorted((tmp_path / out).rglob("*.*"))
        found[out] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert len(found["first"]) == 6
    assert found["first"] == found["again"] == found["apart"]


def test_tex_is_not_needed(drawn, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(pyplot.rcParams, "text.usetex", False)
    write_tables(tmp_path, made_tables(3))
    for figure in (ONE, MAIN[0]):
        assert not any(text.get_usetex() for text in drawn(figure).findobj(Text))


@pytest.mark.heavy
def test_all_figures_stay_within_time_memory_and_space(tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    folders = ("--stats_dir", PUBLISHED_TABLES, "--results_dir", tmp_path)
    with children_watched() as peaks:
        done = run_script("utils_plot", *folders, "--format", "png", "--jobs", 2)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert done.returncode == 0, done.stderr
    files = list(tmp_path.rglob("*.png"))
    assert len(files) == 94
    assert seconds < 180  # of processor time: 90 on two cores that do nothing else
    assert 0 < max(peaks) < 1.5e9
    assert sum(path.stat().st_size for path in files) < 25e6
