"""ReaL labels (Beyer et al. 2020): the classes that are in each validation image; they come with the repository."""

from pathlib import Path

import numpy as np

from imagenet_errors.dataset.annotations import NO_LABEL, pad_lists
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.dataset.multi_labels import CLASS_IDS
from imagenet_errors.errors import InputError
from imagenet_errors.files import read_csv

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
    rows, num_images = read_csv(path, COLUMNS), DATASETS["imagenet"].num_images
    if len(rows) != num_images:
        raise InputError(f"{path} lists {len(rows):,} images instead of {num_images:,}: {ADVICE}")
    lists = []
    for number, row in enumerate(rows, start=1):
        try:
            class_ids = [CLASS_IDS[class_id] for class_id in row["class_ids"].split(" ") if class_id]
        except KeyError as error:
            raise InputError(f"{path} line {number + 1}: {error} is not a class id: {ADVICE}") from None
        if row["number"] != str(number) or len(set(class_ids)) < len(class_ids):
            raise InputError(
                f"{path} line {number + 1} is {','.join(row.values())!r}, not number {number} and distinct class ids:"
                f" {ADVICE}"
            )
        lists.append(class_ids)
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
