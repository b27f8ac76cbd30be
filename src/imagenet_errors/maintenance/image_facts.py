"""What is known of the validation images, made from public labels and annotations (by make_artefacts.py).

A maker writes its file to the artefacts folder, and returns what it has written in a few words.
"""

import json
from importlib.util import find_spec
from pathlib import Path

from imagenet_errors import files, paths
from imagenet_errors.dataset import multi_labels, real_labels, validation_labels
from imagenet_errors.dataset.classes import Classes, load_classes
from imagenet_errors.dataset.image_names import VALIDATION_PREFIX, name_validation_file
from imagenet_errors.errors import InputError
from imagenet_errors.maintenance import public_sources
from imagenet_errors.paths import Artefacts


def make_validation_labels(artefacts: Artefacts) -> str:
    """validation_labels.csv, from the labels in tensorflow-datasets' package."""
    targets = read_targets(load_classes(artefacts))
    rows = [{"number": number, "class_id": target} for number, target in enumerate(targets, 1)]
    files.write_csv(artefacts.root / paths.VALIDATION_LABELS, validation_labels.COLUMNS, rows)
    return f"{len(rows):,} images"


def make_multi_labels(artefacts: Artefacts) -> str:
    """multi_labels.csv, from the official JSON file."""
    path, classes = artefacts.find(paths.ANNOTATIONS), load_classes(artefacts)
    content = files.read_json(path)
    annotations = multi_labels.annotations_from_json(content, str(path), classes, VALIDATION_PREFIX)
    rows = []
    for file, annotation in sorted(annotations.by_file.items()):
        labels = {
            key: " ".join(str(classes.ids[wnid]) for wnid in content["initial_annots"][file].get(key, []))
            for key in ("correct", "unclear", "wrong")
        }
        number = int(file.removeprefix(VALIDATION_PREFIX).removesuffix(".JPEG"))
        rows.append({"number": number, **labels, "is_problematic": int(annotation.problematic)})
    files.write_csv(artefacts.root / paths.MULTI_LABELS, multi_labels.COLUMNS, rows)
    return f"{len(rows):,} images"


def make_real_labels(artefacts: Artefacts) -> str:
    """real_labels.csv, from the ReaL labels in timm's package."""
    rows = [
        {"number": number, "class_ids": " ".join(map(str, class_ids))}
        for number, class_ids in enumerate(read_real_labels(), 1)
    ]
    files.write_csv(artefacts.root / paths.REAL_LABELS, real_labels.COLUMNS, rows)
    return f"{len(rows):,} images"


def make_cooccurrences(artefacts: Artefacts) -> str:
    """cooccurrence_counts.csv, from the ReaL labels in timm's package and both kinds of labels above."""
    classes = load_classes(artefacts)
    targets = read_targets(classes)
    annotated = multi_labels.load_multi_labels(artefacts, classes, "json").by_file
    is_annotated = [name_validation_file(number) in annotated for number in range(1, len(targets) + 1)]
    counts = public_sources.count_cooccurrences(read_real_labels(), targets, is_annotated)
    files.write_csv(
        artefacts.root / paths.COOCCURRENCES,
        ["class_a", "class_b", "count"],
        [{"class_a": a, "class_b": b, "count": count} for (a, b), count in counts.items()],
    )
    return f"{len(counts):,} pairs, {sum(counts.values()):,} in sum"


def make_non_prototypical(artefacts: Artefacts) -> str:
    """non_prototypical_files.txt, from the experts' mistake lists."""
    names = public_sources.find_non_prototypical(files.read_json(artefacts.find(name)) for name in paths.MISTAKE_LISTS)
    files.write_text(artefacts.root / paths.NON_PROTOTYPICAL, "\n".join(names) + "\n")
    return f"{len(names)} files"


def read_targets(classes: Classes) -> list[int]:
    """The class ids of all validation images, in the order of their numbers."""
    labels = read_package_text("tensorflow_datasets", "datasets/imagenet2012/validation_labels.txt")
    return [classes.ids[wnid] for wnid in labels.split()]


def read_real_labels() -> list[list[int]]:
    """The ReaL class ids of all validation images, in the order of their numbers (Beyer et al. 2020)."""
    return json.loads(read_package_text("timm", "data/_info/imagenet_real_labels.json"))


def read_package_text(package: str, file: str) -> str:
    """A text file of an installed package, which is not imported."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"{package} is not installed: pip install {package.replace('_', '-')}")
    return (Path(spec.submodule_search_locations[0]) / file).read_text(encoding="utf-8")
