"""Twelve simulated models in place of the shared prediction sets, of the same names: `simulated_models.py FOLDER`.

Images, original labels and multi-labels are the real ones, which the repository holds. Predictions, metadata and the
experts' lists of mistakes are made up, so the numbers that follow from them mean nothing.
"""

import csv
import json
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imagenet_errors.dataset.validation_labels import load_validation_samples
from imagenet_errors.paths import Artefacts
from tests.helpers.plain_decision import OVERLAPPING
from tests.helpers.plain_facts import COMMITTED_FOLDER, plain_spurious_pairs, plain_superclasses, read_class_ids


class Simulated(NamedTuple):
    """What a model is said to be."""

    top1_val_acc: float  # percent
    arch: str
    num_params: int | None
    arch_family: str = "cnn"
    training_data: str = "ImageNet-1k (1.2M)"


MODELS = {
    "imagenetx--ResNet50": Simulated(79, "resnet", 25_557_032),
    "imagenetx--ViT": Simulated(83, "vit", None, "transformer", "unknown"),
    "keras--nasnetlarge": Simulated(82, "nasnet", 88_753_150),
    "keras--xception": Simulated(77, "xception", 22_855_952),
    "pytorch--alexnet": Simulated(57, "alexnet", 61_100_840),
    "pytorch--densenet121": Simulated(74.5, "densenet", 7_978_856),
    "pytorch--resnet152": Simulated(78, "resnet", 60_192_808),
    "pytorch--resnet18": Simulated(70, "resnet", 11_689_512),
    "pytorch--resnet50": Simulated(76, "resnet", 25_557_032),
    "pytorch--squeezenet1_1": Simulated(58, "squeezenet", 1_235_496),
    "pytorch--vgg16": Simulated(72, "vgg", 138_357_544),
    "pytorch--vgg19_bn": Simulated(74, "vgg", 143_678_248),
}
NUM_CANDIDATES = 3  # classes that an image is taken for
CATEGORIES = ("Fine-grained error", "Fine-grained error with OOV", "Spurious Correlation", "Non-prototypical")


def simulate(folder: Path, models: Iterable[str] = MODELS) -> None:
    """Write what `shared_predictions.convert` writes: annotations, samples_info.npz, preds.npz and metadata.json."""
    samples = load_validation_samples(Artefacts(COMMITTED_FOLDER))
    (folder / "annotations").mkdir(parents=True)
    for name, content in {"human_accuracy_v3.0.0": annotations(), **mistakes()}.items():
        (folder / "annotations" / f"{name}.json").write_text(json.dumps(content))
    for name in models:
        model = folder / "imagenet" / name
        model.mkdir(parents=True)
        top1, simulated = predict(name), MODELS[name]
        np.savez(model / "preds.npz", top1=top1)
        metadata = {
            **{"model_id": name.replace("--", "/"), "source": name.split("--")[0], "extra_annotations": []},
            **simulated._asdict(),
            "top1_val_acc": round(float(100 * (top1 == samples.targets).mean()), 3),
        }
        (model / "metadata.json").write_text(json.dumps(metadata))
    np.savez(folder / "imagenet" / "samples_info.npz", sample_files=samples.files, targets=samples.targets)


@cache
def annotations() -> dict:
    """The shipped multi-labels in the schema of the official file."""
    wnids = sorted(read_class_ids())
    listed, problematic = {}, {}
    with open(COMMITTED_FOLDER / "multi_labels.csv", newline="") as table:
        for row in csv.DictReader(table):
            file = f"ILSVRC2012_val_{int(row['number']):08}.JPEG"
            keys = [key for key in ("correct", "wrong", "unclear") if row[key]]
            listed[file] = {key: [wnids[int(class_id)] for class_id in row[key].split()] for key in keys}
            if row["is_problematic"] == "1":
                problematic[file] = True
    return {"initial_annots": listed, "problematic_images": problematic, "imagenet_m": []}


