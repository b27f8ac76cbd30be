"""Shares of the error types: of which errors they are, their intervals, and tests of several at once."""

import numpy as np
from scipy.special import ndtri

from imagenet_errors.error_types import ERROR_CODES, ERROR_TYPES

CONFIDENCE = 0.95  # of every interval
ERROR_NAMES = tuple(ERROR_TYPES[code].name for code in ERROR_CODES)  # the seven, in the order of the decision
OF_TOP1_ERRORS = ("class_overlap", "missing_multi_label")  # the others are shares of multi-label errors


def count_denominators(counts: np.ndarray, top1_errors: np.ndarray) -> np.ndarray:
    """What the counts are shares of: top-1 errors for `OF_TOP1_ERRORS`, else multi-label errors.

    Multi-label errors are the top-1 errors that no accepted label explains: those of neither of the first two types.

    Args:
        counts: [..., 7] errors of each type, in the order of `ERROR_NAMES`; only the first two are used.
        top1_errors: [...] all errors.

    Returns:
        [..., 7].

    Source: the denominators of the paper's figures.
    """
    counts, top1_errors = np.asarray(counts), np.asarray(top1_errors)
    multi_label_errors = top1_errors - counts[..., 0] - counts[..., 1]
    return np.stack([top1_errors if name in OF_TOP1_ERRORS else multi_label_errors for name in ERROR_NAMES], axis=-1)


def compute_shares(counts: np.ndarray, top1_errors: np.ndarray) -> np.ndarray:
    """[..., 7] shares in percent of the `count_denominators`; not-a-number where a denominator is 0.

    Args:
        counts: [..., 7] as `count_denominators` takes them; an unknown count, not-a-number, has an unknown share.
        top1_errors: [...].
    """
    totals = count_denominators(counts, top1_errors)
    return 100 * np.divide(counts, totals, out=np.full(totals.shape, np.nan), where=totals > 0)


def number_or_none(number: np.ndarray | float) -> float | None:
    """A number, or None for not-a-number, as JSON and tables have it."""
    return float(number) if np.isfinite(number) else None


def wilson_intervals(counts: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends, in percent, of Wilson's 95 % intervals of `counts / totals`; not-a-number where that is.

    Args:
        counts: [...] int.
        totals: [...] int, at least `counts`.

    Source: Wilson 1927.
    """
    counts, totals = np.asarray(counts, float), np.asarray(totals, float)
    totals = np.where(totals > 0, totals, np.nan)
    z2, shares = ndtri((1 + CONFIDENCE) / 2) ** 2, counts / totals
    middle = (counts + z2 / 2) / (totals + z2)
    half_width = np.sqrt(z2 * (totals * shares * (1 - shares) + z2 / 4)) / (totals + z2)
    return 100 * np.maximum(0, middle - half_width), 100 * np.minimum(1, middle + half_width)


def adjust_p_values(p_values: np.ndarray) -> np.ndarray:
    """[c] p values adjusted by Holm's method for being c comparisons: at most 0.05 where one stands out.

    Args:
        p_values: [c] float.

    Source: Holm 1979; statsmodels gives the same, but collects garbage on each call.
    """
    order = np.argsort(p_values)
    factors = np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * np.asarray(p_values)[order]))
    return adjusted
