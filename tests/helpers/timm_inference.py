"""Result files as timm's own inference.py (1.0) writes them, with any of its options."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

SUFFIXES = {"csv": ".csv", "json": ".json", "json-records": ".json", "json-split": ".json", "parquet": ".parquet"}


def write(
    folder: Path,
    results_format: str,
    files: list[str],
    outputs: np.ndarray,
    labels: list[str] | None,
    topk: int = 1,
    include_index: bool = False,
    separate: bool = False,
    exclude_output: bool = False,
    fullname: bool = False,
    **names: str,
) -> Path:
    """Write what inference.py writes; returns the file.

    Args:
        folder: Where to.
        results_format: A key of SUFFIXES.
        files: `<WordNet id>/<file>` of the images.
        outputs: [M, C], of the model, after softmax for probabilities.
        labels: What --label-type gives for each of the C classes; None for `none`.
        topk: 0 for all outputs.
        include_index: Write class ids.
        separate: Write a column for each of a list's values.
        exclude_output: Write no outputs.
        fullname: Keep the folder of a file.
        **names: filename_col, index_col, label_col, output_col.
    """
    names = {"filename": "filename", "index": "index", "label": "label", "output": "prob"} | {
        key.removesuffix("_col"): name for key, name in names.items()
    }
    values = _select(outputs, labels, topk, include_index)
    columns = {names["filename"]: files if fullname else [file.split("/")[-1] for file in files]}
    if separate and values["output"].shape[-1] > 1:
        for key, part in values.items():
            columns |= {f"{names[key]}_{i}": part[:, i] for i in range(part.shape[-1])}
    else:
        for key, part in values.items():
            if key != "output" or not exclude_output:
                columns[names[key]] = list(part.squeeze(-1) if part.shape[-1] == 1 else part)
    path = folder / f"results{SUFFIXES[results_format]}"
    with np.printoptions(threshold=sys.maxsize):
        _save(pd.DataFrame(columns), path, results_format, names["filename"])
    return path


def _select(outputs: np.ndarray, labels: list[str] | None, topk: int, include_index: bool) -> dict[str, np.ndarray]:
    if not topk:
        return {"output": outputs}
    indices = np.argsort(-outputs, axis=1, kind="stable")[:, :topk]
    values = {"index": indices} if include_index else {}
    if labels is not None:
        values["label"] = np.vectorize(labels.__getitem__)(indices)
    return values | {"output": np.take_along_axis(outputs, indices, axis=1)}


def _save(table: pd.DataFrame, path: Path, results_format: str, filename_col: str) -> None:
    match results_format:
        case "parquet":
            table.set_index(filename_col).to_parquet(path)
        case "json":
            table.set_index(filename_col).to_json(path, indent=4, orient="index")
        case "json-records":
            table.to_json(path, lines=True, orient="records")
        case "json-split":
            table.to_json(path, indent=4, orient="split", index=False)
        case _:
            table.to_csv(path, index=False)
