"""The points that a figure shows."""

import numpy as np
import pandas as pd

from imagenet_errors.plots.figure_table import DENOMINATORS, SCALES, Figure


def points(figure: Figure, frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The points of a figure, in the units plotted: `group`, `model_dir_id`, `x`, `y` and the columns of the tables.

    A model whose denominator is zero, or of which a cell is empty, has no point; `missing_columns` tells those apart.
    """
    parts = []
    for group in figure.groups:
        frame = frames[group]
        denominator = DENOMINATORS[figure.y_computation](frame, frames["all"])
        y = SCALES[figure.y_unit] * frame[figure.y] / denominator.where(denominator != 0)
        parts.append(frame.assign(group=group, x=frame[figure.x], y=y).dropna(subset=["x", "y"]))
    return pd.concat(parts, ignore_index=True)


def missing_columns(figure: Figure, frames: dict[str, pd.DataFrame]) -> list[str]:
    """The columns that the figure needs and that are not there, or empty for every model."""
    needed = [figure.x, figure.y]
    if figure.y_computation.endswith("mle"):
        needed += ["num_group_top1_errors", "num_collapsed_mappings", "num_ambiguous"]
    return [
        name
        for name in dict.fromkeys(needed)
        if any(name not in frames[group] or frames[group][name].isna().all() for group in figure.groups)
    ]


def limits(published: tuple[float, float], values: np.ndarray, reach: float) -> tuple[float, float]:
    """The published limits; widened, by `reach` (a share of them) beyond the last point, where one would be cut."""
    low, high = published
    reach *= high - low
    if len(values) and values.min() < low:
        low = float(values.min()) - reach
    if len(values) and values.max() > high:
        high = float(values.max()) + reach
    return low, high
