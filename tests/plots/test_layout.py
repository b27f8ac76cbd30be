"""Where things stand in pictures: axes, texts beside clouds and lines, legends, titles, counts in rows, model names."""

import colorsys

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_rgb

from imagenet_errors.error_types import ERROR_TYPES
from imagenet_errors.paths import PUBLISHED_TABLES
from imagenet_errors.plots import drawing, legends, placement
from imagenet_errors.plots.figure_table import load_figures
from imagenet_errors.plots.fits import fit_figure
from imagenet_errors.plots.markers import GROUP_NAMES
from imagenet_errors.plots.model_frames import load_frames
from imagenet_errors.plots.points import compute_points
from tests.conftest import COMMITTED, ROOT, refused
from tests.helpers.pictures import (
    behind,
    box_of,
    clouds,
    highlighted,
    labels,
    legend_texts,
    marks_drawn,
    overlap,
    places_in_pixels,
    well_laid_out,
)
from tests.helpers.plain_figures import CORPORA, made_tables, plain_points, read, read_tables, write_tables

ROWS = {(row["dataset"], row["file_stem"]): row for row in read(ROOT / "artefacts/figures.csv")}
FIGURES = load_figures(COMMITTED)
MAIN = [figure for figure in FIGURES if figure.inflections]
THREE = next(figure for figure in FIGURES if len(figure.groups) == 3 and not figure.inflections)
IN_ROWS = next(figure for figure in FIGURES if figure.y == "num_non_prototypical" and figure.groups == ("all",))
RESNET, VIT = "timm--resnet50.a1_in1k", "timm--vit_base_patch16_224.augreg_in21k_ft_in1k"


def quick(kept, values) -> list:
    """Parameters of a test of which only the `kept` values run outside the heavy checks."""
    return [value if value in kept else pytest.param(value, marks=pytest.mark.heavy) for value in values]


# --- the two styles ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", quick([0, 2, 11], range(len(MAIN))))
def test_main_figure_shows_all_points_and_every_line_has_its_numbers_beside_it(drawn, at):
    figure = MAIN[at]
    canvas = drawn(figure, PUBLISHED_TABLES)
    assert well_laid_out(canvas)
    assert not canvas.legends
    points = compute_points(figure, load_frames(PUBLISHED_TABLES, figure.dataset))
    lines = fit_figure(figure, points)[0]
    beside = labels(canvas)
    assert len(beside) == len(lines) + len(figure.groups)
    for _, _, fit in lines:
        text = f"slope {fit.slope:.3g}\nr {fit.r:.2f}, n {fit.n}".replace("-", "−")
        box, x = box_of(beside[text]), np.linspace(fit.start, fit.end, 200)
        line = canvas.axes[0].transData.transform(np.column_stack([x, fit.predict(x)]))
        away = np.hypot(*(line - np.clip(line, box.min, box.max)).T).min() / canvas.dpi
        assert away < 0.65, (text, away)  # inches


@pytest.mark.heavy
@pytest.mark.parametrize("style", ["paper", "slide"])
def test_every_figure_shows_all_points_and_texts(drawn, monkeypatch, style):
    monkeypatch.setitem(pyplot.rcParams, "figure.max_open_warning", 0)
    for figure in FIGURES:
        canvas = drawn(figure, PUBLISHED_TABLES, style=style)
        assert well_laid_out(canvas), figure.file_stem
        assert len(canvas.legends) == (style == "slide"), figure.file_stem  # everything found its place in the axes
        canvas.clear()


@pytest.mark.parametrize("options", [{"marker": "arch_group"}, {"color": "num_params"}, {"fit_by": "pretrain_method"}])
def test_slide_has_its_legend_beside_the_axes(drawn, options):
    canvas = drawn(
        next(figure for figure in MAIN if len(figure.groups) == 1), PUBLISHED_TABLES, style="slide", **options
    )
    assert well_laid_out(canvas)
    assert "all images" in legend_texts(canvas)
    assert min(text.get_size() for text in canvas.findobj(pyplot.Text) if text.get_text()) >= 11


