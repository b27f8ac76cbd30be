"""What is the same for many models: A/<dataset>/images-<fingerprint>.parquet, one row per annotated image.

A table is named by its content, so several may stand side by side, and one that is there is never replaced by another.
Model files of schema 2 hold the same columns themselves; everything here reads those as well.
"""

from pathlib import Path
from typing import Any

import numpy as np

from imagenet_errors.dataset.annotations import NO_LABEL, AnnotatedImages, from_columns
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError, NewerSchemaError, UnreadableFileError
from imagenet_errors.files import fingerprint, remove_leftovers
from imagenet_errors.formats.embeddings import Neighbours
from imagenet_errors.formats.sealed_parquet import SealedParquet, open_sealed, write

SCHEMA_VERSION = 3  # that of errors_analysis.parquet, to which these tables belong
NUM_NEIGHBOURS = 10  # stored for each image
COLUMNS = ("row", "img_rel_path", "target", "multi_label", "wrong_multi_label", "is_problematic", "neighbours")
ADVICE = "run evaluation.py --perform_error_analysis again"


def build_columns(images: AnnotatedImages, neighbours: Any = None) -> dict[str, Any]:
    """The columns as Arrow arrays.

    Args:
        images: The n annotated images.
        neighbours: `neighbours_column`; None where they are unknown or not wanted.
    """
    import pyarrow as pa

    return {
        "row": pa.array(images.rows, pa.int32()),
        "img_rel_path": pa.array(images.files),
        "target": pa.array(images.targets),
        "multi_label": lists_of(images.labels, images.labels != NO_LABEL),
        "wrong_multi_label": lists_of(images.wrong_labels, images.wrong_labels != NO_LABEL),
        "is_problematic": pa.array(images.problematic),
        "neighbours": pa.nulls(len(images), pa.list_(_neighbour_type())) if neighbours is None else neighbours,
    }


def _neighbour_type() -> Any:
    import pyarrow as pa

    return pa.struct([("index", pa.int32()), ("target", pa.int16()), ("file", pa.string())])


def neighbours_column(lengths: np.ndarray, indices: np.ndarray, targets: np.ndarray, files: Any) -> Any:
    """The nearest training images as an Arrow array of n lists.

    Args:
        lengths: [n] int, how many are known of each image.
        indices: [sum of lengths] int, rows among all training images.
        targets: As many class ids.
        files: As many names, or None where they are unknown.
    """
    import pyarrow as pa

    names = pa.nulls(len(indices), pa.string()) if files is None else pa.array(files, pa.string())
    parts = [pa.array(indices, pa.int32()), pa.array(targets, pa.int16()), names]
    return list_array(lengths, pa.StructArray.from_arrays(parts, fields=list(_neighbour_type())))


def nearest_column(nearest: Neighbours, train_files: np.ndarray | None) -> Any:
    """`neighbours_column` of the ten nearest; `train_files` [T] names all training images, where they are known."""
    indices, targets = nearest.indices[:, :NUM_NEIGHBOURS], nearest.targets[:, :NUM_NEIGHBOURS].ravel()
    files = None if train_files is None else train_files[indices.ravel()]
    return neighbours_column(np.full(len(indices), NUM_NEIGHBOURS), indices.ravel(), targets, files)


def list_array(lengths: np.ndarray, flat: Any, mask: np.ndarray | None = None) -> Any:
    """An Arrow array of lists, from their lengths and all their elements; null where `mask` is true."""
    import pyarrow as pa

    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), flat, mask=None if mask is None else pa.array(mask))


def lists_of(values: Any, chosen: np.ndarray) -> Any:
    """An Arrow list per row of the [n, k] mask `chosen`: of `values` [n, k], or of texts [k] shared by all rows."""
    import pyarrow as pa

    if isinstance(values, np.ndarray):
        flat = pa.array(values[chosen])
    else:
        flat = pa.array(values).take(pa.array(chosen.nonzero()[1]))
    return list_array(chosen.sum(axis=1), flat)


def name_of(columns: dict[str, Any]) -> str:
    """The file name of a table with these columns: a fingerprint of their values, whatever library wrote them."""
    return f"images-{fingerprint(*(part for name in COLUMNS for part in (name, *_parts(columns[name]))))}.parquet"


