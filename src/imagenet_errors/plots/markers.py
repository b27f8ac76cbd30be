"""What markers and colours show: the columns of the tables, and how their values look."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from imagenet_errors.errors import InputError, describe_unknown
from imagenet_errors.plots.model_columns import CORPORA, PRETRAIN_METHODS, UNKNOWN_VALUE

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

UNKNOWN_MARKER, UNKNOWN_COLOR = "h", "#999999"
BEHIND_COLOR = "#cccccc"  # of other tables' models
MANY_MODELS = 100  # a marker with more is small and hollow
DARK_EDGED_GROUPS = ("artifact",)
GROUP_NAMES = {"all": "all images", "organism": "organisms", "artifact": "artifacts", "other": "others"}
SIZE_GROUPS = dict.fromkeys(corpus.size_group for corpus in CORPORA.values())
MARKERS = {
    "training_data": {name: corpus.marker for name, corpus in CORPORA.items()},
    "training_data_group": dict(zip(SIZE_GROUPS, "od^s", strict=True)),
    "arch_group": {
        "ResNet": "o",
        "EfficientNet": "P",
        "CNN": "*",
        "RegNet": "p",
        "ConvNeXt": "X",
        "Hybrid": "2",
        "MetaFormer": "1",
        "MLP": "4",
        "ViT": "^",
        "XCiT": "<",
        "MaxViT": ">",
        "Swin": "d",
        "EVA": "v",
        "BEIT": "D",
    },
    "arch_family": {"mlp": "o", "cnn": "d", "transformer": "^", "hybrid": "s"},
    "pretrain_method": dict(zip(PRETRAIN_METHODS, "os*dPX", strict=True)),
    "num_params": {"< 10M parameters": "o", "< 30M parameters": "s", "< 100M parameters": "^", "more": "D"},
}
"""{column: {value: matplotlib's marker}}, values in the order of the legend."""
PARAMETER_BOUNDS = (10e6, 30e6, 100e6)
NUMERIC_COLUMNS = ("training_data_size", "num_params")
SHOWABLE_COLUMNS = sorted({*MARKERS, *NUMERIC_COLUMNS})
LINE_MARKERS = frozenset("124")  # markers without an area


def check_column(name: str, flag: str) -> str:
    """`name`. Raises `InputError` for a column that neither markers nor colours can show."""
    if name not in SHOWABLE_COLUMNS:
        raise InputError(f"{flag}: {describe_unknown('column', name, SHOWABLE_COLUMNS)}")
    return name


def marker_column(column: str) -> str:
    """The column of `MARKERS` that stands for `column`: markers show the size of a corpus as the corpus."""
    return "training_data" if column == "training_data_size" else column


def marker_values(points: pd.DataFrame, column: str) -> pd.Series:
    """[points] str: the value of `MARKERS` of each point, or `unknown`."""
    column = marker_column(column)
    if column == "num_params":
        names = np.array(list(MARKERS[column]))
        values = names[np.searchsorted(PARAMETER_BOUNDS, points[column], side="right")]
        return pd.Series(values, points.index).where(points[column].notna(), UNKNOWN_VALUE)
    return points[column].where(points[column].isin(list(MARKERS[column])), UNKNOWN_VALUE)


def marker_code(column: str, value: str) -> str:
    """matplotlib's marker of a value of `marker_values`."""
    return MARKERS[marker_column(column)].get(value, UNKNOWN_MARKER)


@dataclass(frozen=True)
class ColorScale:
    """From the values of a column to colours, one colour map per group.

    Attributes:
        column: What the colours show.
        low, high: The ends of the logarithmic scale of a numeric column; not used for a column of texts.
    """

    column: str
    low: float
    high: float

    @classmethod
    def from_points(cls, points: pd.DataFrame, column: str) -> "ColorScale":
        """The scale from the least to the greatest value of all groups drawn."""
        if column not in NUMERIC_COLUMNS:
            return cls(column, 0, 0)
        return cls(column, float(points[column].min()), float(points[column].max()))

    def positions(self, values: pd.Series) -> np.ndarray:
        """[n] float from 0 to 1; not-a-number for unknown values."""
        if self.column in NUMERIC_COLUMNS:
            if not self.high > self.low:
                return np.where(values.isna(), np.nan, 0.0)
            return np.log(values.to_numpy() / self.low) / np.log(self.high / self.low)
        ranks = {value: rank for rank, value in enumerate(MARKERS[self.column])}
        return values.map(ranks).to_numpy(float) / max(1, len(ranks) - 1)

    def colors(self, group: str, values: pd.Series) -> np.ndarray:
        """[n, 4] RGBA."""
        from matplotlib.colors import to_rgba

        positions = self.positions(values)
        is_known = np.isfinite(positions)
        colors = group_colormap(group)(np.where(is_known, positions, 0))
        colors[~is_known] = to_rgba(UNKNOWN_COLOR)
        return colors


@cache
def group_colormap(group: str) -> "Colormap":
    """The colour map of a group: its hue, from light (little) to dark (much)."""
    import seaborn

    return {
        "organism": lambda: seaborn.color_palette("crest", as_cmap=True),
        "artifact": lambda: seaborn.color_palette("flare", as_cmap=True),
        "other": lambda: seaborn.dark_palette("#69d", reverse=True, as_cmap=True),
        "all": lambda: seaborn.color_palette("dark:salmon_r", as_cmap=True),
    }[group]()


def mark_style(colors: np.ndarray, code: str, has_many: bool, group: str, scale: float) -> dict[str, Any]:
    """How marks are filled: many are hollow, few have a thin light edge, and markers without an area have none.

    Dark-edged groups are always filled: without red or green sight the hues of artifacts and organisms are too close.

    Args:
        colors: [n, 4] RGBA.
        code: matplotlib's marker.
        has_many: Whether many models have it.
        group: Of images.
        scale: Of the widths of lines.
    """
    has_dark_edge = group in DARK_EDGED_GROUPS
    if code in LINE_MARKERS:
        return {"c": colors, "linewidths": 0.7 * scale}
    if has_many:
        faces = colors * [1, 1, 1, 0.45] if has_dark_edge else "none"
        return {"facecolors": faces, "edgecolors": colors, "linewidths": 0.5 * scale}
    return {"c": colors, "edgecolors": "black" if has_dark_edge else "white", "linewidths": 0.25 * scale}


def darken(colors: np.ndarray) -> tuple[float, ...]:
    """The median of `colors` ([n, 4] RGBA), purer, and as dark as text on white must be (contrast 4.5, WCAG 2.1)."""
    from matplotlib.colors import hsv_to_rgb, rgb_to_hsv

    hue, saturation, value = rgb_to_hsv(np.median(colors[:, :3], axis=0))
    values = value * np.linspace(1, 0, 51)
    shades = hsv_to_rgb(np.column_stack([np.full((51, 2), [hue, saturation**0.5]), values]))
    linear = np.where(shades <= 0.04045, shades / 12.92, ((shades + 0.055) / 1.055) ** 2.4)
    contrasts = 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return tuple(shades[int((contrasts >= 4.5).argmax())].tolist())
