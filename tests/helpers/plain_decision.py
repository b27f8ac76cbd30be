"""The decision for one image at a time, in plain Python: what the decision over whole arrays is compared with.

Written from the paper's rules with sets, dictionaries and `if`; it shares no code with `src/`.
"""

from dataclasses import dataclass, field

WEASELS = {356, 357, 358, 359}
OVERLAPPING = {
    249: {248}, 250: {248}, 836: {837}, 837: {836}, 385: {101}, 386: {101}, 504: {968}, 638: {639}, 639: {638},
    657: {744}, 744: {657}, 620: {681}, 681: {620}, 664: {782}, 782: {664}, 482: {848}, 435: {876},
    **{weasel: WEASELS - {weasel} for weasel in WEASELS},
}  # fmt: skip


@dataclass
class Decision:
    note: str | None
    error_type: str
    matching: list = field(default_factory=list)
    superclasses: set = field(default_factory=set)
    provisional: bool = False


def decide(target, labels, pred, *, superclasses_of, spurious_pairs, non_prototypical, out_of_vocabulary=None):
    """Decide the error type of one prediction for one image.

    Args:
        target: Original label.
        labels: Accepted labels in annotation order, possibly none.
        pred: Top-1 class.
        superclasses_of: {class: set of superclass names}.
        spurious_pairs: Set of frozensets of two classes.
        non_prototypical: Whether the file is in the non-prototypical list.
        out_of_vocabulary: The outcome of the open-world test, or None where it was skipped.
    """

    def share(a, b):
        return bool(superclasses_of[a] & superclasses_of[b])

    note, error_type = decide_by_labels(target, labels, pred)
    if error_type:
        return Decision(note, error_type)
    sharing = [label for label in labels if share(pred, label)]
    if sharing:
        return Decision(note, "fine_grained", sharing, superclasses_of[pred])
    if target not in labels:
        if pred == target or share(pred, target):
            return Decision(note, "like_target", [], superclasses_of[pred])
        if frozenset((target, pred)) in spurious_pairs:
            return Decision(note, "co_occurs_with_target")
    if out_of_vocabulary:
        return Decision(note, "out_of_vocabulary")
    provisional = out_of_vocabulary is None
    co_occurring = [label for label in labels if frozenset((label, pred)) in spurious_pairs]
    if co_occurring:
        return Decision(note, "spurious_correlation", co_occurring, provisional=provisional)
    return Decision(note, "non_prototypical" if non_prototypical else "model_failure", provisional=provisional)


def decide_by_labels(target, labels, pred) -> tuple[str | None, str | None]:
    """Note and error type, as far as the labels alone decide."""
    overlaps = pred in OVERLAPPING.get(target, set())
    if not labels:
        return "empty_correct" if pred == target else "empty_collapsed" if overlaps else "empty_wrong", None
    if pred == target:
        return (None, "correct") if target in labels else ("correct_wrong_label", None)
    if overlaps:
        return None, "class_overlap"
    return None, "missing_multi_label" if pred in labels else None
