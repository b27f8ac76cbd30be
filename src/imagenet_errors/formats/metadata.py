"""What is known of a model that was run: metadata.json."""

from pathlib import Path

from imagenet_errors.errors import InputError
from imagenet_errors.files import read_json

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
        raise InputError(f"{path} is no JSON object: predict again")
    texts = {key: metadata.get(key) or "unknown" for key in ("arch", "arch_family", "training_data")}
    extra = metadata.get("extra_annotations") or []
    if not isinstance(extra, list):
        raise InputError(f"{path}: extra_annotations is {extra!r}, not a list of texts: correct it")
    others = [metadata[key] for key in ("model_id", "source") if metadata.get(key) is not None]
    for text in (*texts.values(), *extra, *others):
        if not isinstance(text, str) or not text.isprintable():
            raise InputError(f"{path} holds {text!r} where a line of text is due: correct it")
    numbers = {key: metadata.get(key) for key in NUMBERS}
    for key, value in numbers.items():
        if value is not None and not (type(value) in (int, float) and 0 <= value < 1e12):
            raise InputError(f"{path}: {key} is {value!r}, not a sensible number: correct it")
    return metadata | texts | numbers | {"extra_annotations": extra}
