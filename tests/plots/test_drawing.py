"""The pictures: colours, markers, what legends say, formats, reproducible bytes, cost."""

import hashlib
import resource
import subprocess

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.text import Text

import utils_plot
from imagenet_errors.paths import PUBLISHED_TABLES
from imagenet_errors.plots import markers
from imagenet_errors.plots.figure_table import load_figures
from imagenet_errors.plots.model_frames import load_frames
from tests.conftest import COMMITTED, ROOT, refused, run_script
from tests.helpers.pictures import close_to, clouds, is_mark, legend_texts, marks_drawn
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
def draw(call, tmp_path):
    """`utils_plot.py` on the tables in `tmp_path`."""

    def run(*flags, out="out", figure=ONE, jobs=1):
        folders = ("--stats_dir", tmp_path, "--results_dir", tmp_path / out)
        which = ("--dataset", figure.dataset, "--figure", figure.file_stem)
        return call("utils_plot", *folders, *which, "--jobs", jobs, *flags)

    return run


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
    canvas = drawn(ONE, style="slide")
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
    canvas = drawn(THREE, style="slide")
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
    by_shape = drawn(THREE, marker=column, style="slide")
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
    files = {path: path.read_bytes() for path in (tmp_path / "out/figures/imagenet").iterdir()}
    assert len(files) == 6
    files = {path.suffix: content for path, content in files.items() if path.stem != "legend"}
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
    assert sorted(path.suffix for path in (tmp_path / "out/figures/imagenet").iterdir()) == [
        ".pdf",
        ".pdf",
        ".png",
        ".png",
    ]


def test_same_tables_give_the_same_bytes_in_every_run_and_process(draw, tmp_path):
    write_tables(tmp_path, made_tables(14))
    several = THREE.__class__(**{**vars(THREE), "file_stem": "*num_collapsed_mappings_rel*"})
    found = {}
    for out, jobs in (("first", 1), ("again", 1), ("apart", 2)):
        assert draw("--save_data", "--format", "png", out=out, figure=several, jobs=jobs).status == 0
        files = sorted((tmp_path / out).rglob("*.*"))
        found[out] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert len(found["first"]) == 7
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
    assert len(files) == 94 + 2
    assert seconds < 180  # of processor time: 90 on two cores that do nothing else
    assert 0 < max(peaks) < 1.5e9
    assert sum(path.stat().st_size for path in files) < 25e6
