"""Arrays of predictions that other tools wrote: which hold classes or scores, and which image names."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from imagenet_errors.errors import InputError, describe_exception, escape_name
from imagenet_errors.files import as_texts, refuse_unreadable
from imagenet_errors.formats.raw_predictions import (
    FEWEST_CLASSES,
    LONGEST_VALUE,
    PROBABILITIES,
    PredictionFile,
    RawPredictions,
    attach_probs,
    find_name,
    sort_candidates,
    to_predictions,
)

CLASS_ARRAYS = ("top1", "top5", "preds", "predictions", "pred", "prediction", "y_pred", "labels_pred")
SCORE_ARRAYS = ("logits", "probs", "outputs", "output", "scores")
FILE_ARRAYS = ("files", "file_names", "filenames", "sample_files", "paths", "names")
INTEGER_SCORES = (1000, 1001)  # classes for which scores may be integers
SAFETENSORS = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?"},
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
}
WEIGHTS = (".weight", ".bias")  # ends of names in a state dict
SAVE = "save class ids, or scores in the order of the classes"
MOST_ARRAYS = 20  # that a message lists
OBJECTS = "Python objects, which are never unpickled: save plain numbers and texts (numpy.savez)"


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz, npy or safetensors file by name; a single one without a name is ''.

    Arrays of Python objects are empty arrays of the type object.

    Raises:
        InputError: where the file is missing, damaged, or a pickle.
        UnreadableFileError: where the operating system does not let us read it.
    """
    try:
        return _load_safetensors(path) if path.suffix.lower() == ".safetensors" else _load_numpy(path)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: name a file of predictions") from None
    except InputError:
        raise
    except Exception as error:  # NumPy, zipfile, zlib and safetensors raise a dozen different types for damaged bytes
        refuse_unreadable(error, path)
        if "pickle" in str(error):  # what NumPy calls any file that is not its own; it advises to allow them
            raise InputError(f"{path} is damaged, or not a file of NumPy, or holds {OBJECTS}") from None
        text = escape_name(describe_exception(error))
        raise InputError(f"{path} is not a readable {path.suffix[1:]} file ({text}): write it again") from None


