"""The 1000 ImageNet classes: ids, WordNet ids and descriptions, which are not unique (two "crane")."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from imagenet_errors.errors import InputError
from imagenet_errors.files import read_json, read_whole_text
from imagenet_errors.paths import DESCRIPTIONS, IMAGENET_A_WNIDS, WNIDS, Artefacts

NUM_CLASSES = 1000
GROUPS = ("all", "organism", "artifact", "other")  # of images, each with a stats table


def check_class_ids(values: np.ndarray, where: str) -> np.ndarray:
    """`values` as int16 class ids. Raises `InputError` if they are not integers from 0 to 999."""
    values = np.asarray(values)
    if values.size and not (
        np.issubdtype(values.dtype, np.integer) and 0 <= values.min() <= values.max() < NUM_CLASSES
    ):
        wrong = values[(values < 0) | (values >= NUM_CLASSES)] if np.issubdtype(values.dtype, np.number) else values
        example = f" ({wrong.flat[0]})" if wrong.size else ""
        raise InputError(
            f"{where} has a value that is not a class id from 0 to {NUM_CLASSES - 1}{example}: predict or import again"
        )
    return values.astype(np.int16)


@dataclass(frozen=True)
class Classes:
    """The classes in the order of their ids 0 to 999, which is the order of the sorted WordNet ids.

    Attributes:
        wnids: WordNet ids, e.g. `n01440764`.
        descriptions: Lemmas as ImageNet lists them, e.g. `tench, Tinca tinca`.
    """

    wnids: tuple[str, ...]
    descriptions: tuple[str, ...]

    @cached_property
    def ids(self) -> dict[str, int]:
        """{WordNet id: class id}."""
        return {wnid: class_id for class_id, wnid in enumerate(self.wnids)}

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """WordNet 3.0 noun offsets."""
        return tuple(int(wnid[1:]) for wnid in self.wnids)

    def describe(self, class_id: int) -> str:
        """E.g. `872, n04485082: tripod`."""
        return f"{class_id}, {self.wnids[class_id]}: {self.descriptions[class_id]}"


def load_classes(artefacts: Artefacts) -> Classes:
    """Read the classes. Raises `InputError` if the files do not list 1000 classes in the order of their WordNet ids."""
    path = artefacts.find(WNIDS)
    targets = read_json(path)
    if not isinstance(targets, dict) or targets != {wnid: i for i, wnid in enumerate(sorted(targets))}:
        raise InputError(
            f"{path} is not an object that numbers the sorted WordNet ids from 0: restore it from the repository"
        )
    if len(targets) != NUM_CLASSES:
        raise InputError(
            f"{path} lists {len(targets)} classes instead of {NUM_CLASSES}: restore it from the repository"
        )
    path = artefacts.find(DESCRIPTIONS)
    labels = read_json(path)
    if not isinstance(labels, dict) or set(labels) != {str(i) for i in range(NUM_CLASSES)}:
        raise InputError(
            f'{path} is not an object with the keys "0" to "{NUM_CLASSES - 1}": restore it from the repository'
        )
    return Classes(tuple(sorted(targets)), tuple(str(labels[str(i)]) for i in range(NUM_CLASSES)))


def load_imagenet_a_wnids(artefacts: Artefacts) -> frozenset[str]:
    """The WordNet ids of ImageNet-A's 200 classes (Hendrycks et al. 2021)."""
    return frozenset(read_whole_text(artefacts.find(IMAGENET_A_WNIDS)).split())
