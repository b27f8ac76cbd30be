"""Straight lines through the models of a group, with the paper's confidence bands."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

BAND_AT = (80, 90, 95, 98)  # percent
LEVEL = 0.95  # of Student's quantile
COLUMNS = [
    *("group", "value", "x_from", "x_to", "n", "slope", "slope_half_width", "intercept_at_mean"),
    *("intercept_half_width", "x_mean", "r", "r_squared"),
    *(f"band_{end}_{x}" for x in BAND_AT for end in ("low", "high")),
]


@dataclass(frozen=True)
class Fit:
    """A least-squares line over one segment of x: `slope * (x - mean) + intercept`.

    Attributes:
        start, end: The segment's range of x.
        n: Models in it.
        mean: Of x over all models of the group, not the segment alone.
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

    def line(self, x: np.ndarray) -> np.ndarray:
        return self.slope * (x - self.mean) + self.intercept

    def band(self, x: np.ndarray, kind: str = "published") -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end at x: the published one, or the textbook's hyperbolic one (`regression`)."""
        z = np.asarray(x, float) - self.mean
        if kind == "regression":
            t = stats.t.ppf(LEVEL, self.n - 2)
            error = np.sqrt(self.residual_variance * (1 / self.n + (x - self.segment_mean) ** 2 / self.segment_sxx))
            return self.line(x) - t * error, self.line(x) + t * error
        ends = z * (self.slope - self.slope_half_width), z * (self.slope + self.slope_half_width)
        low, high = np.minimum(*ends), np.maximum(*ends)
        return low + self.intercept - self.intercept_half_width, high + self.intercept + self.intercept_half_width

    def row(self, group: str, value: str, kind: str) -> dict:
        """Of `<stem>_fit.csv`."""
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
        low, high = self.band(np.array(BAND_AT), kind)
        bands = {f"band_low_{x}": value for x, value in zip(BAND_AT, low.tolist(), strict=True)}
        bands |= {f"band_high_{x}": value for x, value in zip(BAND_AT, high.tolist(), strict=True)}
        return {"group": group, "value": value} | numbers | bands


def fit(x: np.ndarray, y: np.ndarray, inflection: float | None = None) -> list[Fit | None]:
    """The lines of one group: one, or one up to and one beyond the inflection; None for a segment that has none.

    A segment with fewer than three models, or with one x alone, has no line.

    Args:
        x: [N] float, of all models of the group.
        y: [N] float.
        inflection: Where the slope may change.

    Source: the paper's figures; intervals take the squared residuals over all N models, not the segment alone.
    """
    segments = [np.full(len(x), True)] if inflection is None else [x <= inflection, x > inflection]
    return [_fit_segment(x, y, segment) for segment in segments]


def _fit_segment(x: np.ndarray, y: np.ndarray, segment: np.ndarray) -> Fit | None:
    inside, n = x[segment], int(segment.sum())
    if n < 3 or np.ptp(inside) == 0:
        return None
    mean = x.mean()
    u = x - mean
    line = stats.linregress(u[segment], y[segment])
    residuals = line.slope * u + line.intercept - y
    error, t = (residuals**2).mean(), stats.t.ppf(LEVEL, n - 2)
    return Fit(
        float(inside.min()),
        float(inside.max()),
        n,
        float(mean),
        float(line.slope),
        float(line.intercept),
        float(line.rvalue),
        float(t * np.sqrt(error / (u**2).sum())),
        float(t * np.sqrt(error / n)),
        float(inside.mean()),
        float(((inside - inside.mean()) ** 2).sum()),
        float((residuals[segment] ** 2).sum() / (n - 2)),
    )
