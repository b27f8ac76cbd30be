"""Logits that somebody else computed: those of the reference models of Vasudevan et al. 2022."""

from pathlib import Path

import numpy as np
import torch

from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError
from imagenet_errors.inference.predict import Predictions, best

VALIDATION_FILE = "ILSVRC2012_val_{:08d}.JPEG"


def read(path: Path) -> np.ndarray:
    """Logits [N, 1000], row i for validation file number i + 1: a bare array, whatever its suffix, or the only one of
    an archive.

    Raises:
        InputError: where the file is missing, damaged, or anything else.
    """
    try:
        content = np.load(path, allow_pickle=False)
        logits = content if isinstance(content, np.ndarray) else _only_array(content)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: --logits takes a file of logits") from None
    except Exception as error:  # NumPy, zipfile and zlib raise a dozen different kinds for damaged bytes
        raise InputError(f"{path} holds no array ({error}): fetch it again") from None
    if logits.ndim != 2 or logits.shape[1] != NUM_CLASSES or logits.dtype.kind != "f":
        raise InputError(f"{path} holds {logits.dtype} of the shape {logits.shape}, not [N, {NUM_CLASSES}] logits")
    return logits


def _only_array(archive) -> np.ndarray:
    with archive:
        if len(archive.files) != 1:
            raise ValueError(f"it has the arrays {archive.files}, not one")
        return archive[archive.files[0]]


def to_predictions(logits: np.ndarray, samples: Samples, path: Path, save_probs: bool) -> Predictions:
    """The predictions for the samples, in their order.

    Args:
        logits: [N, 1000], by file number.
        samples: Validation images.
        path: Where the logits were read from.
        save_probs: Keep all probabilities.

    Raises:
        InputError: for a sample that has no row, or a row that is no numbers.
    """
    numbers = {VALIDATION_FILE.format(row + 1): row for row in range(len(logits))}
    names = [file.partition("/")[2] for file in samples.files]
    strange = next((name for name in names if name not in numbers), None)
    if strange:
        raise InputError(f"{path} has {len(logits):,} rows, by number of the validation file, and none for {strange}")
    chosen = torch.from_numpy(logits[[numbers[name] for name in names]]).float()
    if not chosen.isfinite().all():
        row = int((~chosen.isfinite()).any(dim=1).nonzero()[0])
        raise InputError(f"{path}: the logits of {names[row]} are no numbers: fetch it again")
    probs = chosen.softmax(dim=1)
    arrays = {name: values.numpy() for name, values in best(probs).items()}
    return Predictions(**arrays, seconds=None, probs=probs.numpy() if save_probs else None)
