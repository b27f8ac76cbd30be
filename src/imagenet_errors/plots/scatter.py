"""The scatter plot of a figure.

Legends stand outside the axes. Markers with many models are small and hollow, and the rare ones are drawn last. No
point is cut off.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from imagenet_errors.files import atomic_write
from imagenet_errors.plots import markers
from imagenet_errors.plots.figure_table import Figure
from imagenet_errors.plots.fits import GroupLine
from imagenet_errors.plots.markers import ColorScale, group_colormap
from imagenet_errors.plots.model_columns import UNKNOWN_VALUE
from imagenet_errors.plots.points import widen_limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.lines import Line2D

FIGURE_WIDTH = 3.5  # inches: a column of a paper
TEXT_LINE_HEIGHT = 0.12  # inches
MANY_MODELS = 100  # a marker with more is small and hollow
DARK_EDGED_GROUPS = ("artifact",)
GROUP_NAMES = {"all": "all images", "organism": "organisms", "artifact": "artifacts", "other": "others"}
UNITS = {"training_data_size": "images", "num_params": "parameters"}
METADATA: dict[str, dict] = {  # without dates and versions: the same bytes in every run
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None},
    "svg": {"Date": None},
}
STYLE: Any = {
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "legend.fontsize": 6.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "font.family": "DejaVu Sans",
    "pdf.fonttype": 42,
    "svg.hashsalt": "imagenet_errors",  # the same ids in every run
}


def draw_scatter(
    figure: Figure,
    points: pd.DataFrame,
    lines: list[GroupLine],
    band: str,
    marker: str,
    color: str,
    paths: list[Path],
) -> None:
    """Draw a figure and write it.

    Args:
        figure: Which.
        points: Its `compute_points`.
        lines: Its `fit_figure`.
        band: `published` or `regression`.
        marker: The column that markers show.
        color: The column that colours show.
        paths: The files to write; the suffix is the format.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context(STYLE):
        text_lines = sum(label.count("\n") + 1 for group in figure.groups for label in _group_labels(group, lines))
        height = FIGURE_WIDTH * 1.12 + TEXT_LINE_HEIGHT * max(0, text_lines - 4)
        canvas, axes = plt.subplots(figsize=(FIGURE_WIDTH, height), layout="constrained")
        scale = ColorScale.from_points(points, color)
        for group in figure.groups:
            _draw_points(axes, points[points.group == group], group, marker, scale)
        for line in lines:
            _draw_line(axes, line, band)
        _set_up_axes(axes, figure, points, lines)
        _add_legends(canvas, figure, points, lines, marker, scale)
        for path in paths:
            suffix, picture = path.suffix.removeprefix("."), io.BytesIO()
            canvas.savefig(picture, format=suffix, dpi=240, metadata=METADATA[suffix])
            with atomic_write(path) as temporary:
                temporary.write_bytes(picture.getvalue())
        plt.close(canvas)


def _draw_points(axes: "Axes", points: pd.DataFrame, group: str, marker: str, scale: ColorScale) -> None:
    """Draw the points of a group, one marker after another, the rarest last."""
    values = markers.marker_values(points, marker)
    for value, count in values.value_counts().items():
        of_value = points[values == value]
        code, has_many = markers.marker_code(marker, str(value)), count > MANY_MODELS
        axes.scatter(
            of_value.x,
            of_value.y,
            s=9 if has_many else 17,
            marker=code,
            **_mark_style(scale.colors(group, of_value[scale.column]), code, has_many, group in DARK_EDGED_GROUPS),
            zorder=2 if has_many else 3,
            clip_on=False,
        )


def _mark_style(colors: np.ndarray, code: str, has_many: bool, has_dark_edge: bool) -> dict[str, Any]:
    """How marks are filled: many are hollow, few have a thin light edge, and markers without an area have none.

    Dark-edged groups are always filled: without red or green sight the hues of artifacts and organisms are too close.
    """
    if code in markers.LINE_MARKERS:
        return {"c": colors, "linewidths": 0.7}
    if has_many:
        faces = colors * [1, 1, 1, 0.45] if has_dark_edge else "none"
        return {"facecolors": faces, "edgecolors": colors, "linewidths": 0.5}
    return {"c": colors, "edgecolors": "black" if has_dark_edge else "white", "linewidths": 0.25}


def _draw_line(axes: "Axes", line: GroupLine, band: str) -> None:
    x = np.linspace(line.fit.start, line.fit.end, 50)
    dark = group_colormap(line.group)(0.75)
    axes.fill_between(x, *line.fit.confidence_band(x, band), color=dark, alpha=0.2, linewidth=0, zorder=4)
    axes.plot(x, line.fit.predict(x), color="white", linewidth=2.2, zorder=5)
    axes.plot(x, line.fit.predict(x), color=dark, linewidth=1.2, zorder=6)


