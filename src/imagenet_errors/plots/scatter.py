"""Drawing any row of figures.csv.

Keys stand outside the axes; the crowd is small and hollow and what is rare is drawn last; no point is cut off.
"""

import io
from pathlib import Path

import numpy as np
import pandas as pd

from imagenet_errors.files import atomic_write
from imagenet_errors.plots import markers
from imagenet_errors.plots.figure_table import Figure
from imagenet_errors.plots.fits import Fit
from imagenet_errors.plots.points import limits

WIDTH = 3.5  # inches: a column of a paper
LINE = 0.12  # inches of a line of text
CROWD = 100  # models of one shape from which on marks are small and hollow
DARK_RIMMED = ("artifact",)
REACH = 0.03  # of an axis, beyond the last point where limits are widened
UNITS = {"training_data_size": "images", "num_params": "parameters"}
STYLE = {
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


def draw(
    figure: Figure,
    points: pd.DataFrame,
    lines: list[tuple[str, str, Fit]],
    band: str,
    marker: str,
    color: str,
    paths: list[Path],
) -> None:
    """Draw a figure.

    Args:
        figure: Which.
        points: `points.points` of it.
        lines: (group, value of `--fit_by` or nothing, line) to draw through them.
        band: `published` or `regression`.
        marker: The column that the shape stands for.
        color: The column that the shade stands for.
        paths: What to write; the suffix is the format.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context(STYLE):
        above = sum(label.count("\n") + 1 for group in figure.groups for label in _labels(group, lines))
        height = WIDTH * 1.12 + LINE * max(0, above - 4)
        canvas, axes = plt.subplots(figsize=(WIDTH, height), layout="constrained")
        shades = markers.Shades.of(points, color)
        for group in figure.groups:
            _scatter(axes, points[points.group == group], group, marker, shades)
        for group, _, line in lines:
            _line(axes, group, line, band)
        _frame(axes, figure, points, [line for _, _, line in lines])
        _keys(canvas, figure, points, lines, marker, shades)
        for path in paths:
            software = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None}}
            kind, picture = path.suffix.removeprefix("."), io.BytesIO()
            canvas.savefig(picture, format=kind, dpi=240, metadata=software.get(kind, {"Date": None}))
            with atomic_write(path) as temporary:
                temporary.write_bytes(picture.getvalue())
        plt.close(canvas)


def _scatter(axes, points: pd.DataFrame, group: str, marker: str, shades: markers.Shades) -> None:
    """The points of a group, one shape after another, the rarest last."""
    values = markers.shapes(points, marker)
    for value, count in values.value_counts().items():
        some = points[values == value]
        colors = shades.colors(group, some[shades.column])
        crowd = count > CROWD
        axes.scatter(
            some.x,
            some.y,
            s=9 if crowd else 17,
            marker=markers.marker(marker, value),
            **_paint(colors, markers.marker(marker, value), crowd, group),
            zorder=2 if crowd else 3,
            clip_on=False,
        )


def _paint(colors: np.ndarray, shape: str, crowd: bool, group: str) -> dict:
    """How a mark is filled: lines alone have no edge, the crowd is hollow, the others have a thin light rim.

    Artifacts are filled, and have a dark rim: without red or green sight their hues are too close to the organisms'.
    """
    if shape in markers.THIN:
        return {"c": colors, "linewidths": 0.7}
    if crowd:
        faces = colors * [1, 1, 1, 0.45] if group in DARK_RIMMED else "none"
        return {"facecolors": faces, "edgecolors": colors, "linewidths": 0.5}
    return {"c": colors, "edgecolors": "black" if group in DARK_RIMMED else "white", "linewidths": 0.25}


def _line(axes, group: str, line: Fit, band: str) -> None:
    x = np.linspace(line.start, line.end, 50)
    dark = markers.scale(group)(0.75)
    axes.fill_between(x, *line.band(x, band), color=dark, alpha=0.2, linewidth=0, zorder=4)
    axes.plot(x, line.line(x), color="white", linewidth=2.2, zorder=5)
    axes.plot(x, line.line(x), color=dark, linewidth=1.2, zorder=6)


def _frame(axes, figure: Figure, points: pd.DataFrame, lines: list[Fit]) -> None:
    """Limits, ticks and what the axes show; points and lines are within."""
    ends = [line.line(np.array([line.start, line.end])) for line in lines]
    axes.set_xlabel(figure.x_label)
    axes.set_title(figure.y_label, loc="left")
    axes.set(xticks=figure.x_ticks, yticks=figure.y_ticks)
    axes.set_xlim(limits(figure.x_limits, points.x.to_numpy(), REACH))
    axes.set_ylim(limits(figure.y_limits, np.concatenate([points.y.to_numpy(), *ends]), REACH))
    axes.tick_params(width=0.6, length=2.5)


def _keys(canvas, figure: Figure, points: pd.DataFrame, lines: list, marker: str, shades: markers.Shades) -> None:
    """Above, the groups and their lines; below, the shapes in the shade of each group."""
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.lines import Line2D

    canvas.legend(
        handles=[
            Line2D([], [], marker="s", linestyle="", markersize=5, color=markers.scale(group)(0.5), label=label)
            for group in figure.groups
            for label in _labels(group, lines)
        ],
        loc="outside upper left",
        ncols=1 if lines else len(figure.groups),
        frameon=False,
        handletextpad=0.2,
        columnspacing=1,
        labelspacing=0.25,
        borderpad=0,
    )
    handles, labels = _shape_key(figure, points, marker, shades)
    canvas.legend(
        handles,
        labels,
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


def _labels(group: str, lines: list[tuple[str, str, Fit]]) -> list[str]:
    """The name of a group, with a line of numbers for each of its fitted lines."""
    of_group = [(value, line) for one, value, line in lines if one == group]
    name = {"all": "all images", "organism": "organisms", "artifact": "artifacts", "other": "others"}[group]
    return [
        f"{name}{f', {value}:{chr(10)}' if value else ', '}{line.start:.0f} to {line.end:.0f}: slope {line.slope:.3g},"
        f" r {line.r:.2f}, n {line.n}"
        for value, line in of_group
    ] or [name]


def _shape_key(figure: Figure, points: pd.DataFrame, marker: str, shades: markers.Shades) -> tuple[list, list[str]]:
    """A tuple of marks, one per group, for every value that is drawn; and, apart from them, what the shade says."""
    from matplotlib.lines import Line2D

    values = markers.shapes(points, marker)
    order = [*markers.MARKERS[markers.shape_column(marker)], markers.UNKNOWN]
    same = shades.column == marker or (marker, shades.column) == ("training_data", "training_data_size")
    counts = values[points.group == figure.groups[0]].value_counts()
    handles, labels = [], []
    for value in (value for value in order if (values == value).any()):
        sample = points[values == value].iloc[[0]][shades.column]
        shape, crowd = markers.marker(marker, value), counts.get(value, 0) > CROWD
        drawn = figure.groups if same else figure.groups[:1]
        handles.append(tuple(_sample(shades.colors(group, sample), shape, crowd, group, same) for group in drawn))
        labels.append(value)
    if not same:
        for value in _steps(points, shades):
            sample = pd.Series([value])
            handles.append(
                tuple(
                    Line2D([], [], linestyle="", marker="s", markersize=5, color=shades.colors(group, sample)[0])
                    for group in figure.groups
                )
            )
            labels.append(f"{value / 1e6:,.0f}M {UNITS[shades.column]}" if shades.column in UNITS else value)
    return handles, labels


def _sample(color: np.ndarray, shape: str, crowd: bool, group: str, colored: bool):
    """A mark for the key, painted as in the figure."""
    from matplotlib.lines import Line2D

    paint = _paint(color if colored else np.array([[0.33, 0.33, 0.33, 1]]), shape, crowd, group if colored else "")
    face = paint.get("facecolors", paint.get("c"))
    edge = paint.get("edgecolors", face)
    return Line2D(
        [],
        [],
        linestyle="",
        marker=shape,
        markersize=4.2,
        markerfacecolor=face if isinstance(face, str) else tuple(face[0]),
        markeredgecolor=edge if isinstance(edge, str) else tuple(edge[0]),
        markeredgewidth=0.8 if crowd or shape in markers.THIN else 0.3,
    )


def _steps(points: pd.DataFrame, shades: markers.Shades) -> list:
    """Values of the shade's column to show: all of a few, else four from end to end."""
    present = points[shades.column].dropna().unique()
    if shades.column not in markers.NUMBERS:
        return [value for value in markers.MARKERS[shades.column] if value in present]
    return sorted(present) if len(present) <= 4 else np.geomspace(shades.low, shades.high, 4).tolist()
