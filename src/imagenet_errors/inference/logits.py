"""Logits that were computed elsewhere: those of the reference models of Vasudevan et al. 2022."""

from pathlib import Path

import numpy as np
import torch

from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.dataset.dataset_table import Dataset
from imagenet_errors.dataset.samples import Samples, read_samples, register_samples
from imagenet_errors.errors import InputError
from imagenet_errors.formats.predictions import Predictions
from imagenet_errors.inference.image_folders import find_samples
from imagenet_errors.inference.predict import take_top_predictions
from imagenet_errors.inference.saved_predictions import write_predictions
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import Artefacts

VALIDATION_FILE = "ILSVRC2012_val_{:08d}.JPEG"


def predict_from_logits(
    artefacts: Artefacts, dataset: Dataset, record: ModelRecord, path: Path, limit: int | None, save_probs: bool
) -> str:
    """Write predictions from a file of logits, for the images that the folder is of; returns a line about them.

    Args:
        artefacts: Where predictions go.
        dataset: ImageNet.
        record: The model.
        path: The file of logits.
        limit: Only the first so many images, where the folder does not say which.
        save_probs: Save all probabilities.

    Raises:
        InputError: where the file is missing, damaged, or lacks an image.
    """
    is_known = artefacts.samples(dataset.name).exists()
    samples = read_samples(artefacts, dataset.name) if is_known else find_samples(artefacts, dataset, limit)[1]
    register_samples(artefacts, dataset.name, samples)
    predictions = to_predictions(read_logits(path), samples, path, save_probs)
    metadata = write_predictions(artefacts, dataset.name, record, samples, predictions)
    extent = dataset.extent(len(samples.files))
    return f"{record.model_id}: top-1 {metadata['top1_val_acc']:.2f} % on {extent}, from {path}"


def read_logits(path: Path) -> np.ndarray:
    """Logits [N, 1000], row i for validation file number i + 1: a single array, or the only one of an npz archive.

    Raises:
        InputError: where the file is missing, damaged, or anything else.
    """
    try:
        content = np.load(path, allow_pickle=False)
        logits = content if isinstance(content, np.ndarray) else _read_only_array(content)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: --logits takes a file of logits") from None
    except Exception as error:  # NumPy, zipfile and zlib raise a dozen exceptions for damaged bytes
        raise InputError(f"{path} is not a readable array ({error}): fetch it again") from None
    if logits.ndim != 2 or logits.shape[1] != NUM_CLASSES or logits.dtype.kind != "f":
        raise InputError(f"{path} has {logits.dtype} of the shape {logits.shape}, not [N, {NUM_CLASSES}] logits")
    return logits


def _read_only_array(archive: np.lib.npyio.NpzFile) -> np.ndarray:
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
        InputError: for a sample without a row, or a row that is not finite.
    """
    numbers = {VALIDATION_FILE.format(row + 1): row for row in range(len(logits))}
    names = [file.partition("/")[2] for file in samples.files]
    absent = next((name for name in names if name not in numbers), None)
    if absent:
        raise InputError(f"{path} has {len(logits):,} rows, by number of the validation file, and none for {absent}")
    chosen = torch.from_numpy(logits[[numbers[name] for name in names]]).float()
    if not chosen.isfinite().all():
        row = int((~chosen.isfinite()).any(dim=1).nonzero()[0])
        raise InputError(f"{path}: the logits of {names[row]} are not finite numbers: fetch it again")
    probs = chosen.softmax(dim=1)
    arrays = {name: values.numpy() for name, values in take_top_predictions(probs).items()}
    return Predictions(**arrays, seconds=None, probs=probs.numpy() if save_probs else None)
