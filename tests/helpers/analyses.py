"""Error analyses as tests make and read them."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from imagenet_errors.dataset.annotations import NO_LABEL, AnnotatedImages
from imagenet_errors.error_types import AFTER_OPEN_WORLD
from imagenet_errors.formats import sealed_parquet
from imagenet_errors.formats.error_analyses import SKIPPED, ErrorAnalysis


def make_analysis(model: str, top1, error_types, skipped: bool = False) -> ErrorAnalysis:
    """A model's analysis, with or without the open-world test."""
    fingerprints = {"open_world": SKIPPED if skipped else "tested"}
    types = np.asarray(error_types, np.int8)
    provisional = np.isin(types, AFTER_OPEN_WORLD) & skipped
    return ErrorAnalysis(model, np.asarray(top1, np.int16), types, provisional, fingerprints)


def make_images(files, targets, labels, non_prototypical, problematic) -> AnnotatedImages:
    """Annotated images from lists, without checks."""
    width = max(1, *map(len, labels))
    return AnnotatedImages(
        np.arange(len(files)),
        np.array(files),
        np.array(targets, np.int16),
        np.array([[*accepted, *[NO_LABEL] * (width - len(accepted))] for accepted in labels], np.int16),
        np.full((len(files), 1), NO_LABEL, np.int16),
        np.array(problematic),
        np.array(non_prototypical),
        None,
    )


def read_joined(path: Path, columns: list[str] | None = None):
    """An errors_analysis.parquet joined with its image table, by pyarrow alone."""
    table = pq.read_table(path)
    images = json.loads(table.schema.metadata[b"image_table"])
    joined = {
        name: part[name] for part in (pq.read_table(path.parents[1] / images), table) for name in part.column_names
    }
    return pa.table({name: joined[name] for name in columns or joined})


def reseal(path: Path, reverse: str = "", **metadata) -> None:
    """Change metadata of a Parquet file, or reverse a column, with a right checksum."""
    table = pq.read_table(path)
    stored = {key.decode(): json.loads(value) for key, value in table.schema.metadata.items() if key[:5] != b"ARROW"}
    if reverse:
        cells = table[reverse].to_pylist()[::-1]
        table = table.set_column(table.column_names.index(reverse), reverse, [cells])
    sealed_parquet.write(path, table, {key: value for key, value in stored.items() if key != "seal"} | metadata)
