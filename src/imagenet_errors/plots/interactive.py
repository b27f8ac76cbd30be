"""One self-contained HTML page per family of figures, in which every point names its model."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from imagenet_errors.files import write_text
from imagenet_errors.plots import markers
from imagenet_errors.plots.drawing import DrawingOptions
from imagenet_errors.plots.figure_table import Figure
from imagenet_errors.plots.fits import fit_figure
from imagenet_errors.plots.model_frames import Frames
from imagenet_errors.plots.points import compute_points, describe_basis, widen_limits

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Chart

SYMBOLS = {
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
HOVER = (
    "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}<br>%{customdata[3]}"
    "<br>x %{x:.2f}, y %{y:.4g}<extra></extra>"
)


def write_pages(figures: list[Figure], frames: Frames, options: DrawingOptions) -> Iterator[Path]:
    """Write a page per family, with the groups of a figure side by side; yields its path."""
    for family in dict.fromkeys(figure.family for figure in figures):
        yield _write_page(family, [figure for figure in figures if figure.family == family], frames, options)


def _write_page(family: str, figures: list[Figure], frames: Frames, options: DrawingOptions) -> Path:
    charts = [
        _draw_chart(figure, frames, options).to_html(
            full_html=False, include_plotlyjs=number == 0, div_id=f"figure{number}"
        )
        for number, figure in enumerate(figures)
    ]
    path = options.folder / f"{family}.html"
    write_text(
        path,
        f"<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>{family} ({figures[0].dataset})</title>"
        "<style>body { font-family: sans-serif; margin: 1em; }</style></head>\n<body>\n"
        f"<h1>{family.replace('_', ' ')}, {figures[0].dataset}</h1>\n" + "\n".join(charts) + "\n</body></html>\n",
    )
    return path


def _draw_chart(figure: Figure, frames: Frames, options: DrawingOptions) -> "Chart":
    from matplotlib.colors import to_hex
    from plotly import graph_objects as go
    from plotly.subplots import make_subplots

    points = compute_points(figure, frames)
    marker, color = options.shown_columns(figure)
    values, scale = markers.marker_values(points, marker), markers.ColorScale.from_points(points, color)
    hover = describe_points(figure, points)
    x_limits = widen_limits(figure.x_limits, points.x.to_numpy())
    chart = make_subplots(cols=len(figure.groups), subplot_titles=figure.groups, shared_yaxes=True)
    for column, group in enumerate(figure.groups, start=1):
        for value in values.value_counts().index:
            is_shown = (values == value) & (points.group == group)
            models = points[is_shown]
            trace = go.Scatter(
                x=models.x,
                y=models.y,
                mode="markers",
                name=value,
                legendgroup=value,
                showlegend=column == 1,
                marker={
                    "symbol": SYMBOLS[markers.marker_code(marker, value)],
                    "size": 8,
                    "color": [to_hex(rgba) for rgba in scale.colors(group, models[color])],
                    "line": {"width": 0.5, "color": "white"},
                },
                customdata=hover[is_shown],
                hovertemplate=HOVER,
            )
            chart.add_trace(trace, row=1, col=column)
        chart.update_xaxes(title=figure.x_label, range=x_limits, col=column)
    for group, _, fit in fit_figure(figure, points, options.fit_by)[0]:
        ends = np.array([fit.start, fit.end])
        line = go.Scatter(x=ends, y=fit.predict(ends), mode="lines", line_color="black", showlegend=False)
        chart.add_trace(line, row=1, col=figure.groups.index(group) + 1)
    chart.update_yaxes(range=widen_limits(figure.y_limits, points.y.to_numpy()), col=1)
    chart.update_layout(
        template="simple_white", height=520, title=f"{figure.heading}<br>{figure.y_label}", legend_font_size=11
    )
    return chart


def describe_points(figure: Figure, points: pd.DataFrame) -> pd.DataFrame:
    """[points, 4] str: model, corpus, number of parameters, and its errors of this type among which others."""
    _, basis = describe_basis(figure)
    return pd.DataFrame(
        {
            "model": points.model_dir_id,
            "corpus": points.training_data.where(points.training_data.astype(str).str.strip() != "", None),
            "parameters": _format(points.num_params, " parameters") if "num_params" in points else None,
            "part": _format(points[figure.y], "") + " of " + _format(points.out_of, f" {basis}"),
        }
    ).fillna({"corpus": "unknown corpus", "parameters": "unknown number of parameters", "part": "unknown"})


def _format(numbers: pd.Series, unit: str) -> pd.Series:
    """[n] str: integers with their unit; missing where the number is."""
    return numbers.map(lambda number: f"{number:,.0f}{unit}", na_action="ignore").astype(object)
