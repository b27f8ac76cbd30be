"""The light environment: analysing finished predictions needs neither torch nor timm."""

import re
import shutil
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.heavy
# Runs a script as Python does and leaves its memory statistics; rusage would count the parent's memory as well.
PROBE = """
import atexit, pathlib, runpy, sys
status, script, *sys.argv[1:] = sys.argv[1:]
atexit.register(lambda: pathlib.Path(status).write_text(pathlib.Path("/proc/self/status").read_text()))
sys.path.insert(0, str(pathlib.Path(script).parent))
runpy.run_path(script, run_name="__main__")
"""


def test_analysis_needs_only_its_own_requirements(twelve, tmp_path):
    """A new environment with requirements-analysis.txt alone types and collects the twelve sets in 15 s and 1.5 GB.

    It also draws a figure of the paper from its tables.
    """
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", ROOT / "requirements-analysis.txt"], check=True)
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode
    shutil.copytree(twelve, tmp_path / "artefacts")
    flags = ("--perform_error_analysis", "--collect_results", "--artefacts_dir", tmp_path / "artefacts")
    probed = (python, "-c", PROBE, tmp_path / "status", ROOT / "src" / "evaluation.py")
    start = time.perf_counter()
    done = subprocess.run([*probed, *flags, "--results_dir", tmp_path / "results"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - start < 15
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", (tmp_path / "status").read_text())[1])
    assert peak / 2**20 < 1.5
    one = ("--figure", "*num_ambiguous_abs*groups=all", "--dataset", "imagenet", "--results_dir", tmp_path)
    script = ROOT / "src" / "utils_plot.py"
    drawn = subprocess.run([python, script, *one], capture_output=True, text=True)
    assert drawn.returncode == 0, drawn.stderr
    assert len(list((tmp_path / "figures" / "imagenet").glob("*.p*"))) == 4  # the figure and its legend
