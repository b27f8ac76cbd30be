"""The page of figures as a file: whole, with the points of the pictures and every model; unknown is no number."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.helpers.figure_pages import COUNT, FAMILIES, HOSTILE, read_data, write_made_page
from tests.helpers.plain_figures import multi_label_errors, plain_points, read, read_tables

ROWS = read(ROOT / "artefacts/figures.csv")
DATASETS = ("imagenet", "imagenet-a")
MOST_BYTES = 10e6


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_made_page(folder)
    return folder


@pytest.fixture(scope="module")
def page(folder) -> str:
    return (folder / "out/figures/index.html").read_text()


@pytest.fixture(scope="module")
def data(page) -> dict:
    return read_data(page)


def described(data) -> list[tuple[dict, dict, dict[str, str]]]:
    """(dataset, figure of the page, row of figures.csv) of every figure."""
    found = []
    for dataset in data["datasets"]:
        rows = [row for row in ROWS if row["dataset"] == dataset["name"] and row["family"] in FAMILIES]
        figures = [figure for family in dataset["families"] for figure in family["figures"]]
        assert {figure["stem"] for figure in figures} == {row["file_stem"] for row in rows}
        by_stem = {row["file_stem"]: row for row in rows}
        found += [(dataset, figure, by_stem[figure["stem"]]) for figure in figures]
    return found


def test_one_file_is_written_and_asks_nothing_of_the_network(folder, page):
    assert [path.relative_to(folder / "out").as_posix() for path in (folder / "out").rglob("*.*")] == [
        "figures/index.html"
    ]
    outside = re.sub(r"(?s)(<script[^>]*>).*?</script>", r"\1", page)
    assert re.findall(r"\b(?:src|href|action|url)\s*[=(]\s*[^\s>]+", outside) == ['href="data:,"']
    assert "@import" not in outside
    assert "default-src 'none'" in outside
    assert page.count("plotly.js v") == 1
    assert outside.count("<script") == 3


def test_every_model_is_named_once_a_dataset(data, folder):
    assert [dataset["name"] for dataset in data["datasets"]] == list(DATASETS)
    for dataset in data["datasets"]:
        rows = read_tables(folder, dataset["name"])["all"]
        assert dataset["models"] == [row["model_dir_id"] for row in rows]
        assert len(dataset["models"]) == COUNT
        assert {len(column) for column in dataset["columns"]} == {COUNT}
    assert data["highlight"] == ["made--model1"]


def test_name_like_html_is_text_and_ends_no_script(page, data):
    block = page.partition('<script id="data" type="application/json">')[2].partition("</script>")[0]
    assert json.loads(block) == data
    assert "<" not in block
    assert HOSTILE in data["datasets"][0]["models"]
    assert HOSTILE not in page


def test_points_equal_those_of_the_pictures(data, folder):
    tables = {dataset: read_tables(folder, dataset) for dataset in DATASETS}
    without_point = 0
    for dataset, figure, row in described(data):
        found = {}
        for cloud in figure["clouds"]:
            columns = (dataset["columns"][cloud[axis]] for axis in "xy")
            for model, x, y in zip(dataset["models"], *columns, strict=True):
                assert (x is None) == (y is None)
                if x is None:
                    without_point += 1
                else:
                    found[cloud["group"], model] = x, y
        expected = {(group, model): (x, y) for group, model, x, y in plain_points(row, tables[dataset["name"]])}
        assert found.keys() == expected.keys()
        assert np.abs(np.array([found[key] for key in expected]) - np.array(list(expected.values()))).max() < 1e-9
        assert [cloud["group"] for cloud in figure["clouds"]] == row["groups"].split()
    assert without_point > 0


BASES = {  # what is counted a part of what, and the number of these
    "abs": ("top-1 errors of the group", lambda row, of_all: int(row["num_group_top1_errors"])),
    "relative_to_group_top1_err": ("top-1 errors of the group", lambda row, of_all: int(row["num_group_top1_errors"])),
    "relative_to_group_mle": ("multi-label errors of the group", lambda row, of_all: multi_label_errors(row)),
    "relative_to_all_mle": ("multi-label errors on all images", lambda row, of_all: multi_label_errors(of_all)),
}  # of abs: class overlap, the only such family here


def test_counts_are_those_of_the_tables(data, folder):
    for dataset, figure, row in described(data):
        tables = read_tables(folder, dataset["name"])
        words, count = BASES[row["y_computation"]]
        assert figure["basis"] == words
        for cloud in figure["clouds"]:
            rows = tables[cloud["group"]]
            assert dataset["columns"][cloud["count"]] == [int(one[row["y"]]) for one in rows]
            expected = [count(one, of_all) for one, of_all in zip(rows, tables["all"], strict=True)]
            assert dataset["columns"][cloud["out_of"]] == expected


def test_unknown_is_null_and_never_a_number(data, folder):
    for dataset in data["datasets"]:
        about = dict(zip(dataset["models"], zip(dataset["num_params"], dataset["corpora"], strict=True), strict=True))
        assert about[HOSTILE] == (None, "mine")
        assert about["made--model5"][1] is None
        known = [parameters for name, (parameters, _) in about.items() if name not in (HOSTILE, "made--model7")]
        assert all(type(parameters) is int and parameters > 0 for parameters in known)
        assert about["made--model7"][0] is None  # 0 in the table
        markers = dataset["markers"]["training_data"]
        shown = {
            name: markers["values"][place]["name"] for name, place in zip(about, markers["of_models"], strict=True)
        }
        assert {name for name, value in shown.items() if value == "unknown"} == {HOSTILE, "made--model5"}


def test_titles_name_error_type_dataset_and_axes(data):
    headings = {"class_overlap": "Class overlap", "model_failures_to_mle": "Model failure"}
    names = {"imagenet": "ImageNet", "imagenet-a": "ImageNet-A"}
    for _, figure, row in described(data):
        assert figure["heading"] == f"{headings[row['family']]} · {names[row['dataset']]}"
        assert figure["x_label"] == row["x_label"]
        assert figure["y_label"] == row["y_label"].removeprefix("" if row["y_unit"] == "count" else "# ")


def test_lines_are_least_squares_within_their_bands(data, folder):
    seen = 0
    for dataset, figure, row in described(data):
        bends = dict(part.split(":") for part in row["fit_inflection"].split(";") if part)
        points = plain_points(row, read_tables(folder, dataset["name"]))
        expected = []
        for group in row["groups"].split() if row["linear_fit"] == "yes" else ():
            x, y = np.array([(x, y) for own, _, x, y in points if own == group]).T
            bend = bends.get(group, "none")
            segments = [x == x] if bend == "none" else [x <= float(bend), x > float(bend)]
            expected += [(group, x[one].min(), x[one].max(), np.polyfit(x[one], y[one], 1)) for one in segments]
        assert len(figure["lines"]) == len(expected)
        for line, (group, start, end, line_fit) in zip(figure["lines"], expected, strict=True):
            seen += 1
            assert line["group"] == group
            assert (line["x"][0], line["x"][-1]) == pytest.approx((start, end))
            assert line["y"] == pytest.approx(np.polyval(line_fit, line["x"]), abs=1e-9)
            assert all(low < y < high for low, y, high in zip(line["low"], line["y"], line["high"], strict=True))
    assert seen == 26


def test_points_left_out_are_told(data, folder):
    told = set()
    for dataset, figure, row in described(data):
        points = plain_points(row, read_tables(folder, dataset["name"]))
        total = len(row["groups"].split()) * COUNT
        omitted = total - len(points)
        expected = [f"{omitted} of {total} points left out: empty cells or zero denominators"] if omitted else []
        assert figure["notes"] == expected
        told.add(omitted)
    assert told == {0, 1}


def test_axes_contain_all_points(data):
    for dataset, figure, _ in described(data):
        for axis in "xy":
            low, high = figure[f"{axis}_range"]
            columns = [dataset["columns"][cloud[axis]] for cloud in figure["clouds"]]
            assert all(low <= number <= high for column in columns for number in column if number is not None)


def test_page_names_its_datasets(page):
    assert "<title>Model errors on ImageNet and ImageNet-A</title>" in page


def test_all_figures_of_the_paper_are_on_one_page_below_10_megabytes(call, tmp_path):
    done = call("utils_plot", "--interactive", "--results_dir", tmp_path)
    assert done.status == 0
    assert (tmp_path / "figures/index.html").stat().st_size < MOST_BYTES
    datasets = read_data((tmp_path / "figures/index.html").read_text())["datasets"]
    figures = [figure["stem"] for dataset in datasets for family in dataset["families"] for figure in family["figures"]]
    assert figures == [row["file_stem"] for name in DATASETS for row in ROWS if row["dataset"] == name]
    assert len(figures) == 94
    assert [len(dataset["models"]) for dataset in datasets] == [962, 962]
