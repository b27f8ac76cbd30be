"""The part of WordNet 3.0 that the taxonomy needs: classes, their ancestors, and what their direct hypernyms cover."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from imagenet_errors.dataset.classes import GROUPS, Classes
from imagenet_errors.errors import InputError
from imagenet_errors.files import read_csv
from imagenet_errors.paths import CLOSURE, Artefacts

COLUMNS = ["offset", "lemmas", "hypernyms", "instance_hypernyms", "hyponyms"]


class Synset(NamedTuple):
    """A noun synset: lemma names as WordNet spells and orders them, and offsets of the synsets it points to."""

    lemmas: tuple[str, ...]
    hypernyms: tuple[int, ...]
    instance_hypernyms: tuple[int, ...]
    hyponyms: tuple[int, ...]


@dataclass(frozen=True)
class WordNet:
    """Synsets by offset."""

    synsets: dict[int, Synset]

    def closure(self, offset: int) -> set[int]:
        """Offsets of the synset itself and all above it, through hypernym and instance-hypernym pointers."""
        above, waiting = set(), [offset]
        while waiting:
            current = waiting.pop()
            if current not in above:
                above.add(current)
                waiting += self.synsets[current].hypernyms + self.synsets[current].instance_hypernyms
        return above

    def lemmas_above(self, offset: int) -> set[str]:
        """The lemma names of the closure."""
        return {lemma for above in self.closure(offset) for lemma in self.synsets[above].lemmas}


def load_wordnet(artefacts: Artefacts, vocabulary: Classes) -> WordNet:
    """Read the closure. Raises `InputError` where a class or a synset that something points up to is not in it."""
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
    """{group: [1000] bool}: organism, artifact by the lemma in the class's closure, other for neither; and all.

    Source: Peychev et al. 2023 (410 / 522 / 68 classes).
    """
    above = [hierarchy.lemmas_above(offset) for offset in vocabulary.offsets]
    organism = np.array(["organism" in lemmas for lemmas in above])
    artifact = np.array(["artifact" in lemmas for lemmas in above])
    return dict(zip(GROUPS, (organism | True, organism, artifact, ~organism & ~artifact), strict=True))
