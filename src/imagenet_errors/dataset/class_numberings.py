"""Ways in which files of predictions number the classes, and the flags of import_predictions.py that name them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagenet_errors.dataset.classes import NUM_CLASSES, Classes, load_classes, load_imagenet_a_wnids
from imagenet_errors.errors import InputError
from imagenet_errors.files import read_text
from imagenet_errors.paths import Artefacts

NO_CLASS = -1
TEXT_ORDER, IMAGENET_A = "text", "imagenet-a"  # values of --classes besides files


@dataclass(frozen=True)
class ClassNumbering:
    """Which class a number in a file of predictions means.

    Attributes:
        flags: The flags that choose it; empty for our own numbering.
        first: The number of the first class.
        ids: [L] int16, our id of the class with number first, first + 1, ...
    """

    flags: str
    first: int
    ids: np.ndarray

    def to_class_ids(self, numbers: np.ndarray) -> np.ndarray:
        """Class ids, int16 of the shape of `numbers`; NO_CLASS for a number that means none."""
        index = numbers - self.first
        is_known = (index >= 0) & (index < len(self.ids))
        return np.where(is_known, self.ids[np.where(is_known, index, 0)], NO_CLASS).astype(np.int16)


OWN_NUMBERING = ClassNumbering("", 0, np.arange(NUM_CLASSES, dtype=np.int16))


def list_numberings(artefacts: Artefacts) -> list[ClassNumbering]:
    """The numberings that are tried where predictions are implausible, our own first.

    The others count from one (as files with the background as class 0 do) or from minus one, sort the ids 0 to 999 as
    texts (as torchvision's ImageFolder does with folders of these names), or number only the classes of ImageNet-A.
    """
    return [OWN_NUMBERING, *(choose_numbering(artefacts, *choice) for choice in OTHERS)]


OTHERS = ((-1, None), (1, None), (0, TEXT_ORDER), (0, IMAGENET_A))


def choose_numbering(artefacts: Artefacts, label_offset: int = 0, classes: str | None = None) -> ClassNumbering:
    """The numbering that two flags name.

    Args:
        artefacts: Where the classes are.
        label_offset: What is added to a number of the file.
        classes: TEXT_ORDER, IMAGENET_A, or a file with a WordNet id a line; None for all in the order of their ids.

    Raises:
        InputError: for a file that is missing or does not list ImageNet classes.
    """
    if classes is None:
        ids = OWN_NUMBERING.ids
    elif classes == TEXT_ORDER:
        ids = np.array(sorted(range(NUM_CLASSES), key=str), np.int16)
    else:
        vocabulary = load_classes(artefacts)
        wnids = sorted(load_imagenet_a_wnids(artefacts)) if classes == IMAGENET_A else _read_wnids(classes, vocabulary)
        ids = np.array([vocabulary.ids[wnid] for wnid in wnids], np.int16)
    flags = [f"--label_offset {label_offset}"] if label_offset else []
    return ClassNumbering(" ".join([*flags, *([f"--classes {classes}"] if classes else [])]), -label_offset, ids)


def _read_wnids(path: str, vocabulary: Classes) -> list[str]:
    wnids = read_text(Path(path)).split()
    for line, wnid in enumerate(wnids, start=1):
        if wnid not in vocabulary.ids:
            raise InputError(f"{path} line {line}: {wnid!r} is not the WordNet id of an ImageNet class: correct it")
    if not wnids or len(set(wnids)) < len(wnids):
        raise InputError(f"{path} {'lists a class twice' if wnids else 'is empty'}: write each WordNet id on one line")
    return wnids
