"""The error taxonomy, one image at a time, in plain Python: what the whole-array decision is checked against.

Written from the rules before the arrays were, with sets, dictionaries and `if`; it shares no code with `src/`.
"""

from dataclasses import dataclass, field

WEASELS = {356, 357, 358, 359}
OVERLAPPING = {
    249: {248}, 250: {248}, 836: {837}, 837: {836}, 385: {101}, 386: {101}, 504: {968}, 638: {639}, 639: {638},
    657: {744}, 744: {657}, 620: {681}, 681: {620}, 664: {782}, 782: {664}, 482: {848}, 435: {876},
    **{weasel: WEASELS - {weasel} for weasel in WEASELS},
}  # fmt: skip
PROVISIONAL = {"spurious_correlation", "non_prototypical", "model_failure"}


@dataclass
class Decision:
    note: str | None
    error_type: str
    matching: list = field(default_factory=list)
    superclasses: set = field(default_factory=set)
    provisional: bool = False


def decide(target, labels, pred, *, superclasses_of, spurious_pairs, non_prototypical, out_of_vocabulary=None):
    """Type one prediction for one image.

    Args:
        target: Original label.
        labels: Accepted labels in annotation order, possibly none.
        pred: Top-1 class.
        superclasses_of: {class: set of superclass names}.
        spurious_pairs: Set of frozensets of two classes.
        non_prototypical: Whether the file is in the non-prototypical list.
        out_of_vocabulary: What the open-world test says, or None where it was skipped.
    """
    note = None
    go_to_4 = False
    if len(labels) == 0:
        go_to_4 = True
        if pred == target:
            note = "empty_correct"
        elif pred in OVERLAPPING.get(target, set()):
            note = "empty_collapsed"
        else:
            note = "empty_wrong"
    elif pred == target:
        if target in labels:
            return Decision(None, "correct")
        note = "correct_wrong_label"
    else:
        if pred in OVERLAPPING.get(target, set()):
            return Decision(None, "class_overlap")
        if pred in labels:
            return Decision(None, "missing_multi_label")

    def share(a, b):
        return bool(superclasses_of[a] & superclasses_of[b])

    if not go_to_4:
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
    co_occurring = [label for label in labels if frozenset((label, pred)) in spurious_pairs]
    if co_occurring:
        decision = Decision(note, "spurious_correlation", co_occurring)
    elif non_prototypical:
        decision = Decision(note, "non_prototypical")
    else:
        decision = Decision(note, "model_failure")
    decision.provisional = out_of_vocabulary is None
    return decision
