"""A model's predictions: preds.npz."""

from pathlib import Path

import numpy as np

from imagenet_errors.dataset.classes import NUM_CLASSES, check_class_ids
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError
from imagenet_errors.files import check_schema, read_npz

SCHEMA_VERSION = 1  # of preds.npz


def read_top1(path: Path, samples: Samples) -> np.ndarray:
    """The top-1 class ids, [N] int16. Raises `InputError` where the file is not that."""
    arrays = read_npz(path, "top1", optional=("schema_version", "samples"))
    if "schema_version" in arrays:
        check_schema(path, arrays["schema_version"].tolist(), SCHEMA_VERSION, "predict again")
    top1, num_samples, of = arrays["top1"], len(samples.files), arrays.get("samples")
    if top1.shape != (num_samples,) or (of is not None and of.tolist() != samples.fingerprint):
        raise InputError(
            f"{path} holds {top1.shape} predictions for {num_samples:,} images:"
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
            raise InputError(f"{path}: {name} holds something that is no number: predict again")
    return top1


def check(path: Path, samples: Samples | None) -> None:
    """Raises `InputError` if a preds.npz is damaged or not of `samples`; None if these are unknown."""
    if samples is None:
        read_npz(path, "top1", optional=("top5", "top5_probs", "probs"))
    else:
        check_predictions(path, samples, probs="probs" in read_npz(path, optional=("probs",)))
