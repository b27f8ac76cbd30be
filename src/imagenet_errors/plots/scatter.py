"""The scatter plot of a figure.

Markers with many models are small and hollow, and the rare ones are drawn last. No point is cut off. Groups, lines and
highlighted models have their names beside them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagenet_errors.plots import markers
from imagenet_errors.plots.fits import GroupLine
from imagenet_errors.plots.labels import draw_labels
from imagenet_errors.plots.legends import add_key, add_legend
from imagenet_errors.plots.markers import group_colormap
from imagenet_errors.plots.panel import Panel
from imagenet_errors.plots.pictures import open_canvas, save_picture
from imagenet_errors.plots.points import widen_limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


def draw_scatter(panel: Panel, paths: list[Path]) -> None:
    """Draw a figure and write it to `paths`, whose suffix is the format."""
    style = panel.style
    with open_canvas(style) as canvas:
        axes = canvas.add_axes(style.axes_box())
        _set_up_axes(axes, panel)
        if panel.behind is not None:
            size, color = 4 * style.marks, markers.BEHIND_COLOR
            axes.scatter(panel.behind.x, panel.behind.y, s=size, c=color, linewidths=0, clip_on=False)
        for group in panel.figure.groups:
            _draw_points(axes, panel, group)
        for line in panel.lines:
            _draw_line(axes, line, panel)
        unplaced = draw_labels(axes, panel)
        axes.set_position(style.axes_box(more=add_key(canvas, unplaced, style)))
        _write_titles(canvas, panel)
        if style.has_legend:
            add_legend(canvas, panel)
        for path in paths:
            save_picture(canvas, path, style.dpi)


def _draw_points(axes: "Axes", panel: Panel, group: str) -> None:
    """Draw the points of a group, one marker after another, the rarest last, and highlighted ones over all."""
    points, style, scale = panel.points_of(group), panel.style, panel.scale
    values, width = markers.marker_values(points, panel.marker), style.marks**0.5
    for value, count in values.value_counts().items():
        of_value = points[values == value]
        code, has_many = markers.marker_code(panel.marker, str(value)), count > markers.MANY_MODELS
        colors = scale.colors(group, of_value[scale.column])
        axes.scatter(
            of_value.x,
            of_value.y,
            s=(9 if has_many else 17) * style.marks,
            marker=code,
            **markers.mark_style(colors, code, has_many, group, width),
            zorder=2 if has_many else 3,
            clip_on=False,
        )
        if (chosen := of_value.model_dir_id.isin(list(panel.names)).to_numpy()).any():
            edge: Any = {} if code in markers.LINE_MARKERS else {"edgecolors": "black"}
            axes.scatter(
                of_value.x[chosen],
                of_value.y[chosen],
                s=36 * style.marks,
                marker=code,
                c=colors[chosen],
                linewidths=0.8 * width,
                **edge,
                zorder=8,
                clip_on=False,
            )


def _draw_line(axes: "Axes", line: GroupLine, panel: Panel) -> None:
    x, width = np.linspace(line.fit.start, line.fit.end, 50), panel.style.marks**0.5
    dark = group_colormap(line.group)(0.75)
    axes.fill_between(x, *line.fit.confidence_band(x, panel.band), color=dark, alpha=0.2, linewidth=0, zorder=4)
    axes.plot(x, line.fit.predict(x), color="white", linewidth=2.2 * width, zorder=5)
    axes.plot(x, line.fit.predict(x), color=dark, linewidth=1.2 * width, zorder=6)


def _set_up_axes(axes: "Axes", panel: Panel) -> None:
    """Set labels, ticks and limits that contain all points and lines."""
    figure, places = panel.figure, panel.places()
    ends = [line.fit.predict(np.array([line.fit.start, line.fit.end])) for line in panel.lines]
    axes.set_xlabel(figure.x_label, labelpad=1)
    axes.set(xticks=figure.x_ticks, yticks=figure.y_ticks)
    axes.set_xlim(widen_limits(figure.x_limits, places[:, 0]))
    axes.set_ylim(widen_limits(figure.y_limits, np.concatenate([places[:, 1], *ends])))
    width = panel.style.marks**0.5
    axes.tick_params(width=0.6 * width, length=2.5 * width, pad=3.2 * width)


def _write_titles(canvas: "Canvas", panel: Panel) -> None:
    """Above the axes, the error type and the dataset; below this, what y is."""
    style, (width, height) = panel.style, canvas.get_size_inches()
    left, note = 0.04 * style.font / 8, " (spread within rows)" if panel.spread else ""
    top = height - 0.04 * style.font / 8
    canvas.text(left / width, top / height, panel.figure.heading, va="top", size=style.heading, weight="bold")
    lower = (top - 1.35 * style.heading / 72) / height
    canvas.text(left / width, lower, panel.figure.y_label + note, va="top", size=0.9 * style.heading)
