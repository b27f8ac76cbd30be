"""What markers and colours show: the columns of the tables, and how their values look."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from imagenet_errors.errors import InputError, describe_unknown
from imagenet_errors.plots.model_columns import CORPORA, PRETRAIN_METHODS, UNKNOWN_VALUE

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

UNKNOWN_MARKER, UNKNOWN_COLOR = "h", "#999999"
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
