"""What the tests share: the shared data, where it is there, and artefacts folders made from it once per run."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings

from imagenet_errors import cli
from tests.shared_predictions import SHARED, convert

ROOT = Path(__file__).resolve().parents[1]
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")


def run_script(name: str, *arguments, **environment) -> subprocess.CompletedProcess:
    """Run `src/<name>.py` as a user would, with the current environment and `environment` on top."""
    return subprocess.run(
        [sys.executable, ROOT / "src" / f"{name}.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {key: str(value) for key, value in environment.items()},
    )


class Outcome(NamedTuple):
    status: int
    stdout: str
    stderr: str


@pytest.fixture
def call(monkeypatch, capsys):
    """Call a script's main function in this process: `call("evaluation", "--dataset", "sample")` gives an Outcome."""

    def call_script(name: str, *arguments) -> Outcome:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        status = 0
        try:
            cli.run(importlib.import_module(name).main)
        except SystemExit as leaving:
            status = leaving.code
        return Outcome(status, *capsys.readouterr())

    return call_script


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"the shared data are not at {SHARED} (or $SHARED_DATA)")
    return SHARED


@pytest.fixture(scope="session")
def twelve(shared, tmp_path_factory) -> Path:
    """An artefacts folder with the twelve shared prediction sets, not analysed. Do not write to it."""
    folder = tmp_path_factory.mktemp("twelve") / "artefacts"
    convert(folder)
    return folder


@pytest.fixture(scope="session")
def study(twelve):
    """The ImageNet study of the twelve models."""
    from imagenet_errors.analysis.study import Study
    from imagenet_errors.storage import Artefacts

    return Study.load(Artefacts(twelve), "imagenet")


@pytest.fixture(scope="session")
def analysed(twelve, tmp_path_factory) -> Path:
    """A folder with `artefacts/` (the twelve, analysed) and the `results/` of one run of all steps."""
    folder = tmp_path_factory.mktemp("analysed")
    shutil.copytree(twelve, folder / "artefacts")
    steps = ("perform_error_analysis", "collect_results", "count_spurious_correlation_pairs", "list_most_common_errors")
    done = run_script(
        "evaluation",
        *(f"--{step}" for step in steps),
        *("--artefacts_dir", folder / "artefacts", "--results_dir", folder / "results"),
    )
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    (folder / "stderr.txt").write_text(done.stderr)
    return folder
