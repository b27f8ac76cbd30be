"""What is known of a model that was run: metadata.json."""

from pathlib import Path
from typing import Any

import numpy as np

from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError
from imagenet_errors.files import read_json
from imagenet_errors.formats.predictions import NO_PREDICTION, compute_accuracy
from imagenet_errors.paths import model_dir_id

NUMBERS = (
    "num_params",
    "top1_val_acc",
    "top1_val_acc_subset_200",
    "multi_label_val_acc",
    "preds_comp_time",
)


def read_metadata(path: Path) -> dict:
    """A model's metadata. What nobody knows is `unknown` (text), None (numbers) or [] (extra_annotations).

    A missing file is metadata that nobody knows.
    """
    metadata = read_json(path) if path.exists() else {}
    if not isinstance(metadata, dict):
        raise InputError(f"{path} is not a JSON object: predict or import again")
    texts = {key: metadata.get(key) or "unknown" for key in ("arch", "arch_family", "training_data")}
    extra = metadata.get("extra_annotations") or []
    if not isinstance(extra, list):
        raise InputError(f"{path}: extra_annotations is {extra!r}, not a list of texts: correct it")
    others = [metadata[key] for key in ("model_id", "source") if metadata.get(key) is not None]
    for text in (*texts.values(), *extra, *others):
        if not isinstance(text, str) or not text.isprintable():
            raise InputError(f"{path} has {text!r} instead of a printable line of text: correct it")
    numbers = {key: metadata.get(key) for key in NUMBERS}
    for key, value in numbers.items():
        if value is not None and not (type(value) in (int, float) and 0 <= value < 1e12):
            raise InputError(f"{path}: {key} is {value!r}, not a number of 0 or more: correct it")
    return metadata | texts | numbers | {"extra_annotations": extra}


def check(path: Path, model: str, record: Any, samples: Samples | None, top1: np.ndarray | None) -> None:
    """Check a metadata.json against its folder, the table of models and the predictions.

    Args:
        path: The file.
        model: The name of its folder.
        record: The model's row of the table, with `arch`, `training_data` and `num_params`; None if it has none.
        samples: The N images; None if unknown.
        top1: [N] class ids that were predicted or NO_PREDICTION, as `read_top1` gives them; None if unknown.

    Raises:
        InputError: if it is damaged or contradicts one of these.
    """
    metadata = read_metadata(path)
    model_id, accuracy = metadata.get("model_id"), metadata["top1_val_acc"]
    if model_id is not None and model_dir_id(model_id) != model:
        raise InputError(f"{path} is of {model_id}: move it, or correct its model_id")
    for key in ("arch", "training_data", "num_params") if record is not None else ():
        known = getattr(record, key)
        if known is not None and metadata[key] not in (known, None, "unknown"):
            raise InputError(
                f"{path} has {key} {metadata[key]}, and our table of models {known}: predict or import again"
            )
    if samples is None or top1 is None or accuracy is None:
        return
    found = compute_accuracy(top1, samples.targets)
    if abs(accuracy - found) * (top1 != NO_PREDICTION).sum() > 50:  # by half an image
        raise InputError(
            f"{path} has top1_val_acc {accuracy}, and the predictions have {found:.3f}: predict or import again"
        )
