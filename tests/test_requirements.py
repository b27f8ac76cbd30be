"""Requirements files build on each other, and whoever starts with an old Python is told so in a clear line."""

import ast
import re
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT
from tests.test_house import PACKAGE, SCRIPTS, SOURCE

FILES = sorted(path.name for path in ROOT.glob("requirements*.txt"))


def read_requirements(name: str) -> list[Requirement]:
    """What pip reads from a file, in its order."""
    found = []
    for line in (ROOT / name).read_text().splitlines():
        if line.startswith("-r "):
            found += read_requirements(line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            found.append(Requirement(line.partition("  #")[0]))
    return found


@pytest.mark.parametrize("name", FILES)
def test_pip_names_the_python_needed_before_anything_else(name):
    first = read_requirements(name)[0]
    assert first.url == "file:///Python-3.11-or-newer-is-needed"
    assert first.marker.evaluate({"python_version": "3.10"})
    assert not first.marker.evaluate({"python_version": "3.11"})


@pytest.mark.parametrize("name", FILES)
def test_versions_are_pinned_once(name):
    names = [one.name for one in read_requirements(name)[1:]]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"==[\w.]+", str(one.specifier)) for one in read_requirements(name)[1:])


def test_each_environment_is_part_of_the_next():
    analysis, notebooks, models, tests = (
        {one.name for one in read_requirements(f"requirements{suffix}.txt")}
        for suffix in ("-analysis", "-notebooks", "", "-test")
    )
    assert analysis < notebooks < models < tests
    assert {"jupyterlab", "ipykernel", "nbclient"} <= notebooks
    assert not notebooks & {"torch", "torchvision", "timm"}


@pytest.mark.parametrize("script", [path.stem for path in SCRIPTS])
def test_script_with_an_older_python_says_so_in_one_line(script):
    code = (
        "import sys, runpy;\n"
        "sys.version_info, sys.version = (3, 9, 2), '3.9.2 (main)'\n"
        f"runpy.run_path('{script}.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SOURCE)
    assert done.returncode == 2
    assert done.stderr == "Python 3.11 or newer is needed, this is 3.9.2\n"


@pytest.mark.parametrize("path", [*SCRIPTS, PACKAGE / "__init__.py"], ids=lambda path: path.name)
def test_older_pythons_can_read_what_checks_the_version(path):
    ast.parse(path.read_text(), feature_version=(3, 8))


@pytest.mark.heavy
def test_light_environments_are_set_up_without_torch(tmp_path):
    """In folders of their own, with all that the notebooks import."""
    python = tmp_path / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", ROOT / "requirements-notebooks.txt"], check=True)
    code = "import nbclient, nbconvert, jupyterlab, skimage, imagenet_errors.notebooks.figures"
    assert subprocess.run([python, "-c", code], cwd=SOURCE).returncode == 0
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode
