"""The 50,000 validation images of ImageNet and their classes, which come with the repository."""

from pathlib import Path

import numpy as np

from imagenet_errors.dataset.classes import NUM_CLASSES, load_classes
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.dataset.image_names import name_validation_file
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError
from imagenet_errors.files import read_whole_text
from imagenet_errors.paths import VALIDATION_LABELS, Artefacts

COLUMNS = ["number", "class_id"]
ADVICE = "restore it from the repository"


def load_validation_samples(artefacts: Artefacts) -> Samples:
    """All validation images, named and sorted as a folder of them with a subfolder per class.

    Raises:
        InputError: if the labels or classes are missing or damaged.
    """
    class_ids = read_validation_labels(artefacts.find(VALIDATION_LABELS))
    wnids = load_classes(artefacts).wnids
    rows = np.argsort(class_ids, kind="stable")
    targets = class_ids[rows]
    files = [
        f"{wnids[class_id]}/{name_validation_file(row + 1)}"
        for class_id, row in zip(targets.tolist(), rows.tolist(), strict=True)
    ]
    return Samples(np.array(files), targets)


def read_validation_labels(path: Path) -> np.ndarray:
    """Read `validation_labels.csv`.

    Returns:
        [50000] int16 class ids; row i is validation file number i + 1.

    Raises:
        InputError: if the file is missing or damaged.
    """
    header, *lines = read_whole_text(path).splitlines() or [""]
    num_images = DATASETS["imagenet"].num_images
    if header != ",".join(COLUMNS) or len(lines) != num_images:
        raise InputError(f"{path} is not a table of {','.join(COLUMNS)} with {num_images:,} rows: {ADVICE}")
    try:
        numbers, class_ids = np.loadtxt(lines, np.int64, comments=None, delimiter=",", ndmin=2).T
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path} is damaged ({error}): {ADVICE}") from None
    is_wrong = (class_ids < 0) | (class_ids >= NUM_CLASSES)
    is_wrong |= numbers != np.arange(1, len(numbers) + 1)
    if is_wrong.any():
        row = int(np.argmax(is_wrong))
        raise InputError(
            f"{path} line {row + 2} is {lines[row]!r}, not number {row + 1} and a class id from 0 to"
            f" {NUM_CLASSES - 1}: {ADVICE}"
        )
    return class_ids.astype(np.int16)
