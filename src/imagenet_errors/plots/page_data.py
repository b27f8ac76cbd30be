"""What the page of figures shows, as JSON values: columns that panels share, how marks look, lines with their bands."""

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from imagenet_errors.plots import markers
from imagenet_errors.plots.drawing import NO_POINTS, DrawingOptions, Note, find_omissions
from imagenet_errors.plots.figure_table import COLUMN_TITLES, DATASET_TITLES, DENOMINATORS, Figure
from imagenet_errors.plots.fits import GroupLine, fit_figure
from imagenet_errors.plots.model_frames import Frames
from imagenet_errors.plots.points import compute_points, describe_basis, widen_limits

DECIMALS = 10  # of the numbers on the page
LINE_POINTS = 25  # of a line and its band
FAMILY_TITLES = {  # of families that share their y with another; the others are named by their y
    "model_failures_to_mle": "Model failures / multi-label errors",
    "model_failures_to_top1_err": "Model failures / top-1 errors",
    "imagenet_a_vs_imagenet_mla_acc": "Accuracy by ImageNet MLA",
    "imagenet_a_vs_imagenet_top1_acc": "Accuracy by ImageNet top-1",
}
SYMBOLS = {  # {matplotlib's marker: plotly's}
    "o": "circle",
    "s": "square",
    "p": "pentagon",
    "8": "octagon",
    "*": "star",
    "D": "diamond",
    "d": "diamond-tall",
    "<": "triangle-left",
    ">": "triangle-right",
    "X": "x",
    "v": "triangle-down",
    "^": "triangle-up",
    "P": "cross",
    "h": "hexagon",
    "1": "y-down-open",
    "2": "y-up-open",
    "4": "y-right-open",
}


class Columns:
    """Columns of numbers, each kept once however many panels show it."""

    def __init__(self) -> None:
        self.lists: list[list[float | None]] = []
        self._places: dict[tuple, int] = {}

    def add(self, numbers: pd.Series) -> int:
        """The place of a column in `lists`."""
        values = to_json(numbers)
        place = self._places.setdefault(tuple(values), len(self.lists))
        if place == len(self.lists):
            self.lists.append(values)
        return place


def to_json(numbers: pd.Series | np.ndarray) -> list[float | None]:
    """[n] numbers as JSON has them: integers as integers, others with ten decimals, None for unknown ones."""
    return [_to_number(float(number)) for number in numbers]


def _to_number(number: float) -> float | None:
    if not np.isfinite(number):
        return None
    return int(number) if number.is_integer() else round(number, DECIMALS)


def describe_dataset(dataset: str, figures: list[Figure], frames: Frames, options: DrawingOptions) -> dict[str, Any]:
    """The models of a dataset and its figures by family.

    Returns:
        `models`, `corpora` and `num_params` have an entry per model, as have all `columns`, which panels name by their
        places. What is unknown is None.
    """
    table, columns = frames["all"], Columns()
    families = [
        {
            "name": family,
            "title": FAMILY_TITLES.get(family) or COLUMN_TITLES.get(of_family[0].y, family),
            "figures": [_describe_figure(figure, frames, options, columns) for figure in of_family],
        }
        for family in dict.fromkeys(figure.family for figure in figures)
        if (of_family := [figure for figure in figures if figure.family == family])
    ]
    shown = [options.shown_columns(figure) for figure in figures]
    groups = [group for group in markers.GROUP_NAMES if any(group in figure.groups for figure in figures)]
    return {
        "name": dataset,
        "title": DATASET_TITLES.get(dataset, dataset),
        "models": table.model_dir_id.tolist(),
        "corpora": [str(corpus).strip() or None for corpus in table.training_data],
        "num_params": to_json(table.num_params.where(table.num_params > 0)),
        "groups": [{"name": group, "title": markers.GROUP_NAMES[group]} for group in groups],
        "markers": {marker: _describe_markers(table, marker) for marker, _ in shown},
        "colors": {color: _describe_colors(table, groups, options.scale(frames, color)) for _, color in shown},
        "families": families,
        "columns": columns.lists,
    }


