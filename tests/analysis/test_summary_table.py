"""The printed table of models and error types: its forms, its order, its rows."""

import numpy as np
import pytest

from imagenet_errors.analysis.summary_table import ACCURACIES, Summary, render, sort_models
from imagenet_errors.error_types import CODES_BY_FLAG, ERROR_CODES, ERROR_TYPES
from imagenet_errors.formats import stats_tables
from imagenet_errors.terminal import count_columns
from tests.conftest import COMMITTED

HEADING = "imagenet: 50,000 of 50,000 images, 18,692 of them annotated and unproblematic"
TITLES = [ERROR_TYPES[code].title for code in ERROR_CODES]
WIDTHS = (80, 120, 160, None)


@pytest.fixture(scope="module")
def published() -> Summary:
    """The paper's 962 models."""
    frame = stats_tables.read(COMMITTED.root / "published", "imagenet")["all"]
    counts = frame[[ERROR_TYPES[code].column for code in ERROR_CODES]].to_numpy(int)
    rows = frame[list(ACCURACIES)].to_dict("records")
    return Summary(
        HEADING, frame["model_dir_id"].tolist(), rows, TITLES, counts, np.zeros_like(counts), [False] * len(frame)
    )


def make(models: str, accuracies, counts, skipped=None, provisional=0) -> Summary:
    """A summary of models of one letter: (top-1, MLA) and seven counts of each."""
    rows, counts = [dict(zip(ACCURACIES, one, strict=True)) for one in accuracies], np.array(counts)
    could_change = np.broadcast_to(provisional, counts.shape)
    return Summary(HEADING, list(models), rows, TITLES, counts, could_change, skipped or [False] * len(models))


def table_of(text: str) -> list[str]:
    """The lines of the table."""
    return text.split("\n\n")[1].splitlines()


@pytest.mark.parametrize("top", [1, 40, 962])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_line_fits_the_width(published, width, top):
    lines = render(published, "top1", top, width).splitlines()
    assert max(map(count_columns, lines)) <= (width or 200)
    numbers = [line for line in table_of("\n".join(lines)) if " " in line]
    assert len(numbers) == 1 + top


@pytest.mark.parametrize(("width", "heading"), [(80, "over."), (120, "over."), (160, "over."), (None, "class overlap")])
def test_wide_terminals_show_counts_and_long_names(published, width, heading):
    text = render(published, "model", 5, width)
    assert heading in table_of(text)[0]
    assert ("104 (4.3%)" in table_of(text)[1]) == (width not in (80, 120))
    explained = "over. = class overlap" in text.replace("\n", " ")
    assert explained == (heading == "over.")


def test_headings_that_are_no_titles_are_explained(published):
    text = " ".join(render(published, "top1", 3, 80).split())
    for code in ERROR_CODES:
        assert f"{ERROR_TYPES[code].heading} = {ERROR_TYPES[code].title.removeprefix('fine-grained ')}" in text


def test_most_accurate_models_are_shown_with_a_word_about_the_others(published):
    text = render(published, "top1", 40, None)
    best = sorted(published.rows, key=lambda row: -row["top1_val_acc"])[:40]
    assert [line.split()[1] for line in table_of(text)[1:]] == [f"{row['top1_val_acc']:.2f}" for row in best]
    assert text.splitlines()[-1] == "40 of 962 models, sorted by top1: --top 962 prints all."
    assert "--top" not in render(published, "top1", 962, None)


@pytest.mark.parametrize("sort", ["top1", "mla", "model", *CODES_BY_FLAG])
def test_models_are_sorted_by_each_key(published, sort):
    order = sort_models(published, sort)
    assert sorted(order) == list(range(962))
    if sort == "model":
        values = [published.models[row] for row in order]
        assert values == sorted(values)
        return
    shares = published.counts / published.counts.sum(axis=1, keepdims=True)
    keys = {"top1": 0, "mla": 1}
    columns = np.column_stack([[list(row.values()) for row in published.rows], shares])
    of_key = columns[order, keys[sort] if sort in keys else 2 + list(CODES_BY_FLAG).index(sort)]
    assert (np.diff(of_key) <= 0).all()


def test_unknown_numbers_come_last_and_equal_ones_by_accuracy():
    counts = [[1, 1, 0, 2, 0, 0, 0], [1, 1, 0, 2, 0, 0, 0], [4, 0, 0, 0, 0, 0, 0], [0] * 7]
    accuracies = [(50.0, None), (60.0, 70.0), (None, 80.0), (40.0, 90.0)]
    summary = make("abcd", accuracies, counts, [True, False, False, False])
    orders = {sort: "".join(summary.models[row] for row in sort_models(summary, sort)) for sort in SORTED}
    assert orders == SORTED
    assert table_of(render(summary, "fg-OOV", 4, 80))[1:] == [
        "b      60.00  70.00   25.0   25.0   0.0  50.0    0.0    0.0   0.0",
        "d      40.00  90.00    0.0    0.0   0.0   0.0    0.0    0.0   0.0",
        "c          –  80.00  100.0    0.0   0.0   0.0    0.0    0.0   0.0",
        "a      50.00      –   25.0   25.0   0.0     –   ≤0.0   ≤0.0  ≤0.0",
    ]


SORTED = {"top1": "badc", "mla": "dcba", "model": "abcd", "fg-OOV": "bdca", "multi_label": "badc"}