def _set_up_axes(axes: "Axes", figure: Figure, points: pd.DataFrame, lines: list[GroupLine]) -> None:
    """Set labels, ticks and limits that contain all points and lines."""
    ends = [line.fit.predict(np.array([line.fit.start, line.fit.end])) for line in lines]
    axes.set_xlabel(figure.x_label)
    axes.set_title(figure.y_label, loc="left")
    axes.set(xticks=figure.x_ticks, yticks=figure.y_ticks)
    axes.set_xlim(widen_limits(figure.x_limits, points.x.to_numpy()))
    axes.set_ylim(widen_limits(figure.y_limits, np.concatenate([points.y.to_numpy(), *ends])))
    axes.tick_params(width=0.6, length=2.5)


def _add_legends(
    canvas: "Canvas", figure: Figure, points: pd.DataFrame, lines: list[GroupLine], marker: str, scale: ColorScale
) -> None:
    """Above, the groups and their lines; below, the markers in the colours of each group."""
    from matplotlib.legend_handler import HandlerTuple

    canvas.legend(
        handles=[
            _square(group_colormap(group)(0.5), label)
            for group in figure.groups
            for label in _group_labels(group, lines)
        ],
        loc="outside upper left",
        ncols=1 if lines else len(figure.groups),
        frameon=False,
        handletextpad=0.2,
        columnspacing=1,
        labelspacing=0.25,
        borderpad=0,
    )
    entries = _marker_entries(figure, points, marker, scale)
    if not _shows_same(marker, scale):
        entries += _color_entries(figure, points, scale)
    handles: list[Any] = [marks for marks, _ in entries]
    canvas.legend(
        handles,
        [label for _, label in entries],
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
        loc="outside lower left",
        ncols=2,
        frameon=False,
        handlelength=0.9 * len(figure.groups) + 0.4,
        handletextpad=0.5,
        columnspacing=1.2,
        labelspacing=0.3,
        borderpad=0,
    )


def _group_labels(group: str, lines: list[GroupLine]) -> list[str]:
    """The name of a group, with the numbers of each of its lines."""
    return [
        f"{GROUP_NAMES[group]}{f', {value}:{chr(10)}' if value else ', '}{fit.start:.0f} to {fit.end:.0f}:"
        f" slope {fit.slope:.3g}, r {fit.r:.2f}, n {fit.n}"
        for line_group, value, fit in lines
        if line_group == group
    ] or [GROUP_NAMES[group]]


def _shows_same(marker: str, scale: ColorScale) -> bool:
    """Whether markers and colours show the same, so that one legend explains both."""
    return scale.column == marker or (marker, scale.column) == ("training_data", "training_data_size")


def _marker_entries(
    figure: Figure, points: pd.DataFrame, marker: str, scale: ColorScale
) -> list[tuple[tuple["Line2D", ...], str]]:
    """(marks of the groups, label) of every value that markers show; grey where colours show something else."""
    values = markers.marker_values(points, marker)
    counts = values[points.group == figure.groups[0]].value_counts()
    same, grey = _shows_same(marker, scale), np.array([0.33, 0.33, 0.33, 1])
    entries = []
    for value in (*markers.MARKERS[markers.marker_column(marker)], UNKNOWN_VALUE):
        if not (values == value).any():
            continue
        sample = points[values == value].iloc[[0]][scale.column]
        code, has_many = markers.marker_code(marker, value), counts.get(value, 0) > MANY_MODELS
        marks = [
            _mark(scale.colors(group, sample)[0], code, has_many, group in DARK_EDGED_GROUPS) for group in figure.groups
        ]
        entries.append((tuple(marks) if same else (_mark(grey, code, has_many, False),), value))
    return entries


def _color_entries(figure: Figure, points: pd.DataFrame, scale: ColorScale) -> list[tuple[tuple["Line2D", ...], str]]:
    """(squares of the groups, label) of some values that colours show: all of a few, else four from end to end."""
    present = points[scale.column].dropna().unique()
    values: Sequence
    if scale.column not in markers.NUMERIC_COLUMNS:
        values = [value for value in markers.MARKERS[scale.column] if value in present]
    else:
        values = sorted(present) if len(present) <= 4 else np.geomspace(scale.low, scale.high, 4).tolist()
    return [
        (
            tuple(_square(scale.colors(group, pd.Series([value]))[0]) for group in figure.groups),
            f"{value / 1e6:,.0f}M {UNITS[scale.column]}" if scale.column in UNITS else value,
        )
        for value in values
    ]


def _square(color: Any, label: str = "") -> "Line2D":
    """A square for a legend, in a colour of matplotlib's."""
    from matplotlib.lines import Line2D

    return Line2D([], [], marker="s", linestyle="", markersize=5, color=color, label=label)


def _mark(color: np.ndarray, code: str, has_many: bool, has_dark_edge: bool) -> "Line2D":
    """A mark for a legend, in the style of the figure's; `color` is [4] RGBA."""
    from matplotlib.lines import Line2D

    style = _mark_style(color[None], code, has_many, has_dark_edge)
    face: Any = style.get("facecolors", style.get("c"))
    edge: Any = style.get("edgecolors", face)
    return Line2D(
        [],
        [],
        linestyle="",
        marker=code,
        markersize=4.2,
        markerfacecolor=face if isinstance(face, str) else tuple(face[0]),
        markeredgecolor=edge if isinstance(edge, str) else tuple(edge[0]),
        markeredgewidth=0.8 if has_many or code in markers.LINE_MARKERS else 0.3,
    )
