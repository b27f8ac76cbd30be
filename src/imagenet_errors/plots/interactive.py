"""One self-contained HTML page per family, in which every point names its model."""

from pathlib import Path

import pandas as pd

from imagenet_errors.files import write_text
from imagenet_errors.plots import markers
from imagenet_errors.plots.drawing import Options, fit_lines
from imagenet_errors.plots.figure_table import Figure
from imagenet_errors.plots.points import limits, points
from imagenet_errors.plots.scatter import REACH

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
    "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]:,.0f} parameters<br>%{customdata[3]:,.0f} of"
    " %{customdata[4]:,.0f} top-1 errors<br>x %{x:.2f}, y %{y:.4g}<extra></extra>"
)


def write_page(family: str, figures: list[Figure], frames: dict[str, pd.DataFrame], options: Options) -> Path:
    """Write all figures of a family, their groups side by side, into one page; returns its path."""
    parts = [
        _chart(figure, frames, options).to_html(full_html=False, include_plotlyjs=number == 0, div_id=f"figure{number}")
        for number, figure in enumerate(figures)
    ]
    path = options.folder / f"{family}.html"
    write_text(
        path,
        f"<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>{family} ({figures[0].dataset})</title>"
        "<style>body { font-family: sans-serif; margin: 1em; }</style></head>\n<body>\n"
        f"<h1>{family.replace('_', ' ')}, {figures[0].dataset}</h1>\n" + "\n".join(parts) + "\n</body></html>\n",
    )
    return path


def _chart(figure: Figure, frames: dict[str, pd.DataFrame], options: Options):
    from matplotlib.colors import to_hex
    from plotly import graph_objects as go
    from plotly.subplots import make_subplots

    shown = points(figure, frames)
    marker, color = options.shown(figure)
    shapes, shades = markers.shapes(shown, marker), markers.Shades.of(shown, color)
    chart = make_subplots(cols=len(figure.groups), subplot_titles=figure.groups, shared_yaxes=True)
    for column, group in enumerate(figure.groups, start=1):
        for value in shapes.value_counts().index:
            some = shown[(shapes == value) & (shown.group == group)]
            chart.add_trace(
                go.Scatter(
                    x=some.x,
                    y=some.y,
                    mode="markers",
                    name=value,
                    legendgroup=value,
                    showlegend=column == 1,
                    marker={
                        "symbol": SYMBOLS[markers.marker(marker, value)],
                        "size": 8,
                        "color": [to_hex(one) for one in shades.colors(group, some[color])],
                        "line": {"width": 0.5, "color": "white"},
                    },
                    customdata=some[["model_dir_id", "training_data", "num_params", figure.y, "num_group_top1_errors"]],
                    hovertemplate=HOVER,
                ),
                row=1,
                col=column,
            )
        chart.update_xaxes(title=figure.x_label, range=limits(figure.x_limits, shown.x.to_numpy(), REACH), col=column)
    for group, _, line in fit_lines(figure, shown, options.fit_by)[0]:
        x = [line.start, line.end]
        chart.add_trace(
            go.Scatter(x=x, y=line.line(pd.Series(x)), mode="lines", line_color="black", showlegend=False),
            row=1,
            col=figure.groups.index(group) + 1,
        )
    chart.update_yaxes(range=limits(figure.y_limits, shown.y.to_numpy(), REACH), col=1)
    chart.update_layout(template="simple_white", height=520, title=figure.y_label, legend_font_size=11)
    return chart
