"""How one model fails: its error types with intervals, and how unusual each is among the reference's models."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from imagenet_errors.analysis.accuracies import Accuracy, measure_accuracies
from imagenet_errors.analysis.analysed_models import AnalysedModel
from imagenet_errors.analysis.archived_open_world import Coverage
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.counting import CountedImages, ErrorCounts, count_provisional
from imagenet_errors.analysis.reference import Place, Reference
from imagenet_errors.analysis.relabelling import Labels, relabel
from imagenet_errors.analysis.shares import (
    CONFIDENCE,
    ERROR_NAMES,
    OF_TOP1_ERRORS,
    adjust_p_values,
    compute_shares,
    count_denominators,
    wilson_intervals,
)
from imagenet_errors.dataset.classes import GROUPS
from imagenet_errors.dataset.label_sets import STANDARD, LabelSet
from imagenet_errors.error_types import AFTER_OPEN_WORLD, CODES, ERROR_CODES, ERROR_TYPES
from imagenet_errors.formats.error_analyses import ErrorAnalysis

if TYPE_CHECKING:
    import pandas as pd

TITLES = tuple(ERROR_TYPES[code].title for code in ERROR_CODES)
NOT_TESTED = "the open-world test was skipped"
BOTH_SIDES = "its bounds lie on both sides of what is expected"
NUMBERS = (  # of `to_rows`, besides counts
    *("share", "share_low", "share_high", "expected", "expected_low", "expected_high"),
    *("deviation", "percentile", "p_value"),
)


@dataclass(frozen=True)
class ShareLine:
    """One error type of a model in one group of images.

    Attributes:
        group: Of images.
        error_type: One of ERROR_NAMES.
        title: Its name for people.
        count: How many errors have it; None where only bounds are known, or not even these.
        is_bound: Whether the count is an upper bound, because the open-world test, which was skipped, could take some.
        low_count, high_count: How many they are at least and at most: they differ where some outcomes of that test are
            unknown. None where it was skipped and would find them.
        denominator: `top-1 errors` or `multi-label errors`.
        total: How many of these there are.
        share: Percent of them; None without a count or without any.
        low, high: Wilson's 95 % interval of the share, percent; with bounds, its ends for either bound.
        place: Among the reference's models; None where there is none.
        no_place: Why there is none; empty where there is one.
        p_value: Of the place, corrected by Holm's method for all places of the model; None without one.
    """

    group: str
    error_type: str
    title: str
    count: int | None
    is_bound: bool
    low_count: int | None
    high_count: int | None
    denominator: str
    total: int
    share: float | None
    low: float | None
    high: float | None
    place: Place | None
    no_place: str
    p_value: float | None = None

    @property
    def stands_out(self) -> bool:
        return self.p_value is not None and self.p_value <= 1 - CONFIDENCE

    @property
    def shares(self) -> tuple[float, float] | None:
        """Of the lower and the higher count, percent; None where one is unknown, or of nothing."""
        if self.low_count is None or self.high_count is None or not self.total:
            return None
        return 100 * (self.low_count / self.total), 100 * (self.high_count / self.total)

    @property
    def is_between(self) -> bool:
        """Whether the count is between two that differ, as some outcomes of the open-world test are unknown."""
        return self.count is None and self.low_count is not None

    def describe(self) -> str:
        """One sentence on a share that stands out."""
        place, shares = self.place, self.shares
        if place is None or shares is None:
            raise ValueError(f"{self.error_type} has no place")
        difference = min((share - place.expected for share in shares), key=abs)
        side, number, verb = ("above", place.smaller, "fewer") if difference > 0 else ("below", place.larger, "more")
        where = "" if self.group == "all" else f" on images of the group {self.group}"
        least = "at least " if self.is_between else ""
        how_many = f"{'' if place.is_outermost else least}{number}"
        return (
            f"{self.title[0].upper()}{self.title[1:]} errors{where} are {least}{abs(difference):.1f} points {side} the"
            f" {place.neighbours} models nearest in MLA; {how_many} of them make {verb}."
        )


@dataclass(frozen=True)
class Profile:
    """How a model fails.

    Attributes:
        model: Its `model_dir_id`.
        dataset: Of the images.
        extent: How much of the dataset the predictions cover.
        num_counted: Unproblematic annotated images with a prediction.
        accuracies: By each ruler, whatever labels the error types are by.
        labels: Whose the error types are by, and the images that these leave out; None for the multi-labels.
        reference: What it was compared with; None for nothing.
        lines: By group and error type.
        coverage: Of the errors that reach the open-world test by an archive's outcomes; None where these are not taken.
    """

    model: str
    dataset: str
    extent: str
    num_counted: int
    accuracies: tuple[Accuracy, ...]
    labels: Labels | None
    reference: Reference | None
    lines: tuple[ShareLine, ...]
    coverage: Coverage | None = None

    @property
    def multi_label_accuracy(self) -> float | None:
        """MLA, percent; None where no image counts."""
        return next(one.value for one in self.accuracies if one.name == "multi_label")

    @property
    def sentences(self) -> list[str]:
        """What stands out after Holm's correction, the most unusual first."""
        standing_out = [line for line in self.lines if line.stands_out]
        return [line.describe() for line in sorted(standing_out, key=lambda line: line.p_value or 0.0)]

    def to_frame(self) -> "pd.DataFrame":
        """`lines`, a row each, in the columns of report.py's CSV; not-a-number or NA where unknown."""
        import pandas as pd

        frame = pd.DataFrame([{"model": self.model} | row for row in to_rows(self)])
        return frame.astype({"count": "Int64"} | dict.fromkeys(NUMBERS, float))


