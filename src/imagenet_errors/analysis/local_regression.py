"""Local linear regression: the line through the nearest points of any x, and how far points lie from it.

Source: LOWESS (Cleveland 1979) without its robustness steps; degrees of freedom after Cleveland and Devlin 1988.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LocalLines:
    """The weighted least-squares lines through the k points nearest to each of m places, for c quantities at once.

    Attributes:
        expected: [m, c] the lines' y at their places.
        residuals: [m, k, c] of the k points from the line, nearest first.
        spread: [m, c] standard deviation of the residuals, weighted as the line is. Their weighted sum of squares is
            divided by its expectation for independent errors of variance 1, so the two parameters of a line count.
        errors: [m, c] standard error of predicting a new point: of its own spread and of the line.
        degrees: [m] degrees of freedom of `spread`: the effective number of points, (sum w)^2 / sum w^2 (Kish), less 2.
    """

    expected: np.ndarray
    residuals: np.ndarray
    spread: np.ndarray
    errors: np.ndarray
    degrees: np.ndarray


def fit_local_lines(
    x: np.ndarray, y: np.ndarray, places: np.ndarray, neighbours: int, left_out: np.ndarray | None = None
) -> LocalLines:
    """Fit a line at each place to its nearest points, with tricube weights that reach 0 at the farthest of them.

    Where the nearest points share one x, their weighted mean stands for the line.

    Args:
        x: [n] float.
        y: [n, c] float.
        places: [m] float.
        neighbours: k, at most n, or n - 1 with `left_out`.
        left_out: [m] int, the point that a place does without, or -1.
    """
    offsets = x - places[:, None]
    distances = np.abs(offsets)
    if left_out is not None:
        without = np.flatnonzero(left_out >= 0)
        distances[without, left_out[without]] = np.inf
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :neighbours]
    distances = np.take_along_axis(distances, nearest, axis=1)
    width = np.maximum(distances[:, -1:], np.finfo(float).tiny)
    weights = (1 - (distances / width) ** 3) ** 3
    terms = np.take_along_axis(offsets, nearest, axis=1) / width
    terms = np.stack([np.ones_like(terms), terms], axis=2)  # [m, k, 2]: of a line a + b (x - place) / width
    weighted = terms * weights[..., None]
    inverse = np.linalg.pinv(terms.transpose(0, 2, 1) @ weighted, hermitian=True)  # [m, 2, 2]
    solve = inverse @ weighted.transpose(0, 2, 1)  # [m, 2, k]: y to a and b
    of_nearest = y[nearest]
    lines = solve @ of_nearest  # [m, 2, c]
    residuals = of_nearest - terms @ lines
    parameters = np.einsum("mij,mki,mkj->m", inverse, weighted, weighted)  # their part of the expected sum of squares
    variance = np.einsum("mk,mkc->mc", weights, residuals**2) / (weights.sum(axis=1) - parameters)[:, None]
    of_line = (solve[:, 0] ** 2).sum(axis=1)[:, None]  # the variance of `expected`, in units of `variance`
    return LocalLines(
        expected=lines[:, 0],
        residuals=residuals,
        spread=np.sqrt(variance),
        errors=np.sqrt(variance * (1 + of_line)),
        degrees=weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1) - 2,
    )
