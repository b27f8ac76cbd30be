"""Error types as the paper's archives and lists spell them: per image a list of texts."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from imagenet_errors.error_types import CODES, ERROR_TYPES, NO_NOTE, NOTES
from imagenet_errors.formats.error_analyses import WITH_SUPERCLASSES, Proposal

CODES_BY_TEXT = {one.archived: code for code, one in enumerate(ERROR_TYPES)}
NOTES_BY_TEXT = {note.archived: code for code, note in enumerate(NOTES)}
WITH_MATCHING_LABELS = (CODES["fine_grained"], CODES["spurious_correlation"])
PROPOSALS = re.compile(r"Top-5 alternative proposals: (\[.{0,10000}\]) \| out of (\d{1,9})")


@dataclass(frozen=True)
class DecidedImage:
    """What one `error_types` cell says.

    Attributes:
        error_type: A position in ERROR_TYPES.
        note: A position in NOTES, or NO_NOTE.
        matching: Class ids of the labels that explain the error type.
        superclasses: Those of the prediction, by name.
        num_prompts: Of the open-world test; None where the cell does not tell.
        proposals: The best of the test.
    """

    error_type: int
    note: int = NO_NOTE
    matching: Sequence[int] = ()
    superclasses: Sequence[str] = ()
    num_prompts: int | None = None
    proposals: Sequence[Proposal] = ()


def decode(texts: tuple[str, ...]) -> DecidedImage:
    """Read the list of texts that an archive has for an image. Raises `ValueError` for any other."""
    note = NOTES_BY_TEXT.get(texts[0], NO_NOTE)
    name, *details = texts[note != NO_NOTE :]
    code = CODES_BY_TEXT[name]
    if code == CODES["out_of_vocabulary"]:
        (detail,) = details
        return DecidedImage(code, note, (), (), *_decode_proposals(detail))
    superclasses: tuple[str, ...] = ()
    matching: tuple[int, ...] = ()
    if code in WITH_SUPERCLASSES:
        names, *details = details
        if names[:1] + names[-1:] != "[]":
            raise ValueError(names)
        superclasses = tuple(part.strip() for part in names[1:-1].split(",") if part.strip())
    if code in WITH_MATCHING_LABELS:
        labels, *details = details
        matching = tuple(map(int, labels.split(",")))
    if details:
        raise ValueError(details)
    return DecidedImage(code, note, matching, superclasses)


def _decode_proposals(text: str) -> tuple[int, tuple[Proposal, ...]]:
    match = PROPOSALS.fullmatch(text)
    if match is None:
        raise ValueError(text)
    proposals = tuple(
        Proposal(int(offset), str(lemma), float(score.removesuffix("%")) / 100)
        for offset, lemma, score in ast.literal_eval(match[1])
    )
    if not all(0 <= proposal.score <= 1 for proposal in proposals):
        raise ValueError(text)
    return int(match[2]), proposals


def encode(image: DecidedImage) -> list[str]:
    """The texts that `decode` reads."""
    texts = [NOTES[image.note].archived] if image.note != NO_NOTE else []
    texts.append(ERROR_TYPES[image.error_type].archived)
    if image.error_type == CODES["out_of_vocabulary"]:
        best = [(offset, lemma, f"{score:.2%}") for offset, lemma, score in image.proposals]
        return [*texts, f"Top-5 alternative proposals: {best} | out of {image.num_prompts or 0}"]
    if image.error_type in WITH_SUPERCLASSES:
        texts.append(f"[{','.join(image.superclasses)}]")
    if image.error_type in WITH_MATCHING_LABELS:
        texts.append(",".join(map(str, image.matching)))
    return texts