def make_profile(
    context: DatasetContext, model: AnalysedModel, reference: Reference | None, label_set: LabelSet | None = None
) -> Profile:
    """The profile of one model.

    Args:
        context: Of the dataset.
        model: With its errors on the images of the context.
        reference: What it is compared with; None for none.
        label_set: Whose labels the error types are to be by; None for the multi-labels.

    Raises:
        InputError: as `relabel`.
    """
    accuracies, labels = measure_accuracies(context, model), None
    if label_set is not None and label_set.name != STANDARD:
        reference, relabelled = None, relabel(context, model, label_set)
        labels, context, model = relabelled.labels, relabelled.context, relabelled.model
    counts = context.counted_images.count(model.analysis.error_types)
    mla = counts.accuracies["all"][""]
    num_counted = int(counts.by_group["all"].sum())
    no_place = _explain_no_place(model, num_counted, reference, labels)
    lines = count_lines(context.counted_images, counts, model.analysis)
    lines = _place_lines(lines, mla, model.name, reference, no_place)
    return Profile(
        model.name,
        context.dataset,
        model.extent,
        num_counted,
        accuracies,
        labels,
        reference,
        tuple(_correct(lines)),
        model.coverage,
    )


def _explain_no_place(
    model: AnalysedModel, num_counted: int, reference: Reference | None, labels: Labels | None
) -> str:
    """Why no share of the model can have a place; empty where they can."""
    if labels is not None:
        return f"the error types are by the labels {labels.name}, those of published models by the multi-labels"
    if reference is None:
        return "there is no reference"
    if model.is_partial:
        return "only complete predictions are placed"
    if num_counted != reference.num_images:
        return f"{num_counted:,} images are counted, and {reference.num_images:,} in the reference"
    return ""


