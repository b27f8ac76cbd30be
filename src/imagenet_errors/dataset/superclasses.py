"""Superclasses: their definitions by WordNet lemmas, their classes, and which classes share one."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from imagenet_errors.dataset.classes import NUM_CLASSES, Classes
from imagenet_errors.dataset.wordnet import WordNet
from imagenet_errors.errors import InputError
from imagenet_errors.files import fingerprint, read_json_objects
from imagenet_errors.paths import SUPERCLASSES, Artefacts


@dataclass(frozen=True)
class Superclasses:
    """Which class is in which superclass. A class in none is its own.

    Attributes:
        names: The superclasses in the order of their definitions, then the WordNet ids of the classes in none of them.
        members: [1000, len(names)] bool.
    """

    names: tuple[str, ...]
    members: np.ndarray

    @cached_property
    def share(self) -> np.ndarray:
        """[1000, 1000] bool: whether two classes have a superclass in common; true on the diagonal."""
        members = self.members.astype(np.float32)  # a fast matrix product, and exact for such counts
        return members @ members.T > 0

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.names, self.members)

    def list_defined(self, vocabulary: Classes) -> list[tuple[str, np.ndarray]]:
        """(name, [k] class ids) of every superclass with a definition, in their order."""
        columns = (column for column, name in enumerate(self.names) if name not in vocabulary.ids)
        return [(self.names[column], np.flatnonzero(self.members[:, column])) for column in columns]

    def list_ungrouped(self, vocabulary: Classes) -> np.ndarray:
        """[k] ids of the classes that are in no superclass with a definition."""
        return np.array([vocabulary.ids[name] for name in self.names if name in vocabulary.ids], dtype=int)

    def names_of(self, class_id: int) -> list[str]:
        """The superclasses of a class."""
        return self.names_shared(class_id, np.array([class_id]))

    def names_shared(self, class_id: int, others: np.ndarray) -> list[str]:
        """The superclasses that the class has in common with any of `others` ([k] class ids)."""
        return [self.names[column] for column in np.flatnonzero(self.members[others].any(0) & self.members[class_id])]


def load_superclasses(artefacts: Artefacts, vocabulary: Classes, hierarchy: WordNet) -> Superclasses:
    """Read the definitions `{name: [[lemma, ...], ...]}`, one object or one per line, and apply them.

    Raises:
        InputError: if the file is missing or malformed, or a definition is not well-formed.
    """
    path = artefacts.find(SUPERCLASSES)
    definitions = read_json_objects(path)
    check_definitions(definitions, vocabulary, path)
    return define_superclasses(definitions, vocabulary, hierarchy)


def check_definitions(definitions: dict, vocabulary: Classes, path: Path) -> None:
    """Raises `InputError` if there is none, or one is not a non-empty list of non-empty lists of lemma names."""
    if not definitions:
        raise InputError(f"{path} defines no superclass: restore it from the repository")
    for name, alternatives in definitions.items():
        if name in vocabulary.ids:
            raise InputError(f"{path}: the superclass {name!r} has the name of a class: rename it")
        is_well_formed = isinstance(alternatives, list) and all(
            isinstance(lemmas, list) and lemmas and all(isinstance(lemma, str) for lemma in lemmas)
            for lemmas in alternatives
        )
        if not is_well_formed or not alternatives:
            raise InputError(f"{path}: superclass {name!r} is not a list of non-empty lists of lemmas: correct it")


def define_superclasses(
    definitions: dict[str, list[list[str]]], vocabulary: Classes, hierarchy: WordNet
) -> Superclasses:
    """Apply definitions: a class is in a superclass if all lemmas of one of its lists name synsets of its closure.

    Lemmas are compared in exact case.
    """
    lemmas_of_classes = [hierarchy.lemmas_above(offset) for offset in vocabulary.offsets]
    defined = np.array(
        [
            [any(lemmas.issuperset(wanted) for wanted in alternatives) for alternatives in definitions.values()]
            for lemmas in lemmas_of_classes
        ]
    ).reshape(NUM_CLASSES, len(definitions))
    ungrouped = np.flatnonzero(~defined.any(axis=1))
    singletons = np.arange(NUM_CLASSES)[:, None] == ungrouped
    return Superclasses(
        (*definitions, *(vocabulary.wnids[class_id] for class_id in ungrouped)), np.hstack([defined, singletons])
    )


def list_superclasses(superclasses: Superclasses, vocabulary: Classes) -> str:
    """The text of superclasses.txt: the classes of every superclass, then the classes without one."""
    ungrouped = ("no superclass", superclasses.list_ungrouped(vocabulary))
    return "\n".join(
        f"{name}: {len(members)} wnet classes\n"
        + "".join(f"{vocabulary.wnids[i]} {vocabulary.descriptions[i]}\n" for i in members)
        for name, members in (*superclasses.list_defined(vocabulary), ungrouped)
    )
