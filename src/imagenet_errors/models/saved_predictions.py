"""A model's predictions and metadata in the artefacts folder: whether they are valid, and how they are written."""

from typing import Any

from imagenet_errors.dataset.samples import Samples, registered_samples
from imagenet_errors.errors import InputError
from imagenet_errors.files import atomic_write, read_json, write_json, write_text
from imagenet_errors.formats.metadata import read_metadata
from imagenet_errors.formats.predictions import (
    NO_PREDICTION,
    Predictions,
    check_predictions,
    compute_accuracy,
    read_fingerprint,
    write,
)
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import Artefacts


def read_valid_metadata(
    artefacts: Artefacts, dataset: str, record: ModelRecord, samples: Samples, needs_probs: bool, made_with: dict
) -> dict | None:
    """The metadata of valid predictions for all images, as they are in the file; None where there are no predictions.

    Args:
        artefacts: The folder.
        dataset: Of the images.
        record: The model.
        samples: The images that the predictions must be of.
        needs_probs: Whether all probabilities must be there too.
        made_with: Entries of the metadata that decide what is predicted; one that is missing is False.

    Raises:
        InputError: where predictions or metadata are not valid: why they must be made again.
        ProtectedFileError: where they must not be made again.
    """
    predictions, metadata = artefacts.predictions(dataset, record.dir_id), artefacts.metadata(dataset, record.dir_id)
    if not predictions.exists():
        return None
    top1 = check_predictions(predictions, samples, needs_probs)
    num_predicted, num_samples = int((top1 != NO_PREDICTION).sum()), len(top1)
    if num_predicted < num_samples:
        raise InputError(f"{predictions} has predictions for {num_predicted:,} of {num_samples:,} images")
    accuracy = compute_accuracy(top1, samples.targets)
    if not metadata.exists():
        raise InputError(f"{metadata} is missing")
    measured = read_metadata(metadata)
    for key in ("num_params", "top1_val_acc", "preds_comp_time"):
        is_knowable = key != "num_params" or record.source != "function"  # a function may hide its parameters
        if measured[key] is None and is_knowable:
            raise InputError(f"{metadata} lacks {key}")
    if abs(measured["top1_val_acc"] - accuracy) * num_samples > 50:  # by half an image
        raise InputError(f"{metadata} has top1_val_acc {measured['top1_val_acc']}, and the predictions have {accuracy}")
    known = read_json(metadata)
    if "predictions_fingerprint" in known and known["predictions_fingerprint"] != read_fingerprint(predictions):
        raise InputError(f"{metadata} belongs to other predictions")
    for key, value in made_with.items():
        if known.get(key, False) != value:
            raise InputError(f"{metadata} has {key} {known.get(key, False)}, not {value}")
    return known


def write_predictions(
    artefacts: Artefacts,
    dataset: str,
    record: ModelRecord,
    samples: Samples,
    predictions: Predictions,
    num_params: int | None = None,
    batch_size: int | None = None,
    made_with: dict | None = None,
) -> dict[str, Any]:
    """Write predictions and metadata; returns the metadata.

    Both are complete on the disk before either replaces what is there. The metadata comes first, with a fingerprint of
    the predictions: where a run ends between the two, the old predictions stay and are known to be others.

    Raises:
        InputError: where the folder meanwhile has predictions for other images.
    """
    metadata = describe_model(record) | {key: value for key, value in (made_with or {}).items() if value is not False}
    targets = samples.targets if predictions.rows is None else samples.targets[predictions.rows]
    measured = {
        "eval_batch_size": batch_size,
        "num_params": num_params,
        "num_images": None if predictions.rows is None else len(predictions.rows),
        "top1_val_acc": compute_accuracy(predictions.top1, targets),
        "preds_comp_time": predictions.seconds,
        "predictions_fingerprint": predictions.fingerprint,
    }
    metadata |= {key: value for key, value in measured.items() if value is not None}
    if predictions.top1_of_subset is not None:
        metadata["top1_val_acc_subset_200"] = compute_accuracy(predictions.top1_of_subset, targets)
    path = artefacts.predictions(dataset, record.dir_id)
    with registered_samples(artefacts, dataset, samples), atomic_write(path) as temporary:
        write(temporary, predictions, samples)
        write_json(artefacts.metadata(dataset, record.dir_id), metadata)
    return metadata


def store_files(
    artefacts: Artefacts, dataset: str, record: ModelRecord, samples: Samples, metadata: bytes, predictions: bytes
) -> None:
    """Write the files of a model as another machine wrote them, in the way of `write_predictions`.

    Raises:
        InputError: where they are damaged or of other images, or the folder meanwhile has predictions for others.
    """
    path = artefacts.predictions(dataset, record.dir_id)
    with registered_samples(artefacts, dataset, samples), atomic_write(path) as temporary:
        temporary.write_bytes(predictions)
        check_predictions(temporary, samples, probs=False)
        write_text(artefacts.metadata(dataset, record.dir_id), metadata.decode())


def describe_model(record: ModelRecord) -> dict[str, Any]:
    """The part of a model's metadata that the tables have; the rest comes from running it."""
    return {
        "arch_family": record.arch_family,
        "arch": record.arch,
        "model_id": record.model_id,
        "training_data": record.training_data,
        "source": record.source,
        "extra_annotations": list(record.extra_annotations),
    }
