"""The printed table of models and error types, and the numbers of its picture."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from imagenet_errors.analysis.collecting import StatsTables
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.counting import count_provisional
from imagenet_errors.analysis.reports import BOUND_NOTE, UNKNOWN, format_number
from imagenet_errors.error_types import AFTER_OPEN_WORLD, CODES, CODES_BY_FLAG, ERROR_CODES, ERROR_TYPES
from imagenet_errors.formats.error_analyses import ErrorAnalysis
from imagenet_errors.terminal import NO_BREAK_SPACE, Table, align, explain, fill, fits

ACCURACIES = ("top1_val_acc", "mla_all")  # columns of the stats tables


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


def render(summary: Summary, sort: str, top: int, width: int | None) -> str:
    """The table: a model's accuracies, and of every error type the count and the share of the model's errors.

    It has the first of these forms that fits: as described, with short names of the types, without counts. What could
    still change reads `≤`, or `≥`, where the open-world test was skipped or not all its outcomes are known.

    Args:
        summary: What to show.
        sort: `top1`, `mla`, `model` or the flag of an error type, see `sort_models`.
        top: Only the first so many models.
        width: Columns of the terminal; None for no limit.
    """
    rows = sort_models(summary, sort)
    shown, short_titles = rows[:top], [ERROR_TYPES[code].heading for code in ERROR_CODES]
    titles = [title.replace("fine-grained out", "out") for title in summary.titles]
    forms = [(titles, True), (short_titles, True), (short_titles, False)]
    for headings, with_counts in forms:
        table = _tabulate(summary, shown, headings, with_counts)
        if fits(table, width):
            break
    notes = [_describe_columns(headings, titles, with_counts)]
    if any(summary.skipped[row] or summary.provisional[row].any() for row in shown):
        notes.append(BOUND_NOTE)
    if len(shown) < len(rows):
        everything = f"--top{NO_BREAK_SPACE}{len(rows)}"
        notes.append(f"{len(shown)} of {len(rows):,} models, sorted by {sort}: {everything} prints all.")
    return "\n\n".join([fill(summary.heading, width), align(table, width), *(fill(note, width) for note in notes)])


def sort_models(summary: Summary, sort: str) -> np.ndarray:
    """Rows of the models, by name or with the highest number first: an accuracy, or the share of an error type.

    Equal ones are sorted by top-1 accuracy. Those whose number is unknown come last.
    """
    if sort == "model":
        return np.argsort(summary.models, kind="stable")
    top1, mla = (np.array([row[column] for row in summary.rows], float) for column in ACCURACIES)
    values = {"top1": top1, "mla": mla} | dict(zip(CODES_BY_FLAG, _compute_shares(summary).T, strict=True))
    return np.lexsort((-top1, -values[sort]))


def _compute_shares(summary: Summary) -> np.ndarray:
    """[models, 7] percent of each model's errors; not-a-number where unknown."""
    shares = 100 * summary.counts / np.maximum(1, summary.counts.sum(axis=1, keepdims=True))
    shares[summary.skipped, ERROR_CODES.index(CODES["out_of_vocabulary"])] = np.nan
    return shares


def _tabulate(summary: Summary, models: np.ndarray, headings: list[str], with_counts: bool) -> Table:
    shares, cells = _compute_shares(summary), []
    for model in models:
        accuracies = [format_number(summary.rows[model][column], 2) for column in ACCURACIES]
        types = [
            _cell(count, share, with_counts, bound)
            for count, share, bound in zip(
                summary.counts[model], shares[model], _find_bounds(summary, model), strict=True
            )
        ]
        cells.append([summary.models[model], *accuracies, *types])
    return Table(("model", "top-1", "MLA", *headings), {"": cells})


def _find_bounds(summary: Summary, model: int) -> list[str]:
    """`≤` or `≥` where errors of a type could still prove to be out-of-vocabulary, or others could; else nothing."""
    provisional, skipped = summary.provisional[model], summary.skipped[model]
    bounds = []
    for code, could_change in zip(ERROR_CODES, provisional, strict=True):
        if code == CODES["out_of_vocabulary"]:
            bounds.append("≥" if provisional.any() else "")
        else:
            bounds.append("≤" if could_change or (skipped and code in AFTER_OPEN_WORLD) else "")
    return bounds


def _cell(count: int, share: float, with_count: bool, bound: str) -> str:
    if np.isnan(share):
        return UNKNOWN
    return bound + (f"{count} ({share:.1f}%)" if with_count else f"{share:.1f}")


def _describe_columns(headings: list[str], titles: list[str], with_counts: bool) -> str:
    numbers = "number, and percent of a model's errors" if with_counts else "percent of a model's errors"
    names = explain(headings, titles)
    return f"Accuracies in percent; error types: {numbers}{names and f' ({names})'}."
