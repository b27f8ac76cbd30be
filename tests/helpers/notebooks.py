"""Notebooks run in this process, cell by cell: quicker than in a kernel."""

from contextlib import chdir

import pandas as pd
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from imagenet_errors.notebooks.pages import read_notebook
from tests.conftest import ROOT

NAMES = sorted(path.stem for path in (ROOT / "src").glob("*.ipynb"))


def run_cells(name: str, **parameters) -> list[str]:
    """What each code cell of a notebook shows, as text; fails at the first cell that fails."""
    shell, shown = InteractiveShell.instance(), []
    shell.reset()
    as_in_a_kernel = pd.option_context("display.max_columns", 20, "display.width", 80)
    with chdir(ROOT / "src"), as_in_a_kernel:
        for cell in read_notebook(ROOT / "src" / f"{name}.ipynb", **parameters).cells:
            if cell.cell_type == "code":
                with capture_output() as captured:
                    result = shell.run_cell(cell.source)
                result.raise_error()
                shown.append(captured.stdout + "".join(map(as_text, (one.data for one in captured.outputs))))
    return shown


def as_text(data: dict) -> str:
    """The text of an output, in the richest form that is not a picture."""
    return data.get("text/markdown") or data["text/plain"]


def output_text(cell) -> str:
    """What a code cell of a notebook in a file shows, as text: what is printed, then what is displayed."""
    printed = [one["text"] for one in cell.outputs if one.get("name") == "stdout"]
    return "".join([*printed, *(as_text(one["data"]) for one in cell.outputs if "data" in one)])
