"""Two models next to each other: which errors one fixes, breaks or changes, and whether that is more than chance."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from imagenet_errors.analysis.counting import CountedImages
from imagenet_errors.analysis.experts import agreement, kappa
from imagenet_errors.analysis.outcomes import (
    IS_BOUND,
    IS_UNKNOWN,
    NEED_OPEN_WORLD,
    OUTCOMES,
    SHARES,
    WRONG,
    ShareDifference,
    are_provisional,
    find_common,
    find_outcomes,
    measure_shares,
    share_outcomes,
)
from imagenet_errors.analysis.shares import number_or_none
from imagenet_errors.dataset.annotations import AnnotatedImages
from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.error_types import ERROR_CODES
from imagenet_errors.formats.error_analyses import ErrorAnalysis

if TYPE_CHECKING:
    import pandas as pd

RESAMPLES = 2_000
CONFIDENCE = 95  # percent
SEED = 0
NUM_LISTED = 20


@dataclass(frozen=True)
class ErrorConsistency:
    """Whether two models are wrong on the same images.

    Attributes:
        wrong_by: A key of WRONG: `top1`, or `multi_label`, where any accepted label is right.
        both_right, only_first_wrong, only_second_wrong, both_wrong: How many images.
        agreement: The share of images, 0 to 1, on which both are right or both wrong.
        kappa: Cohen's kappa of being wrong: the error consistency of Geirhos et al. 2020. None where undefined,
            because both models are right, or both wrong, on every image.
        p_value: Of McNemar's exact test (two-sided) that both models are wrong equally often.
    """

    wrong_by: str
    both_right: int
    only_first_wrong: int
    only_second_wrong: int
    both_wrong: int
    agreement: float
    kappa: float | None
    p_value: float


@dataclass(frozen=True)
class TypeAgreement:
    """Whether two models make the errors of one type on the same images.

    Attributes:
        error_type: Its position in ERROR_TYPES.
        first, second, both: How many images have it by the first model, by the second, and by both; None where the
            open-world test, which was skipped for one of them, would find it.
        kappa: Cohen's kappa of having it; None where that test could change it, or where it is undefined, because no
            image, or each, has it by both models.
        is_bound: Whether the counts are upper bounds, because that test could take some of the errors.
    """

    error_type: int
    first: int | None
    second: int | None
    both: int | None
    kappa: float | None
    is_bound: bool


@dataclass(frozen=True)
class ClassChange:
    """The images of one original class.

    Attributes:
        class_id: 0 to 999.
        num_images: How many are compared.
        fixed: On how many the first model alone is wrong by top-1.
        broken: On how many the second alone is.
    """

    class_id: int
    num_images: int
    fixed: int
    broken: int


@dataclass(frozen=True)
class ImageChange:
    """An image with different outcomes.

    Attributes:
        row: Its position among the annotated images.
        file: `<WordNet id>/<file name>`.
        target: Original class id.
        predictions: Class ids of the first and the second model.
        outcomes: Their positions in ERROR_TYPES.
        is_provisional: Whether the open-world test was skipped for one of the models and could change an outcome.
    """

    row: int
    file: str
    target: int
    predictions: tuple[int, int]
    outcomes: tuple[int, int]
    is_provisional: bool


@dataclass(frozen=True)
class Comparison:
    """Two models on the c unproblematic images of a group that both have predictions for.

    Attributes:
        models: First and second; the second is looked at as the successor of the first.
        group: Of images.
        num_counted: How many unproblematic images the group has, predicted or not.
        rows: [c] int, positions among the annotated images.
        images: [c] annotated images.
        predictions: [2, c] int16 class ids.
        outcomes: [2, c] int8, positions in OUTCOMES.
        transitions: [8, 8] int, images by outcome of the first and of the second model, in the order of OUTCOMES.
        is_provisional: Whether the open-world test was skipped for one of the models: then the rows and columns of
            `transitions` that NEED_OPEN_WORLD are provisional.
        consistency: {key of WRONG: how far both are wrong on the same images}.
        types: One for each error type, in the order of OUTCOMES.
        differences: One for each of SHARES.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """

    models: tuple[str, str]
    group: str
    num_counted: int
    rows: np.ndarray
    images: AnnotatedImages
    predictions: np.ndarray
    outcomes: np.ndarray
    transitions: np.ndarray
    is_provisional: bool
    consistency: dict[str, ErrorConsistency]
    types: tuple[TypeAgreement, ...]
    differences: tuple[ShareDifference, ...]
    resamples: int
    seed: int

    @property
    def fixed(self) -> int:
        """On how many images the first model is wrong by top-1 and the second right."""
        return self.consistency["top1"].only_first_wrong

    @property
    def broken(self) -> int:
        """On how many images the first model is right by top-1 and the second wrong."""
        return self.consistency["top1"].only_second_wrong

    @property
    def changed_in_type(self) -> int | None:
        """On how many images both are wrong by top-1, with different error types; None where `is_provisional`."""
        if self.is_provisional:
            return None
        errors = self.transitions[1:, 1:]
        return int(errors.sum() - np.trace(errors))

    @property
    def known_transitions(self) -> list[list[int | None]]:
        """`transitions`; where `is_provisional`, None for what the open-world test would find; the rest are bounds."""
        known = self.transitions.astype(object)
        known[self.is_provisional & (IS_UNKNOWN[:, None] | IS_UNKNOWN)] = None
        return known.tolist()

    def to_frame(self) -> "pd.DataFrame":
        """`differences`, a row each, in the columns of `shares` in report.py's JSON; not-a-number where unknown."""
        import pandas as pd

        numbers = ("first", "second", "difference", "low", "high")
        return pd.DataFrame([one.to_row() for one in self.differences]).astype(dict.fromkeys(numbers, float))

    def list_classes(self, most: int = NUM_LISTED) -> list[ClassChange]:
        """The classes that differ most: by fixed less broken, in absolute value; then by both; then by class id."""
        totals, fixed, broken = self._by_class
        return [
            ClassChange(class_id, int(totals[class_id]), int(fixed[class_id]), int(broken[class_id]))
            for class_id in _rank_classes(fixed, broken)[:most].tolist()
            if fixed[class_id] or broken[class_id]
        ]

    def list_images(self, most: int = NUM_LISTED) -> list[ImageChange]:
        """The images that differ most: whose outcomes are furthest apart in OUTCOMES; then by class, as `list_classes`.

        OUTCOMES are in the order of the decision, which begins with what the multi-label accuracies forgive: a correct
        prediction and a model failure are furthest apart.
        """
        apart = abs(self.outcomes[0] - self.outcomes[1])
        _, fixed, broken = self._by_class
        ranks = np.argsort(_rank_classes(fixed, broken))
        order = np.lexsort((ranks[self.images.targets], -apart))[:most]
        return [
            ImageChange(
                int(self.rows[one]),
                str(self.images.files[one]),
                int(self.images.targets[one]),
                (int(self.predictions[0, one]), int(self.predictions[1, one])),
                (OUTCOMES[self.outcomes[0, one]], OUTCOMES[self.outcomes[1, one]]),
                self.is_provisional and bool(NEED_OPEN_WORLD[self.outcomes[:, one]].any()),
            )
            for one in order.tolist()
            if apart[one]
        ]

    @property
    def _by_class(self) -> tuple[np.ndarray, ...]:
        """By original class, [1000] int each: images, those fixed, those broken."""
        right = self.outcomes == 0
        chosen = np.ones_like(right[0]), ~right[0] & right[1], right[0] & ~right[1]
        return tuple(np.bincount(self.images.targets[images], minlength=NUM_CLASSES) for images in chosen)