def count_lines(counted: CountedImages, counts: ErrorCounts, analysis: ErrorAnalysis) -> list[ShareLine]:
    """The lines of a model without places, by group and error type.

    Args:
        counted: The images.
        counts: Of the model on these.
        analysis: Of the model.
    """
    is_skipped, found = analysis.open_world_skipped, CODES["out_of_vocabulary"]
    lines = []
    for group in GROUPS:
        by_type = counts.by_group[group][list(ERROR_CODES)]
        totals = count_denominators(by_type, by_type.sum())
        provisional = count_provisional(analysis, counted.groups[group])[list(ERROR_CODES)]
        low_counts = by_type - provisional
        high_counts = np.where(np.array(ERROR_CODES) == found, by_type + provisional.sum(), by_type)
        lows, highs = wilson_intervals(low_counts, totals)[0], wilson_intervals(high_counts, totals)[1]
        shares = compute_shares(by_type, by_type.sum())
        for column, (code, name) in enumerate(zip(ERROR_CODES, ERROR_NAMES, strict=True)):
            is_unknown, is_bound = is_skipped and code == found, is_skipped and code in AFTER_OPEN_WORLD
            is_exact = is_bound or low_counts[column] == high_counts[column]
            has_share = totals[column] and not is_unknown
            lines.append(
                ShareLine(
                    group=group,
                    error_type=name,
                    title=TITLES[column],
                    count=int(by_type[column]) if is_exact and not is_unknown else None,
                    is_bound=is_bound,
                    low_count=None if is_unknown else int(low_counts[column]),
                    high_count=None if is_unknown else int(high_counts[column]),
                    denominator="top-1 errors" if name in OF_TOP1_ERRORS else "multi-label errors",
                    total=int(totals[column]),
                    share=float(shares[column]) if has_share and is_exact else None,
                    low=float(lows[column]) if has_share else None,
                    high=float(highs[column]) if has_share else None,
                    place=None,
                    no_place=NOT_TESTED if is_unknown else "",
                )
            )
    return lines


def _place_lines(
    lines: list[ShareLine], mla: float | None, model: str, reference: Reference | None, no_place: str
) -> list[ShareLine]:
    """Lines with the place of every share that is known, and why others have none."""
    placed = []
    for line in lines:
        why = no_place or line.no_place or (NOT_TESTED if line.is_bound else "")
        if not why and line.shares is None:
            why = f"there are no {line.denominator}"
        place = None
        if not why and reference is not None and line.shares is not None:
            place = _place(line, mla, model, reference, line.shares)
            why = "" if place else reference.explain_absence(line.group, line.error_type, mla, model) or BOTH_SIDES
        placed.append(replace(line, place=place, no_place=why))
    return placed


def _place(
    line: ShareLine, mla: float | None, model: str, reference: Reference, shares: tuple[float, float]
) -> Place | None:
    """The place of a share; of two bounds that of the one nearer to what is expected, if both are on one side of it."""
    places = [reference.place(line.group, line.error_type, mla, share, model) for share in sorted(set(shares))]
    known = [place for place in places if place is not None]
    if not known or np.prod([place.deviation for place in (known[0], known[-1])]) < 0:
        return None
    return min(known, key=lambda place: abs(place.deviation))


def _correct(lines: list[ShareLine]) -> list[ShareLine]:
    """Lines with the p values of their places, corrected for how many there are."""
    placed = [line.place.p_value for line in lines if line.place is not None]
    corrected = iter(adjust_p_values(np.array(placed)).tolist()) if placed else iter([])
    return [line if line.place is None else replace(line, p_value=next(corrected)) for line in lines]


def share_to_row(line: ShareLine) -> dict[str, Any]:
    """The count and share of a line, without its place, as a row of a table; what is unknown is None."""
    return {
        "group": line.group,
        "error_type": line.error_type,
        "count": line.count,
        "low_count": line.low_count,
        "high_count": line.high_count,
        "is_upper_bound": line.is_bound,
        "denominator": line.denominator,
        "total": line.total,
        "share": line.share,
        "share_low": line.low,
        "share_high": line.high,
    }


def to_rows(profile: Profile) -> list[dict[str, Any]]:
    """The lines as rows of a table; what is unknown is None."""
    return [
        share_to_row(line)
        | {
            "expected": line.place and line.place.expected,
            "expected_low": line.place and line.place.low,
            "expected_high": line.place and line.place.high,
            "deviation": line.place and line.place.deviation,
            "percentile": line.place and line.place.percentile,
            "p_value": line.p_value,
            "no_place": line.no_place,
        }
        for line in profile.lines
    ]