def describe_behind(figure: Figure, frames: Frames) -> dict[str, list[float]]:
    """The points of other models that are drawn in grey behind a figure's: `x` and `y`, with four digits."""
    points = compute_points(figure, frames)
    return {axis: [float(f"{value:.4g}") for value in points[axis]] for axis in "xy"}


def _describe_figure(figure: Figure, frames: Frames, options: DrawingOptions, columns: Columns) -> dict[str, Any]:
    points = compute_points(figure, frames)
    lines, unfitted = fit_figure(figure, points, options.fit_by)
    ends = [line.fit.predict(np.array([line.fit.start, line.fit.end])) for line in lines]
    marker, color = options.shown_columns(figure)
    computation, basis = describe_basis(figure)
    clouds = []
    for group in figure.groups:
        of_group = points[points.group == group].set_index("model_dir_id").reindex(frames["all"].model_dir_id)
        count, out_of = frames[group][figure.y], DENOMINATORS[computation](frames[group], frames["all"])
        numbers = {"x": of_group.x, "y": of_group.y, "count": count, "out_of": out_of}
        clouds.append({"group": group} | {name: columns.add(column) for name, column in numbers.items()})
    return {
        "stem": figure.file_stem,
        "heading": figure.heading,
        "x_label": figure.x_label,
        "y_label": figure.y_label,
        "basis": basis,
        "x_range": to_json(np.array(widen_limits(figure.x_limits, points.x.to_numpy()))),
        "y_range": to_json(np.array(widen_limits(figure.y_limits, np.concatenate([points.y, *ends])))),
        "marker": marker,
        "color": color,
        "clouds": clouds,
        "lines": [_describe_line(line, options.fit_band) for line in lines],
        "notes": [_describe_note(note) for note in find_omissions(figure, frames, points, unfitted)],
    }


def _describe_note(note: Note) -> str:
    lack = f"{note.where} points left out" if note.what == NO_POINTS else f"no line for {note.where}"
    return f"{lack}: {note.what[1]}"


def _describe_line(line: GroupLine, band: str) -> dict[str, Any]:
    group, value, fit = line
    x = np.linspace(fit.start, fit.end, LINE_POINTS)
    low, high = fit.confidence_band(x, band)
    name = ", ".join(part for part in (markers.GROUP_NAMES[group], value, f"{fit.start:.0f} to {fit.end:.0f}") if part)
    return {
        "group": group,
        "text": f"{name}: slope {fit.slope:.3g}, r {fit.r:.2f}, n {fit.n}".replace("-", "−"),
        "color": _both_colors(markers.group_colormap(group)(0.75)),
        **{name: to_json(numbers) for name, numbers in (("x", x), ("y", fit.predict(x)), ("low", low), ("high", high))},
    }


def _describe_markers(table: pd.DataFrame, column: str) -> dict[str, Any]:
    """The values of a column with their symbols and numbers of models, the most frequent first; each model's value."""
    values = markers.marker_values(table, column)
    counts = values.value_counts()
    places = {value: place for place, value in enumerate(counts.index)}
    return {
        "values": [
            {"name": value, "symbol": SYMBOLS[markers.marker_code(column, str(value))], "count": count}
            for value, count in counts.items()
        ],
        "of_models": values.map(places).tolist(),
    }


def _describe_colors(table: pd.DataFrame, groups: list[str], scale: markers.ColorScale) -> dict[str, Any]:
    """{group: its colours, each on light and on dark ground, and the place of each model's colour}."""
    described = {}
    for group in groups:
        of_models = [tuple(rgba) for rgba in scale.colors(group, table[scale.column])]
        places = {rgba: place for place, rgba in enumerate(dict.fromkeys(of_models))}
        described[group] = {
            "palette": [_both_colors(rgba) for rgba in places],
            "of_models": [places[rgba] for rgba in of_models],
        }
    return described


def _both_colors(rgba: Sequence[float]) -> list[str]:
    """A colour on light ground, and on dark ground the same hue with the lightness turned round."""
    from matplotlib.colors import to_hex

    red, green, blue = map(float, rgba[:3])
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    return [to_hex((red, green, blue)), to_hex(colorsys.hls_to_rgb(hue, 0.93 - 0.5 * lightness, 0.7 * saturation))]
