"""The light environment: analysing finished predictions needs neither torch nor timm."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.heavy


def test_analysis_needs_more_than_its_own_requirements(twelve, tmp_path):
    """A new environment with requirements-analysis.txt alone types and collects the twelve sets in 15 s and 1.5 GB."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", ROOT / "requirements-analysis.txt"], check=True)
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode
    shutil.copytree(twelve, tmp_path / "artefacts")
    command = [
        *(python, ROOT / "src" / "evaluation.py", "--perform_error_analysis", "--collect_results"),
        *("--artefacts_dir", tmp_path / "artefacts", "--results_dir", tmp_path / "results"),
    ]
    start = time.perf_counter()
    with open(tmp_path / "log", "w") as log:
        _, status, usage = os.wait4(subprocess.Popen(command, stdout=log, stderr=log).pid, 0)
    assert status == 0, (tmp_path / "log").read_text()
    assert time.perf_counter() - start < 15
    assert usage.ru_maxrss / 2**20 < 1.5