def _load_numpy(path: Path) -> dict[str, np.ndarray]:
    with open(path, "rb") as file:
        content = np.load(file, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {"": content}
        return {name: _load_member(content, name) for name in content.files}


def _load_member(archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    try:
        return np.asarray(archive[name])
    except ValueError as error:
        if "pickle" not in str(error):
            raise
        return np.empty(0, object)


def _load_safetensors(path: Path) -> dict[str, np.ndarray]:
    import safetensors

    arrays = {}
    for name, tensor in safetensors.deserialize(path.read_bytes()):
        kind = tensor["dtype"]
        if kind not in SAFETENSORS:
            raise InputError(f"{path}: the array {escape_name(name)} has the type {kind}: save it as float32 or int64")
        array = np.frombuffer(tensor["data"], SAFETENSORS[kind]).reshape(tensor["shape"])
        # bfloat16 is the upper half of a float32
        arrays[name] = (array.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else array
    return arrays


def read(path: Path, arrays: dict[str, np.ndarray], file_array: str | None, class_array: str | None) -> PredictionFile:
    """Find predictions and image names among arrays; errors as in `prediction_files.read`.

    Args:
        path: Where they were read, for messages.
        arrays: By name; those without a dimension are ignored.
        file_array: The name of the array of image names, or None.
        class_array: The name of the array of predictions, or None.
    """
    arrays = {escape_name(name): array for name, array in arrays.items() if array.ndim}
    refuse_weights(arrays, path)
    file_array = _find_file_array(arrays, file_array, path)
    others = {name: array for name, array in arrays.items() if name != file_array}
    if class_array is not None:
        chosen = [find_name(class_array, list(others), "array", "--class_column", path)]
    else:
        chosen = _find_class_arrays(others)
    found = {name: _to_predictions(others[name], _label(name), path) for name in chosen}
    candidates = [candidate for candidate in found.values() if candidate is not None]
    if not arrays:
        raise InputError(f"{path} has no predictions, nor any array: {SAVE}")
    if not candidates:
        why = "only sorted scores, which do not say their classes," if chosen else "no predictions known by their name"
        name_it = "name the array with --class_column"
        advice = name_it if len(others) > 1 else SAVE
        raise InputError(f"{path} has {why} among {_describe(arrays)}: {advice}")
    if len({len(candidate) for candidate in candidates}) > 1:
        raise InputError(
            f"{path} has predictions that differ in length, {_describe(arrays)}: name one with --class_column"
        )
    names = None if file_array is None else _read_names(arrays[file_array], file_array, len(candidates[0]), path)
    probs = [
        _to_rows(array) for name, array in others.items() if found.get(name) is None and _may_be_probs(name, array)
    ]
    return PredictionFile(path, names, sort_candidates(attach_probs(candidates, probs)))


def refuse_weights(names: Iterable[object], path: Path) -> None:
    """Raises `InputError` where names of arrays are those of a network's weights."""
    if any(str(name).endswith(WEIGHTS) for name in names):
        raise InputError(
            f"{path} holds the weights of a network, not predictions: collect_predictions.py --model timm/NAME"
            f" --checkpoint {path} predicts with them"
        )


def _label(name: str) -> str:
    return f"the array {name}" if name else "the array"


def _describe(arrays: dict[str, np.ndarray]) -> str:
    shown = [
        f"{name[:LONGEST_VALUE] or 'without a name'} {'(Python objects)' if array.dtype == object else [*array.shape]}"
        for name, array in list(arrays.items())[:MOST_ARRAYS]
    ]
    return ", ".join(shown) + (f" ... ({len(arrays):,} arrays in all)" if len(arrays) > MOST_ARRAYS else "")


def _find_file_array(arrays: dict[str, np.ndarray], asked: str | None, path: Path) -> str | None:
    if asked is not None:
        return find_name(asked, list(arrays), "array", "--file_column", path)
    by_name = {name.lower(): name for name in arrays}
    return next((by_name[name] for name in FILE_ARRAYS if name in by_name), None)


def _find_class_arrays(arrays: dict[str, np.ndarray]) -> list[str]:
    known = [
        name
        for name, array in arrays.items()
        if name.lower() in CLASS_ARRAYS
        or (name.lower() in SCORE_ARRAYS and (array.dtype.kind in "iu" or _to_rows(array).shape[1] >= FEWEST_CLASSES))
    ]
    others = [name for name, array in arrays.items() if not _may_be_probs(name, array)]
    return known or (others if len(others) == 1 else [])


def _may_be_probs(name: str, array: np.ndarray) -> bool:
    """Whether an array holds the probabilities of a list of classes."""
    return bool(PROBABILITIES.fullmatch(name)) and array.ndim <= 2 and array.dtype.kind == "f"


def _to_rows(array: np.ndarray) -> np.ndarray:
    return array.reshape(len(array), math.prod(array.shape[1:]))


def _to_predictions(array: np.ndarray, label: str, path: Path) -> RawPredictions | None:
    if array.dtype == object:
        raise InputError(f"{path}: {label} holds {OBJECTS}")
    if array.dtype.kind not in "iufUS" or array.ndim > 2 or not array.size:
        raise InputError(
            f"{path}: {label} has {array.dtype} of the shape {list(array.shape)}: predictions are class ids [N] or"
            " [N, k], or scores [N, classes], a row an image"
        )
    if array.dtype.kind == "S":
        array = as_texts(array, path, "write them as UTF-8")
    predictions = to_predictions(array, label, path)
    are_scores = predictions is not None and predictions.scores is not None
    if are_scores and array.dtype.kind in "iu" and array.shape[1] not in INTEGER_SCORES:
        raise InputError(
            f"{path}: {label} has integers of the shape {list(array.shape)}, neither class ids, best first, nor scores"
            " of 1,000 classes: write scores as floats"
        )
    return predictions


def _read_names(array: np.ndarray, name: str, count: int, path: Path) -> np.ndarray:
    """[M] str."""
    if array.dtype == object:
        raise InputError(f"{path}: the array {name} holds {OBJECTS}")
    if array.dtype.kind not in "USiu" or array.shape not in ((count,), (count, 1)):
        raise InputError(
            f"{path}: the array {name} has {array.dtype} of the shape {list(array.shape)}, not the names of the"
            f" {count:,} predicted images: remove it, or name another with --file_column"
        )
    return as_texts(array.reshape(count), path, "write them as UTF-8")
