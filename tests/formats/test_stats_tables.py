"""The stats tables as files: columns, what is written is read again, and what a check refuses."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from imagenet_errors.dataset.classes import GROUPS
from imagenet_errors.errors import InputError
from imagenet_errors.formats import stats_tables
from imagenet_errors.paths import PUBLISHED_TABLES, stats_table
from tests.conftest import ROOT
from tests.helpers.plain_figures import made_tables

DATASETS = ("imagenet", "imagenet-a")


@pytest.fixture
def write(tmp_path):
    """Write made-up tables of a dataset, with None for columns that these lack; returns the table of `all`."""

    def run(dataset: str = "imagenet", change=lambda row: None) -> Path:
        for group, rows in made_tables(5, dataset).items():
            change(rows[1])
            empty = dict.fromkeys(stats_tables.columns(dataset))
            stats_tables.write(stats_table(tmp_path, dataset, group), dataset, [empty | row for row in rows])
        return stats_table(tmp_path, dataset, "all")

    return run


@pytest.mark.parametrize("dataset", DATASETS)
def test_published_tables_pass_the_check(dataset):
    for group in GROUPS:
        stats_tables.check(stats_table(PUBLISHED_TABLES, dataset, group), dataset)
    (other,) = {*DATASETS} - {dataset}
    with pytest.raises(InputError, match="other columns"):
        stats_tables.check(stats_table(PUBLISHED_TABLES, dataset, "all"), other)


@pytest.mark.parametrize("dataset", DATASETS)
def test_written_tables_are_read_as_they_were(write, tmp_path, dataset):
    stats_tables.check(write(dataset), dataset)
    read = stats_tables.read(tmp_path, dataset)
    for group, rows in made_tables(5, dataset).items():
        assert list(read[group].columns) == stats_tables.columns(dataset)
        for column in rows[0]:
            assert read[group][column].tolist() == [row[column] for row in rows], column
        assert np.isnan(read[group].mla_group).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: row.update(num_group_correct=row["num_group_correct"] + 1), ["made--model1", "do not add up"]),
        (lambda row: row.update(num_OOV_clip=row["num_OOV_clip"] + 1), ["made--model1", "do not add up"]),
        (lambda row: row.update(mla_all="high"), ["not a number", "high"]),
        (lambda row: row.update(model_dir_id="made--model0"), ["made--model0 twice"]),
    ],
    ids=["correct and wrong", "error types", "text in a number", "model twice"],
)
def test_check_refuses_damaged_tables_by_name(write, change, words):
    path = write(change=change)
    with pytest.raises(InputError) as refused:
        stats_tables.check(path, "imagenet")
    assert all(word in str(refused.value) for word in (str(path), *words))


def test_check_refuses_another_order_of_columns(write):
    path = write()
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([*row[1:], row[0]] for row in rows)
    with pytest.raises(InputError, match="another order"):
        stats_tables.check(path, "imagenet")


def test_pandas_is_imported_only_to_read():
    code = "import sys; from imagenet_errors.formats import stats_tables; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "src", check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("dataset", DATASETS)
def test_rows_in_memory_are_the_table_that_is_read(write, dataset):
    path = write(dataset, lambda row: row.update(num_params=None, extra_annotations=["CLIP Training"]))
    rows = made_tables(5, dataset)["all"]
    rows[1] |= {"num_params": None, "extra_annotations": ["CLIP Training"]}
    columns = dict.fromkeys(stats_tables.columns(dataset))
    found = stats_tables.from_rows(dataset, [columns | row for row in rows])
    pd.testing.assert_frame_equal(found, stats_tables.read(path.parents[1], dataset)["all"], check_dtype=False)
    assert found.extra_annotations[1] == "['CLIP Training']"
