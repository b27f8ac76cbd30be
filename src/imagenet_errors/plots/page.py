"""The page of figures: one HTML file with data, style, code and plotly.js, which asks nothing of the network."""

from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from imagenet_errors.files import format_json_for_html, write_text

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{css}</style>
</head>
<body>
<h1>{title}</h1>
<div class="search" role="search">
<label for="search">Find models</label>
<input id="search" type="search" autocomplete="off" spellcheck="false" placeholder="press / and type part of a name">
<button id="clear" type="button">Clear</button>
<p id="status" role="status"></p>
</div>
<div id="datasets" role="tablist" aria-label="Datasets"></div>
<div id="families" role="tablist" aria-label="Families of figures"></div>
<noscript><p>The figures are drawn by a script: allow it in this browser.</p></noscript>
<main id="main" role="tabpanel" aria-label="Figures">
<div id="legend"></div>
<section id="highlighted" tabindex="0" hidden aria-label="Highlighted models"></section>
<div id="panels"></div>
</main>
<script id="data" type="application/json">{data}</script>
<script>{plotly}</script>
<script>
{js}</script>
</body>
</html>
"""


def write_page(path: Path, datasets: list[dict[str, Any]], highlight: tuple[str, ...]) -> None:
    """Write the page.

    Args:
        path: Of the HTML file.
        datasets: What `page_data.describe_dataset` gives for each.
        highlight: Models, by `model_dir_id`, that are highlighted when the page opens.
    """
    drawing = read_drawing_parts()
    title = f"Model errors on {' and '.join(dataset['title'] for dataset in datasets)}"
    values = {"datasets": datasets, "highlight": highlight}
    text = PAGE.format(
        policy=POLICY,
        title=escape(title),
        css=_read_beside("page.css") + drawing.style,
        data=format_json_for_html(values),
        plotly=drawing.plotly,
        js='"use strict";\n' + drawing.script + _read_beside("page.js"),
    )
    write_text(path, text)


class DrawingParts(NamedTuple):
    """What a page with figures is made of besides its data.

    Attributes:
        plotly: plotly.js.
        script: Draws figures with it; figures.js says what else it needs.
        style: Of the figures.
    """

    plotly: str
    script: str
    style: str


def read_drawing_parts() -> DrawingParts:
    from plotly.offline import get_plotlyjs

    return DrawingParts(get_plotlyjs(), _read_beside("figures.js"), _read_beside("figures.css"))


def _read_beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
