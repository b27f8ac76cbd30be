"""ReaL labels (Beyer et al. 2020): the classes that are in each validation image; they come with the repository."""

from pathlib import Path

import numpy as np

from imagenet_errors.dataset.annotations import NO_LABEL, pad_lists
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.dataset.multi_labels import CLASS_IDS
from imagenet_errors.errors import InputError
from imagenet_errors.files import read_whole_text

COLUMNS = ["number", "class_ids"]
ADVICE = "restore it from the repository"


def read_real_labels(path: Path) -> np.ndarray:
    """Read `real_labels.csv`, or another table of the same form.

    Returns:
        [50000, L] int16 class ids in the order of the table, padded with NO_LABEL; row i is validation file number
        i + 1. An image may have none: the annotators agreed on no class.

    Raises:
        InputError: if the table is missing or damaged.
    """
    header, *lines = read_whole_text(path).splitlines() or [""]
    num_images = DATASETS["imagenet"].num_images
    if header != ",".join(COLUMNS) or len(lines) != num_images:
        raise InputError(f"{path} is not a table of {','.join(COLUMNS)} with {num_images:,} rows: {ADVICE}")
    lists = []
    for number, line in enumerate(lines, start=1):
        first, _, class_ids = line.partition(",")
        labels = [CLASS_IDS.get(class_id, NO_LABEL) for class_id in class_ids.split(" ") if class_id]
        if first != str(number) or NO_LABEL in labels or len(set(labels)) < len(labels):
            raise InputError(f"{path} line {number + 1} is {line!r}, not number {number} and its class ids: {ADVICE}")
        lists.append(labels)
    return pad_lists(lists)


def find_labels(labels: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The labels of some images by their validation file numbers; other images have none.

    Args:
        labels: [50000, L] as `read_real_labels` gives them.
        numbers: [m] int; 0 for an image that is no validation image.

    Returns:
        [m, L] int16, padded with NO_LABEL.
    """
    found = np.full((len(numbers), labels.shape[1]), NO_LABEL, np.int16)
    known = (numbers >= 1) & (numbers <= len(labels))
    found[known] = labels[numbers[known] - 1]
    return found
