"""Predictions in files that other tools wrote: tables and arrays, as they are in the file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from imagenet_errors.errors import InputError
from imagenet_errors.formats import prediction_arrays, prediction_tables
from imagenet_errors.formats.raw_predictions import PredictionFile, RawPredictions

__all__ = ["ARRAYS", "TABLES", "PredictionFile", "RawPredictions", "read"]

TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".pq")
COMPRESSED = (".csv.gz", ".tsv.gz", ".json.gz", ".jsonl.gz", ".ndjson.gz")
ARRAYS = (".npz", ".npy", ".safetensors")
TENSORS = (".pt", ".pth")


def read(
    path: Path,
    file_column: str | None = None,
    class_column: str | None = None,
    read_tensors: Callable[[Path], dict[str, np.ndarray]] | None = None,
) -> PredictionFile:
    """Read a file of predictions; its suffix says the format.

    Tables have a row an image: CSV, TSV, JSON (records, by index, by column, split, lines; all of these also with
    `.gz`) and Parquet. Arrays are npz, npy and safetensors, or PyTorch's .pt and .pth.

    Args:
        path: The file.
        file_column: The column or array of image names; by default one with a usual name.
        class_column: The column or array of predictions; by default every one that fits.
        read_tensors: Reads PyTorch's files (`inference.tensor_files.read_tensors`); None without torch.

    Raises:
        InputError: where the file is missing, damaged, of an unknown format, holds no predictions, or a cell of them is
            empty or malformed.
    """
    name = path.name.lower()
    if name.endswith((*TABLES, *COMPRESSED)):
        table = prediction_tables.load(path, file_column, class_column)
        return prediction_tables.read(path, table, file_column, class_column)
    if name.endswith(ARRAYS):
        return prediction_arrays.read(path, prediction_arrays.load(path), file_column, class_column)
    if name.endswith(TENSORS):
        return prediction_arrays.read(path, _load_tensors(path, read_tensors), file_column, class_column)
    raise InputError(f"{path} is not in a known format of predictions: {_advise_format(name)}")


def _advise_format(name: str) -> str:
    """What to do with a file whose name has another suffix."""
    if name == "errors_analysis.pkl":
        return (
            "it is an archive's analysis, put it into a folder imagenet/MODEL/ of the artefacts folder and run"
            " evaluation.py --collect_results"
        )
    if name.endswith((".tar.gz", ".tgz", ".tar")):
        return "if it is an archive of analyses, download_artefacts.py --from_file reads it"
    return f"save it as {', '.join((*TABLES, *ARRAYS, *TENSORS))}, or rename it if it is one of these"


def _load_tensors(path: Path, read_tensors: Callable[[Path], dict[str, np.ndarray]] | None) -> dict[str, np.ndarray]:
    try:
        if read_tensors is None:
            raise ImportError
        return read_tensors(path)
    except ImportError:
        raise InputError(
            f"reading {path} needs torch: install it (pip install -r requirements.txt), or save the arrays as npz"
            " (numpy.savez)"
        ) from None
