"""Predictions that Python code holds, an array or a DataFrame, as the importer takes them from a file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from imagenet_errors.errors import InputError, describe_exception
from imagenet_errors.formats import prediction_arrays, prediction_tables
from imagenet_errors.formats.prediction_files import PredictionFile
from imagenet_errors.formats.table_files import convert_frame


def open_in_memory(
    source: Any,
    name: str,
    files: Iterable[Any] | None = None,
    file_column: str | None = None,
    class_column: str | None = None,
) -> PredictionFile:
    """An array or a DataFrame of predictions, a row an image.

    Args:
        source: A DataFrame; or class ids [N] or [N, k], WordNet ids [N], or scores [N, classes], as an array or what
            NumPy makes one of.
        name: Of the predictions, which messages give instead of a path.
        files: [N] image names of the rows of an array; None where it has none.
        file_column: The column of image names, as in `prediction_files.read`.
        class_column: The column of predictions, likewise.

    Raises:
        InputError: as `prediction_files.read`, and where NumPy makes no array of numbers or texts.
    """
    import pandas as pd

    path = Path(name)
    if isinstance(source, pd.DataFrame):
        if files is not None:
            raise InputError(f"{name} is a DataFrame: give its image names in a column or the index, and not in files")
        return prediction_tables.read(path, convert_frame(source, path), file_column, class_column)
    if file_column or class_column:
        raise InputError(f"{name} is an array, which has no columns: give image names in files, and no column")
    arrays = {"": _to_array(source, name)}
    if files is not None:
        arrays["files"] = np.array([str(file) for file in files])
    return prediction_arrays.read(path, arrays, None, None)


def _to_array(source: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(source)
    except (TypeError, ValueError, RuntimeError) as error:  # of lists that differ in length, of tensors on a GPU
        text = describe_exception(error)
        advice = "give one of NumPy, of a tensor tensor.detach().cpu().numpy()"
        raise InputError(f"{name} cannot be made an array ({text}): {advice}") from None
    are_texts = array.dtype == object and all(isinstance(one, str) for one in array.flat)
    if not array.ndim or not array.size or (array.dtype == object and not are_texts):
        raise InputError(
            f"{name} is of the type {type(source).__name__}, which makes an array of {array.dtype} of the shape"
            f" {list(array.shape)}: give a file, a DataFrame, or an array of class ids [N] or scores [N, 1000]"
        )
    return array.astype(str) if are_texts else array
