"""Imported predictions beside those that are there: kept where equal, replaced only on request."""

from typing import Any

from imagenet_errors import locks
from imagenet_errors.dataset.samples import Samples, read_samples
from imagenet_errors.errors import InputError, ProtectedFileError
from imagenet_errors.files import read_json, write_json
from imagenet_errors.formats.predictions import Predictions, read_fingerprint
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.models.saved_predictions import describe_model, write_predictions
from imagenet_errors.paths import Artefacts


def store(
    artefacts: Artefacts,
    dataset: str,
    record: ModelRecord,
    samples: Samples,
    predictions: Predictions,
    num_params: int | None,
    overwrite: bool,
) -> str:
    """Store predictions and metadata; returns what was done with those that were there, for the line about the model.

    Raises:
        InputError: where the folder of the model holds other predictions, or another model's.
    """
    path, metadata = artefacts.predictions(dataset, record.dir_id), artefacts.metadata(dataset, record.dir_id)
    with locks.locked(artefacts.root, f"{dataset}/{record.dir_id}"):
        known = read_json(metadata) if metadata.exists() else {}
        owner = known.get("model_id", record.model_id) if isinstance(known, dict) else record.model_id
        if owner != record.model_id:
            raise InputError(f"{path.parent} holds {owner}, not {record.model_id}: give another --model_name")
        if path.exists() and not overwrite:
            if not _are_equal(artefacts, dataset, record, samples, predictions):
                raise InputError(
                    f"{path} holds other predictions of {record.model_id}: give --overwrite to replace them, or another"
                    " --model_name"
                )
            said = _say(record, num_params)
            if known | said != known:
                write_json(metadata, known | said)
            return "kept, "
        write_predictions(artefacts, dataset, record, samples, predictions, num_params)
        return ""


def _are_equal(
    artefacts: Artefacts, dataset: str, record: ModelRecord, samples: Samples, predictions: Predictions
) -> bool:
    """Whether the folder holds these predictions for these images."""
    try:
        is_same = read_fingerprint(artefacts.predictions(dataset, record.dir_id)) == predictions.fingerprint
        return is_same and read_samples(artefacts, dataset).fingerprint == samples.fingerprint
    except ProtectedFileError:
        raise
    except InputError:  # damaged
        return False


def _say(record: ModelRecord, num_params: int | None) -> dict[str, Any]:
    """What flags say of the model."""
    described = describe_model(record) | {"num_params": num_params}
    return {key: value for key, value in described.items() if value not in ("unknown", None, [])}
