"""The points that a figure shows."""

import numpy as np
import pandas as pd

from imagenet_errors.plots.figure_table import DENOMINATORS, UNIT_FACTORS, Figure
from imagenet_errors.plots.model_frames import Frames

LIMIT_MARGIN = 0.03  # of the published length of an axis, beyond the last point where its limits are widened


def compute_points(figure: Figure, frames: Frames) -> pd.DataFrame:
    """The points of a figure, in the units plotted: `group`, `x`, `y` and the columns of the tables.

    A model whose denominator is zero, or that has an empty cell, has no point; `find_empty_columns` tells those apart.
    """
    parts = []
    for group in figure.groups:
        frame = frames[group]
        denominator = DENOMINATORS[figure.y_computation](frame, frames["all"])
        y = UNIT_FACTORS[figure.y_unit] * frame[figure.y] / denominator.where(denominator != 0)
        parts.append(frame.assign(group=group, x=frame[figure.x], y=y).dropna(subset=["x", "y"]))
    return pd.concat(parts, ignore_index=True)


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
