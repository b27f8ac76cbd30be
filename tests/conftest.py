"""What the tests share: the shared data, where it is there, and artefacts folders made from it once per run."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import settings

from imagenet_errors import cli, signals
from imagenet_errors.dataset.classes import load_classes
from imagenet_errors.dataset.wordnet import load_wordnet
from imagenet_errors.paths import Artefacts
from tests.helpers import simulated_models
from tests.helpers.shared_predictions import SHARED, convert

ROOT = Path(__file__).resolve().parents[1]
COMMITTED = Artefacts(ROOT / "artefacts")
os.environ.pop("COLUMNS", None)  # of a terminal, and of the workers of pytest-xdist: tests say how wide theirs is
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
        status, handlers = 0, {number: signal.getsignal(number) for number in (*signals.SIGNALS, signal.SIGCHLD)}
        try:
            cli.run(importlib.import_module(name).main)
        except SystemExit as leaving:
            status = leaving.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return Outcome(status, *capsys.readouterr())

    return call_script


FILES = ["n01440764/ILSVRC2012_val_00000293.JPEG", "n01443537/ILSVRC2012_val_00000236.JPEG"]


def refused(outcome, *words) -> bool:
    """Status 2, and a last line that holds all `words` and begins as an error does; nothing of a traceback."""
    last = outcome.stderr.splitlines()[-1]
    assert outcome.status == 2, outcome
    assert ": error: " in last
    assert "Traceback" not in outcome.stderr
    for word in words:
        assert str(word) in last
    return True


def left_out(outcome, *words) -> bool:
    """Status 1: the run is over, and its last line, which holds all `words`, says which models are left out."""
    assert outcome.status == 1, outcome
    assert "Traceback" not in outcome.stderr
    for word in words:
        assert str(word) in outcome.stderr.splitlines()[-1]
    return True


@pytest.fixture
def small(tmp_path):
    """An artefacts folder with two annotated images and one model's predictions."""
    (tmp_path / "annotations").mkdir()
    annotate(
        tmp_path, {FILES[0]: {"correct": ["n01440764"]}, FILES[1]: {"correct": ["n01443537"], "unclear": ["n01440764"]}}
    )
    model = tmp_path / "imagenet" / "me--mine"
    model.mkdir(parents=True)
    np.savez(tmp_path / "imagenet" / "samples_info.npz", sample_files=FILES, targets=[0, 1])
    np.savez(model / "preds.npz", top1=np.array([0, 5]))
    (model / "metadata.json").write_text(json.dumps({"arch": "resnet"}))
    return tmp_path


def annotate(folder, annotations, problematic=()):
    content = {
        "initial_annots": {file.split("/")[1]: annotation for file, annotation in annotations.items()},
        "problematic_images": dict.fromkeys(problematic, True),
        "imagenet_m": [],
    }
    (folder / "annotations" / "human_accuracy_v3.0.0.json").write_text(json.dumps(content))


@pytest.fixture
def analyse(call, small):
    def run(*flags):
        flags = flags or ("--perform_error_analysis", "--collect_results")
        return call("evaluation", "--artefacts_dir", small, "--results_dir", small / "results", *flags)

    return run


@pytest.fixture(scope="session")
def classes():
    """The committed classes."""
    return load_classes(COMMITTED)


@pytest.fixture(scope="session")
def synsets(classes):
    """The committed hierarchy."""
    return load_wordnet(COMMITTED, classes)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"the shared data are not at {SHARED} (or $SHARED_DATA)")
    return SHARED


@pytest.fixture(scope="session")
def twelve(tmp_path_factory) -> Path:
    """An artefacts folder with the twelve shared prediction sets, not analysed. Do not write to it.

    Where the shared data are absent, simulated models of the same names take their place.
    """
    folder = tmp_path_factory.mktemp("twelve") / "artefacts"
    if SHARED.is_dir():
        convert(folder)
    else:
        simulated_models.simulate(folder)
    return folder


@pytest.fixture(scope="session")
def lite0(shared, tmp_path_factory) -> Path:
    """An artefacts folder with EfficientNet-Lite 0's predictions for the 383 shared images. Do not write to it."""
    folder = tmp_path_factory.mktemp("lite0")
    shutil.copytree(shared / "annotations", folder / "annotations", copy_function=shutil.copyfile)
    flags = ("--artefacts_dir", folder, "--model", "lite0", "--batch_size", 64, "--workers", 0)
    done = run_script("collect_predictions", *flags, IMAGENET_DIR=shared / "images", OMP_NUM_THREADS=1)
    assert done.returncode == 0, done.stderr
    assert "383 of 50,000 images" in done.stdout
    return folder


@pytest.fixture(scope="session")
def context(twelve):
    """What the analysis of the twelve models on ImageNet needs."""
    from imagenet_errors.analysis.context import load_context

    return load_context(Artefacts(twelve), "imagenet")


@pytest.fixture(scope="session")
def shipped(tmp_path_factory):
    """What comes with the repository of the same: all images and their labels, no models."""
    from imagenet_errors.analysis.context import load_context

    return load_context(Artefacts(tmp_path_factory.mktemp("empty")), "imagenet")


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
