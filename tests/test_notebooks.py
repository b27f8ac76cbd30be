"""The notebooks run, and what is committed of them is what they print."""

import shutil

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT


@pytest.fixture
def artefacts(twelve, tmp_path, monkeypatch):
    """An artefacts folder with annotations and the list of images, without predictions."""
    shutil.copytree(twelve / "annotations", tmp_path / "annotations")
    (tmp_path / "imagenet").mkdir()
    shutil.copy(twelve / "imagenet" / "samples_info.npz", tmp_path / "imagenet")
    monkeypatch.setenv("ARTEFACTS_DIR", str(tmp_path))
    return tmp_path


def outputs(notebook) -> list[str]:
    """The text of every code cell's output; standard error aside."""
    return [
        "".join(one.get("text") or one["data"]["text/plain"] for one in cell.outputs if one.get("name") != "stderr")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_expert_notebook_shows_what_it_no_longer_computes(artefacts):
    committed = nbformat.read(ROOT / "src" / "dough_bagel_eval.ipynb", as_version=4)
    executed = nbformat.from_dict(committed)
    NotebookClient(
        executed, timeout=120, kernel_name="python3", resources={"metadata": {"path": ROOT / "src"}}
    ).execute()
    assert outputs(executed) == outputs(committed)
    assert "547 agree" in outputs(executed)[0]
