"""A model's predictions: preds.npz.

Schema 1 holds predictions for all images of the dataset's folder; schema 2 for some of them, whose `rows` it adds.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagenet_errors.dataset.classes import NUM_CLASSES, check_class_ids
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError
from imagenet_errors.files import check_schema, fingerprint, read_npz

SCHEMA_VERSION = 2  # the newest that is read, of predictions for some images ...
SCHEMA_OF_ALL_IMAGES = 1  # ... and of those for all
FINGERPRINTED = ("top1", "top5", "top5_probs", "rows")
NO_PREDICTION = -1  # as the top-1 of an image that a model has no prediction for


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for M images, the most probable class first; of equal ones the lower id.

    Attributes:
        top1: [M] int16.
        top5: [M, 5] int16; None where only the first is known.
        top5_probs: [M, 5] float32, of the softmax over all 1000 classes; None where they are not known.
        rows: [M] int32, ascending, the positions of the images among all N of the dataset's folder; None where M = N.
        seconds: Wall time of the loop, data loading included; None where another tool predicted.
        top1_of_subset: [M] int16, the most probable of the classes asked for, or None.
        probs: [M, 1000] float32, or None.
    """

    top1: np.ndarray
    top5: np.ndarray | None = None
    top5_probs: np.ndarray | None = None
    rows: np.ndarray | None = None
    seconds: float | None = None
    top1_of_subset: np.ndarray | None = None
    probs: np.ndarray | None = None

    @property
    def fingerprint(self) -> str:
        """What metadata say which predictions they belong to."""
        return fingerprint(*self.arrays(FINGERPRINTED).values())

    def spread_top1(self, num_images: int) -> np.ndarray:
        """[N] int16 top-1, with NO_PREDICTION for images beside `rows`."""
        if self.rows is None:
            return self.top1
        of_all = np.full(num_images, NO_PREDICTION, np.int16)
        of_all[self.rows] = self.top1
        return of_all

    def arrays(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Those of the named arrays that there are."""
        found = {name: getattr(self, name) for name in names}
        return {name: array for name, array in found.items() if array is not None}


def write(path: Path, predictions: Predictions, samples: Samples) -> None:
    """Write predictions for the N samples, or for some of them, and wait until they are on the disk."""
    version = SCHEMA_OF_ALL_IMAGES if predictions.rows is None else SCHEMA_VERSION
    about = {"schema_version": version, "samples": samples.fingerprint}
    with open(path, "wb") as file:
        np.savez(file, **predictions.arrays(FINGERPRINTED) | about | predictions.arrays(("probs",)))
        file.flush()
        os.fsync(file.fileno())


def read_fingerprint(path: Path) -> str:
    """`Predictions.fingerprint` of a file. Raises `InputError` where it is damaged."""
    return fingerprint(*read_npz(path, "top1", optional=FINGERPRINTED[1:]).values())


def read_top1(path: Path, samples: Samples) -> np.ndarray:
    """The top-1 class ids, [N] int16, with NO_PREDICTION where the file has none.

    Raises:
        InputError: where the file is damaged, has no prediction, or is of other images.
    """
    arrays = read_npz(path, "top1", optional=("schema_version", "samples", "rows"))
    if "schema_version" in arrays:
        check_schema(path, arrays["schema_version"].tolist(), SCHEMA_VERSION, "predict or import again")
    top1, of, num_samples = arrays["top1"], arrays.get("samples"), len(samples.files)
    rows = _check_rows(path, arrays["rows"], num_samples) if "rows" in arrays else None
    num_images = num_samples if rows is None else len(rows)
    if top1.shape != (num_images,) or (of is not None and of.tolist() != samples.fingerprint):
        raise InputError(
            f"{path} has {top1.shape} predictions for {num_images:,} images:"
            " they are of other images than samples_info.npz lists, predict or import again"
        )
    return Predictions(check_class_ids(top1, str(path)), rows=rows).spread_top1(num_samples)


def _check_rows(path: Path, rows: np.ndarray, num_samples: int) -> np.ndarray:
    """The positions of predicted images. Raises `InputError` where they are not ascending ones of N images."""
    if not (rows.ndim == 1 and len(rows) and np.issubdtype(rows.dtype, np.integer)):
        raise InputError(
            f"{path}: rows is {rows.dtype} of the shape {rows.shape}, not positions: predict or import again"
        )
    rows = rows.astype(np.int64)
    if rows[0] < 0 or rows[-1] >= num_samples or (np.diff(rows) <= 0).any():
        raise InputError(f"{path}: rows is not ascending from 0 to at most {num_samples - 1}: predict or import again")
    return rows


def check_predictions(path: Path, samples: Samples, probs: bool) -> np.ndarray:
    """Read all of a preds.npz; returns top-1. Raises `InputError` as `read_top1`, or for want of `probs`."""
    top1 = read_top1(path, samples)
    count = int(np.count_nonzero(top1 != NO_PREDICTION))
    shapes = {"top5": (count, 5), "top5_probs": (count, 5), "probs": (count, NUM_CLASSES)}
    for name, array in read_npz(path, *["probs"] * probs, optional=("top5", "top5_probs")).items():
        if array.shape != shapes[name]:
            raise InputError(f"{path}: {name} has the shape {array.shape}, not {shapes[name]}: predict or import again")
        if not (np.issubdtype(array.dtype, np.number) and np.isfinite(array).all()):
            raise InputError(f"{path}: {name} has values that are not finite numbers: predict or import again")
    return top1


def read(path: Path, samples: Samples) -> Predictions:
    """The predictions of a file, without the probabilities of all classes. Raises `InputError` as `read_top1`."""
    of_all = check_predictions(path, samples, probs=False)
    arrays = read_npz(path, optional=("top5", "top5_probs"))
    rows = np.flatnonzero(of_all != NO_PREDICTION).astype(np.int32)
    return Predictions(
        top1=of_all[rows],
        top5=check_class_ids(arrays["top5"], str(path)) if "top5" in arrays else None,
        top5_probs=arrays.get("top5_probs"),
        rows=None if len(rows) == len(of_all) else rows,
    )


def check(path: Path, samples: Samples | None) -> None:
    """Raises `InputError` if a preds.npz is damaged or not of `samples`; None if these are unknown."""
    if samples is None:
        read_npz(path, "top1", optional=(*FINGERPRINTED[1:], "probs"))
    else:
        check_predictions(path, samples, probs="probs" in read_npz(path, optional=("probs",)))


def compute_accuracy(top1: np.ndarray, targets: np.ndarray) -> float:
    """Percent of the predictions that are the target, exactly rounded; entries that are NO_PREDICTION do not count.

    Args:
        top1: [N] class ids or NO_PREDICTION, at least one a class id.
        targets: [N] class ids.
    """
    return 100 * int(np.count_nonzero(top1 == targets)) / int(np.count_nonzero(top1 != NO_PREDICTION))
