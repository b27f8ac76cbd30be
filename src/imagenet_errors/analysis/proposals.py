"""What an image could show instead of a class: the names that the open-world test proposes.

Source: Peychev et al. 2023, section 3 (fine-grained out-of-vocabulary errors) and appendix.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from imagenet_errors.dataset.classes import NUM_CLASSES, Classes
from imagenet_errors.dataset.superclasses import Superclasses
from imagenet_errors.dataset.wordnet import WordNet
from imagenet_errors.errors import InputError
from imagenet_errors.files import fingerprint
from imagenet_errors.paths import CLOSURE

# A hypernym path counts from its first node with one of these lemmas on.
STOP_LIST = frozenset(
    (
        *("device", "dog", "commodity", "bird", "structure", "covering", "wheeled_vehicle", "food", "equipment"),
        *("insect", "vehicle", "furniture", "primate", "vessel", "snake", "natural_object", "organism"),
        *("geological_formation", "clothing", "container"),
    )
)


def prompt(lemma: str) -> str:
    """The text whose embedding stands for a lemma name."""
    return f"A photo of a {readable(lemma)}"


def readable(lemma: str) -> str:
    return lemma.lower().replace("_", " ")


@dataclass(frozen=True)
class Proposer:
    """Proposes synsets for a prediction.

    Attributes:
        classes: The 1000 classes.
        wordnet: Synsets and their pointers.
        superclasses: Which classes share.
    """

    classes: Classes
    wordnet: WordNet
    superclasses: Superclasses

    def propose(self, prediction: int, target: int) -> list[int]:
        """The offsets of the proposed synsets, in order and distinct: open_world.md, step 2.

        Raises:
            InputError: where the closure of the target contains the prediction or a class that shares with it.
        """
        block = self._above[target]
        certain, possible = self._candidates[prediction]
        blocked = block.intersection(certain)
        if blocked:
            raise InputError(
                f"superclasses.json lets {self.classes.describe(prediction)} share with the synset"
                f" {min(blocked):08d}, a hypernym of {self.classes.describe(target)}: correct its definitions"
            )
        return [*certain, *(offset for offset in possible if offset not in block)]

    def are_proposed(self, prediction: int, targets: np.ndarray) -> np.ndarray:
        """[p, m] bool: which of the m `candidates` of a prediction `propose` gives for each of p targets.

        Raises:
            InputError: as `propose`.
        """
        blocked = self._is_above[targets][:, self._columns[prediction]]
        contradicting = blocked[:, : len(self._candidates[prediction][0])].any(axis=1)
        if contradicting.any():
            self.propose(prediction, int(targets[contradicting.argmax()]))  # raises
        return ~blocked

    def candidates(self, prediction: int) -> list[int]:
        """The offsets that are proposed for some target, in order."""
        certain, possible = self._candidates[prediction]
        return [*certain, *(offset for offset in possible if offset not in self._above_all)]

    def all_names(self) -> list[tuple[int, str]]:
        """(offset, lemma) of all that can ever be proposed, sorted by offset; lemmas as WordNet lists them."""
        offsets = self._all_offsets
        missing = next((offset for offset in offsets if offset not in self.wordnet.synsets), None)
        if missing is not None:
            raise InputError(f"{CLOSURE} lacks the synset {missing:08d}, which others point to: restore it")
        return [(offset, readable(lemma)) for offset in offsets for lemma in self.wordnet.synsets[offset].lemmas]

    def all_prompts(self) -> list[str]:
        """The distinct texts of these, in their order."""
        return list(dict.fromkeys(prompt(lemma) for _, lemma in self.all_names()))

    @cached_property
    def fingerprint(self) -> str:
        """Of all that decides what is proposed."""
        return fingerprint(self._candidates, [sorted(above) for above in self._above])

    @cached_property
    def _above_all(self) -> frozenset[int]:
        """What every target blocks."""
        return frozenset.intersection(*self._above)

    @cached_property
    def _above(self) -> list[frozenset[int]]:
        """By class: its closure."""
        return [frozenset(self.wordnet.closure(offset)) for offset in self.classes.offsets]

    @cached_property
    def _all_offsets(self) -> list[int]:
        """All that can ever be proposed, ascending."""
        return sorted({offset for prediction in range(NUM_CLASSES) for offset in self.candidates(prediction)})

    @cached_property
    def _columns(self) -> list[np.ndarray]:
        """By prediction: positions of its candidates in `_all_offsets`."""
        return [np.searchsorted(self._all_offsets, self.candidates(prediction)) for prediction in range(NUM_CLASSES)]

    @cached_property
    def _is_above(self) -> np.ndarray:
        """[1000, len(_all_offsets)] bool: the synset is in the closure of the class."""
        columns = {offset: column for column, offset in enumerate(self._all_offsets)}
        is_above = np.zeros((NUM_CLASSES, len(columns)), bool)
        for class_id, above in enumerate(self._above):
            is_above[class_id, [columns[offset] for offset in above if offset in columns]] = True
        return is_above

    @cached_property
    def _candidates(self) -> list[tuple[list[int], list[int]]]:
        """By prediction: what is proposed for every target (a, b), then what a target may block (c, d)."""
        return [self._of_class(class_id) for class_id in range(NUM_CLASSES)]

    def _of_class(self, class_id: int) -> tuple[list[int], list[int]]:
        synsets, offsets = self.wordnet.synsets, self.classes.offsets
        own = offsets[class_id]
        sharing = (offsets[other] for other in np.flatnonzero(self.superclasses.share[class_id]))
        certain = dict.fromkeys([own, *sharing])
        beside = (hyponym for above in synsets[own].hypernyms for hyponym in synsets[above].hyponyms)
        on_paths = (offset for path in self._paths(own) for offset in self._from_stop(path))
        possible = dict.fromkeys(offset for part in (beside, on_paths) for offset in part if offset not in certain)
        return list(certain), list(possible)

    def _paths(self, offset: int) -> Iterator[list[int]]:
        """Every path from the root down to the synset."""
        synset = self.wordnet.synsets[offset]
        above = synset.hypernyms + synset.instance_hypernyms
        if not above:
            yield [offset]
        for parent in above:
            for path in self._paths(parent):
                yield [*path, offset]

    def _from_stop(self, path: list[int]) -> list[int]:
        """The path from its first node in the stop list on."""
        synsets = self.wordnet.synsets
        start = next((i for i, offset in enumerate(path) if STOP_LIST.intersection(synsets[offset].lemmas)), len(path))
        return path[start:]
