"""Small runs of every script that writes, to be disturbed, and what an undisturbed one leaves.

Test modules get the fixtures through `pytest_plugins`. PYTEST_DONT_REWRITE: they import it as well.
"""

import csv
import hashlib
import json
import shutil
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

from imagenet_errors import locks
from imagenet_errors.paths import PUBLISHED_TABLES
from tests.conftest import Outcome
from tests.helpers import tiny_clip
from tests.helpers.synthetic_clip import Made, gates, write_train
from tests.helpers.warm import Fault, Warm

MODELS = ("pytorch--alexnet", "pytorch--resnet50", "pytorch--vgg16")
NUM_IMAGES = 120
FIGURE = "*num_common_co_occ_abs*groups=all"
GROWING = ("downloads_done.csv", "weights.csv", "failures.csv")  # a row at a time, in any order
OWN = """
import torch
from torchvision import transforms

class Linear(torch.nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.head = torch.nn.Linear(192, 1000)

    def forward(self, pixels):
        return self.head(pixels.flatten(1))

resize = transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()])
a, b, c, d = (lambda seed=seed: (Linear(seed), resize) for seed in range(4))

def bad():
    raise FileNotFoundError("no weights")
"""


@dataclass(frozen=True)
class Task:
    """A run of a script.

    Attributes:
        warm: What forks it.
        name: Of the task.
        before: The artefacts folder that it begins with; it is copied.
        script: The script's name.
        flags: Its arguments; `{}` in them is the folder.
        environment: What is set for it.
        ignored: Files of the folder that need not be the same after two runs.
        replaced: Files that are gone for a moment: what is made again must never stand beside what it is not of.
    """

    warm: Warm
    name: str
    before: Path
    script: str
    flags: tuple
    environment: dict = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()

    def folder(self, tmp_path: Path, name: str = "folder") -> Path:
        """A fresh copy of what it begins with."""
        return shutil.copytree(self.before, tmp_path / f"{self.name} {name}", copy_function=shutil.copyfile)

    def start(self, folder: Path, *faults) -> int:
        words = [str(flag).format(folder) for flag in ("--artefacts_dir", "{}", *self.flags)]
        return self.warm.start(self.script, *words, faults=faults, **self.environment)

    def run(self, folder: Path, *faults) -> Outcome:
        return self.warm.wait(self.start(folder, *faults))

    def but(self, **changes) -> "Task":
        """The same with other fields, which must not change what it leaves."""
        changed = replace(self, **changes)
        vars(changed)["undisturbed"] = self.undisturbed
        return changed

    @cached_property
    def undisturbed(self) -> tuple[int, dict[str, object]]:
        """Exit status and contents of an undisturbed run."""
        folder = self.folder(self.before.parent, "undisturbed")
        outcome = self.run(folder)
        assert outcome.status in (0, 1), outcome
        return outcome.status, self.contents(folder)

    @cached_property
    def seconds(self) -> float:
        """What an undisturbed run takes, once files are in memory."""
        folder = self.folder(self.before.parent, "timed")
        begun = time.monotonic()
        status = self.run(folder).status
        seconds = time.monotonic() - begun
        assert status == self.undisturbed[0]
        return seconds

    def contents(self, folder: Path) -> dict[str, object]:
        """Every file but locks, by name."""
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        return {
            name: _content(path)
            for name, path in sorted(files.items())
            if locks.FOLDER not in path.parts and name not in self.ignored
        }

    def calls(self, tmp_path: Path, most: int, removals: bool, below: str = "") -> list[int]:
        """Some of the calls of an undisturbed run that change the folder, from the first, number 1, to the last."""
        folder, told = self.folder(tmp_path, "calls"), tmp_path / f"{self.name} count"
        self.run(folder, Fault("count_calls", (str(folder / below), removals, str(told))))
        count = int(told.read_text())
        return sorted({1 + part * (count - 1) // (most - 1) for part in range(most)})

    def check_whole(self, folder: Path) -> None:
        """Every file is as it was before the run, or as it is after it; temporary ones aside, nothing else is there."""
        before, after = self.contents(self.before), self.undisturbed[1]
        for name, content in self.contents(folder).items():
            if name.endswith(GROWING):
                assert set(content) <= set(after[name]), f"{name} is half-written"
            elif not is_temporary(name):
                assert content in (before.get(name), after.get(name)), f"{name} is half-written, or another"
        assert not set(before) - set(self.contents(folder)) - set(self.replaced), "files of before are lost"

    def check_rerun(self, folder: Path) -> None:
        """The same command goes on, and leaves what an undisturbed run does."""
        again = self.run(folder)
        assert "Traceback" not in again.stderr
        assert again.status == self.undisturbed[0], again
        after = self.contents(folder)
        wrong = {name for name in after | self.undisturbed[1] if after.get(name) != self.undisturbed[1].get(name)}
        assert not wrong, f"after {again}"


def is_temporary(name: str) -> bool:
    return name.endswith((".tmp", ".part", ".part.json")) or ".parts/" in name


def _content(path: Path):
    if path.name == "metadata.json":
        return {key: value for key, value in json.loads(path.read_text()).items() if key != "preds_comp_time"}
    if path.name == "failures.csv":  # the other columns are a time and a hash of the flags, paths included
        with open(path, newline="") as file:
            return sorted((*row[:2], len(row)) for row in csv.reader(file))
    if path.name == "checked_images.npz":  # hashes of paths and times
        return b"hashes"
    if path.name in GROWING:
        return sorted(path.read_bytes().splitlines(keepends=True))
    return path.read_bytes()


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    """The process that forks runs."""
    process = Warm(tmp_path_factory.mktemp("warm"))
    yield process
    process.close()


def make_cut(twelve: Path, folder: Path) -> None:
    """Some of the images, experts' mistakes first, with three of the twelve models and made-up CLIP files."""
    folder.mkdir(parents=True)
    samples = tiny_clip.arrays(twelve / "imagenet" / "samples_info.npz")
    files, targets = samples["sample_files"], samples["targets"]
    mistakes = set(json.loads((twelve / "annotations" / "vit3b_mistakes.json").read_text()))
    chosen = sorted(range(len(files)), key=lambda row: files[row].split("/")[1] not in mistakes)
    rows = sorted(chosen[:NUM_IMAGES])
    shutil.copytree(twelve / "annotations", folder / "annotations", copy_function=shutil.copyfile)
    annotations = folder / "annotations" / "human_accuracy_v3.0.0.json"
    content, names = json.loads(annotations.read_text()), {file.split("/")[1] for file in files[rows]}
    content["initial_annots"] = {name: one for name, one in content["initial_annots"].items() if name in names}
    annotations.write_text(json.dumps(content))
    (folder / "imagenet").mkdir()
    np.savez(folder / "imagenet" / "samples_info.npz", sample_files=files[rows], targets=targets[rows])
    for name in MODELS:
        (folder / "imagenet" / name).mkdir()
        arrays = {key: array[rows] for key, array in tiny_clip.arrays(twelve / "imagenet" / name / "preds.npz").items()}
        np.savez(folder / "imagenet" / name / "preds.npz", **arrays)
        accuracy = float(100 * (arrays["top1"] == targets[rows]).mean())
        metadata = {"model_id": name.replace("--", "/"), "arch": "resnet", "top1_val_acc": accuracy}
        (folder / "imagenet" / name / "metadata.json").write_text(json.dumps(metadata))
    top1 = np.stack([np.load(folder / "imagenet" / name / "preds.npz")["top1"] for name in MODELS])
    Made.of(files[rows], gates(top1)).write(folder)
    write_train(folder)


@pytest.fixture(scope="session")
def cut(twelve, tmp_path_factory) -> Path:
    """A small artefacts folder that is not analysed. Do not write to it."""
    folder = tmp_path_factory.mktemp("cut") / "artefacts"
    make_cut(twelve, folder)
    return folder


@pytest.fixture(scope="session")
def cut_analysed(cut, warm, tmp_path_factory) -> Path:
    """The same, analysed. Do not write to it."""
    folder = shutil.copytree(cut, tmp_path_factory.mktemp("cut_analysed") / "artefacts")
    done = warm.run(
        "evaluation", "--perform_error_analysis", "--artefacts_dir", folder, "--results_dir", folder.parent / "results"
    )
    assert done.status == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def cut_archive(cut_analysed, warm) -> Path:
    """Its analyses as an archive in the official form. Do not write to it."""
    path = cut_analysed.parent / "models-imagenet.tar.gz"
    done = warm.run("download_artefacts", "--export_archive", path, "--artefacts_dir", cut_analysed)
    assert done.status == 0, done.stderr
    return path


@pytest.fixture(scope="session")
def own_models(tmp_path_factory) -> list[str]:
    """Four small models, the third of which cannot be built."""
    file = tmp_path_factory.mktemp("own") / "own.py"
    file.write_text(OWN)
    return [f"{file}:{name}" for name in ("a", "b", "bad", "d")]


@pytest.fixture(scope="session")
def tasks(request, warm, tmp_path_factory) -> Callable[[str], Task]:
    """`tasks("collect")` is the task of that name in TASKS."""
    made = {}

    def task(name: str) -> Task:
        if name not in made:
            folder = tmp_path_factory.mktemp(name) / "before"
            made[name] = Task(warm, name, folder, *TASKS[name](folder, request.getfixturevalue))
        return made[name]

    return task


def collect(folder: Path, fixture: Callable) -> tuple:
    folder.mkdir()
    flags = ("--dataset", "sample", "--limit", 3, "--workers", 0, "--device", "cpu", "--model", *fixture("own_models"))
    return "collect_predictions", flags


def collect_with_workers(folder: Path, fixture: Callable) -> tuple:
    script, flags = collect(folder, fixture)
    return script, (*flags, "--workers", 2)


def collect_again(folder: Path, fixture: Callable) -> tuple:
    """Over predictions that were made otherwise."""
    warm, (script, flags) = fixture("warm"), collect(folder, fixture)
    assert warm.run(script, "--artefacts_dir", folder, *flags).status == 1
    shutil.rmtree(folder / locks.FOLDER)
    return script, (*flags, "--amp")


def embed(folder: Path, fixture: Callable) -> tuple:
    folder.mkdir()
    flags = tiny_clip.flags(fixture("clip_weights"), "{}", "--what", "train", "images", "neighbours", "--block", 10)
    return "compute_clip_embeddings", flags[2:], {"IMAGENET_DIR": str(fixture("few"))}


def analyse(folder: Path, fixture: Callable) -> tuple:
    shutil.copytree(fixture("cut"), folder)
    return "evaluation", ("--perform_error_analysis", "--results_dir", "{}/results")


def collect_tables(folder: Path, fixture: Callable) -> tuple:
    shutil.copytree(fixture("cut_analysed"), folder)
    steps = ("--collect_results", "--count_spurious_correlation_pairs", "--list_most_common_errors")
    return "evaluation", (*steps, "--results_dir", "{}/results")


def compare(folder: Path, fixture: Callable) -> tuple:
    shutil.copytree(fixture("cut_analysed"), folder)
    return "evaluation", ("--compare_with_experts", "--results_dir", "{}/results")


def convert(folder: Path, fixture: Callable) -> tuple:
    folder.mkdir()
    with tarfile.open(fixture("cut_archive")) as archive:
        archive.extractall(folder, filter="data")
    return "download_artefacts", ("--convert_archives", "--jobs", 2)


def convert_in_place(folder: Path, fixture: Callable) -> tuple:
    folder.mkdir()
    shutil.copyfile(fixture("cut_archive"), folder / "models-imagenet.tar.gz")
    ignored = ("imagenet/archive.json",)  # it holds the time of the archive
    return "download_artefacts", ("--convert_archives", "--jobs", 2), {}, ignored


def export(folder: Path, fixture: Callable) -> tuple:
    shutil.copytree(fixture("cut_analysed"), folder)
    return "download_artefacts", ("--export_archive", "{}/results/models.tar.gz", "--jobs", 2)


def unpack(folder: Path, fixture: Callable) -> tuple:
    """An archive that the folder's own downloads.csv tells of."""
    folder.mkdir()
    archive = fixture("cut_archive")
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    row = f"my_archive,archive,http://127.0.0.1:9/,{archive.name},{sha256},mine"
    (folder / "downloads.csv").write_text(f"name,what,url,path,sha256,description\n{row}\n")
    return "download_artefacts", ("--from_file", archive)


def take(folder: Path, fixture: Callable) -> tuple:
    folder.mkdir()
    return "download_artefacts", ("--from_file", fixture("cut") / "annotations" / "vit3b_mistakes.json")


def note_weights(folder: Path, fixture: Callable) -> tuple:
    folder.mkdir()
    return "collect_predictions", ("--download_only", "--model", "lite0", "lite1")


def figures(folder: Path, fixture: Callable) -> tuple:
    folder.mkdir()
    flags = ("--stats_dir", PUBLISHED_TABLES, "--dataset", "imagenet", "--figure", FIGURE, "--format", "png,pdf")
    return "utils_plot", (*flags, "--save_data", "--jobs", 1, "--results_dir", "{}")


def vector_figure(folder: Path, fixture: Callable) -> tuple:
    script, flags = figures(folder, fixture)
    return script, (*flags, "--format", "svg")


def page(folder: Path, fixture: Callable) -> tuple:
    folder.mkdir()
    flags = ("--stats_dir", PUBLISHED_TABLES, "--dataset", "imagenet", "--figure", FIGURE, "--interactive")
    return "utils_plot", (*flags, "--results_dir", "{}")


def trends(folder: Path, fixture: Callable) -> tuple:
    folder.mkdir()
    return "utils_plot", (
        "--stats_dir",
        PUBLISHED_TABLES,
        "--dataset",
        "imagenet",
        "--trends",
        "--results_dir",
        "{}",
    )


def summary(folder: Path, fixture: Callable) -> tuple:
    folder.mkdir()
    return "list_latex", ("--models_summary_csv", "--results_dir", "{}")


def committed(folder: Path, fixture: Callable) -> tuple:
    folder.mkdir()
    return "make_artefacts", ("--what", "vocabulary", "superclasses")


TASKS = {
    make.__name__: make
    for make in (
        collect,
        collect_with_workers,
        collect_again,
        embed,
        analyse,
        collect_tables,
        compare,
        convert,
        convert_in_place,
        export,
        unpack,
        take,
        note_weights,
        figures,
        vector_figure,
        page,
        trends,
        summary,
        committed,
    )
}