def _rank_classes(fixed: np.ndarray, broken: np.ndarray) -> np.ndarray:
    """[1000] class ids, those that differ most first."""
    return np.lexsort((-(fixed + broken), -abs(fixed - broken)))


def compare(
    counted: CountedImages,
    first: ErrorAnalysis,
    second: ErrorAnalysis,
    group: str = "all",
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison:
    """Compare two models on the unproblematic images that both have predictions for.

    Args:
        counted: The images.
        first: Of these images.
        second: Of the same images.
        group: One of `counted.groups`.
        resamples: How often the bootstrap draws the images again.
        seed: Of its random numbers.

    Raises:
        InputError: as `find_common` does.
    """
    analyses = (first, second)
    common = find_common(counted, analyses, group)
    outcomes = find_outcomes(analyses, common)
    images = counted.images[common]
    cells = outcomes[0].astype(int) * len(OUTCOMES) + outcomes[1]
    transitions = np.bincount(cells, minlength=len(OUTCOMES) ** 2).reshape(len(OUTCOMES), -1)
    is_provisional = are_provisional(analyses, common)
    measured = np.array([measure_shares(counted, analysis, common, group) for analysis in analyses])
    resampled = bootstrap_differences(images.targets, outcomes, resamples, seed)
    return Comparison(
        (first.model, second.model),
        group,
        int(counted.groups[group].sum()),
        np.flatnonzero(common),
        images,
        np.array([analysis.top1[common] for analysis in analyses]),
        outcomes,
        transitions,
        is_provisional,
        {wrong_by: _measure_consistency(transitions, wrong_by) for wrong_by in WRONG},
        _measure_types(transitions, is_provisional),
        _describe_differences(measured, resampled, is_provisional),
        resamples,
        seed,
    )


def _fold(transitions: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """[2, 2] int of [8, 8] transitions: images by whether each model's outcome is among the chosen ones ([8] bool)."""
    sides = np.stack([~chosen, chosen]).astype(int)
    return sides @ transitions @ sides.T


def _measure_consistency(transitions: np.ndarray, wrong_by: str) -> ErrorConsistency:
    from scipy.stats import binomtest

    table = _fold(transitions, WRONG[wrong_by])
    (both_right, only_second), (only_first, both_wrong) = table.tolist()
    discordant = only_first + only_second
    p_value = binomtest(only_first, discordant).pvalue if discordant else 1.0
    return ErrorConsistency(
        wrong_by,
        both_right,
        only_first,
        only_second,
        both_wrong,
        float(agreement(table)),
        number_or_none(kappa(table)),
        float(p_value),
    )


def _measure_types(transitions: np.ndarray, is_provisional: bool) -> tuple[TypeAgreement, ...]:
    tables = np.array([_fold(transitions, np.array(OUTCOMES) == code) for code in ERROR_CODES])
    kappas = kappa(tables)
    types = []
    for outcome, (code, table, of_type) in enumerate(zip(ERROR_CODES, tables, kappas, strict=True), 1):
        is_bound, is_unknown = (bool(is_provisional and which[outcome]) for which in (IS_BOUND, IS_UNKNOWN))
        first, second, both = (
            None if is_unknown else int(count) for count in (table[1].sum(), table[:, 1].sum(), table[1, 1])
        )
        known = None if is_bound or is_unknown else number_or_none(of_type)
        types.append(TypeAgreement(code, first, second, both, known, is_bound))
    return tuple(types)


def bootstrap_differences(targets: np.ndarray, outcomes: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Paired bootstrap over images: the difference of every share, second less first, in each resample.

    Images with the same pair of outcomes are interchangeable, so that how often each pair is drawn is multinomial. The
    multi-label accuracy, which averages over classes, is drawn apart, by class and whether a model gains.

    Args:
        targets: [c] original class ids.
        outcomes: [2, c] positions in OUTCOMES.
        resamples: How many.
        seed: Of the random numbers.

    Returns:
        [resamples, 9] float in the order of SHARES, percentage points; not-a-number where a model has no error left.

    Source: Efron and Tibshirani 1993, chapter 8.
    """
    generator = np.random.default_rng(seed)
    num_images, size = outcomes.shape[1], len(OUTCOMES)
    pairs, counts = np.unique(outcomes[0].astype(int) * size + outcomes[1], return_counts=True)
    by_pair = np.zeros((resamples, size**2), int)
    by_pair[:, pairs] = generator.multinomial(num_images, counts / num_images, resamples)
    by_outcome = by_pair.reshape(-1, size, size)
    shares = share_outcomes(by_outcome.sum(axis=1)) - share_outcomes(by_outcome.sum(axis=2))

    right = ~WRONG["multi_label"][outcomes]
    gains = right[1].astype(int) - right[0]
    cells, counts = np.unique(targets.astype(int) * 3 + gains + 1, return_counts=True)
    drawn = generator.multinomial(num_images, counts / num_images, resamples)
    starts = np.flatnonzero(np.diff(cells // 3, prepend=-1))
    totals = np.add.reduceat(drawn, starts, axis=1)
    gained = np.add.reduceat(drawn * (cells % 3 - 1), starts, axis=1)
    by_class = gained / np.maximum(totals, 1)
    accuracies = 100 * by_class.sum(axis=1) / (totals > 0).sum(axis=1)
    return np.insert(shares, 1, accuracies, axis=1)


def _describe_differences(
    measured: np.ndarray, resampled: np.ndarray, is_provisional: bool
) -> tuple[ShareDifference, ...]:
    """From SHARES of both models ([2, 9]) and the differences in resamples ([resamples, 9])."""
    tail = (100 - CONFIDENCE) / 2
    described = []
    for share, measured_shares, differences in zip(SHARES, measured.T, resampled.T, strict=True):
        first, second = (
            None if is_provisional and share.is_unknown else number_or_none(value) for value in measured_shares
        )
        difference, low, high = None, None, None
        known = differences[np.isfinite(differences)]
        is_exact = not (is_provisional and share.needs_open_world)
        if first is not None and second is not None and len(known) and is_exact:
            difference = second - first
            low, high = np.percentile(known, [tail, 100 - tail]).tolist()
        described.append(
            ShareDifference(share, first, second, difference, low, high, is_provisional and share.is_bound)
        )
    return tuple(described)
