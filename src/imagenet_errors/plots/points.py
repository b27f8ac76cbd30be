"""The points that a figure shows."""

import numpy as np
import pandas as pd

from imagenet_errors.plots.figure_table import DENOMINATORS, UNIT_FACTORS, Figure
from imagenet_errors.plots.model_frames import Frames

MOST_ROWS, ROW_SPREAD = 50, 0.35  # counts up to this are seen as rows; how far points are moved from their row
TOP1_COLUMNS = ("num_collapsed_mappings", "num_ambiguous")  # no multi-label errors
BASES = {
    "relative_to_group_mle": "multi-label errors of the group",
    "relative_to_group_top1_err": "top-1 errors of the group",
    "relative_to_all_mle": "multi-label errors on all images",
    "relative_to_all_top1_err": "top-1 errors on all images",
    "relative_to_num_group_samples": "images of the group",
}
LIMIT_MARGIN = 0.03  # of the published length of an axis, beyond the last point where its limits are widened


def compute_points(figure: Figure, frames: Frames) -> pd.DataFrame:
    """The points of a figure, in the units plotted: `group`, `x`, `y`, `out_of` and the columns of the tables.

    `out_of` is the number of errors or images that the count is a part of, see `describe_basis`.

    A model whose denominator is zero, or that has an empty cell, has no point; `find_empty_columns` tells those apart.
    """
    parts, (basis, _) = [], describe_basis(figure)
    for group in figure.groups:
        frame = frames[group]
        denominator = DENOMINATORS[figure.y_computation](frame, frames["all"])
        y = UNIT_FACTORS[figure.y_unit] * frame[figure.y] / denominator.where(denominator != 0)
        out_of = DENOMINATORS[basis](frame, frames["all"])
        parts.append(frame.assign(group=group, x=frame[figure.x], y=y, out_of=out_of).dropna(subset=["x", "y"]))
    return pd.concat(parts, ignore_index=True)


def describe_basis(figure: Figure) -> tuple[str, str]:
    """What the counts of a figure are a part of: a key of `DENOMINATORS`, and its name."""
    computation = figure.y_computation
    if computation == "abs":
        computation = "relative_to_group_top1_err" if figure.y in TOP1_COLUMNS else "relative_to_group_mle"
    return computation, BASES[computation]


def find_empty_columns(figure: Figure, frames: Frames) -> list[str]:
    """The columns that the figure needs and that are absent, or empty for every model."""
    needed = [figure.x, figure.y]
    if figure.y_computation.endswith("mle"):
        needed += ["num_group_top1_errors", "num_collapsed_mappings", "num_ambiguous"]
    return [
        name
        for name in dict.fromkeys(needed)
        if any(name not in frames[group] or frames[group][name].isna().all() for group in figure.groups)
    ]


def widen_limits(
    published: tuple[float, float], values: np.ndarray, margin: float = LIMIT_MARGIN
) -> tuple[float, float]:
    """The published limits of an axis; widened where a value lies outside, by `margin` (a share) beyond the last one.

    Args:
        published: Low and high.
        values: [n] float.
        margin: A share of the published length.
    """
    low, high = published
    beyond = margin * (high - low)
    if len(values) and values.min() < low:
        low = float(values.min()) - beyond
    if len(values) and values.max() > high:
        high = float(values.max()) + beyond
    return low, high


def has_rows(figure: Figure, points: pd.DataFrame) -> bool:
    """Whether the figure shows so small counts that its points lie in rows over one another."""
    return figure.y_unit == "count" and max(points.y.max(), figure.y_limits[1]) <= MOST_ROWS


def spread_rows(points: pd.DataFrame) -> pd.DataFrame:
    """Points with counts as y, each moved from its row by up to 0.35; neighbours in x are moved differently.

    The offsets are multiples of the golden ratio, so that they are the same in every run and fill the row evenly.
    """
    ranks = points.groupby(["group", "y"]).x.rank(method="first")
    return points.assign(y=points.y + ROW_SPREAD * (2 * (ranks * 0.6180339887 % 1) - 1))