@cache
def mistakes() -> dict[str, dict]:
    """Two models' mistakes on annotated images, as experts list them; their categories are drawn."""
    samples, lists = load_validation_samples(Artefacts(COMMITTED_FOLDER)), {}
    content, ids = annotations(), read_class_ids()
    for seed, (name, model) in enumerate({"vit3b": "imagenetx--ViT", "greedy_soups": "keras--nasnetlarge"}.items()):
        listed = {}
        for file, prediction in zip(samples.files.tolist(), predict(model).tolist(), strict=True):
            accepted = content["initial_annots"].get(file := file.split("/")[1], {})
            labels = [ids[wnid] for key in ("correct", "unclear") for wnid in accepted.get(key, [])]
            if labels and prediction not in labels and file not in content["problematic_images"]:
                listed[file] = {"top_prediction": prediction, "failure severity": "Minor"}
        chosen = list(listed)[::10]
        drawn = np.random.default_rng(seed).choice(CATEGORIES, len(chosen))
        lists[f"{name}_mistakes"] = {
            file: listed[file] | {"failure category": str(category)}
            for file, category in zip(chosen, drawn, strict=True)
        }
    return lists


@cache
def predict(model: str) -> np.ndarray:
    """[50000] int16 class ids. An image that is hard for one model is mostly hard for the others."""
    random, (targets, candidates, difficulties) = np.random.default_rng(list(model.encode())), images()
    hardness = difficulties + random.normal(0, 0.2, len(targets))
    is_wrong = hardness > np.quantile(hardness, MODELS[model].top1_val_acc / 100)
    picked = candidates[np.arange(len(targets)), random.choice(NUM_CANDIDATES, len(targets), p=(0.6, 0.3, 0.1))]
    return np.where(is_wrong, picked, targets).astype(np.int16)


@cache
def images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[50000] original labels; [50000, NUM_CANDIDATES] classes that the images are taken for; [50000] difficulties."""
    samples, random = load_validation_samples(Artefacts(COMMITTED_FOLDER)), np.random.default_rng(0)
    likelihoods = confusions().cumsum(axis=1)
    candidates = np.empty((len(samples.files), NUM_CANDIDATES), np.int16)
    for target in range(1000):
        rows = np.flatnonzero(samples.targets == target)
        drawn = random.uniform(0, likelihoods[target, -1], (len(rows), NUM_CANDIDATES))
        candidates[rows] = np.searchsorted(likelihoods[target], drawn)
    listed, ids = annotations()["initial_annots"], read_class_ids()
    for row, file in enumerate(samples.files.tolist()):
        accepted = [ids[wnid] for wnid in listed.get(file.split("/")[1], {}).get("correct", [])]
        others = [label for label in accepted if label != samples.targets[row]]
        if others and random.random() < 0.5:
            candidates[row, 0] = others[0]
    return samples.targets, candidates, random.random(len(samples.files))


def confusions() -> np.ndarray:
    """[1000, 1000], how likely a class is taken for another.

    One that shares a superclass, then one that makes a spurious pair, then one that overlaps; rarely any.
    """
    superclasses_of = plain_superclasses()
    names = sorted(set().union(*superclasses_of.values()))
    members = np.array([[name in superclasses_of[class_id] for name in names] for class_id in range(1000)], int)
    sharing = members @ members.T > 0
    spurious, overlapping = np.zeros((2, 1000, 1000))
    for pair in plain_spurious_pairs(superclasses_of):
        for a, b in (sorted(pair), sorted(pair, reverse=True)):
            spurious[a, b] = 1
    for target, also in OVERLAPPING.items():
        overlapping[target, list(also)] = 1
    kinds = ((sharing, 0.5), (spurious, 0.2), (overlapping, 0.3), (np.ones((1000, 1000)), 0.2))
    found = sum(weight * kind / np.maximum(kind.sum(axis=1, keepdims=True), 1) for kind, weight in kinds)
    np.fill_diagonal(found, 0)
    return found


if __name__ == "__main__":
    simulate(Path(sys.argv[1]))
