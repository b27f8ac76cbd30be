"""The decision: which error type a prediction has, over whole arrays.

Source: Peychev et al. 2023, section 3 and appendix; class overlap after Vasudevan et al. 2022.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from imagenet_errors.dataset.annotations import NO_LABEL, AnnotatedImages
from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.error_types import AFTER_OPEN_WORLD, CODES, NO_NOTE, NOTES
from imagenet_errors.formats.open_world_outcomes import Verdicts

OVERLAPPING = {
    249: (248,), 250: (248,), 836: (837,), 837: (836,), 385: (101,), 386: (101,), 504: (968,), 638: (639,),
    639: (638,), 657: (744,), 744: (657,), 620: (681,), 681: (620,), 664: (782,), 782: (664,), 482: (848,),
    435: (876,), 356: (357, 358, 359), 357: (356, 358, 359), 358: (356, 357, 359), 359: (356, 357, 358),
}  # fmt: skip
"""{target: classes that are also correct} (Vasudevan et al. 2022); directed."""


@cache
def overlap() -> np.ndarray:
    """[1000, 1000] bool: predicting the second class for the first as target is class overlap."""
    matrix = np.zeros((NUM_CLASSES, NUM_CLASSES), bool)
    for target, classes in OVERLAPPING.items():
        matrix[target, list(classes)] = True
    return matrix


@dataclass(frozen=True)
class Relations:
    """Which classes go together, as [1000, 1000] bool matrices.

    Attributes:
        share: Have a superclass in common (symmetric; true on the diagonal).
        spurious: Are a spurious pair (symmetric).
    """

    share: np.ndarray
    spurious: np.ndarray


@dataclass(frozen=True)
class Decisions:
    """One decision per (model, image); leading dimensions are those of the predictions.

    Attributes:
        error_types: [..., n] int8, positions in ERROR_TYPES.
        notes: [..., n] int8, positions in NOTES, or -1.
        provisional: [..., n] bool: the open-world test was skipped, or what it says is not known, and could change it.
        matching: [..., n, L] bool: the accepted labels that share with the prediction (fine-grained) or make a
            spurious pair with it (spurious correlation).
    """

    error_types: np.ndarray
    notes: np.ndarray
    provisional: np.ndarray
    matching: np.ndarray


def decide(
    images: AnnotatedImages, top1: np.ndarray, relations: Relations, out_of_vocabulary: np.ndarray | None = None
) -> Decisions:
    """Give every prediction its error type.

    Args:
        images: The n annotated images.
        top1: [..., n] class ids, int16: the top-1 predictions of one model or of many.
        relations: Which classes go together.
        out_of_vocabulary: [..., n] bool, what the open-world test says; None where it was skipped.
    """
    targets, labels = images.targets, images.labels
    is_label = labels != NO_LABEL
    empty = ~is_label.any(axis=1)
    target_accepted = (labels == targets[:, None]).any(axis=1)
    as_target = top1 == targets
    overlaps = overlap()[targets, top1]
    sharing = relations.share[top1[..., None], labels] & is_label
    co_occurring = relations.spurious[top1[..., None], labels] & is_label

    skipped = out_of_vocabulary is None
    tests = {  # in the order in which they decide
        "correct": as_target & target_accepted,
        "class_overlap": overlaps & ~empty,
        "missing_multi_label": (labels == top1[..., None]).any(axis=-1),
        "fine_grained": sharing.any(axis=-1),
        "like_target": relations.share[targets, top1] & ~target_accepted,
        "co_occurs_with_target": relations.spurious[targets, top1] & ~target_accepted,
        "out_of_vocabulary": np.broadcast_to(False, top1.shape) if skipped else out_of_vocabulary,
        "spurious_correlation": co_occurring.any(axis=-1),
        "non_prototypical": np.broadcast_to(images.non_prototypical, top1.shape),
    }
    error_types = np.select(
        list(tests.values()), [np.int8(CODES[name]) for name in tests], np.int8(CODES["model_failure"])
    )
    is_fine_grained = error_types == CODES["fine_grained"]
    is_spurious = error_types == CODES["spurious_correlation"]
    return Decisions(
        error_types,
        np.select(
            [empty & as_target, empty & overlaps, empty & ~as_target, as_target & ~target_accepted],
            [np.int8(code) for code in range(len(NOTES))],
            np.int8(NO_NOTE),
        ),
        np.isin(error_types, AFTER_OPEN_WORLD) & skipped,
        sharing & is_fine_grained[..., None] | co_occurring & is_spurious[..., None],
    )


def apply_open_world(decisions: Decisions, tested: np.ndarray, verdicts: Verdicts) -> Decisions:
    """Decisions made without the open-world test, with its verdicts; those that are not known stay provisional.

    Args:
        decisions: Of p pairs.
        tested: [q] positions of the provisional ones.
        verdicts: Of these q.
    """
    caught = tested[verdicts.is_out_of_vocabulary]
    error_types, matching = decisions.error_types.copy(), decisions.matching.copy()
    error_types[caught], matching[caught] = CODES["out_of_vocabulary"], False
    provisional = np.zeros_like(decisions.provisional)
    provisional[tested] = ~verdicts.is_known
    return Decisions(error_types, decisions.notes, provisional, matching)
