"""A model's predictions and metadata in the artefacts folder."""

import numpy as np

from imagenet_errors.errors import InputError
from imagenet_errors.files import atomic_write, read_json, write_json
from imagenet_errors.inference.catalogue import ModelRecord
from imagenet_errors.inference.predict import Predictions
from imagenet_errors.storage import Artefacts, Samples, check_predictions, read_metadata


def keep(
    artefacts: Artefacts, dataset: str, record: ModelRecord, num_samples: int, probs: bool, made_with: dict
) -> bool:
    """Whether valid predictions are there already; if so, the descriptive part of their metadata is brought up to date.

    Args:
        artefacts: Where they would lie.
        dataset: Of the images.
        record: The model.
        num_samples: How many predictions there must be.
        probs: Whether all probabilities must be there too.
        made_with: Entries of the metadata that decide what is predicted; one that is not there is False.

    Raises:
        InputError: where there is something that is not valid: it names why they must be made again.
    """
    predictions, metadata = artefacts.predictions(dataset, record.dir_id), artefacts.metadata(dataset, record.dir_id)
    if not predictions.exists():
        return False
    check_predictions(predictions, num_samples, probs)
    if not metadata.exists():
        raise InputError(f"{metadata} is missing")
    measured = read_metadata(metadata)
    for key in ("num_params", "top1_val_acc", "preds_comp_time"):
        if measured[key] is None:
            raise InputError(f"{metadata} lacks {key}")
    known = read_json(metadata)
    for key, value in made_with.items():
        if known.get(key, False) != value:
            raise InputError(f"{metadata} has {key} {known.get(key, False)}, not {value}")
    if known != (refreshed := known | description(record)):
        write_json(metadata, refreshed)
    return True


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
    """Write predictions and metadata, or neither where there is no room for both. Returns the metadata."""
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
    arrays = {"top1": predictions.top1, "top5": predictions.top5, "top5_probs": predictions.top5_probs}
    if predictions.probs is not None:
        arrays["probs"] = predictions.probs
    path = artefacts.predictions(dataset, record.dir_id)
    with atomic_write(path) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)
        path.unlink(missing_ok=True)  # they must never stand beside the new metadata
        write_json(artefacts.metadata(dataset, record.dir_id), metadata)
    return metadata


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