@pytest.mark.parametrize("style", ["paper", "slide"])
def test_axes_have_the_same_size_in_every_picture(drawn, tmp_path, style):
    write_tables(tmp_path, made_tables(36))
    of_imagenet = [figure for figure in FIGURES if figure.dataset == "imagenet"]
    chosen = [(figure, {"folder": tmp_path}) for figure in of_imagenet[::11]]
    chosen.append((MAIN[2], {"folder": PUBLISHED_TABLES, "fit_by": "training_data_group"}))
    sizes = []
    for figure, options in chosen:
        canvas = drawn(figure, style=style, **options)
        sizes.append(tuple(np.round(canvas.axes[0].bbox.size / canvas.dpi, 3)))
    assert len(canvas.legends) == 1 + (style == "slide")  # a key of the lines
    assert len(set(sizes)) == 1


def test_paper_wastes_little_room(drawn):
    canvas = drawn(THREE, PUBLISHED_TABLES)
    assert 1.1 < canvas.bbox.width / canvas.bbox.height < 1.3  # of the published ones: 1.18
    assert canvas.axes[0].bbox.width * canvas.axes[0].bbox.height > 0.6 * canvas.bbox.width * canvas.bbox.height


def test_lines_without_room_beside_them_are_described_in_a_key(drawn):
    figure = next(figure for figure in MAIN if len(figure.groups) == 3)
    canvas = drawn(figure, PUBLISHED_TABLES, fit_by="training_data_group")
    assert well_laid_out(canvas)
    texts = legend_texts(canvas)
    assert len(texts) > 6
    assert all("slope" in text and "r " in text and "n " in text for text in texts)
    assert any(text.startswith("organisms, small (< 5M), 64 to 96: ") for text in texts)


def hue(color) -> float:
    return 360 * colorsys.rgb_to_hsv(*to_rgb(color))[0]


def test_names_of_groups_stand_at_their_clouds_in_their_colours(drawn):
    canvas = drawn(THREE, PUBLISHED_TABLES)
    common = [cloud for cloud in clouds(canvas) if len(cloud.get_offsets()) == 757]
    beside = labels(canvas)
    for group, cloud in zip(THREE.groups, common, strict=True):
        label, color = beside[GROUP_NAMES[group]], cloud.get_edgecolors()[0]
        assert label.get_weight() == "bold"
        assert abs(hue(color) - hue(label.get_color())) < 25
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(label.get_color())]
        assert 1.05 / (np.dot(linear, [0.2126, 0.7152, 0.0722]) + 0.05) >= 4.5
        box, pixels = box_of(label), canvas.axes[0].transData.transform(cloud.get_offsets())
        away = np.hypot(*(pixels - np.clip(pixels, box.min, box.max)).T).min()
        assert away < 0.3 * canvas.dpi


