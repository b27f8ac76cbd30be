"""Predictions as another tool's file holds them: neither classes nor images are matched with the dataset yet."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from imagenet_errors.errors import InputError, describe_unknown

FEWEST_CLASSES = 100  # longer rows hold a score for every class, shorter ones the best classes
LONGEST_VALUE = 60  # characters of a value in a message
PROBABILITIES = re.compile(r"(.*_)?(probs?|probabilit(y|ies)|confidences?)", re.IGNORECASE)


@dataclass(frozen=True)
class RawPredictions:
    """A column or array of predictions as the file has it; exactly one of ids, texts and scores is there.

    Attributes:
        label: What it is, for messages: `the column predicted_class`, `the array logits`.
        ids: [M, k] int64, class ids as the file numbers them, best first, k >= 1; else None.
        texts: [M] str, WordNet ids or descriptions of the best class; else None.
        scores: [M, K] float32, finite logits or probabilities of all K >= 100 classes; else None.
        probs: [M, k] float32, the probabilities of `ids`; None where the file has none.
    """

    label: str
    ids: np.ndarray | None = None
    texts: np.ndarray | None = None
    scores: np.ndarray | None = None
    probs: np.ndarray | None = None

    def __post_init__(self) -> None:
        if sum(part is not None for part in (self.ids, self.texts, self.scores)) != 1:
            raise ValueError(f"{self.label} needs exactly one of ids, texts and scores")

    def __len__(self) -> int:
        return next(len(part) for part in (self.ids, self.texts, self.scores) if part is not None)


@dataclass(frozen=True)
class PredictionFile:
    """What a file says about M images.

    Attributes:
        path: The file.
        names: [M] str, image names in the order of the rows; None where the file has none.
        candidates: At least one, those with more information first: scores, then ids with larger k, then texts.
    """

    path: Path
    names: np.ndarray | None
    candidates: list[RawPredictions]


def refuse_value(path: Path, row: int, label: str, value: object, advice: str) -> NoReturn:
    """Raise `InputError` for a value in a row, which is counted from 0 here and from 1 in the message."""
    text = repr(value)
    text = text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."
    raise InputError(f"{path} row {row + 1:,}: {label} has {text}, {advice}")


def find_name(asked: str, names: list[str], what: str, flag: str, path: Path) -> str:
    """The one of `names` that a flag asks for, in any case of letters. Raises `InputError` where there is none."""
    same = [name for name in names if name == asked] or [name for name in names if name.lower() == asked.lower()]
    if not same:
        raise InputError(f"{path} has no such {what} for {flag}: {describe_unknown(what, asked, filter(None, names))}")
    return same[0]


def to_predictions(values: np.ndarray, label: str, path: Path) -> RawPredictions | None:
    """Tell class ids, texts and scores apart.

    Args:
        values: [M] or [M, k] numbers or texts.
        label: What they are, for messages.
        path: The file, for messages.

    Returns:
        The predictions. None where each row holds 100 or more numbers in descending order: the scores of a list that is
        sorted, best first, do not say which classes they belong to.

    Raises:
        InputError: for a number that is not finite, or a class id that is not an integer; it names row and value.
    """
    rows = values.reshape(len(values), -1)
    if rows.dtype.kind == "U":
        return RawPredictions(label, texts=rows[:, 0])
    if rows.shape[1] < FEWEST_CLASSES or _is_list_of_ids(rows[0]):
        return RawPredictions(label, ids=to_ids(rows, label, path))
    scores = to_finite(rows, label, path)
    return None if _are_sorted(scores) else RawPredictions(label, scores=scores)


def _is_list_of_ids(row: np.ndarray) -> bool:
    """Whether a row of 100 or more numbers lists classes, best first: no class occurs twice, and none is negative."""
    return bool((row >= 0).all() and (row == np.floor(row)).all() and len(np.unique(row)) == len(row))


def _are_sorted(scores: np.ndarray) -> bool:
    return bool((scores[:, :-1] >= scores[:, 1:]).all() and (scores[:, 0] > scores[:, -1]).any())


def to_ids(values: np.ndarray, label: str, path: Path) -> np.ndarray:
    """Integral numbers as int64. Raises `InputError` for the first other number."""
    numbers = values.astype(np.float64)
    whole = (np.abs(numbers) < 2**53) & (numbers == np.rint(numbers))
    if not whole.all():
        row, column = np.argwhere(~whole)[0]
        refuse_value(path, row, label, values[row, column].item(), "which is not a class id: correct the row")
    return values.astype(np.int64)


def to_finite(values: np.ndarray, label: str, path: Path) -> np.ndarray:
    """Numbers as float32. Raises `InputError` for the first that is not finite."""
    finite = values.astype(np.float32, copy=False)
    if not np.isfinite(finite).all():
        row, column = np.argwhere(~np.isfinite(finite))[0]
        refuse_value(path, row, label, values[row, column].item(), "which is not finite: correct the row")
    return finite


def attach_probs(candidates: list[RawPredictions], probs: list[np.ndarray]) -> list[RawPredictions]:
    """Give ids their probabilities, where exactly one of `probs` ([M, k] numbers) has their shape.

    Values outside 0 to 1 are logits or percentages, not probabilities, and are left out.
    """
    probs = [values.astype(np.float32) for values in probs if ((values >= 0) & (values <= 1)).all()]

    def attach(candidate: RawPredictions) -> RawPredictions:
        fitting = [values for values in probs if candidate.ids is not None and values.shape == candidate.ids.shape]
        return replace(candidate, probs=fitting[0]) if len(fitting) == 1 else candidate

    return [attach(candidate) for candidate in candidates]


def sort_candidates(candidates: list[RawPredictions]) -> list[RawPredictions]:
    """Those with more information first: scores, then ids with larger k, then texts."""

    def rank(candidate: RawPredictions) -> tuple[int, int]:
        if candidate.ids is None:
            return (0 if candidate.scores is not None else 2), 0
        return 1, -candidate.ids.shape[1]

    return sorted(candidates, key=rank)
