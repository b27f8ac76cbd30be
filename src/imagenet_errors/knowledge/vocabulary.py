"""The 1000 ImageNet classes: ids, WordNet ids, descriptions. Names are not unique (two "crane"): key by id."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from imagenet_errors.errors import InputError
from imagenet_errors.files import read_json, read_whole_text
from imagenet_errors.storage import DESCRIPTIONS, IMAGENET_A_WNIDS, NUM_CLASSES, WNIDS, Artefacts, Samples


@dataclass(frozen=True)
class Vocabulary:
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


def load(artefacts: Artefacts) -> Vocabulary:
    """Read the classes. Raises `InputError` where the files do not hold 1000 classes in the order of WordNet ids."""
    path = artefacts.find(WNIDS)
    targets = read_json(path)
    if not isinstance(targets, dict) or targets != {wnid: i for i, wnid in enumerate(sorted(targets))}:
        raise InputError(f"{path} does not number the sorted WordNet ids from 0: restore it from the repository")
    if len(targets) != NUM_CLASSES:
        raise InputError(f"{path} holds {len(targets)} classes, not {NUM_CLASSES}: restore it from the repository")
    path = artefacts.find(DESCRIPTIONS)
    labels = read_json(path)
    if not isinstance(labels, dict) or set(labels) != {str(i) for i in range(NUM_CLASSES)}:
        raise InputError(f'{path} does not hold the keys "0" to "{NUM_CLASSES - 1}": restore it from the repository')
    return Vocabulary(tuple(sorted(targets)), tuple(str(labels[str(i)]) for i in range(NUM_CLASSES)))


def imagenet_a_classes(artefacts: Artefacts) -> frozenset[str]:
    """The WordNet ids of ImageNet-A's 200 classes (Hendrycks et al. 2021)."""
    return frozenset(read_whole_text(artefacts.find(IMAGENET_A_WNIDS)).split())


def check_targets(samples: Samples, classes: Vocabulary, path: Path) -> None:
    """Raises `InputError` where a target is not the class of the file's folder, by name."""
    wnids = [file.partition("/")[0] for file in samples.files]
    strange = next((file for file, wnid in zip(samples.files, wnids, strict=True) if wnid not in classes.ids), None)
    if strange:
        raise InputError(f"{path}: {strange} is not <WordNet id>/<file name>, e.g. n01440764/a.JPEG: name files so")
    wrong = np.flatnonzero(samples.targets != np.array([classes.ids[wnid] for wnid in wnids]))
    if len(wrong):
        file, target = samples.files[wrong[0]], samples.targets[wrong[0]]
        raise InputError(
            f"{path}: the target {target} of {file} is not the class of its folder ({len(wrong):,} such images):"
            " number classes by sorted WordNet id, or predict again"
        )