def test_places_do_not_depend_on_the_run():
    chance = np.random.default_rng(4)
    marks = chance.uniform(0, 100, (60, 2)) * [2, 1]
    boxes = [placement.Box(40, 10, marks[start : start + 10], np.inf, 5) for start in range(0, 60, 10)]
    first, second = (placement.place_boxes(boxes, (200, 150), marks, 2) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    for number, place in enumerate(first):
        assert not ((place < marks) & (marks < place + np.array([40, 10]))).all(axis=1).any()
        for other in first[:number]:
            assert (np.abs(place - other) >= [40, 10]).any()


def test_box_without_free_place_has_none():
    marks = np.stack(np.meshgrid(np.arange(0, 100, 5), np.arange(0, 100, 5)), axis=-1).reshape(-1, 2).astype(float)
    small, wide = (placement.Box(width, 20, marks[:3], np.inf, 5) for width in (20, 300))
    assert placement.place_boxes([small, wide], (100, 100), marks, 2) == [None, None]
    near = placement.Box(20, 10, np.array([[5.0, 5.0]]), 8, 5)
    taken = np.column_stack([np.linspace(0, 100, 200), np.full(200, 30.0)])
    assert placement.place_boxes([near], (100, 100), np.vstack([near.anchors, taken]), 2)[0] is not None
    assert placement.place_boxes([placement.Box(20, 40, near.anchors, 8, 5)], (100, 100), taken, 2) == [None]


# --- titles -----------------------------------------------------------------------------------------------------------


def test_titles_name_error_type_dataset_and_unit(drawn, tmp_path):
    titles = {one.column: one.title for one in ERROR_TYPES if one.column}
    for figure in FIGURES:
        heading, dataset = figure.heading.split(" · ")
        published = ROWS[figure.dataset, figure.file_stem]
        assert dataset == {"imagenet": "ImageNet", "imagenet-a": "ImageNet-A"}[figure.dataset]
        assert heading.lower().startswith(titles[figure.y])
        assert figure.y_label.startswith("#") == (figure.y_unit == "count")
        assert figure.y_label == published["y_label"].removeprefix("" if figure.y_unit == "count" else "# ")
    write_tables(tmp_path, made_tables(12))
    canvas = drawn(MAIN[0])
    assert [text.get_text() for text in canvas.texts] == [MAIN[0].heading, MAIN[0].y_label]


def test_axes_are_the_published_ones(drawn, tmp_path):
    write_tables(tmp_path, made_tables(12))
    figure = next(figure for figure in MAIN if figure.dataset == "imagenet" and len(figure.groups) == 2)
    axes = drawn(figure).axes[0]
    row = ROWS[figure.dataset, figure.file_stem]
    assert axes.get_xlim() == (float(row["x_min"]), float(row["x_max"]))
    assert axes.get_ylim() == (float(row["y_min"]), float(row["y_max"]))
    assert axes.get_xticks().tolist() == [float(tick) for tick in row["x_ticks"].split()]
    assert axes.get_yticks().tolist() == [float(tick) for tick in row["y_ticks"].split()]
    assert axes.get_xlabel() == row["x_label"]


# --- counts in rows ---------------------------------------------------------------------------------------------------


def test_points_of_small_counts_are_spread_within_their_row(drawn, tmp_path):
    canvas = drawn(IN_ROWS, PUBLISHED_TABLES, save_data=True)
    assert well_laid_out(canvas)
    saved = read(tmp_path / "out" / f"{IN_ROWS.file_stem}.csv")
    exact = plain_points(ROWS["imagenet", IN_ROWS.file_stem], read_tables(PUBLISHED_TABLES, "imagenet"))
    assert [float(row["y"]) for row in saved] == [y for *_, y in exact]
    shown = np.array(sorted(mark[:2] for mark in marks_drawn(canvas)))
    assert shown[:, 0] == pytest.approx(sorted(x for *_, x, _ in exact))
    assert np.bincount(np.rint(shown[:, 1]).astype(int)).tolist() == np.bincount([int(y) for *_, y in exact]).tolist()
    moved = np.abs(shown[:, 1] - np.rint(shown[:, 1]))
    assert 0.3 < moved.max() <= 0.35 + 1e-9
    assert canvas.texts[1].get_text().endswith("(spread within rows)")


def test_points_of_large_counts_stay_where_they_are(drawn):
    figure = next(figure for figure in FIGURES if figure.y == "num_same_superclass" and figure.groups == ("all",))
    canvas = drawn(figure, PUBLISHED_TABLES)
    assert all(mark[1] == round(mark[1]) for mark in marks_drawn(canvas))
    assert canvas.texts[1].get_text() == figure.y_label


# --- the legend in a file ---------------------------------------------------------------------------------------------


def test_legend_shared_by_the_figures_is_in_a_file(call, tmp_path, monkeypatch):
    write_tables(tmp_path, made_tables(36))
    kept, close = [], pyplot.close
    monkeypatch.setattr(pyplot, "close", kept.append)
    folders = ("--stats_dir", tmp_path, "--results_dir", tmp_path / "out", "--format", "png", "--jobs", 1)
    flags = ("--dataset", "imagenet", "--figure", "*num_collapsed_mappings_abs*")
    assert call("utils_plot", *folders, *flags).status == 0
    files = {path.name for path in (tmp_path / "out/figures/imagenet").iterdir()}
    assert "legend.png" in files
    assert len(files) == 4
    canvas = kept[-1]
    assert not canvas.axes
    assert legend_texts(canvas) == [*GROUP_NAMES.values(), *CORPORA]
    canvas.canvas.draw()
    boxes = [text.get_window_extent() for legend in canvas.legends for text in legend.get_texts()]
    assert all(0 <= box.x0 < box.x1 <= canvas.bbox.x1 and 0 <= box.y0 < box.y1 <= canvas.bbox.y1 for box in boxes)
    assert not any(overlap(one, other) for at, one in enumerate(boxes) for other in boxes[:at])
    assert call("utils_plot", *folders, *flags, "--style", "slide", "--results_dir", tmp_path / "slides").status == 0
    assert len(list((tmp_path / "slides/figures/imagenet").iterdir())) == 3
    for one in kept:
        close(one)


@pytest.mark.parametrize(
    ("number", "text"), [(1.2e6, "1.2M"), (412_000, "0.41M"), (25_557_032, "25.6M"), (940e6, "940M"), (2.3e9, "2.3B")]
)
def test_counts_are_not_rounded_to_zero(number, text):
    assert legends.format_count(number) == text


# --- named models -----------------------------------------------------------------------------------------------------


def test_highlighted_models_are_named_and_over_all_others(drawn):
    figure = next(figure for figure in MAIN if len(figure.groups) == 2)
    canvas = drawn(figure, PUBLISHED_TABLES, highlight=(RESNET, VIT))
    assert well_laid_out(canvas)
    assert {"resnet50.a1_in1k", "vit_base_patch16_224.augreg_in21k_ft_in1k"} < set(labels(canvas))
    frames = load_frames(PUBLISHED_TABLES, figure.dataset)
    points = compute_points(figure, frames)
    chosen = points[points.model_dir_id.isin([RESNET, VIT])]
    assert sorted(map(tuple, highlighted(canvas))) == sorted(chosen[["x", "y"]].itertuples(index=False, name=None))
    assert len(chosen) == 4


def test_few_models_are_named_without_being_asked_for(drawn, tmp_path):
    write_tables(tmp_path, made_tables(5))
    canvas = drawn(THREE)
    assert {f"model{number}" for number in range(5)} < set(labels(canvas))
    assert len(highlighted(canvas)) == 15
    write_tables(tmp_path, made_tables(6))
    assert not len(highlighted(drawn(THREE)))


def test_published_models_stand_in_grey_behind_two_models(drawn, tmp_path):
    tables = read_tables(PUBLISHED_TABLES, "imagenet")
    two = {group: [row for row in rows if row["model_dir_id"] in (RESNET, VIT)] for group, rows in tables.items()}
    write_tables(tmp_path, two)
    figure = next(figure for figure in MAIN if len(figure.groups) == 3)
    published = load_frames(PUBLISHED_TABLES, "imagenet")
    canvas = drawn(figure, behind=published)
    assert well_laid_out(canvas)
    expected = compute_points(figure, published)[["x", "y"]].to_numpy()
    assert np.array_equal(behind(canvas), expected)
    assert len(marks_drawn(canvas)) == 6
    assert {"resnet50.a1_in1k", *(GROUP_NAMES[group] for group in figure.groups)} < set(labels(canvas))
    assert len(places_in_pixels(canvas)) == 6 + 6 + 3 * 962


def test_names_are_those_of_the_models_unless_two_are_the_same():
    frames = load_frames(PUBLISHED_TABLES, "imagenet")
    assert drawing.choose_names(frames, [RESNET, VIT])[RESNET] == "resnet50.a1_in1k"
    twice = drawing.choose_names(frames, ["timm--densenet121.tv_in1k", "mine--densenet121.tv_in1k"])
    assert list(twice.values()) == list(twice)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--highlight", "made--model1", "made/modell2"], ["--highlight", "did you mean 'made--model2'?"]),
        (["--highlight", "nothing"], ["--highlight: unknown model 'nothing'"]),
        (["--behind", "published", "--interactive"], ["--behind is for pictures: leave out --interactive"]),
        (["--behind", "others"], ["--behind", "published"]),
    ],
)
def test_unknown_model_is_refused_in_one_line(call, tmp_path, flags, words):
    write_tables(tmp_path, made_tables(12))
    done = call(
        "utils_plot", "--stats_dir", tmp_path, "--results_dir", tmp_path / "out", "--dataset", "imagenet", *flags
    )
    assert refused(done, *words)
    assert not (tmp_path / "out").exists()
