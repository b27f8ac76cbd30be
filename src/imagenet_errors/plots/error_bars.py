"""The picture of evaluation.py: a bar per model with the shares of its error types."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagenet_errors.plots.pictures import save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

COLORS = ("#56B4E9", "#0072B2", "#009E73", "#F0E442", "#E69F00", "#CC79A7", "#444444")  # Okabe and Ito 2008
DARK_COLORS = ("#0072B2", "#009E73", "#444444")  # numbers on these are white
ROWS_PER_PAGE, MAX_PAGES = 40, 3
DPI = 150
BARS_WIDTH, ROW_HEIGHT, MIN_WIDTH = 5.0, 0.24, 8.4  # inches; the legend fits into the last
HEAD_HEIGHT, FOOT_HEIGHT = 0.42, 0.95  # inches: the title; the axis and the legend
MIN_NUMBERED_SHARE, WIDE_SHARE = 3, 5  # percent: a number fits into such a bar, and one with ≤
STYLE: Any = {
    **{"font.family": "DejaVu Sans", "font.size": 8, "axes.linewidth": 0.6, "legend.fontsize": 8},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "hatch.linewidth": 0.6},
}


def draw(
    models: list[str],
    titles: list[str],
    counts: np.ndarray,
    remarks: list[str],
    heading: str,
    path: Path,
) -> None:
    """Draw one stacked bar per model: the share of each error type among its top-1 errors.

    Models stand from fewest to most errors, 40 on a page. Of more than 120, 120 are drawn, evenly spaced in this order,
    both ends included, and the pages say so. Pages after the first have their number in the file's name:
    `error_types_2.png`; those of an earlier picture with more pages are removed.

    Args:
        models: Names.
        titles: Names of the t error types, from left to right; at most seven. A type's position decides its colour.
        counts: [models, t] int.
        remarks: [t] notes on the counts of a type, e.g. `at most`, or ""; types with a note are hatched.
        heading: The title.
        path: The PNG to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    pages = split_into_pages(counts)
    shown = sum(map(len, pages))
    extent = f"{shown} of {len(models):,} models, evenly spaced" if shown < len(models) else f"{shown} models"
    for number, rows in enumerate(pages, start=1):
        more = f"\n{extent} from fewest to most errors, page {number} of {len(pages)}" if len(pages) > 1 else ""
        with plt.rc_context(STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # names in any script
            canvas = _draw_page([models[row] for row in rows], titles, counts[rows], remarks, heading + more)
            save_picture(canvas, _page_path(path, number), DPI)
            plt.close(canvas)
    number = len(pages) + 1
    while _page_path(path, number).exists():
        _page_path(path, number).unlink()
        number += 1


def split_into_pages(counts: np.ndarray) -> list[np.ndarray]:
    """The rows of `counts` ([models, t] int) on each page: all, or 120, from fewest to most errors."""
    by_errors = np.argsort(counts.sum(axis=1), kind="stable")
    if len(by_errors) > (most := ROWS_PER_PAGE * MAX_PAGES):
        by_errors = by_errors[np.linspace(0, len(by_errors) - 1, most).round().astype(int)]
    return np.array_split(by_errors, max(1, -(-len(by_errors) // ROWS_PER_PAGE)))


def _page_path(path: Path, number: int) -> Path:
    return path if number == 1 else path.with_stem(f"{path.stem}_{number}")


def _draw_page(models: list[str], titles: list[str], counts: np.ndarray, remarks: list[str], heading: str) -> "Canvas":
    from matplotlib import pyplot as plt

    canvas = plt.figure(dpi=DPI)
    axes = canvas.add_axes((0, 0, 1, 1), xlim=(0, 100), ylim=(len(models) - 0.5, -0.5))
    names = [model.replace("$", r"\$") for model in models]  # not a formula
    labels = [
        axes.text(-1, row, f"{name}  ({total:,} errors)", ha="right", va="center_baseline")
        for row, (name, total) in enumerate(zip(names, counts.sum(axis=1), strict=True))
    ]
    left = max(label.get_window_extent().width for label in labels) / canvas.dpi + 0.2
    height = ROW_HEIGHT * len(models)
    width, whole = max(left + BARS_WIDTH + 0.15, MIN_WIDTH), HEAD_HEIGHT + height + FOOT_HEIGHT
    canvas.set_size_inches(width, whole)
    axes.set_position((left / width, FOOT_HEIGHT / whole, 1 - (left + 0.15) / width, height / whole))
    _draw_bars(axes, titles, counts, remarks)
    axes.set_xlabel("share of top-1 errors [%]")
    axes.yaxis.set_visible(False)
    canvas.text(0.05 / width, 1 - 0.07 / whole, heading, va="top", fontsize=9, linespacing=1.3)
    canvas.legend(loc="lower center", ncols=4, frameon=False, columnspacing=1.4, handlelength=1.6)
    return canvas


def _draw_bars(axes: "Axes", titles: list[str], counts: np.ndarray, remarks: list[str]) -> None:
    """Draw the bars, with the rounded share in each that is wide enough."""
    from matplotlib.collections import PolyCollection

    totals = counts.sum(axis=1, keepdims=True)
    shares = 100 * counts / np.maximum(1, totals)
    ends = shares.cumsum(axis=1)
    tops, bottoms = np.arange(len(counts)) - 0.4, np.arange(len(counts)) + 0.4
    for title, remark, color, end, share in zip(titles, remarks, COLORS, ends.T, shares.T, strict=False):
        corners = [(end - share, tops), (end - share, bottoms), (end, bottoms), (end, tops)]
        hatch, label = ("////", f"{title} ({remark})") if remark else (None, title)
        bars = np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)
        axes.add_collection(
            PolyCollection(list(bars), facecolor=color, edgecolor="white", linewidth=0.6, hatch=hatch, label=label)
        )
        behind = {"facecolor": color, "edgecolor": "none", "pad": 0.8} if remark else None
        bound = "≤" if remark == "at most" else ""
        for row in np.flatnonzero(share >= (WIDE_SHARE if bound else MIN_NUMBERED_SHARE)).tolist():
            axes.text(
                end[row] - share[row] / 2,
                row,
                f"{bound}{share[row]:.0f}",
                ha="center",
                va="center_baseline",
                fontsize=7,
                color="white" if color in DARK_COLORS else "black",
                bbox=behind,
            )
