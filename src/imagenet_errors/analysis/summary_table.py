"""The printed table of models and error types, and the numbers of its picture."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from imagenet_errors.analysis.collecting import StatsTables
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.counting import count_provisional
from imagenet_errors.error_types import AFTER_OPEN_WORLD, CODES, ERROR_CODES, ERROR_TYPES
from imagenet_errors.formats.error_analyses import ErrorAnalysis


@dataclass(frozen=True)
class Summary:
    """Counts of the seven error types of every model.

    Attributes:
        heading: Which images were counted.
        models: The models, each with the extent of its predictions where they are for some images only.
        rows: Stats rows of the group `all`, one per model.
        titles: Names of the error types.
        counts: [models, 7] int.
        provisional: [models, 7] int, how many of them could still be out-of-vocabulary.
        skipped: Whether the open-world test was skipped, per model.
    """

    heading: str
    models: list[str]
    rows: list[dict[str, Any]]
    titles: list[str]
    counts: np.ndarray
    provisional: np.ndarray
    skipped: list[bool]

    @property
    def remarks(self) -> list[str]:
        """What to know of the counts of each error type, or nothing."""
        if not (any(self.skipped) or self.provisional.any()):
            return [""] * len(ERROR_CODES)
        of_the_test = "skipped" if any(self.skipped) else "at least"
        remarks = {CODES["out_of_vocabulary"]: of_the_test} | dict.fromkeys(AFTER_OPEN_WORLD, "at most")
        return [remarks.get(code, "") for code in ERROR_CODES]


def summarise(context: DatasetContext, analyses: list[ErrorAnalysis], tables: StatsTables) -> Summary:
    counted_images = context.counted_images
    counted = f"{counted_images.counted.sum():,} of them annotated and unproblematic"
    return Summary(
        f"{context.dataset}: {context.extent}, {counted}",
        tables.titles,
        tables.rows["all"],
        [ERROR_TYPES[code].title for code in ERROR_CODES],
        tables.totals[:, ERROR_CODES],
        np.array([count_provisional(analysis, counted_images.counted)[list(ERROR_CODES)] for analysis in analyses]),
        [analysis.open_world_skipped for analysis in analyses],
    )


def render(summary: Summary) -> list[str]:
    """The lines of the table: model, top-1, MLA, and count and share of every error type.

    What could still change reads `≤`, or `≥`, where the open-world test was skipped or not all its outcomes are known.
    """
    titles = [title.replace("fine-grained out", "out") for title in summary.titles]
    body = [
        [model, _percent(row["top1_val_acc"]), _percent(row["mla_all"]), *_cells(*counted)]
        for model, row, *counted in zip(
            summary.models, summary.rows, summary.counts, summary.provisional, summary.skipped, strict=True
        )
    ]
    table = [["model", "top-1", "MLA", *titles], *body]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in table]
    return [summary.heading, lines[0], "─" * len(lines[0]), *lines[1:]]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _cells(counts: np.ndarray, provisional: np.ndarray, skipped: bool) -> list[str]:
    total = max(1, counts.sum())
    cells = []
    for code, count, could_change in zip(ERROR_CODES, counts, provisional, strict=True):
        is_found = code == CODES["out_of_vocabulary"]  # by the test
        if skipped and is_found:
            cells.append("skipped")
            continue
        bound = "≤" if could_change or (skipped and code in AFTER_OPEN_WORLD) else ""
        bound = "≥" if is_found and provisional.any() else bound
        cells.append(f"{bound}{count} ({100 * count / total:.1f}%)")
    return cells
