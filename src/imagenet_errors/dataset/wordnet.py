"""The part of WordNet 3.0 that is needed: the classes, their ancestors, and the hyponyms of their direct hypernyms."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from imagenet_errors.dataset.classes import GROUPS, Classes
from imagenet_errors.errors import InputError
from imagenet_errors.files import read_csv
from imagenet_errors.paths import CLOSURE, Artefacts

COLUMNS = ["offset", "lemmas", "hypernyms", "instance_hypernyms", "hyponyms"]


class Synset(NamedTuple):
    """A noun synset: its lemmas as WordNet spells and orders them, and the offsets of the synsets it points to."""

    lemmas: tuple[str, ...]
    hypernyms: tuple[int, ...]
    instance_hypernyms: tuple[int, ...]
    hyponyms: tuple[int, ...]


@dataclass(frozen=True)
class WordNet:
    """Noun synsets: {offset: synset}."""

    synsets: dict[int, Synset]

    def closure(self, offset: int) -> set[int]:
        """Offsets of the synset and all its ancestors, through hypernym and instance-hypernym pointers."""
        found: set[int] = set()
        waiting = [offset]
        while waiting:
            current = waiting.pop()
            if current not in found:
                found.add(current)
                waiting += self.synsets[current].hypernyms + self.synsets[current].instance_hypernyms
        return found

    def lemmas_above(self, offset: int) -> set[str]:
        """The lemmas of the closure."""
        return {lemma for ancestor in self.closure(offset) for lemma in self.synsets[ancestor].lemmas}


def load_wordnet(artefacts: Artefacts, vocabulary: Classes) -> WordNet:
    """Read `wordnet_closure.tsv`. Raises `InputError` if it is damaged, or lacks a class or an ancestor of one."""
    path = artefacts.find(CLOSURE)
    try:
        synsets = {
            int(row["offset"]): Synset(
                tuple(row["lemmas"].split()), *(tuple(map(int, row[name].split())) for name in COLUMNS[2:])
            )
            for row in read_csv(path, COLUMNS, delimiter="\t")
        }
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): restore it from the repository") from None
    needed = {up for synset in synsets.values() for up in synset.hypernyms + synset.instance_hypernyms}
    missing = (needed | set(vocabulary.offsets)) - set(synsets)
    if missing:
        raise InputError(f"{path} lacks the synset {min(missing):08d}: restore it from the repository")
    return WordNet(synsets)


def class_groups(vocabulary: Classes, hierarchy: WordNet) -> dict[str, np.ndarray]:
    """{group: [1000] bool}: all classes; organisms and artifacts, whose closure has that lemma; and the others.

    Source: Peychev et al. 2023 (410, 522 and 68 classes).
    """
    lemmas_of_classes = [hierarchy.lemmas_above(offset) for offset in vocabulary.offsets]
    organism = np.array(["organism" in lemmas for lemmas in lemmas_of_classes])
    artifact = np.array(["artifact" in lemmas for lemmas in lemmas_of_classes])
    return dict(zip(GROUPS, (organism | True, organism, artifact, ~organism & ~artifact), strict=True))
