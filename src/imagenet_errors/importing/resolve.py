"""What a file of predictions says, as classes: ids, texts or scores under a numbering of the classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from imagenet_errors.dataset.class_numberings import NO_CLASS, ClassNumbering
from imagenet_errors.dataset.classes import NUM_CLASSES, Classes
from imagenet_errors.errors import InputError
from imagenet_errors.formats.prediction_files import PredictionFile, RawPredictions

TOP = 5  # classes stored of each image
BLOCK = 4096  # rows of scores at a time
WRITE_IDS = "write class ids or WordNet ids"


@dataclass(frozen=True)
class TopClasses:
    """Predicted classes of M images, best first.

    Attributes:
        ids: [M, k] int16.
        probs: [M, k] float32, or None where they are not known.
        all_probs: [M, 1000] float32, or None.
    """

    ids: np.ndarray
    probs: np.ndarray | None = None
    all_probs: np.ndarray | None = None

    def __getitem__(self, rows: np.ndarray) -> "TopClasses":
        """Those at these positions."""
        probs, all_probs = (None if array is None else array[rows] for array in (self.probs, self.all_probs))
        return TopClasses(self.ids[rows], probs, all_probs)


def join(tops: Sequence[TopClasses]) -> TopClasses:
    """Predictions one after another: the best five, or where some tell fewer, the best."""
    width = TOP if all(top.ids.shape[1] >= TOP for top in tops) else 1

    def stack(arrays: list[np.ndarray | None]) -> np.ndarray | None:
        known = [array for array in arrays if array is not None]
        return np.concatenate(known) if len(known) == len(arrays) else None

    probs = [None if top.probs is None else top.probs[:, :width] for top in tops]
    ids = np.concatenate([top.ids[:, :width] for top in tops])
    return TopClasses(ids, stack(probs), stack([top.all_probs for top in tops]))


class Resolver:
    """Turns the values of files into classes."""

    def __init__(self, classes: Classes):
        self.classes = classes

    @cached_property
    def _ids_by_text(self) -> dict[str, set[int]]:
        """{WordNet id, description or first name of a description: class ids}."""
        found: dict[str, set[int]] = {}
        for class_id, (wnid, text) in enumerate(zip(self.classes.wnids, self.classes.descriptions, strict=True)):
            for name in {wnid, text, text.partition(",")[0]}:
                found.setdefault(name, set()).add(class_id)
        return found

    def find_classes(self, text: str) -> set[int]:
        """The ids of the classes that a text names; timm's detailed labels add `: definition`."""
        return self._ids_by_text.get(text) or self._ids_by_text.get(text.partition(": ")[0], set())

    def read_numbers(self, raw: RawPredictions, path: Path) -> np.ndarray:
        """[M] int64, the number of the best class in the file; of texts our class id.

        Raises:
            InputError: for a text that names no class, or several.
        """
        if raw.ids is not None:
            return raw.ids[:, 0]
        if raw.scores is not None:
            return raw.scores.argmax(axis=1)
        texts, inverse = np.unique(np.asarray(raw.texts), return_inverse=True)
        ids = [self._read_text(str(text), raw, path) for text in texts]
        return np.array(ids, np.int64)[inverse]

    def _read_text(self, text: str, raw: RawPredictions, path: Path) -> int:
        found = self.find_classes(text)
        if len(found) == 1:
            return next(iter(found))
        row = int(np.flatnonzero(raw.texts == text)[0]) + 1
        what = f"names the classes {', '.join(map(str, sorted(found)))}" if found else "names no ImageNet class"
        raise InputError(f"{path} row {row}: {text!r} in {raw.label} {what}: {WRITE_IDS}")

    def choose(self, file: PredictionFile, numbering: ClassNumbering) -> RawPredictions:
        """The predictions of a file where several of its columns or arrays fit: the first, if all say the same.

        Raises:
            InputError: where they differ.
        """
        first, *others = file.candidates
        for other in others:
            if not self._agree(first, other, numbering, file.path):
                labels = [candidate.label for candidate in file.candidates]
                raise InputError(
                    f"{file.path}: {', '.join(labels[:-1])} and {labels[-1]} differ, and each could be the prediction:"
                    " choose with --class_column"
                )
        return first

    def _agree(self, one: RawPredictions, other: RawPredictions, numbering: ClassNumbering, path: Path) -> bool:
        if one.texts is not None:
            return other.texts is not None and np.array_equal(one.texts, other.texts)
        numbers = self.read_numbers(one, path)
        if other.texts is None:
            return np.array_equal(numbers, self.read_numbers(other, path))
        ids = numbering.to_class_ids(numbers).tolist()
        return all(class_id in self.find_classes(text) for class_id, text in zip(ids, other.texts, strict=True))


