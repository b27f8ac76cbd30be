"""The light environment: analysing finished predictions needs neither torch nor timm."""

import resource
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
    start = time.perf_counter()
    done = subprocess.run(
        [
            *(python, ROOT / "src" / "evaluation.py", "--perform_error_analysis", "--collect_results"),
            *("--artefacts_dir", tmp_path / "artefacts", "--results_dir", tmp_path / "results"),
        ],
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - start
    gigabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    assert done.returncode == 0, done.stderr
    print(f"{seconds:.1f} s, at most {gigabytes:.2f} GB in any child process, pip included")
    assert seconds < 15
    assert gigabytes < 1.5