def _parts(array: Any) -> list:
    """The values of an Arrow array as parts of a fingerprint."""
    import pyarrow as pa

    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    parts: list = [np.packbits(array.is_valid().to_numpy(zero_copy_only=False))]
    if pa.types.is_list(array.type):
        lengths = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        return [*parts, lengths.astype(np.int32), *_parts(array.flatten())]
    if pa.types.is_struct(array.type):
        return [*parts, *(part for field in array.flatten() for part in _parts(field))]
    if pa.types.is_string(array.type):
        return [*parts, "\0".join(array.fill_null("").to_pylist())]
    array = array.fill_null(0) if array.null_count else array
    return [*parts, array.to_numpy(zero_copy_only=False)]


def store(folder: Path, columns: dict[str, Any]) -> str:
    """Write the table into a dataset's folder, unless it is there and whole. Returns its file name."""
    import pyarrow as pa

    name = name_of(columns)
    try:
        check(folder / name)
        remove_leftovers(folder / name)  # of a process that was killed while another wrote the same
    except (NewerSchemaError, UnreadableFileError):
        raise
    except InputError:
        metadata = {"schema_version": SCHEMA_VERSION}
        write(folder / name, pa.table(columns), metadata, distinct=("row", "img_rel_path"))
    return name


def check(path: Path) -> None:
    """Raises `InputError` where the table is missing, damaged, or not of the content that its name says."""
    if name_of(dict(zip(COLUMNS, _open(path).read(COLUMNS).columns, strict=True))) != path.name:
        raise InputError(f"{path} has another content than its name says: {ADVICE}")


def read(path: Path) -> dict[str, list]:
    """The columns as Python lists; missing neighbours are None. Raises `InputError` as `read_images`."""
    table = _open(path).read(COLUMNS)
    return {name: table[name].to_pylist() for name in COLUMNS}


def read_columns(file: SealedParquet) -> dict[str, Any]:
    """The columns of an open file as Arrow arrays."""
    table = file.read(COLUMNS)
    return {name: table[name] for name in COLUMNS}


def read_images(path: Path, non_prototypical: frozenset[str]) -> AnnotatedImages:
    """The images of a table.

    Args:
        path: The table, or a model's file of schema 2.
        non_prototypical: The names of the non-prototypical images.

    Raises:
        InputError: where it is missing or damaged.
    """
    columns = (column.to_pylist() for column in _open(path).read(COLUMNS[:-1]).columns)
    rows, files, targets, labels, wrong, problematic = columns
    samples = Samples(np.array(files), np.array(targets, np.int16))
    return from_columns(samples, labels, wrong, problematic, np.array(rows), non_prototypical, str(path))


def read_near_classes(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The images of a table [n] and the classes of their ten nearest training images [n, 10], int16; -1 where unknown.

    Raises:
        InputError: as `read_images`.
    """
    files, neighbours = (column.combine_chunks() for column in _open(path).read(("img_rel_path", "neighbours")).columns)
    lengths = neighbours.value_lengths().fill_null(0).to_numpy()
    near = np.full((len(files), max(NUM_NEIGHBOURS, lengths.max())), -1, np.int16)
    near[np.arange(near.shape[1]) < lengths[:, None]] = neighbours.flatten().field("target").to_numpy()
    return np.array(files.to_pylist()), near[:, :NUM_NEIGHBOURS]


def _open(path: Path) -> SealedParquet:
    return open_sealed(path, SCHEMA_VERSION, ADVICE)


def is_named_by_content(path: Path) -> bool:
    """Whether a file is an image table, not a model's file of schema 2."""
    return path.name.startswith("images-")


def locate(analysis: Path, table: str | None) -> Path:
    """Where the image table of a model's file lies; that file itself where it names none."""
    return analysis.parents[1] / table if table else analysis


def images_fingerprint(images: AnnotatedImages) -> str:
    """Of what every decision on these images depends on; the order of their labels changes none."""
    labels = np.sort(images.labels, axis=1)
    return fingerprint(images.files.tolist(), images.targets, labels, images.problematic)
