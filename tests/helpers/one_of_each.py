"""A small artefacts folder that holds one of every kind of file, and the results made from it.

Test modules get the fixture through `pytest_plugins`. PYTEST_DONT_REWRITE: they import it as well.
"""

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from imagenet_errors import public_files
from imagenet_errors.dataset.samples import read_samples
from imagenet_errors.files import read_json_objects
from imagenet_errors.formats.predictions import Predictions
from imagenet_errors.inference.prefetch import COLUMNS
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.models.saved_predictions import write_predictions
from imagenet_errors.paths import Artefacts
from tests.conftest import COMMITTED, annotate
from tests.helpers.synthetic_clip import Made, write_train
from tests.helpers.tiny_clip import run

CLASSES = (0, 1, 2, 207, 340, 409, 530, 843, 872)
TOP1 = {  # right, fine-grained, spurious and other errors; an out-of-vocabulary one where the gate opens
    "me--plain": (0, 2, 2, 208, 340, 530, 530, 872, 843),
    "me--probs": (389, 1, 3, 207, 351, 892, 409, 843, 843),
    "old--one": (0, 1, 148, 219, 340, 409, 530, 843, 700),
    "old--two": (1, 1, 2, 207, 386, 409, 892, 870, 872),
}
COMMITTED_FILES = (
    *("imagenet_wnet_id_to_target.json", "labels_map.json", "imagenet_a_synsets.txt", "wordnet_closure.tsv"),
    *("cooccurrence_counts.csv", "non_prototypical_files.txt", "archs.csv", "models.csv", "models_beyond.csv"),
    *("weight_tags.csv", "figures.csv", "downloads.csv", "superclasses.json", "superclasses.txt"),
    "sample/annotations.json",
)
STEPS = (
    *("--perform_error_analysis", "--collect_results", "--count_spurious_correlation_pairs"),
    "--list_most_common_errors",
)
OWN_MODEL = """
import torch
from torchvision import transforms

def build():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(48, 1000))
    return model, transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
"""


def evaluate(folder: Path, *flags) -> None:
    run("evaluation", "--artefacts_dir", folder / "artefacts", "--results_dir", folder / "results", *(flags or STEPS))


def files_of(folder: Path) -> dict[str, bytes]:
    """{path below the folder: content}; locks aside."""
    paths = (path for path in folder.rglob("*") if path.is_file() and ".locks" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)}


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def make_inputs(root: Path) -> None:
    """What is committed, downloaded or annotated."""
    for name in COMMITTED_FILES:
        put(root / name, (COMMITTED.root / name).read_bytes())
    definitions = read_json_objects(root / "superclasses.json")
    few = dict(list(definitions.items())[::12])  # they are quickly made
    put(root / "superclasses.json", json.dumps(few, indent=1).encode())
    wnids = sorted(json.loads((root / "imagenet_wnet_id_to_target.json").read_text()))
    files = [f"{wnids[target]}/ILSVRC2012_val_{number:08}.JPEG" for number, target in enumerate(CLASSES, 1)]
    listed = {file: {"correct": [file[:9]], "unclear": [], "wrong": [wnids[7]]} for file in files}
    listed[files[0]]["unclear"] = [wnids[1]]
    (root / "annotations").mkdir()
    annotate(root, listed, problematic=[files[4].split("/")[1]])
    for number, name in enumerate(("vit3b", "greedy_soups")):
        mistake = {"top_prediction": 207, "failure category": "Fine-grained error", "failure severity": "Minor"}
        mistakes = {file.split("/")[1]: mistake for file in files[1 + number : 3 + number]}
        put(root / "annotations" / f"{name}_mistakes.json", json.dumps(mistakes, indent=1).encode())
    (root / "imagenet").mkdir()
    np.savez(root / "imagenet" / "samples_info.npz", sample_files=files, targets=np.array(CLASSES, np.int16))
    logits = np.random.default_rng(0).normal(size=(len(files), 1000)).astype(np.float32)
    np.savez(root / "imagenet" / "vit3b.npz", logits)
    done = [
        (name, hashlib.sha256((root / name).read_bytes()).hexdigest(), (root / name).stat().st_size)
        for name in ("annotations/human_accuracy_v3.0.0.json", "imagenet/vit3b.npz")
    ]
    rows = [f"{name},http://localhost/{name},{digest},{size}" for name, digest, size in done]
    put(root / "downloads_done.csv", "\n".join([",".join(public_files.DOWNLOADED_COLUMNS), *rows, ""]).encode())
    row = f"me/plain,{root}/plain.pth,,{'0' * 64},7"
    put(root / "batch_sizes.csv", b"device,model_id,geometry,precision,batch_size\nNVIDIA H100,me/plain,,amp,64\n")
    put(root / "weights.csv", "\n".join([",".join(COLUMNS), row, ""]).encode())


