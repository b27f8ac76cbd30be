"""Error types as the paper's archives spell them: per image a list of texts."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from imagenet_errors.error_types import CODES, ERROR_TYPES, NO_NOTE, NOTES
from imagenet_errors.formats import error_analyses
from imagenet_errors.formats.error_analyses import Proposal

KIND_OF = {kind.archived: code for code, kind in enumerate(ERROR_TYPES)}


NOTE_OF = {note.archived: code for code, note in enumerate(NOTES)}


PROPOSALS = re.compile(r"Top-5 alternative proposals: (\[.{0,10000}\]) \| out of (\d{1,9})")


@dataclass
class Decoded:
    """What one error_types cell says."""

    kind: int
    note: int = NO_NOTE
    matching: Sequence[int] = ()
    superclasses: Sequence[str] = ()
    num_prompts: int | None = None
    proposals: Sequence[Proposal] = ()


def decode(texts: tuple[str, ...]) -> Decoded:
    """Read the list of strings that an archive has for an image. Raises `ValueError` for any other."""
    note = NOTE_OF.get(texts[0], NO_NOTE)
    name, *details = texts[note != NO_NOTE :]
    decoded = Decoded(KIND_OF[name], note)
    if decoded.kind == CODES["out_of_vocabulary"]:
        (detail,) = details
        listed, count = PROPOSALS.fullmatch(detail).groups()
        decoded.num_prompts = int(count)
        decoded.proposals = tuple(
            Proposal(int(offset), str(lemma), float(score.removesuffix("%")) / 100)
            for offset, lemma, score in ast.literal_eval(listed)
        )
        if not all(0 <= proposal.score <= 1 for proposal in decoded.proposals):
            raise ValueError(listed)
        return decoded
    if decoded.kind in error_analyses.WITH_SUPERCLASSES:
        names, *details = details
        if names[:1] + names[-1:] != "[]":
            raise ValueError(names)
        decoded.superclasses = tuple(part.strip() for part in names[1:-1].split(",") if part.strip())
    if decoded.kind in (CODES["fine_grained"], CODES["spurious_correlation"]):
        labels, *details = details
        decoded.matching = tuple(map(int, labels.split(",")))
    if details:
        raise ValueError(details)
    return decoded


def encode(decoded: Decoded) -> list[str]:
    """The strings that `decode` reads."""
    texts = [NOTES[decoded.note].archived] if decoded.note != NO_NOTE else []
    texts.append(ERROR_TYPES[decoded.kind].archived)
    if decoded.kind == CODES["out_of_vocabulary"]:
        return [*texts, proposals_text(decoded.num_prompts or 0, decoded.proposals)]
    if decoded.kind in error_analyses.WITH_SUPERCLASSES:
        texts.append(f"[{','.join(decoded.superclasses)}]")
    if decoded.kind in (CODES["fine_grained"], CODES["spurious_correlation"]):
        texts.append(",".join(map(str, decoded.matching)))
    return texts


def proposals_text(num_prompts: int, proposals) -> str:
    best = [(offset, lemma, f"{score:.2%}") for offset, lemma, score in proposals]
    return f"Top-5 alternative proposals: {best} | out of {num_prompts}"
