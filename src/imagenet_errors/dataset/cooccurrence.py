"""Spurious pairs: classes that often appear together in an image."""

import numpy as np

from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.errors import InputError
from imagenet_errors.files import read_csv
from imagenet_errors.paths import COOCCURRENCES, Artefacts

MIN_COUNT = 2  # images (Peychev et al. 2023)


def spurious_pairs(artefacts: Artefacts, share: np.ndarray) -> np.ndarray:
    """Find the pairs of classes that co-occur in the ReaL labels of at least two images and share no superclass.

    The counts in `cooccurrence_counts.csv` are over the validation images without annotations (Beyer et al. 2020).

    Args:
        artefacts: The folder with the counts.
        share: [1000, 1000] bool, `Superclasses.share`.

    Returns:
        [1000, 1000] bool, symmetric.

    Raises:
        InputError: if the counts are missing or damaged.
    """
    path = artefacts.find(COOCCURRENCES)
    rows = read_csv(path, ["class_a", "class_b", "count"])
    try:
        counts = np.array([list(map(int, row.values())) for row in rows], np.int64).reshape(-1, 3)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path} is damaged ({error}): restore it from the repository") from None
    if not ((counts[:, 0] >= 0) & (counts[:, 0] < counts[:, 1]) & (counts[:, 1] < NUM_CLASSES)).all():
        raise InputError(f"{path} has a pair that is not 0 <= class_a < class_b <= 999: restore it from the repository")
    class_a, class_b = counts[counts[:, 2] >= MIN_COUNT, :2].T
    pairs = np.zeros((NUM_CLASSES, NUM_CLASSES), bool)
    pairs[class_a, class_b] = pairs[class_b, class_a] = True
    return pairs & ~share
