"""The notebooks run, and their committed outputs are what they print."""

import shutil

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

PUBLISHED = "artefacts/published: 962 models"


@pytest.fixture
def nothing(tmp_path):
    """What comes with the repository is enough."""
    return {"ARTEFACTS_DIR": tmp_path}


@pytest.fixture
def annotated(shared, tmp_path):
    """An artefacts folder with the experts' lists of mistakes."""
    shutil.copytree(shared / "annotations", tmp_path / "annotations", copy_function=shutil.copyfile)
    return {"ARTEFACTS_DIR": tmp_path}


@pytest.fixture
def demonstrated(call, tmp_path):
    """What `make demo` leaves behind."""
    flags = ("--dataset", "sample", "--artefacts_dir", tmp_path)
    assert call("collect_predictions", *flags, "--device", "cpu", "--workers", 0).status == 0
    assert call("evaluation", *flags, "--perform_error_analysis", "--results_dir", tmp_path / "results").status == 0
    return {"ARTEFACTS_DIR": tmp_path, "DATASET": "sample"}


def outputs(notebook) -> list[str]:
    """The text of every code cell's output; standard error aside."""
    return [
        "".join(one.get("text") or one["data"]["text/plain"] for one in cell.outputs if one.get("name") != "stderr")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.parametrize(
    ("name", "needs", "words"),
    [
        ("dough_bagel_eval", "annotated", ["547 agree"]),
        ("explore_dataset", "nothing", ["1,019 pairs", "18,692 unproblematic", "161 superclasses"]),
        pytest.param("analyse_results_imagenet", "nothing", [f"{PUBLISHED}, 50 figures"], marks=pytest.mark.heavy),
        ("my_model", "nothing", ["simulated 1: top-1 81.98 %", "Missing multi-label errors are 15.4 points below"]),
        ("analyse_results_imagenet-a", "nothing", [f"{PUBLISHED}, 44 figures"]),
        pytest.param("show_images", "demonstrated", ["chelsea.png", "model failure: 2"], marks=pytest.mark.heavy),
    ],
)
def test_committed_outputs_are_what_the_notebook_computes(name, needs, words, request, monkeypatch):
    monkeypatch.delenv("STATS_DIR", raising=False)
    for variable, value in request.getfixturevalue(needs).items():
        monkeypatch.setenv(variable, str(value))
    committed = nbformat.read(ROOT / "src" / f"{name}.ipynb", as_version=4)
    executed = nbformat.from_dict(committed)
    where = {"metadata": {"path": ROOT / "src"}}
    NotebookClient(executed, timeout=300, kernel_name="python3", resources=where).execute()
    assert outputs(executed) == outputs(committed)
    assert all(word in "".join(outputs(executed)) for word in words)


@pytest.mark.parametrize("dataset", ["imagenet", "imagenet-a"])
def test_notebook_links_to_committed_figures(dataset):
    notebook = nbformat.read(ROOT / "src" / f"analyse_results_{dataset}.ipynb", as_version=4)
    shown = [one["data"]["text/html"] for cell in notebook.cells for one in cell.get("outputs", []) if "data" in one]
    links = [html.split('"')[1] for html in shown if html.startswith("<img")]
    assert len(set(links)) == {"imagenet": 50, "imagenet-a": 44}[dataset]
    assert all((ROOT / "src" / link).is_file() for link in links)
