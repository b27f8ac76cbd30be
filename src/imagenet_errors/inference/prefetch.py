"""Downloading the weights of many models before they are needed, and the list of them: weights.csv."""

import logging
from pathlib import Path

from imagenet_errors import locks
from imagenet_errors.download import file_sha256
from imagenet_errors.errors import ModelError
from imagenet_errors.files import read_csv, write_csv
from imagenet_errors.inference import zoo
from imagenet_errors.inference.weights import revision
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import Artefacts
from imagenet_errors.progress import show_progress

log = logging.getLogger(__name__)

COLUMNS = ["model_id", "file", "revision", "sha256", "bytes"]


def download_weights(records: list[ModelRecord], artefacts: Artefacts) -> dict[str, str]:
    """Download what is missing of every model's weights; each file enters weights.csv as soon as it is complete.

    Args:
        records: The models.
        artefacts: Where weights.csv lies.

    Returns:
        {model id: reason} of those that failed.
    """
    failures = {}
    for record in show_progress(records, "weights"):
        try:
            files = [file for file in zoo.fetch(record) if file.is_file()]
        except ModelError as error:
            failures[record.model_id] = str(error)
            log.info(f"{record.model_id}: not downloaded, {error}")
            continue
        listed = _read_rows(artefacts.weights())
        rows = {(record.model_id, file.name): _make_row(record, file, listed) for file in files}
        if listed != listed | rows:
            with locks.locked(artefacts.root, artefacts.weights().name):
                rows = _read_rows(artefacts.weights()) | rows
                write_csv(artefacts.weights(), COLUMNS, list(rows.values()))
    return failures


def _read_rows(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    """{(model id, file): row}."""
    rows = read_csv(path, COLUMNS) if path.exists() else []
    return {(row["model_id"], row["file"]): row for row in rows}


def _make_row(record: ModelRecord, file: Path, listed: dict) -> dict[str, str]:
    """The row of a file; its hash is computed once."""
    key = {"model_id": record.model_id, "file": file.name}
    found = key | {"revision": revision(file), "bytes": str(file.stat().st_size)}
    known = listed.get((record.model_id, file.name), {})
    if found.items() <= known.items():
        return known
    return found | {"sha256": file_sha256(file)}
