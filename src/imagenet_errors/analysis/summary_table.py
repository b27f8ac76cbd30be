"""The printed table of models and error types, and the numbers of its picture."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from imagenet_errors.analysis.collecting import StatsTables
from imagenet_errors.analysis.context import DatasetContext
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
        skipped: Whether the open-world test was skipped, per model.
    """

    heading: str
    models: list[str]
    rows: list[dict[str, Any]]
    titles: list[str]
    counts: np.ndarray
    skipped: list[bool]

    @property
    def remarks(self) -> list[str]:
        """What to know of the counts of each error type, or nothing."""
        remarks = {CODES["out_of_vocabulary"]: "skipped"} | dict.fromkeys(AFTER_OPEN_WORLD, "at most")
        return [remarks.get(code, "") if any(self.skipped) else "" for code in ERROR_CODES]


def summarise(context: DatasetContext, analyses: list[ErrorAnalysis], tables: StatsTables) -> Summary:
    counted = f"{context.counted_images.counted.sum():,} of them annotated and unproblematic"
    return Summary(
        f"{context.dataset}: {context.extent}, {counted}",
        tables.titles,
        tables.rows["all"],
        [ERROR_TYPES[code].title for code in ERROR_CODES],
        tables.totals[:, ERROR_CODES],
        [analysis.open_world_skipped for analysis in analyses],
    )


def render(summary: Summary) -> list[str]:
    """The lines of the table: model, top-1, MLA, and count and share of every error type.

    Where the open-world test was skipped, what could still change reads `≤`.
    """
    titles = [title.replace("fine-grained out", "out") for title in summary.titles]
    body = [
        [model, _percent(row["top1_val_acc"]), _percent(row["mla_all"]), *_cells(counts, skipped)]
        for model, row, counts, skipped in zip(
            summary.models, summary.rows, summary.counts, summary.skipped, strict=True
        )
    ]
    table = [["model", "top-1", "MLA", *titles], *body]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in table]
    return [summary.heading, lines[0], "─" * len(lines[0]), *lines[1:]]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _cells(counts: np.ndarray, skipped: bool) -> list[str]:
    total = max(1, counts.sum())
    cells = []
    for code, count in zip(ERROR_CODES, counts, strict=True):
        if skipped and code == CODES["out_of_vocabulary"]:
            cells.append("skipped")
        else:
            bound = "≤" if skipped and code in AFTER_OPEN_WORLD else ""
            cells.append(f"{bound}{count} ({100 * count / total:.1f}%)")
    return cells
