"""Notebooks as they are run with other parameters, and as HTML pages that need no network."""

import logging
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenet_errors.errors import InputError
from imagenet_errors.files import write_text

if TYPE_CHECKING:
    from nbformat import NotebookNode

PARAMETERS = "parameters"  # the tag of the cell whose values others may replace, as papermill has it
TIMEOUT = 1800  # seconds that a cell may take
TEMPLATE = """
{%- extends 'index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block data_png scoped -%}
<div class="jp-RenderedImage jp-OutputArea-output">
<img src="data:image/png;base64,{{ output.data['image/png'] | escape_html }}"
alt="{{ output | get_metadata('alt', 'image/png') | escape_html_keep_quotes | replace('"', '&quot;') }}"
width="{{ output | get_metadata('width', 'image/png') }}">
</div>
{%- endblock -%}
"""
"""nbconvert's, with descriptions of pictures, less what it fetches from other hosts: require.js, MathJax, mermaid."""

log = logging.getLogger(__name__)


def read_notebook(path: Path, **parameters: Any) -> "NotebookNode":
    """Read a notebook and set its parameters in a cell after that with the tag `parameters`, as papermill does.

    Args:
        path: Of the notebook.
        parameters: Values of variables of that cell; anything that `repr` writes as Python.
    """
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    if parameters:
        tagged = [PARAMETERS in cell.metadata.get("tags", []) for cell in notebook.cells]
        source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
        cell = nbformat.v4.new_code_cell(source, id="injected-parameters", metadata={"tags": ["injected-parameters"]})
        notebook.cells.insert(tagged.index(True) + 1, cell)
    return notebook


def execute(notebook: "NotebookNode", folder: Path) -> None:
    """Run all cells in a kernel of this Python, in a folder; their outputs replace those of the notebook.

    Raises:
        InputError: where a cell fails.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute(stderr=subprocess.DEVNULL)  # a kernel warns there of its transport
    except CellExecutionError as error:
        raise InputError(f"a cell of the notebook failed: {error.ename}: {error.evalue}") from None


def write_page(path: Path, notebook: "NotebookNode") -> None:
    """Write an executed notebook as one HTML file that asks nothing of the network."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(raw_template=TEMPLATE)
    html, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem}})
    write_text(path, html)


def run_notebooks(folder: Path, notebooks: dict[str, dict[str, Any]], results: Path) -> list[str]:
    """Execute notebooks and write each as a page; a failing one is named, and the others are written.

    Args:
        folder: Has the notebooks.
        notebooks: {file stem: parameters}.
        results: Where the pages go, as `<file stem>.html`.

    Returns:
        A line for each that failed.
    """
    failures = []
    for name, parameters in notebooks.items():
        path = results / f"{name}.html"
        try:
            notebook = read_notebook(folder / f"{name}.ipynb", **parameters)
            execute(notebook, folder)
            write_page(path, notebook)
            log.info(f"wrote {path}: {path.stat().st_size / 1e6:.1f} MB")
        except InputError as error:
            failures.append(f"{name}: {error}")
            log.info(f"{name}.ipynb: {error}")
    return failures