def make_clip(root: Path) -> None:
    files = np.load(root / "imagenet" / "samples_info.npz")["sample_files"]
    indices = np.random.default_rng(1).integers(0, 2000, (len(files), 50))
    indices[:, 3], indices[:, 5] = CLASSES[::-1], 843
    Made.of(files, indices).like(8, "A photo of a seesaw").write(root)
    write_train(root)


def make_model(root: Path, name: str) -> None:
    """Predictions and metadata, as collect_predictions.py writes them; all probabilities for `me--probs`."""
    artefacts = Artefacts(root)
    rng = np.random.default_rng(2)
    probs = rng.dirichlet(np.full(1000, 0.1), len(CLASSES)).astype(np.float32)
    top1 = np.array(TOP1[name], np.int16)
    top5 = np.stack([top1, *(np.arange(len(top1), dtype=np.int16) + number for number in range(4))], axis=1)
    of_all = probs if name == "me--probs" else None
    predictions = Predictions(top1, top5, probs[:, :5], seconds=1.5, probs=of_all)
    model_id = name.replace("--", "/")
    record = ModelRecord(
        model_id, "own", "test", model_id, "", "resnet", "cnn", "ImageNet-1k (1.2M)", ("Distillation",)
    )
    write_predictions(artefacts, "imagenet", record, read_samples(artefacts, "imagenet"), predictions, 25_000, 8)


def make_archived(folder: Path) -> None:
    """Have two analyses in the archive, and the second as a pickle of its own as well."""
    root, exported = folder / "artefacts", folder / "exported.tar.gz"
    run("download_artefacts", "--artefacts_dir", root, "--export_archive", exported)
    with tarfile.open(exported) as archive:
        contents = {name: archive.extractfile(name).read() for name in archive.getnames()}
    for name in ("old--one", "old--two"):
        shutil.rmtree(root / "imagenet" / name)
    with tarfile.open(root / "models-imagenet.tar.gz", "w:gz") as archive:
        for name, content in contents.items():
            if name.split("/")[1] == "old--one":
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            elif name.split("/")[1] == "old--two":
                put(root / name, content)
    exported.unlink()


def make_sample(folder: Path) -> None:
    """A model's predictions for three photographs, and their analysis; a checkpoint beside the folder."""
    put(folder / "own.py", OWN_MODEL.encode())
    put(folder / "artefacts" / "sample" / "failures.csv", b'model_id,reason\nme/other,"no network, no weights"\n')
    collect(folder)
    evaluate(folder, "--dataset", "sample", *STEPS[:1])


def collect(folder: Path, *flags) -> None:
    model = ("--model", f"{folder / 'own.py'}:build", "--workers", 0, "--limit", 3, "--device", "cpu")
    run("collect_predictions", "--dataset", "sample", "--artefacts_dir", folder / "artefacts", *model, *flags)


@pytest.fixture(scope="session")
def one_of_each(tmp_path_factory) -> Path:
    """A folder with `artefacts/` and the `results/` of one run of all steps. Do not write to it."""
    folder = tmp_path_factory.mktemp("one of each")
    root = folder / "artefacts"
    make_inputs(root)
    make_clip(root)
    for name in TOP1:
        make_model(root, name)
    evaluate(folder)
    make_archived(folder)
    evaluate(folder)
    make_sample(folder)
    return folder


@pytest.fixture
def world(one_of_each, tmp_path) -> Path:
    """A copy of it to damage; times are kept, for archive.json notes that of the archive."""
    shutil.copytree(one_of_each, tmp_path / "world")
    return tmp_path / "world"
