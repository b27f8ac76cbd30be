"""Label sets: who says which classes are accepted in ImageNet's validation images; one row of a table each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imagenet_errors.dataset.annotations import AnnotatedImages
from imagenet_errors.dataset.image_names import read_numbers
from imagenet_errors.dataset.real_labels import find_labels, read_real_labels
from imagenet_errors.dataset.validation_labels import read_validation_labels
from imagenet_errors.errors import InputError, describe_unknown
from imagenet_errors.files import read_csv
from imagenet_errors.paths import LABEL_SETS, Artefacts

COLUMNS = ["name", "file", "reader", "source"]
STANDARD = "multi_label"  # the label set of the paper, and of everything that names no other
READERS: dict[str, Callable[[Path], np.ndarray] | None] = {
    "annotations": None,  # the labels that the images have already; its file is one of the forms they are read from
    "class_ids": lambda path: read_validation_labels(path)[:, None],
    "class_id_lists": read_real_labels,
}
"""{name: reads [50000, L] int16 class ids, padded with NO_LABEL, by validation file number}"""


@dataclass(frozen=True)
class LabelSet:
    """A row of the table.

    Attributes:
        name: Its name, as a flag takes it.
        file: Of its labels, in an artefacts folder.
        reader: A key of READERS.
        source: Who made the labels.
    """

    name: str
    file: str
    reader: str
    source: str


def load_label_sets(artefacts: Artefacts) -> dict[str, LabelSet]:
    """{name: label set}, in the order of the table.

    Raises:
        InputError: if the table is missing or damaged, or names a reader that there is not.
    """
    path = artefacts.find(LABEL_SETS)
    sets = {row["name"]: LabelSet(**row) for row in read_csv(path, COLUMNS)}
    for one in sets.values():
        if one.reader not in READERS:
            raise InputError(f"{path}: {describe_unknown('reader', one.reader, READERS)}")
    return sets


def find_label_set(artefacts: Artefacts, name: str) -> LabelSet:
    """The label set of this name. Raises `InputError` as `load_label_sets`, and where there is none."""
    sets = load_label_sets(artefacts)
    if name not in sets:
        raise InputError(describe_unknown("label set", name, sets))
    return sets[name]


def apply_label_set(artefacts: Artefacts, label_set: LabelSet, images: AnnotatedImages) -> AnnotatedImages:
    """The same images with the labels of a set.

    Images without a label in it, and those whose labels lack the original one, become problematic: they are typed, but
    not counted.

    Args:
        artefacts: The folder that may hold its file.
        label_set: The set.
        images: ImageNet's, with the multi-labels. Those that are problematic stay so.

    Raises:
        InputError: if its file is missing or damaged, or no image is left to count.
    """
    read = READERS[label_set.reader]
    if read is None:
        return images
    path = artefacts.find(label_set.file)
    labels = find_labels(read(path), read_numbers(images.files.tolist()))
    problematic = images.problematic | (labels != images.targets[:, None]).all(axis=1)
    if problematic.all():
        raise InputError(
            f"{path}: the label set {label_set.name!r} accepts the original label of none of the {len(images):,}"
            f" images: it is of ImageNet's validation images, use {STANDARD!r} for others"
        )
    return replace(images, labels=labels, problematic=problematic)
