"""The texts in a scatter plot: names of groups and of highlighted models, and the numbers of lines."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imagenet_errors.plots.fits import GroupLine
from imagenet_errors.plots.markers import GROUP_NAMES, darken, group_colormap
from imagenet_errors.plots.panel import Panel
from imagenet_errors.plots.placement import Box, find_leader, place_boxes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

BULK, MANY_POINTS = (0.05, 0.95), 10  # quantiles of x between which the points of a group, if many, attract its name
MARK_RADIUS = 2.0  # points
REACH = 7.0  # of the numbers of a line, as a multiple of their font's size
MOST_LINES = 6  # of more, none has its numbers beside it
NAME_GAP, FAR_GAP = 4.0, 11.0  # points from a mark, and from a cloud or line, beyond which a line joins a text to it
MOST_LETTERS = 52  # of a name
NAME_COLOR = "#222222"  # of models


@dataclass(frozen=True)
class Label:
    """A text to place beside what it names.

    Attributes:
        text: What it says.
        key: What it says in a key.
        color: matplotlib's.
        size: Of the font, in points.
        weight: `bold` or `normal`.
        anchors: [n, 2] float: the points that it names, in data coordinates.
        reach: How far it may be from them, as a multiple of the font's size.
        gap: A thin line joins it to what it names from this distance on, in points.
    """

    text: str
    key: str
    color: Any
    size: float
    weight: str
    anchors: np.ndarray
    reach: float
    gap: float


def draw_labels(axes: "Axes", panel: Panel) -> list[Label]:
    """Write the texts that find a place; returns the others, for a key."""
    names, lines = _name_models(panel), _describe_lines(panel)
    labels = [*names, *(lines if len(lines) <= MOST_LINES else []), *_name_groups(panel)]
    unplaced = lines if len(lines) > MOST_LINES else []
    size = 72 * np.array(panel.style.axes_size)
    texts = [axes.text(0, 0, label.text, transform=axes.transAxes, **_font(label)) for label in labels]
    boxes = [_measure(axes, label, text, size) for label, text in zip(labels, texts, strict=True)]
    for name in names:
        _join(axes, _to_points(axes, name.anchors, size) / size, name.color)
    drawn = [fit.line_points() for *_, fit in panel.lines] + [_fill(name.anchors) for name in names]
    marks = _to_points(axes, np.vstack([panel.places(), *drawn]), size)
    places = place_boxes(boxes, (float(size[0]), float(size[1])), marks, MARK_RADIUS * panel.style.marks**0.5)
    for label, text, box, place in zip(labels, texts, boxes, places, strict=True):
        if place is None:
            text.remove()
            unplaced.append(label)
            continue
        text.set_position(tuple(place / size))
        if (ends := find_leader(box, place)) is not None:
            _join(axes, ends / size, label.color)
    return unplaced


def _measure(axes: "Axes", label: Label, text: "Text", size: np.ndarray) -> Box:
    """The box of a text; `size` is that of the axes, in points."""
    extent = text.get_window_extent().transformed(axes.figure.dpi_scale_trans.inverted())  # inches
    anchors = _to_points(axes, label.anchors, size)
    return Box(72 * extent.width, 72 * extent.height, anchors, label.reach * label.size, label.gap)


def _fill(places: np.ndarray) -> np.ndarray:
    """`places` ([n, 2]) of one x, and points between the lowest and the highest."""
    y = np.linspace(places[:, 1].min(), places[:, 1].max(), 200)
    return np.column_stack([np.full(200, places[0, 0]), y])


def _font(label: Label) -> dict[str, Any]:
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # hides the lines of other names
    font = {"color": label.color, "size": label.size, "weight": label.weight}
    return font | {"bbox": ground, "va": "bottom", "linespacing": 1.05, "zorder": 9}


def _to_points(axes: "Axes", places: np.ndarray, size: np.ndarray) -> np.ndarray:
    """[n, 2] data coordinates as points from the lower left corner of the axes."""
    return (axes.transAxes.inverted().transform(axes.transData.transform(places))) * size


def _join(axes: "Axes", places: np.ndarray, color: Any) -> None:
    """A thin line between `places`: [n, 2] shares of the axes."""
    axes.plot(*places.T, transform=axes.transAxes, color=color, linewidth=0.5, zorder=7)


def _name_groups(panel: Panel) -> list[Label]:
    """The names of the groups, in the colours of their clouds."""
    labels = []
    for group in panel.figure.groups:
        own = panel.points_of(group)
        if own.empty:
            continue
        colors = panel.scale.colors(group, own[panel.scale.column])
        behind = own if panel.behind is None else panel.behind[panel.behind.group == group]
        cloud = own if behind.empty else behind
        x = cloud.x.to_numpy()
        low, high = np.quantile(x, BULK) if len(x) >= MANY_POINTS else (x.min(), x.max())
        anchors = cloud.loc[(x >= low) & (x <= high), ["x", "y"]].to_numpy(float)
        name = GROUP_NAMES[group]
        labels.append(Label(name, name, darken(colors), panel.style.label, "bold", anchors, np.inf, FAR_GAP))
    return labels


def _name_models(panel: Panel) -> list[Label]:
    """The names of the highlighted models, each once: its marks in several groups have the same x."""
    labels = []
    for model, name in panel.names.items():
        places = panel.points.loc[panel.points.model_dir_id == model, ["x", "y"]].to_numpy(float)
        if len(places):
            name = (name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…").replace("$", r"\$")
            labels.append(Label(name, name, NAME_COLOR, panel.style.note, "normal", places, np.inf, NAME_GAP))
    return labels


def _describe_lines(panel: Panel) -> list[Label]:
    """Slope, correlation and number of models of each line."""
    return [_describe_line(line, panel.style.note) for line in panel.lines]


def _describe_line(line: GroupLine, size: float) -> Label:
    group, value, fit = line
    numbers = [f"slope {fit.slope:.3g}", f"r {fit.r:.2f}", f"n {fit.n}"]
    slope, *others = [number.replace("-", "−") for number in numbers]
    head = f"{value}: " if value else ""
    where = ", ".join(part for part in (GROUP_NAMES[group], value, f"{fit.start:.0f} to {fit.end:.0f}") if part)
    return Label(
        f"{head}{slope}\n{', '.join(others)}",
        f"{where}: {', '.join([slope, *others])}",
        group_colormap(group)(0.75),
        size,
        "normal",
        fit.line_points(100)[20:80],
        REACH,
        FAR_GAP,
    )
