"""What shape and shade stand for: the keys of the figures."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from imagenet_errors.errors import InputError, describe_unknown
from imagenet_errors.plots.stats import CORPORA, PRETRAIN_METHODS, UNKNOWN

UNKNOWN_MARKER, UNKNOWN_COLOR = "h", "#999999"
MARKERS = {
    "training_data": {name: corpus.marker for name, corpus in CORPORA.items()},
    "training_data_group": dict(zip(dict.fromkeys(corpus.group for corpus in CORPORA.values()), "od^s", strict=True)),
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
"""{column: {value: matplotlib's marker}}, values in the order of the key."""
PARAMETER_STEPS = (10e6, 30e6, 100e6)
NUMBERS = ("training_data_size", "num_params")
NAMES = sorted({*MARKERS, *NUMBERS})
THIN = frozenset("124")  # markers that are lines alone


def check(name: str, flag: str) -> str:
    """`name`, if it is a column that can be shown so."""
    if name not in NAMES:
        raise InputError(f"{flag}: {describe_unknown('column', name, NAMES)}")
    return name


def shape_column(column: str) -> str:
    """The column of `MARKERS` that tells the shapes of `column`: a corpus' size is shown as the corpus."""
    return "training_data" if column == "training_data_size" else column


def shapes(points: pd.DataFrame, column: str) -> pd.Series:
    """What each point's shape says: a value of `MARKERS`, or `unknown`."""
    column = shape_column(column)
    if column == "num_params":
        names = np.array(list(MARKERS[column]))
        values = names[np.searchsorted(PARAMETER_STEPS, points[column], side="right")]
        return pd.Series(values, points.index).where(points[column].notna(), UNKNOWN)
    return points[column].where(points[column].isin(MARKERS[column]), UNKNOWN)


def marker(column: str, value: str) -> str:
    return MARKERS[shape_column(column)].get(value, UNKNOWN_MARKER)


@dataclass(frozen=True)
class Shades:
    """From the values of a column to colours, one scale per group.

    Attributes:
        column: What the shade stands for.
        low, high: The ends of the logarithmic scale; for a column of texts they are not used.
    """

    column: str
    low: float
    high: float

    @classmethod
    def of(cls, points: pd.DataFrame, column: str) -> "Shades":
        """The scale of all groups drawn."""
        if column not in NUMBERS:
            return cls(column, 0, 0)
        return cls(column, float(points[column].min()), float(points[column].max()))

    def positions(self, values: pd.Series) -> np.ndarray:
        """[n] 0 to 1; not-a-number for what is unknown."""
        if self.column in NUMBERS:
            if not self.high > self.low:
                return np.where(values.isna(), np.nan, 0.0)
            return (np.log(values / self.low) / np.log(self.high / self.low)).to_numpy()
        order = {value: rank for rank, value in enumerate(MARKERS[self.column])}
        return values.map(order).to_numpy(float) / max(1, len(order) - 1)

    def colors(self, group: str, values: pd.Series) -> np.ndarray:
        """[n, 4] RGBA."""
        from matplotlib.colors import to_rgba

        positions = self.positions(values)
        known = np.isfinite(positions)
        colors = scale(group)(np.where(known, positions, 0))
        colors[~known] = to_rgba(UNKNOWN_COLOR)
        return colors


@cache
def scale(group: str):
    """The colour map of a group: its hue, from light (little) to dark (much)."""
    import seaborn

    return {
        "organism": lambda: seaborn.color_palette("crest", as_cmap=True),
        "artifact": lambda: seaborn.color_palette("flare", as_cmap=True),
        "other": lambda: seaborn.dark_palette("#69d", reverse=True, as_cmap=True),
        "all": lambda: seaborn.color_palette("dark:salmon_r", as_cmap=True),
    }[group]()
