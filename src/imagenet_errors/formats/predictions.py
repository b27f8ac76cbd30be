"""A model's predictions: preds.npz."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagenet_errors.dataset.classes import NUM_CLASSES, check_class_ids
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError
from imagenet_errors.files import check_schema, fingerprint, read_npz

SCHEMA_VERSION = 1  # of preds.npz
FINGERPRINTED = ("top1", "top5", "top5_probs")


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for N images, the most probable class first; of equal ones the lower id.

    Attributes:
        top5: [N, 5] int16.
        top5_probs: [N, 5] float32, of the softmax over all 1000 classes.
        seconds: Wall time of the loop, data loading included; None where only logits were given.
        top1_of_subset: [N] int16, the most probable of the classes asked for, or None.
        probs: [N, 1000] float32, or None.
    """

    top5: np.ndarray
    top5_probs: np.ndarray
    seconds: float | None
    top1_of_subset: np.ndarray | None = None
    probs: np.ndarray | None = None

    @property
    def top1(self) -> np.ndarray:
        """[N] int16."""
        return self.top5[:, 0]

    @property
    def fingerprint(self) -> str:
        """What metadata say which predictions they belong to."""
        return fingerprint(*(getattr(self, name) for name in FINGERPRINTED))


def write(path: Path, predictions: Predictions, samples: Samples) -> None:
    """Write predictions for the N samples, and wait until they are on the disk."""
    arrays: dict[str, Any] = {name: getattr(predictions, name) for name in FINGERPRINTED}
    arrays |= {"schema_version": SCHEMA_VERSION, "samples": samples.fingerprint}
    if predictions.probs is not None:
        arrays["probs"] = predictions.probs
    with open(path, "wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())


def read_fingerprint(path: Path) -> str:
    """`Predictions.fingerprint` of a file. Raises `InputError` where it is damaged."""
    return fingerprint(*read_npz(path, *FINGERPRINTED).values())


def read_top1(path: Path, samples: Samples) -> np.ndarray:
    """The top-1 class ids, [N] int16. Raises `InputError` where the file is not that."""
    arrays = read_npz(path, "top1", optional=("schema_version", "samples"))
    if "schema_version" in arrays:
        check_schema(path, arrays["schema_version"].tolist(), SCHEMA_VERSION, "predict again")
    top1, num_samples, of = arrays["top1"], len(samples.files), arrays.get("samples")
    if top1.shape != (num_samples,) or (of is not None and of.tolist() != samples.fingerprint):
        raise InputError(
            f"{path} has {top1.shape} predictions for {num_samples:,} images:"
            " they are of other images than samples_info.npz lists, predict again"
        )
    return check_class_ids(top1, str(path))


def check_predictions(path: Path, samples: Samples, probs: bool) -> np.ndarray:
    """Read all of a preds.npz; returns top-1. Raises `InputError` as `read_top1`, or for want of `probs`."""
    top1, num_samples = read_top1(path, samples), len(samples.files)
    shapes = {"top5": (num_samples, 5), "top5_probs": (num_samples, 5), "probs": (num_samples, NUM_CLASSES)}
    for name, array in read_npz(path, *["probs"] * probs, optional=("top5", "top5_probs")).items():
        if array.shape != shapes[name]:
            raise InputError(f"{path}: {name} has the shape {array.shape}, not {shapes[name]}: predict again")
        if not (np.issubdtype(array.dtype, np.number) and np.isfinite(array).all()):
            raise InputError(f"{path}: {name} has values that are not finite numbers: predict again")
    return top1


def check(path: Path, samples: Samples | None) -> None:
    """Raises `InputError` if a preds.npz is damaged or not of `samples`; None if these are unknown."""
    if samples is None:
        read_npz(path, "top1", optional=("top5", "top5_probs", "probs"))
    else:
        check_predictions(path, samples, probs="probs" in read_npz(path, optional=("probs",)))
