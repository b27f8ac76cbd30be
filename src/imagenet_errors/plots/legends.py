"""What explains markers and colours: a legend in the picture, or in a file shared by all pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from imagenet_errors.plots import markers
from imagenet_errors.plots.labels import Label
from imagenet_errors.plots.markers import GROUP_NAMES, ColorScale
from imagenet_errors.plots.model_columns import UNKNOWN_VALUE
from imagenet_errors.plots.panel import Panel
from imagenet_errors.plots.pictures import open_canvas, save_picture
from imagenet_errors.plots.styles import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D

UNITS = {"training_data_size": "images", "num_params": "parameters"}
KEY_ROW = 1.55  # height of a row of a key, of the font's size
MARGIN = 0.06  # inches, around a legend in a file of its own
Entries = list[tuple[tuple["Line2D", ...], str]]
TIGHT: Any = {"frameon": False, "borderpad": 0, "handletextpad": 0.4, "borderaxespad": 0}


def add_key(canvas: "Canvas", unplaced: list[Label], style: Style) -> float:
    """Below the axes, the texts that found no place in them; returns by how many inches the picture grows."""
    if not unplaced:
        return 0
    more = (len(unplaced) + 1) * KEY_ROW * style.note / 72
    canvas.set_size_inches(style.width, style.height + more)
    squares = [_square(label.color, label.key, style) for label in unplaced]
    canvas.legend(handles=squares, loc="lower left", bbox_to_anchor=(0.02, 0.01), labelspacing=0.3, **TIGHT)
    return more


def add_legend(canvas: "Canvas", panel: Panel) -> None:
    """Beside the axes: the groups, and what markers and colours show."""
    content = Content.of_panel(panel)
    left = (panel.style.width - panel.style.right + 0.3) / panel.style.width
    _draw(canvas, content.group_entries() + content.entries(), 1, loc="center left", bbox_to_anchor=(left, 0.5))


def draw_legend(content: "Content", paths: list[Path]) -> None:
    """Draw a picture as large as the legend in it: the groups, and below what markers and colours show."""
    with open_canvas(content.style) as canvas:
        upper = _draw(canvas, content.group_entries(), 6)
        lower = _draw(canvas, content.entries(), 3)
        boxes = [legend.get_window_extent().transformed(canvas.dpi_scale_trans.inverted()) for legend in (upper, lower)]
        width, height = max(box.width for box in boxes) + 2 * MARGIN, sum(box.height for box in boxes) + 3 * MARGIN
        canvas.set_size_inches(width, height)
        for legend, top in ((upper, height - MARGIN), (lower, height - 2 * MARGIN - boxes[0].height)):
            legend.set_loc("upper left")
            legend.set_bbox_to_anchor((MARGIN, top), canvas.dpi_scale_trans)
        for path in paths:
            save_picture(canvas, path, content.style.dpi)


def _draw(canvas: "Canvas", entries: Entries, ncols: int, **where: Any) -> "Legend":
    from matplotlib.legend_handler import HandlerTuple

    handles: list[Any] = [marks for marks, _ in entries]
    return canvas.legend(
        handles,
        [label for _, label in entries],
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
        ncols=ncols,
        handlelength=0.95 * max(len(marks) for marks, _ in entries) + 0.3,
        columnspacing=1.2,
        labelspacing=0.35,
        **TIGHT,
        **where,
    )


@dataclass(frozen=True)
class Content:
    """What a legend explains.

    Attributes:
        groups: Of images, in the order of the marks of an entry.
        models: A row per model.
        marker: The column that markers show.
        scale: From the values of a column to colours.
        style: How large everything is.
        behind: How many models are in grey behind the others.
    """

    groups: Sequence[str]
    models: pd.DataFrame
    marker: str
    scale: ColorScale
    style: Style
    behind: int = 0

    @classmethod
    def of_panel(cls, panel: Panel) -> "Content":
        models = panel.points.drop_duplicates("model_dir_id")
        behind = 0 if panel.behind is None else panel.behind.model_dir_id.nunique()
        return cls(panel.figure.groups, models, panel.marker, panel.scale, panel.style, behind)

    def group_entries(self) -> Entries:
        """A square of each group, and a grey mark of the models behind."""
        values = self.models[self.scale.column]
        squares = [_square(markers.darken(self.scale.colors(group, values)), "", self.style) for group in self.groups]
        entries: Entries = [((square,), GROUP_NAMES[group]) for square, group in zip(squares, self.groups, strict=True)]
        if self.behind:
            mark = _square(markers.BEHIND_COLOR, "", self.style)
            mark.set_marker("o")
            entries.append(((mark,), f"{self.behind:,} published models"))
        return entries

    def entries(self) -> Entries:
        """What markers show, and what colours show where this is something else."""
        return self._marker_entries() + ([] if self._shows_same() else self._color_entries())

    def _shows_same(self) -> bool:
        """Whether markers and colours show the same, so that one entry explains both."""
        shown = (self.marker, self.scale.column)
        return self.scale.column == self.marker or shown == ("training_data", "training_data_size")

    def _marker_entries(self) -> Entries:
        """(marks of the groups, label) of every value that markers show; grey where colours show something else."""
        values = markers.marker_values(self.models, self.marker)
        counts, grey = values.value_counts(), np.array([0.33, 0.33, 0.33, 1])
        entries = []
        for value in (*markers.MARKERS[markers.marker_column(self.marker)], UNKNOWN_VALUE):
            if value not in counts:
                continue
            sample = self.models[values == value].iloc[[0]][self.scale.column]
            code, has_many = markers.marker_code(self.marker, value), counts[value] > markers.MANY_MODELS
            if self._shows_same():
                marks = [(self.scale.colors(group, sample)[0], group) for group in self.groups]
            else:
                marks = [(grey, "all")]
            entries.append((tuple(_mark(color, code, has_many, group, self.style) for color, group in marks), value))
        return entries

    def _color_entries(self) -> Entries:
        """(squares of the groups, label) of some values that colours show: all of a few, else four from end to end."""
        scale = self.scale
        present = self.models[scale.column].dropna().unique()
        values: Sequence
        if scale.column not in markers.NUMERIC_COLUMNS:
            values = [value for value in markers.MARKERS[scale.column] if value in present]
        else:
            values = sorted(present) if len(present) <= 4 else np.geomspace(scale.low, scale.high, 4).tolist()
        return [
            (
                tuple(_square(scale.colors(group, pd.Series([value]))[0], "", self.style) for group in self.groups),
                f"{format_count(value)} {UNITS[scale.column]}" if scale.column in UNITS else value,
            )
            for value in values
        ]


def format_count(number: float) -> str:
    """Two or three digits and a unit: 0.4M, 25.6M, 2.3B."""
    return f"{number / 1e9:.3g}B" if number >= 1e9 else f"{number / 1e6:.{2 if number < 1e6 else 3}g}M"


def _square(color: Any, label: str, style: Style) -> "Line2D":
    """A square for a legend, in a colour of matplotlib's."""
    from matplotlib.lines import Line2D

    return Line2D([], [], marker="s", linestyle="", markersize=0.75 * style.note, color=color, label=label)


def _mark(color: np.ndarray, code: str, has_many: bool, group: str, style: Style) -> "Line2D":
    """A mark for a legend, in the style of the figure's; `color` is [4] RGBA."""
    from matplotlib.lines import Line2D

    width = style.note / 6.5
    shown = markers.mark_style(color[None], code, has_many, group, width)
    face: Any = shown.get("facecolors", shown.get("c"))
    edge: Any = shown.get("edgecolors", face)
    return Line2D(
        [],
        [],
        linestyle="",
        marker=code,
        markersize=0.65 * style.note,
        markerfacecolor=face if isinstance(face, str) else tuple(face[0]),
        markeredgecolor=edge if isinstance(edge, str) else tuple(edge[0]),
        markeredgewidth=(0.8 if has_many or code in markers.LINE_MARKERS else 0.3) * width,
    )
