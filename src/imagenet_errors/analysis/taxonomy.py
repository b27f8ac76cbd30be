"""The error types and the decision, over whole arrays.

Source: Peychev et al. 2023, section 3 and appendix; class overlap after Vasudevan et al. 2022.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from imagenet_errors.knowledge.annotations import NO_LABEL, AnnotatedImages
from imagenet_errors.storage import NUM_CLASSES


@dataclass(frozen=True)
class Kind:
    """An outcome: one row of the table below.

    Attributes:
        name: Its name here and in errors_analysis.parquet.
        title: Its name for people.
        archived: Its name in the paper's archives.
        column: Its column in the stats tables; None for outcomes of problematic images alone.
        flag: Its name for `--error_type`; None for what is no error.
    """

    name: str
    title: str
    archived: str
    column: str | None = None
    flag: str | None = None


KINDS = (
    Kind("correct", "correct", "correct", "num_group_correct"),
    Kind(
        "class_overlap",
        "class overlap",
        "correct (collapsed mapping)",
        "num_collapsed_mappings",
        "overlapping_classes",
    ),
    Kind(
        "missing_multi_label",
        "missing multi-label",
        "correct wrt multi label (ambiguous/multi-object)",
        "num_ambiguous",
        "multi_label",
    ),
    Kind("fine_grained", "fine-grained", "same superclass (fine-grained)", "num_same_superclass", "fg"),
    Kind(
        "like_target",
        "like the target",
        "fine-grained/OOV, same superset as target, but target not in multi-label",
    ),
    Kind(
        "co_occurs_with_target",
        "co-occurs with the target",
        "common co-occurrences with target (spurious correlations), but target not in multi-label",
    ),
    Kind(
        "out_of_vocabulary",
        "fine-grained out-of-vocabulary",
        "potentially OOV, detected by CLIP",
        "num_OOV_clip",
        "fg-OOV",
    ),
    Kind(
        "spurious_correlation",
        "spurious correlation",
        "common co-occurrences (spurious correlations)",
        "num_common_co_occ",
        "spurious_correlation",
    ),
    Kind(
        "non_prototypical",
        "non-prototypical",
        "non-prototypical (DoughBagel)",
        "num_non_prototypical",
        "non-proto",
    ),
    Kind("model_failure", "model failure", "error not classified", "num_not_classified", "model_failure"),
)
CODES = {kind.name: code for code, kind in enumerate(KINDS)}
BY_FLAG = {kind.flag: code for code, kind in enumerate(KINDS) if kind.flag}
ERRORS = tuple(BY_FLAG.values())  # codes of the seven error types, in the order of the decision
UNTIL_OPEN_WORLD = [CODES[name] for name in ("spurious_correlation", "non_prototypical", "model_failure")]

# Notes on problematic images, which stand before the type.
NOTES = (
    Kind(
        "empty_correct",
        "no label is accepted, and the prediction is the original label",
        "empty (problematic) multi-label, correct (top-1=target)",
    ),
    Kind(
        "empty_collapsed",
        "no label is accepted, and the prediction overlaps with the original label",
        "empty (problematic) multi-label, correct wrt collapsed mappings",
    ),
    Kind(
        "empty_wrong",
        "no label is accepted, and the prediction is not the original label",
        "empty (problematic) multi label, wrong (top-1 != target)",
    ),
    Kind(
        "correct_wrong_label",
        "the prediction is the original label, which is not accepted",
        "correct (top-1=target) but target is wrong/unclear",
    ),
)
NO_NOTE = -1

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
        kinds: [..., n] int8, positions in KINDS.
        notes: [..., n] int8, positions in NOTES, or -1.
        provisional: [..., n] bool: the open-world test was skipped and could have said otherwise.
        matching: [..., n, L] bool: the accepted labels that share with the prediction (fine-grained) or make a
            spurious pair with it (spurious correlation).
    """

    kinds: np.ndarray
    notes: np.ndarray
    provisional: np.ndarray
    matching: np.ndarray


def decide(
    images: AnnotatedImages, top1: np.ndarray, relations: Relations, out_of_vocabulary: np.ndarray | None = None
) -> Decisions:
    """Give every prediction its type.

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
    kinds = np.select(list(tests.values()), [np.int8(CODES[name]) for name in tests], np.int8(CODES["model_failure"]))
    is_fine_grained = kinds == CODES["fine_grained"]
    is_spurious = kinds == CODES["spurious_correlation"]
    return Decisions(
        kinds,
        np.select(
            [empty & as_target, empty & overlaps, empty & ~as_target, as_target & ~target_accepted],
            [np.int8(code) for code in range(len(NOTES))],
            np.int8(NO_NOTE),
        ),
        np.isin(kinds, UNTIL_OPEN_WORLD) & skipped,
        sharing & is_fine_grained[..., None] | co_occurring & is_spurious[..., None],
    )
