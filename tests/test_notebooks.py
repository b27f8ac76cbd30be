"""The notebooks run from what is there, say what is missing, and their committed outputs are what they compute."""

import re
import shutil

import nbformat
import pytest

from imagenet_errors.notebooks.pages import execute, read_notebook
from tests.conftest import ROOT
from tests.helpers.notebooks import NAMES, output_text, run_cells
from tests.test_house import SOURCE

ANALYSES = {"imagenet": 50, "imagenet-a": 44}


@pytest.fixture
def annotated(shared, tmp_path):
    """An artefacts folder with the experts' lists of mistakes."""
    shutil.copytree(shared / "annotations", tmp_path / "annotations", copy_function=shutil.copyfile)
    return tmp_path


@pytest.fixture
def demonstrated(call, tmp_path):
    """What `make demo` leaves behind."""
    flags = ("--dataset", "sample", "--artefacts_dir", tmp_path)
    assert call("collect_predictions", *flags, "--device", "cpu", "--workers", 0).status == 0
    assert call("evaluation", *flags, "--perform_error_analysis", "--results_dir", tmp_path / "results").status == 0
    return tmp_path


def committed(name):
    return nbformat.read(SOURCE / f"{name}.ipynb", as_version=4)


@pytest.mark.parametrize("name", NAMES)
def test_first_cell_holds_the_parameters(name):
    notebook = committed(name)
    assert notebook.cells[0].metadata.tags == ["parameters"]
    assert "environ[" not in str(notebook)


@pytest.mark.parametrize("name", NAMES)
def test_committed_outputs_are_complete(name):
    """Every picture is embedded, with a description, and no cell failed."""
    for cell in committed(name).cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error"
            assert "<img" not in str(output.get("data", {}).get("text/html"))
            if "image/png" in output.get("data", {}):
                assert len(output.metadata["image/png"]["alt"]) > 20
    assert "<img" not in "".join(cell.source for cell in committed(name).cells)


def compare(name, shown):
    assert shown == [output_text(cell) for cell in committed(name).cells if cell.cell_type == "code"]


def test_dataset_is_explored_without_any_file(tmp_path):
    shown = "".join(run_cells("explore_dataset", artefacts_dir=str(tmp_path)))
    assert all(words in shown for words in ("1,019 pairs", "18,692 unproblematic", "161 superclasses"))


def test_committed_exploration_is_what_the_notebook_computes():
    compare("explore_dataset", run_cells("explore_dataset"))


def test_missing_lists_of_mistakes_are_named_in_a_box(tmp_path):
    shown = run_cells("dough_bagel_eval", artefacts_dir=str(tmp_path))
    assert "--what mistakes" in "".join(shown)
    assert not any(shown[3:])


def test_committed_comparison_with_experts_is_what_the_notebook_computes(annotated):
    first, _, *shown = run_cells("dough_bagel_eval", artefacts_dir=str(annotated))
    assert "547 agree" in shown[0]
    assert "no model has predictions here: set model" in "".join(shown)
    compare("dough_bagel_eval", [first, *shown])


def test_a_models_mistakes_stand_beside_the_experts(analysed):
    shown = "".join(run_cells("dough_bagel_eval", artefacts_dir=str(analysed / "artefacts"), model="pytorch/resnet50"))
    assert "**pytorch--resnet50** (50,000 of 50,000 images)" in shown
    assert re.search(r"no error +the same mistake +another mistake", shown)


def test_committed_journey_of_a_model_is_what_the_notebook_computes(tmp_path):
    shown = run_cells("my_model", artefacts_dir=str(tmp_path))
    assert "simulated 1: top-1 81.98 %" in shown[2]
    assert "Missing multi-label errors are 15.4 points below" in "".join(shown)
    compare("my_model", [shown[0], *shown[2:]])


def test_missing_file_of_predictions_is_named_in_a_box(tmp_path):
    shown = run_cells("my_model", predictions=str(tmp_path / "my.csv"))
    assert str(tmp_path / "my.csv") in shown[2]
    assert not any(shown[3:])


@pytest.mark.parametrize("dataset", ANALYSES)
def test_missing_tables_are_named_in_a_box_without_a_flag(dataset, tmp_path):
    shown = run_cells(f"analyse_results_{dataset}", stats_dir=str(tmp_path))
    assert f"{tmp_path}/stats-{dataset}/non_problematic_stats_all.csv is missing: set stats_dir" in shown[2]
    assert "--stats_dir" not in "".join(shown)
    assert "How models fail" in shown[2]
    assert not any(shown[3:])


def test_figures_are_of_the_tables_that_are_named(analysed):
    """Not of the published 962: title, sentences and what is left out are of the twelve."""
    results = str(analysed / "results")
    shown = run_cells("analyse_results_imagenet", stats_dir=results, families=["class_overlap", "fine_grained_OOV"])
    assert "# How 12 models fail on ImageNet" in shown[2]
    assert results in shown[2]
    assert "num_OOV_clip is empty" in "".join(shown)
    assert "these tables have 12 models" in shown[-1]
    assert "962" not in "".join(shown)


def test_unknown_family_is_named_in_a_box():
    assert "did you mean 'fine_grained'" in "".join(run_cells("analyse_results_imagenet", families=["fine_grain"]))


def test_sample_is_shown_without_predictions(tmp_path):
    shown = "".join(run_cells("show_images", artefacts_dir=str(tmp_path)))
    assert "Accepted labels: 281, n02123045: tabby, tabby cat; 282" in shown
    assert "make demo writes some" in shown


def test_images_that_are_not_here_are_named_in_a_box(tmp_path, monkeypatch):
    monkeypatch.delenv("IMAGENET_DIR", raising=False)
    shown = "".join(run_cells("show_images", artefacts_dir=str(tmp_path), dataset="imagenet"))
    assert "$IMAGENET_DIR is not set" in shown
    assert "No image matches" in shown
    assert "did you mean 'imagenet'" in "".join(run_cells("show_images", dataset="imagnet"))


@pytest.mark.heavy
def test_committed_images_are_what_the_notebook_shows_after_the_demo(demonstrated):
    shown = run_cells("show_images", artefacts_dir=str(demonstrated))
    assert "chelsea.png" in "".join(shown)
    compare("show_images", [shown[0], *shown[2:]])


@pytest.mark.heavy
@pytest.mark.parametrize(("dataset", "num_figures"), ANALYSES.items())
def test_committed_figures_are_what_a_kernel_computes(dataset, num_figures):
    name = f"analyse_results_{dataset}"
    notebook = read_notebook(SOURCE / f"{name}.ipynb")
    execute(notebook, ROOT / "src")
    shown = [output_text(cell) for cell in notebook.cells if cell.cell_type == "code"]
    compare(name, shown)
    assert "# How 962 models fail" in shown[1]
    assert "".join(shown).count(":* it ") == num_figures
