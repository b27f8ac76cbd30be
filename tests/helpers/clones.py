"""Clones of this repository, to see that what users run changes no committed file."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@localhost")


def git(folder: Path, *arguments) -> str:
    """What a git command prints in a folder."""
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def clone_repository(folder: Path) -> None:
    """Clone this repository to `folder`, and commit there what is not committed here yet."""
    try:
        listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("not a git checkout")
    git(ROOT, "clone", "--quiet", "--no-checkout", ROOT, folder)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git(folder, "add", "--all")
    git(folder, *IDENTITY, "commit", "--quiet", "--allow-empty", "--message", "all")


def link_environment(folder: Path) -> None:
    """Give a clone the environment of this process, as if `make` had installed it there."""
    if not (Path(sys.prefix) / "bin" / "activate").is_file():
        pytest.skip("not run by the Python of an environment")
    (folder / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        if not path.name.startswith("installed"):
            (folder / ".venv" / path.name).symlink_to(path)
    for name in ("installed-analysis", "installed-notebooks", "installed", "installed-test"):
        (folder / ".venv" / name).touch()


def find_changes(folder: Path) -> str:
    """What `git status` says of a clone: nothing where all is as committed."""
    return git(folder, "status", "--porcelain")
