"""Straight lines through the models of a group, with the paper's confidence bands."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from imagenet_errors.plots.figure_table import Figure
from imagenet_errors.plots.markers import marker_values

BAND_ACCURACIES = (80, 90, 95, 98)  # percent, at which `<stem>_fit.csv` states the band
CONFIDENCE = 0.95  # of Student's quantile, one-sided
MIN_MODELS = 3
FIT_COLUMNS = [
    *("group", "value", "x_from", "x_to", "n", "slope", "slope_half_width", "intercept_at_mean"),
    *("intercept_half_width", "x_mean", "r", "r_squared"),
    *(f"band_{end}_{x}" for x in BAND_ACCURACIES for end in ("low", "high")),
]


@dataclass(frozen=True)
class LineFit:
    """A least-squares line over one segment of x: `slope * (x - mean) + intercept`.

    Attributes:
        start, end: The segment's range of x.
        n: Number of models in it.
        mean: Of x over all models of the group, not only the segment.
        slope, intercept: Of the line; the intercept is its value at `mean`.
        r: Pearson's correlation.
        slope_half_width, intercept_half_width: Of their confidence intervals (published band).
        segment_mean, segment_sxx, residual_variance: Of the segment, with n - 2 degrees of freedom (regression band).
    """

    start: float
    end: float
    n: int
    mean: float
    slope: float
    intercept: float
    r: float
    slope_half_width: float
    intercept_half_width: float
    segment_mean: float
    segment_sxx: float
    residual_variance: float

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The line's y at x."""
        return self.slope * (x - self.mean) + self.intercept

    def line_points(self, count: int = 200) -> np.ndarray:
        """[count, 2] x and y from one end of the segment to the other."""
        x = np.linspace(self.start, self.end, count)
        return np.column_stack([x, self.predict(x)])

    def confidence_band(self, x: np.ndarray, band: str = "published") -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end at x: of the paper's band (`published`) or the textbook's hyperbola (`regression`)."""
        z = np.asarray(x, float) - self.mean
        if band == "regression":
            t = stats.t.ppf(CONFIDENCE, self.n - 2)
            error = np.sqrt(self.residual_variance * (1 / self.n + (x - self.segment_mean) ** 2 / self.segment_sxx))
            return self.predict(x) - t * error, self.predict(x) + t * error
        ends = z * (self.slope - self.slope_half_width), z * (self.slope + self.slope_half_width)
        low, high = np.minimum(*ends), np.maximum(*ends)
        return low + self.intercept - self.intercept_half_width, high + self.intercept + self.intercept_half_width

    def to_row(self, group: str, value: str, band: str) -> dict:
        """The row of `<stem>_fit.csv`."""
        numbers = {
            "x_from": self.start,
            "x_to": self.end,
            "n": self.n,
            "slope": self.slope,
            "slope_half_width": self.slope_half_width,
            "intercept_at_mean": self.intercept,
            "intercept_half_width": self.intercept_half_width,
            "x_mean": self.mean,
            "r": self.r,
            "r_squared": self.r**2,
        }
        low, high = self.confidence_band(np.array(BAND_ACCURACIES), band)
        bands = {f"band_low_{x}": value for x, value in zip(BAND_ACCURACIES, low.tolist(), strict=True)}
        bands |= {f"band_high_{x}": value for x, value in zip(BAND_ACCURACIES, high.tolist(), strict=True)}
        return {"group": group, "value": value} | numbers | bands


class GroupLine(NamedTuple):
    """A line of a figure: its group, the value of `--fit_by` that it is of (or ""), and the fit."""

    group: str
    value: str
    fit: LineFit


def fit_figure(figure: Figure, points: pd.DataFrame, fit_by: str | None = None) -> tuple[list[GroupLine], list[str]]:
    """The lines of a figure, and the names of the segments that have none.

    Args:
        figure: Which.
        points: Its `compute_points`.
        fit_by: A column of which each value is fitted separately.
    """
    lines, unfitted = [], []
    for group, inflection in figure.inflections.items():
        of_group = points[points.group == group]
        values = marker_values(of_group, fit_by) if fit_by else pd.Series("", of_group.index)
        for value in values.unique():
            models = of_group[values == value]
            for fit in fit_segments(models.x.to_numpy(), models.y.to_numpy(), inflection):
                if fit is None:
                    unfitted.append(f"{group} {value}".strip())
                else:
                    lines.append(GroupLine(group, value, fit))
    return lines, unfitted


def fit_segments(x: np.ndarray, y: np.ndarray, inflection: float | None = None) -> list[LineFit | None]:
    """Fit one line, or one up to and one beyond the inflection.

    A segment with fewer than three models, or with a single distinct x, gives None.

    Args:
        x: [N] float, of all models of the group.
        y: [N] float.
        inflection: Where the slope may change.

    Source: the paper's figures; intervals take the squared residuals over all N models, not only the segment.
    """
    segments = [np.full(len(x), True)] if inflection is None else [x <= inflection, x > inflection]
    return [_fit_segment(x, y, segment) for segment in segments]


def _fit_segment(x: np.ndarray, y: np.ndarray, segment: np.ndarray) -> LineFit | None:
    inside, n = x[segment], int(segment.sum())
    if n < MIN_MODELS or np.ptp(inside) == 0:
        return None
    mean = x.mean()
    u = x - mean
    line = stats.linregress(u[segment], y[segment])
    residuals = line.slope * u + line.intercept - y
    error, t = (residuals**2).mean(), stats.t.ppf(CONFIDENCE, n - 2)
    return LineFit(
        start=float(inside.min()),
        end=float(inside.max()),
        n=n,
        mean=float(mean),
        slope=float(line.slope),
        intercept=float(line.intercept),
        r=float(line.rvalue),
        slope_half_width=float(t * np.sqrt(error / (u**2).sum())),
        intercept_half_width=float(t * np.sqrt(error / n)),
        segment_mean=float(inside.mean()),
        segment_sxx=float(((inside - inside.mean()) ** 2).sum()),
        residual_variance=float((residuals[segment] ** 2).sum() / (n - 2)),
    )
