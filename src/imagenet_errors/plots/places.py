"""The picture of report.py: a panel per error type, with a model's share among those of the reference's models."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imagenet_errors.plots.pictures import save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUM_COLUMNS = 4
SIZE = (7.2, 3.7)  # inches: the width of a page of two columns
COLORS = ("#D55E00", "#0072B2")  # Okabe and Ito 2008
MARKERS = ("D", "o")


@dataclass(frozen=True)
class Point:
    """A model in a panel.

    Attributes:
        mla: Its multi-label accuracy, percent.
        share: Percent; None where unknown, or known to lie between `low` and `high` alone.
        low, high: The 95 % interval of the share; None where unknown.
        is_bound: Whether the share is an upper bound.
    """

    mla: float
    share: float | None
    low: float | None
    high: float | None
    is_bound: bool


@dataclass(frozen=True)
class Panel:
    """One error type.

    Attributes:
        title: Its name.
        denominator: What shares are of.
        mla, shares: [n] of the reference's models, percent.
        at: [g] multi-label accuracies of the curve, percent.
        expected, low, high: [g] the share expected there, and between what 95 % of models are; not-a-number for none.
        points: Of the models that are reported.
    """

    title: str
    denominator: str
    mla: np.ndarray
    shares: np.ndarray
    at: np.ndarray
    expected: np.ndarray
    low: np.ndarray
    high: np.ndarray
    points: tuple[Point, ...]


def draw_places(panels: list[Panel], names: list[str], reference: str, path: Path) -> None:
    """Draw the panels, and write the picture in the format of its suffix.

    Args:
        panels: At most seven; the room of the eighth is the legend's.
        names: Of the models, in the order of `Panel.points`; one or two.
        reference: What the grey points are.
        path: With a suffix that matplotlib knows, e.g. png, pdf or svg.

    Raises:
        InputError: for another suffix.
    """
    from matplotlib.figure import Figure

    figure = Figure(SIZE, layout="constrained")
    axes = figure.subplots(-(-(len(panels) + 1) // NUM_COLUMNS), NUM_COLUMNS).ravel()
    for one, panel in zip(axes, panels, strict=False):
        _draw_panel(one, panel)
    for one in axes[len(panels) :]:
        one.set_axis_off()
    has_bounds = any(point.is_bound for panel in panels for point in panel.points)
    _draw_legend(axes[len(panels)], names, reference, has_bounds)
    figure.supxlabel("multi-label accuracy [%]", fontsize=8)
    save_picture(figure, path)


def _draw_panel(axes: "Axes", panel: Panel) -> None:
    axes.scatter(panel.mla, panel.shares, s=4, color="0.6", alpha=0.35, linewidths=0, rasterized=True)
    axes.plot(panel.at, panel.expected, color="0.15", linewidth=1)
    axes.fill_between(panel.at, panel.low, panel.high, color="0.15", alpha=0.12, linewidth=0)
    for point, color, marker in zip(panel.points, COLORS, MARKERS, strict=False):
        if point.share is None and point.low is not None and point.high is not None:
            axes.vlines(point.mla, point.low, point.high, color=color, linewidth=3)
        if point.share is None:
            continue
        if point.is_bound:
            axes.errorbar(point.mla, point.share, yerr=0.08 * np.ptp(axes.get_ylim()), uplims=True, color=color, lw=1)
        elif point.low is not None and point.high is not None:
            axes.vlines(point.mla, point.low, point.high, color=color, linewidth=1)
        axes.plot(point.mla, point.share, marker, color=color, markersize=4.5, markeredgecolor="white", mew=0.5)
    if all(point.share is None and point.low is None for point in panel.points):
        axes.text(0.05, 0.92, "unknown", transform=axes.transAxes, fontsize=7, color="0.4")
    axes.set_title(panel.title, fontsize=8)
    axes.set_ylabel(f"% of {panel.denominator}", fontsize=7)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_legend(axes: "Axes", names: list[str], reference: str, has_bounds: bool) -> None:
    from matplotlib.artist import Artist
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Artist] = [
        Line2D([], [], linestyle="none", marker=marker, color=color, markersize=4.5, label=name.replace("$", r"\$"))
        for name, color, marker in zip(names, COLORS, MARKERS, strict=False)
    ]
    handles += [
        Line2D([], [], linestyle="none", marker="o", color="0.6", markersize=2.5, label=reference),
        Line2D([], [], color="0.15", linewidth=1, label="expected at this accuracy"),
        Patch(color="0.15", alpha=0.12, linewidth=0, label="95 % of models"),
    ]
    if has_bounds:
        handles.append(Line2D([], [], linestyle="none", marker="$\\downarrow$", color="0.15", label="at most"))
    axes.legend(handles=handles, loc="center left", fontsize=7, frameon=False, borderaxespad=0)
