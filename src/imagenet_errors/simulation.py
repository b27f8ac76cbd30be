"""A simulated classifier, to try things out without a model: its numbers mean nothing."""

from functools import cache

import numpy as np

from imagenet_errors.dataset.annotations import NO_LABEL
from imagenet_errors.dataset.classes import NUM_CLASSES, load_classes
from imagenet_errors.dataset.image_names import read_numbers
from imagenet_errors.dataset.multi_labels import annotations_from_csv
from imagenet_errors.dataset.superclasses import load_superclasses
from imagenet_errors.dataset.validation_labels import read_validation_labels
from imagenet_errors.dataset.wordnet import load_wordnet
from imagenet_errors.paths import MULTI_LABELS, REPOSITORY, VALIDATION_LABELS, Artefacts

OTHER_LABEL = 0.5  # of the errors on images with another accepted label predict that


def simulate_predictions(accuracy: float, seed: int, fine_grained: float = 0.5) -> np.ndarray:
    """What a simulated classifier predicts for the validation images of ImageNet.

    Args:
        accuracy: Its top-1 accuracy, about, in percent.
        seed: Of the random numbers.
        fine_grained: The share, 0 to 1, of the other errors that predict a class with a superclass in common with the
            original label, where there is one; the rest predict any class.

    Returns:
        [50000] int16 class ids, in the order of validation file numbers.

    Example:
        >>> simulate_predictions(accuracy=80, seed=0)[:5]
        array([ 65, 970, 232, 129, 516], dtype=int16)
    """
    labels, near_ids, num_near, others = _read_facts()
    is_wrong, is_fine_grained, takes_other, picks = np.random.default_rng(seed).random((4, len(labels)))
    any_class = (labels + 1 + (picks * (NUM_CLASSES - 1)).astype(int)) % NUM_CLASSES
    near_class = near_ids[labels, (picks * num_near[labels]).astype(int)]
    errors = np.where((is_fine_grained < fine_grained) & (num_near[labels] > 0), near_class, any_class)
    errors = np.where((takes_other < OTHER_LABEL) & (others != NO_LABEL), others, errors)
    return np.where(is_wrong < 1 - accuracy / 100, errors, labels).astype(np.int16)


@cache
def _read_facts() -> tuple[np.ndarray, ...]:
    """What the repository says of the images and classes.

    Returns:
        [50000] original labels; [1000, 1000] the classes in the order of whether they share a superclass with each;
        [1000] how many others do; [50000] another accepted label, or NO_LABEL.
    """
    artefacts = Artefacts(REPOSITORY / "artefacts")
    labels = read_validation_labels(artefacts.find(VALIDATION_LABELS)).astype(int)
    classes = load_classes(artefacts)
    share = load_superclasses(artefacts, classes, load_wordnet(artefacts, classes)).share
    near = share & ~np.eye(NUM_CLASSES, dtype=bool)
    others = np.full(len(labels), NO_LABEL)
    annotations = annotations_from_csv(artefacts.find(MULTI_LABELS)).by_file
    for row, annotation in zip(read_numbers(annotations) - 1, annotations.values(), strict=True):
        others[row] = next((label for label in annotation.labels if label != labels[row]), NO_LABEL)
    return labels, np.argsort(~near, axis=1, kind="stable"), near.sum(axis=1), others
