"""The picture of evaluation.py: a bar per model with the shares of its error types."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imagenet_errors.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#56B4E9", "#0072B2", "#009E73", "#F0E442", "#E69F00", "#CC79A7", "#444444")  # Okabe and Ito 2008
MAX_BARS = 60


def draw(
    models: list[str],
    titles: list[str],
    counts: np.ndarray,
    remarks: list[str],
    heading: str,
    path: Path,
) -> None:
    """Draw one stacked bar per model: the share of each error type among its top-1 errors.

    Of more than 60 models, 60 are drawn, and the picture says so: evenly spaced from fewest to most errors, both ends
    included, and in this order.

    Args:
        models: Names, from top to bottom.
        titles: Names of the t error types, from left to right; at most seven. A type's position decides its colour.
        counts: [models, t] int.
        remarks: [t] notes on the counts of a type, e.g. `at most`, or ""; types with a note are hatched.
        heading: The title.
        path: The PNG to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    if len(models) > MAX_BARS:
        shown = select_models(counts)
        heading += f"\n{MAX_BARS} of {len(models):,} models shown, evenly spaced from fewest to most errors"
        models, counts = [models[row] for row in shown], counts[shown]
    figure, axes = plt.subplots(figsize=(9, 1.9 + 0.34 * len(models)), layout="constrained")
    _draw_bars(axes, models, titles, counts, remarks)
    axes.set_title(heading, fontsize="medium", loc="left")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    with atomic_write(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # names in any script
        figure.savefig(temporary, format="png", dpi=150, metadata={"Software": None})
    plt.close(figure)


def _draw_bars(axes: "Axes", models: list[str], titles: list[str], counts: np.ndarray, remarks: list[str]) -> None:
    totals = counts.sum(axis=1, keepdims=True)
    shares = 100 * counts / np.maximum(1, totals)
    lefts = shares.cumsum(axis=1) - shares
    for title, remark, color, left, share in zip(titles, remarks, COLORS, lefts.T, shares.T, strict=False):
        axes.barh(
            range(len(models)),
            share,
            left=left,
            color=color,
            edgecolor="white",
            linewidth=0.6,
            hatch="////" if remark else None,
            label=f"{title} ({remark})" if remark else title,
        )
    names = [model.replace("$", r"\$") for model in models]  # not a formula
    labels = [f"{name}  ({total:,} errors)" for name, total in zip(names, totals[:, 0], strict=True)]
    axes.set(yticks=range(len(models)), yticklabels=labels, xlim=(0, 100), xlabel="share of top-1 errors [%]")
    axes.invert_yaxis()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def select_models(counts: np.ndarray) -> np.ndarray:
    """[60] rows of `counts` ([models, t] int), evenly spaced from fewest to most errors."""
    by_errors = np.argsort(counts.sum(axis=1), kind="stable")
    return by_errors[np.linspace(0, len(by_errors) - 1, MAX_BARS).round().astype(int)]
