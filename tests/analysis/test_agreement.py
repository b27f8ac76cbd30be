"""Tables are compared with a reference cell by cell: every altered cell is found, and nothing else."""

import csv
import shutil

import pytest

from imagenet_errors.analysis.agreement import compare_tables
from imagenet_errors.dataset.classes import GROUPS
from imagenet_errors.errors import InputError
from imagenet_errors.formats.stats_tables import columns
from imagenet_errors.paths import PUBLISHED_TABLES, stats_table

DATASETS = {"imagenet": 962, "imagenet-a": 962}
MODEL = "facebook--convnext-base-224"


@pytest.fixture
def tables(tmp_path):
    """A copy of the published tables."""
    for dataset in DATASETS:
        shutil.copytree(PUBLISHED_TABLES / f"stats-{dataset}", tmp_path / f"stats-{dataset}")
    return tmp_path


def alter(path, model, column, value):
    """Replace a cell; None removes the row."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    rows = [row for row in rows if value is not None or row["model_dir_id"] != model]
    for row in rows:
        if row["model_dir_id"] == model:
            row[column] = value
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("dataset", DATASETS)
def test_equal_tables_agree_in_every_cell(dataset):
    found = compare_tables(PUBLISHED_TABLES, PUBLISHED_TABLES, dataset)
    assert found.num_cells == len(GROUPS) * DATASETS[dataset] * (len(columns(dataset)) - 1)
    assert found.report() == [
        f"{dataset}: 962 models, all published",
        f"{found.num_cells:,} of {found.num_cells:,} cells agree with the published tables, 0 differ, 0 are empty here",
    ]


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(
    ("column", "value"), [("num_not_classified", "502"), ("arch", "convnet"), ("mla_all", "92.65")]
)
def test_one_altered_cell_is_found(tables, group, column, value):
    alter(stats_table(tables, "imagenet", group), MODEL, column, value)
    found = compare_tables(tables, PUBLISHED_TABLES, "imagenet")
    [cell] = found.differing
    assert (cell.group, cell.model, cell.column, cell.here) == (group, MODEL, column, value)
    assert found.report()[-1] == f"  differs: {group}, {MODEL}, {column}: {value} here, {cell.reference} published"


def test_more_digits_of_the_same_number_agree(tables):
    alter(stats_table(tables, "imagenet", "all"), MODEL, "top1_val_acc", "83.82600000000001")
    assert not compare_tables(tables, PUBLISHED_TABLES, "imagenet").cells


def test_empty_cells_are_told_from_different_ones(tables):
    alter(stats_table(tables, "imagenet", "all"), MODEL, "num_imagenet-m_errors", "")
    found = compare_tables(tables, PUBLISHED_TABLES, "imagenet")
    assert not found.differing
    assert found.report()[1].endswith("0 differ, 1 are empty here")
    assert found.report()[2] == "  empty here: num_imagenet-m_errors, 1 cell"


def test_models_of_one_side_are_counted_and_not_compared(tables):
    for group in GROUPS:
        alter(stats_table(tables, "imagenet", group), MODEL, "", None)
        alter(stats_table(tables, "imagenet", group), "timm--resnet50", "model_dir_id", "me--mine")
    found = compare_tables(tables, PUBLISHED_TABLES, "imagenet")
    assert not found.cells
    assert found.report()[0] in (
        "imagenet: 961 models, 960 of them published (2 published ones are not here)",
        "imagenet: 961 models, all published (1 published ones are not here)",
    )


def test_unpublished_models_are_said_to_be_none(analysed):
    assert compare_tables(analysed / "results", PUBLISHED_TABLES, "imagenet").report() == [
        "imagenet: 12 models, none published"
    ]


def test_missing_and_foreign_tables_are_refused(tables):
    path = stats_table(tables, "imagenet", "organism")
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="has no column model_dir_id"):
        compare_tables(tables, PUBLISHED_TABLES, "imagenet")
    path.unlink()
    with pytest.raises(InputError, match="organism"):
        compare_tables(tables, PUBLISHED_TABLES, "imagenet")
