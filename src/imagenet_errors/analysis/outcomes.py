"""Accuracies and shares of error types, over the images that several models have predictions for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imagenet_errors.analysis.counting import CountedImages
from imagenet_errors.analysis.shares import compute_shares
from imagenet_errors.error_types import AFTER_OPEN_WORLD, CODES, ERROR_CODES, ERROR_TYPES, NO_ERROR_TYPE
from imagenet_errors.errors import InputError
from imagenet_errors.formats.error_analyses import ErrorAnalysis
from imagenet_errors.formats.stats_tables import COUNTS_AS_CORRECT

OUTCOMES = (CODES["correct"], *ERROR_CODES)  # of unproblematic images: codes in the order of the decision
WRONG = {
    "top1": np.array([code != CODES["correct"] for code in OUTCOMES]),
    "multi_label": np.array([code not in COUNTS_AS_CORRECT for code in OUTCOMES]),
}
"""{what a prediction is measured by: [8] bool, which outcomes are wrong}"""
SHORT_TITLES = (
    "correct",
    "overlap",
    "multi-label",
    "fine-gr.",
    "OOV",
    "spurious",
    "non-proto",
    "failure",
)  # of OUTCOMES
IS_BOUND = np.isin(OUTCOMES, AFTER_OPEN_WORLD)  # [8] bool: where the test was skipped, counts are upper bounds ...
IS_UNKNOWN = np.isin(OUTCOMES, CODES["out_of_vocabulary"])  # [8] bool: ... or unknown
NEED_OPEN_WORLD = IS_BOUND | IS_UNKNOWN
ADVICE = "run evaluation.py --perform_error_analysis again"


@dataclass(frozen=True)
class Share:
    """A percentage that is reported of a model: one row of SHARES.

    Attributes:
        name: `top1_accuracy`, `multi_label_accuracy`, or the name of an error type.
        title: Its name for people.
        denominator: What it is a percentage of.
        is_bound: Whether it is an upper bound where the open-world test was skipped ...
        is_unknown: ... or unknown.
    """

    name: str
    title: str
    denominator: str
    is_bound: bool = False
    is_unknown: bool = False

    @property
    def needs_open_world(self) -> bool:
        return self.is_bound or self.is_unknown


@dataclass(frozen=True)
class ShareDifference:
    """One share of both models.

    Attributes:
        share: Which.
        first, second: In percent; None where the model has no error of the denominator, or where the open-world test,
            which was skipped for one of the models, would find them.
        difference: Second less first, in percentage points; None where one of them is None or a bound.
        low, high: Its 95 % bootstrap interval, in percentage points; None where it is. Resamples in
            which a model has no error of the denominator are left out.
        is_bound: Whether `first` and `second` are upper bounds, because that test could take some of the errors.
    """

    share: Share
    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    is_bound: bool

    def to_row(self) -> dict[str, Any]:
        """The row of a table."""
        others = {name: value for name, value in vars(self).items() if name != "share"}
        return {"share": self.share.name, "denominator": self.share.denominator} | others


SHARES = (
    Share("top1_accuracy", "top-1 accuracy", "images"),
    Share("multi_label_accuracy", "multi-label accuracy", "images of a class, averaged over classes"),
    *(
        Share(
            ERROR_TYPES[code].name,
            ERROR_TYPES[code].title,
            "top-1 errors" if code in COUNTS_AS_CORRECT else "multi-label errors",
            bool(bound),
            bool(unknown),
        )
        for code, bound, unknown in zip(ERROR_CODES, IS_BOUND[1:], IS_UNKNOWN[1:], strict=True)
    ),
)
"""Source of the denominators: the figures of Peychev et al. 2023. A multi-label error is one that MLA counts."""


def share_outcomes(counts: np.ndarray) -> np.ndarray:
    """The share of each outcome: of correct among the images, of an error type as SHARES has it.

    Args:
        counts: [..., 8] int, images by outcome, in the order of OUTCOMES; at least one image.

    Returns:
        [..., 8] float, percent; not-a-number where a denominator is 0.
    """
    errors = counts[..., 1:]
    correct = 100 * counts[..., :1] / counts.sum(axis=-1, keepdims=True)
    return np.concatenate([correct, compute_shares(errors, errors.sum(axis=-1))], axis=-1)


def find_common(counted: CountedImages, analyses: Sequence[ErrorAnalysis], group: str = "all") -> np.ndarray:
    """The images that are compared: the unproblematic ones of a group that all models have a prediction for.

    Args:
        counted: The images.
        analyses: Of these images.
        group: One of `counted.groups`.

    Returns:
        [n] bool, at least one of them true.

    Raises:
        InputError: where there is none, an analysis is of other images, or has a type that only problematic ones have.
    """
    common = counted.groups[group].copy()
    for analysis in analyses:
        if len(analysis.error_types) != len(common):
            raise InputError(
                f"{analysis.model} is analysed on {len(analysis.error_types):,} images, and not on the"
                f" {len(common):,} of the comparison: {ADVICE}"
            )
        common &= analysis.error_types != NO_ERROR_TYPE
    if not common.any():
        names = ", ".join(analysis.model for analysis in analyses)
        raise InputError(
            f"{names}: no unproblematic image of the group {group!r} has a prediction of all of them:"
            " compare models with predictions for the same images"
        )
    for analysis in analyses:
        odd = common & ~np.isin(analysis.error_types, OUTCOMES)
        if odd.any():
            row = int(odd.argmax())
            title = ERROR_TYPES[analysis.error_types[row]].title
            raise InputError(
                f"{analysis.model}: {counted.images.files[row]} is typed {title!r}, which only problematic images are,"
                f" and it is not problematic: {ADVICE}"
            )
    return common


def find_outcomes(analyses: Sequence[ErrorAnalysis], common: np.ndarray) -> np.ndarray:
    """[models, c] int8, positions in OUTCOMES, of the c images of `find_common` ([n] bool)."""
    positions = np.full(len(ERROR_TYPES), -1, np.int8)
    positions[list(OUTCOMES)] = np.arange(len(OUTCOMES))
    return positions[np.array([analysis.error_types[common] for analysis in analyses])]


def measure_shares(counted: CountedImages, analysis: ErrorAnalysis, common: np.ndarray, group: str) -> np.ndarray:
    """SHARES of a model over the images of `find_common` ([n] bool): [9] float, percent; not-a-number without errors.

    Counts and multi-label accuracy are those that the model's row of the stats table would have.
    """
    counts = counted.count(np.where(common, analysis.error_types, np.int8(NO_ERROR_TYPE)))
    shares = share_outcomes(counts.by_group[group][list(OUTCOMES)])
    accuracy = counts.accuracies[group][""]
    return np.insert(shares, 1, np.nan if accuracy is None else accuracy)


def are_provisional(analyses: Sequence[ErrorAnalysis], common: np.ndarray) -> bool:
    """Whether outcomes that NEED_OPEN_WORLD are provisional on the images of `find_common` ([n] bool).

    They are where the test was skipped for a model at least, or does not tell all its outcomes.
    """
    return any(analysis.open_world_skipped or analysis.provisional[common].any() for analysis in analyses)
