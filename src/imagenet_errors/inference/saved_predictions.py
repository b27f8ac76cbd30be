"""A model's predictions and metadata in the artefacts folder."""

import numpy as np

from imagenet_errors.dataset.samples import Samples, registered_samples
from imagenet_errors.errors import InputError
from imagenet_errors.files import atomic_write, read_json, write_json
from imagenet_errors.formats.metadata import read_metadata
from imagenet_errors.formats.predictions import SCHEMA_VERSION, check_predictions
from imagenet_errors.inference.predict import Predictions
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import Artefacts


def known_metadata(
    artefacts: Artefacts, dataset: str, record: ModelRecord, samples: Samples, probs: bool, made_with: dict
) -> dict | None:
    """The metadata of valid predictions, as they stand in the file; None where there are no predictions.

    Args:
        artefacts: Where they would lie.
        dataset: Of the images.
        record: The model.
        samples: The images that they must be of.
        probs: Whether all probabilities must be there too.
        made_with: Entries of the metadata that decide what is predicted; one that is not there is False.

    Raises:
        InputError: where there is something that is not valid: it names why they must be made again.
        UntouchableError: where they must not be made again.
    """
    predictions, metadata = artefacts.predictions(dataset, record.dir_id), artefacts.metadata(dataset, record.dir_id)
    if not predictions.exists():
        return None
    found = accuracy(check_predictions(predictions, samples, probs), samples.targets)
    if not metadata.exists():
        raise InputError(f"{metadata} is missing")
    measured = read_metadata(metadata)
    for key in ("num_params", "top1_val_acc", "preds_comp_time"):
        if measured[key] is None:
            raise InputError(f"{metadata} lacks {key}")
    if abs(measured["top1_val_acc"] - found) * len(samples.files) > 50:  # by half an image
        raise InputError(f"{metadata} has top1_val_acc {measured['top1_val_acc']}, and the predictions have {found}")
    known = read_json(metadata)
    for key, value in made_with.items():
        if known.get(key, False) != value:
            raise InputError(f"{metadata} has {key} {known.get(key, False)}, not {value}")
    return known


def store(
    artefacts: Artefacts,
    dataset: str,
    record: ModelRecord,
    samples: Samples,
    predictions: Predictions,
    num_params: int | None = None,
    batch_size: int | None = None,
    made_with: dict | None = None,
) -> dict:
    """Write predictions and metadata, or neither where there is no room for both. Returns the metadata.

    Raises:
        InputError: where the folder meanwhile has predictions for other images.
    """
    metadata = description(record) | {key: value for key, value in (made_with or {}).items() if value}
    metadata |= {
        "eval_batch_size": batch_size,
        "num_params": num_params,
        "top1_val_acc": accuracy(predictions.top1, samples.targets),
        "preds_comp_time": predictions.seconds,
    }
    metadata = {key: value for key, value in metadata.items() if value is not None}
    if predictions.top1_of_subset is not None:
        metadata["top1_val_acc_subset_200"] = accuracy(predictions.top1_of_subset, samples.targets)
    path = artefacts.predictions(dataset, record.dir_id)
    with registered_samples(artefacts, dataset, samples), atomic_write(path) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, **_arrays(predictions, samples))
        path.unlink(missing_ok=True)  # they must never stand beside the new metadata
        write_json(artefacts.metadata(dataset, record.dir_id), metadata)
    return metadata


def _arrays(predictions: Predictions, samples: Samples) -> dict:
    arrays = {"top1": predictions.top1, "top5": predictions.top5, "top5_probs": predictions.top5_probs}
    if predictions.probs is not None:
        arrays["probs"] = predictions.probs
    return arrays | {"schema_version": SCHEMA_VERSION, "samples": samples.fingerprint}


def description(record: ModelRecord) -> dict:
    """What the table says of a model: the part of its metadata that does not come from running it."""
    return {
        "arch_family": record.arch_family,
        "arch": record.arch,
        "model_id": record.model_id,
        "training_data": record.training_data,
        "source": record.source,
        "extra_annotations": list(record.extra_annotations),
    }


def accuracy(predicted: np.ndarray, targets: np.ndarray) -> float:
    """Percent of equal entries."""
    return float(100 * (predicted == targets).mean())
