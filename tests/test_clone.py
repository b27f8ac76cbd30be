"""Scripts and notebooks with their defaults change nothing that the repository has committed."""

import csv
import os
import subprocess
import sys
from itertools import islice

import pytest

from imagenet_errors.notebooks.pages import execute, read_notebook
from tests.conftest import ROOT
from tests.helpers.clones import clone_repository, find_changes
from tests.helpers.notebooks import NAMES
from tests.test_house import SCRIPTS

NAME = "me/mine"
QUICK = {  # what a user with a file of predictions runs
    "import_predictions": ["predictions.csv", "--model_name", NAME],
    "evaluation": ["--perform_error_analysis", "--collect_results", "--list_most_common_errors"],
    "report": ["--model", NAME],
    "utils_plot": ["--dataset", "imagenet", "--figure", "*num_ambiguous_abs*groups=all"],
    "list_latex": ["--models_summary_csv"],
}
SLOW = [
    ("collect_predictions", ["--dataset", "sample"]),
    ("compute_clip_embeddings", ["--dataset", "sample", "--what", "images"]),  # its weights are not here
    ("evaluation", ["--dataset", "sample", "--perform_error_analysis", "--collect_results"]),
    ("evaluation", ["--explain", "ILSVRC2012_val_00000001.JPEG", "--model", NAME]),
    ("evaluation", ["--compare_with_experts"]),
    ("report", ["--model", NAME, "--picture", "profile.png", "--output", "profile.txt"]),
    ("utils_plot", []),
    ("utils_plot", ["--trends"]),
    ("utils_plot", ["--interactive"]),
    ("download_artefacts", ["--list"]),
    ("download_artefacts", ["--verify"]),
    ("download_artefacts", ["--export_archive", "mine.tar.gz"]),
    ("make_artefacts", []),
    ("reproduce", ["--archive", "missing.tar.gz"]),
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A repository with the files of this one, a folder beside it to run from, and predictions in that folder."""
    folder = tmp_path_factory.mktemp("clone")
    clone_repository(folder / "repository")
    (folder / "elsewhere").mkdir()
    with open(ROOT / "artefacts" / "validation_labels.csv", newline="") as file:
        first = list(islice(csv.DictReader(file), 400))
    lines = [f"ILSVRC2012_val_{int(row['number']):08}.JPEG,{int(row['class_id']) // 2 * 2}" for row in first]
    (folder / "elsewhere" / "predictions.csv").write_text("\n".join(["file,prediction", *lines, ""]))
    return folder


def run(clone, script, arguments) -> int:
    """Run a script of the clone from the folder beside it; no variable names a folder of images."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("IMAGENET")}
    command = [sys.executable, clone / "repository" / "src" / f"{script}.py", *arguments]
    done = subprocess.run(command, cwd=clone / "elsewhere", env=environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.returncode


@pytest.mark.heavy
def test_results_with_defaults_are_not_among_the_committed_files(clone):
    for script, arguments in QUICK.items():
        assert run(clone, script, arguments) == 0, script
        assert find_changes(clone / "repository") == "", script
    assert (clone / "repository" / "results" / "stats-imagenet").is_dir()


@pytest.mark.heavy
def test_no_script_changes_a_committed_file(clone):
    assert {script for script, _ in [*QUICK.items(), *SLOW]} == {path.stem for path in SCRIPTS}
    for script, arguments in [*QUICK.items(), *SLOW]:
        run(clone, script, arguments)
        assert find_changes(clone / "repository") == "", (script, arguments)


@pytest.mark.heavy
def test_no_notebook_changes_a_committed_file(clone):
    source = clone / "repository" / "src"
    for name in NAMES:
        execute(read_notebook(source / f"{name}.ipynb"), source)
        assert find_changes(clone / "repository") == "", name