def take_top_classes(
    raw: RawPredictions, numbers: np.ndarray, numbering: ClassNumbering, path: Path, keep_all: bool = False
) -> TopClasses:
    """The classes predicted, once the numbering is known.

    Args:
        raw: Of M images.
        numbers: [M] `Resolver.read_numbers` of it.
        numbering: Of its numbers.
        path: The file, for messages.
        keep_all: Whether to keep all probabilities, where scores are given.

    Raises:
        InputError: for a number that means no class, with its row; for scores of another number of classes.
    """
    if raw.ids is not None:
        return TopClasses(_to_class_ids(raw.ids, numbering, raw.label, path), raw.probs)
    if raw.scores is not None:
        columns = _find_columns(raw.scores.shape[1], numbering, raw.label, path)
        return _top_of_scores(raw.scores, columns, numbering.to_class_ids(columns), keep_all)
    return TopClasses(numbers[:, None].astype(np.int16))


def _to_class_ids(numbers: np.ndarray, numbering: ClassNumbering, label: str, path: Path) -> np.ndarray:
    ids = numbering.to_class_ids(numbers)
    unknown = np.argwhere(ids == NO_CLASS)
    if len(unknown):
        row, column = unknown[0]
        last = numbering.first + len(numbering.ids) - 1
        raise InputError(
            f"{path} row {row + 1}: {numbers[row, column]} in {label} is not a class id from {numbering.first} to"
            f" {last}: correct it, or say with --label_offset or --classes how the classes are numbered"
        )
    return ids


def _find_columns(num_columns: int, numbering: ClassNumbering, label: str, path: Path) -> np.ndarray:
    """The columns of scores that are of a class, in the order of our class ids: of ties the lower id comes first."""
    ids = numbering.to_class_ids(np.arange(num_columns))
    known = np.flatnonzero(ids != NO_CLASS)
    num_missing = len(numbering.ids) - len(known)
    if num_missing > (numbering.first != 0) or num_columns - len(known) > 1:
        background = ": with the background first, give --label_offset -1" if num_columns == NUM_CLASSES + 1 else ""
        raise InputError(
            f"{path}: {label} has {num_columns} columns, not one for each of {len(numbering.ids)} classes{background}"
        )
    return known[np.argsort(ids[known])]


def _top_of_scores(scores: np.ndarray, columns: np.ndarray, ids: np.ndarray, keep_all: bool) -> TopClasses:
    """The best of the columns [K], which are of the classes `ids` [K]."""
    blocks = [scores[start : start + BLOCK][:, columns] for start in range(0, len(scores), BLOCK)]
    best, probs, all_probs = zip(*(_top_of_block(block, keep_all) for block in blocks), strict=True)
    has_all = keep_all and len(columns) == NUM_CLASSES
    return TopClasses(ids[np.concatenate(best)], np.concatenate(probs), np.concatenate(all_probs) if has_all else None)


def _top_of_block(scores: np.ndarray, keep_all: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Columns and probabilities of the best five of each row, and all probabilities where they are kept."""
    probs = scores.astype(np.float32)
    if probs.min() < 0 or not np.allclose(probs.sum(axis=1), 1, atol=1e-2):
        probs = np.exp(probs - probs.max(axis=1, keepdims=True))
        probs /= probs.sum(axis=1, keepdims=True)
    rest, rows, columns = probs.copy(), np.arange(len(probs)), []
    for _ in range(TOP):
        columns.append(rest.argmax(axis=1))
        rest[rows, columns[-1]] = -1
    best = np.stack(columns, axis=1)
    return best, np.take_along_axis(probs, best, axis=1), probs if keep_all else None
