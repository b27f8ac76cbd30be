"""The files of CLIP embeddings and nearest neighbours: what they hold, and how they are checked."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imagenet_errors.dataset.classes import check_class_ids
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError
from imagenet_errors.files import as_texts, check_schema, read_npz, write_npz

SCHEMA_VERSION = 1  # of both kinds of files
NUM_NEIGHBOURS = 50
TOLERANCE = 1e-2  # of the length of a stored vector; half precision is off by a thousandth
RECOMPUTE_ADVICE = "remove it and run compute_clip_embeddings.py again"


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of images or prompts by CLIP.

    Attributes:
        path: Where they were read from.
        names: [m] str, image files or prompts.
        vectors: [m, D] float32 of unit length.
        clip: Names model and weights; None where the file does not say, as the official ones: any is taken to fit.
        targets: [m] int16 class ids, of training images alone.
    """

    path: Path
    names: np.ndarray
    vectors: np.ndarray
    clip: str | None
    targets: np.ndarray | None = None


@dataclass(frozen=True)
class Neighbours:
    """The training images nearest to each of N images by cosine similarity, nearest first.

    Attributes:
        path: Where they were read from.
        indices: [N, 50] int32, rows of train_clip_embeddings.npz.
        targets: [N, 50] int16, their class ids.
        clip: As in `Embeddings`.
        inputs: Fingerprint of what they were computed from; None where the file does not say.
    """

    path: Path
    indices: np.ndarray
    targets: np.ndarray
    clip: str | None
    inputs: str | None = None

    def __getitem__(self, rows: np.ndarray) -> "Neighbours":
        """Those of the images at `rows`."""
        return replace(self, indices=self.indices[rows], targets=self.targets[rows])


def read_embeddings(path: Path, names: str) -> Embeddings:
    """Read embeddings, float16 or float32, and bring them to unit length.

    Args:
        path: An npz archive.
        names: The array that says what is embedded: `sample_files`, `train_files` or `prompts`.

    Raises:
        InputError: for a file that is missing or damaged, or a vector that is zero, not finite or not of unit length.
    """
    arrays = _read(path, names, "embeddings", optional=("clip", "targets"))
    vectors, listed = arrays["embeddings"], arrays[names]
    if vectors.ndim != 2 or listed.shape != vectors.shape[:1] or not vectors.size or vectors.dtype.kind != "f":
        raise InputError(
            f"{path} holds {listed.shape} {names} and {vectors.shape} {vectors.dtype} embeddings: {RECOMPUTE_ADVICE}"
        )
    vectors = vectors.astype(np.float32)
    lengths = np.sqrt(np.einsum("md,md->m", vectors, vectors))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= TOLERANCE))
    if len(wrong):
        raise InputError(
            f"{path}: the embedding of {listed[wrong[0]]} has length {lengths[wrong[0]]:g}: {RECOMPUTE_ADVICE}"
        )
    vectors /= lengths[:, None]
    targets = check_class_ids(arrays["targets"], str(path)) if "targets" in arrays else None
    if targets is not None and targets.shape != listed.shape:
        raise InputError(f"{path} holds {targets.shape} targets for {listed.shape} {names}: {RECOMPUTE_ADVICE}")
    return Embeddings(path, as_texts(listed, path, RECOMPUTE_ADVICE), vectors, _text(arrays, "clip", path), targets)


def read_neighbours(path: Path, num_images: int) -> Neighbours:
    """Read the neighbours of so many images. Raises `InputError` for a missing or damaged file, or another number."""
    arrays = _read(path, "topk_train_indices", "topk_train_targets", optional=("clip", "inputs"))
    indices, targets = arrays["topk_train_indices"], check_class_ids(arrays["topk_train_targets"], str(path))
    expected = (num_images, NUM_NEIGHBOURS)
    if indices.shape != expected or targets.shape != expected or indices.dtype.kind not in "iu":
        raise InputError(
            f"{path} holds {indices.shape} neighbours of {targets.shape} classes, not {NUM_NEIGHBOURS} for each of"
            f" {num_images:,} images: {RECOMPUTE_ADVICE}"
        )
    if indices.min() < 0:
        raise InputError(f"{path} names training image {indices.min()}: {RECOMPUTE_ADVICE}")
    return Neighbours(
        path, indices.astype(np.int32), targets, _text(arrays, "clip", path), _text(arrays, "inputs", path)
    )


def check_neighbours(path: Path, samples: Samples | None) -> None:
    """Raises `InputError` if the neighbours are damaged or not of `samples`; None checks nothing."""
    if samples is not None:
        read_neighbours(path, len(samples.files))


def write_embeddings(path: Path, names: str, embedded: Embeddings) -> None:
    """Write what `read_embeddings` reads."""
    extra = {} if embedded.targets is None else {"targets": embedded.targets}
    extra |= {} if embedded.clip is None else {"clip": np.array(embedded.clip)}
    write_npz(
        path, **{names: embedded.names}, embeddings=embedded.vectors, **extra, schema_version=np.array(SCHEMA_VERSION)
    )


def write_neighbours(found: Neighbours) -> None:
    """Write what `read_neighbours` reads."""
    said = {name: np.array(getattr(found, name)) for name in ("clip", "inputs") if getattr(found, name) is not None}
    arrays = {"topk_train_indices": found.indices, "topk_train_targets": found.targets}
    write_npz(found.path, **arrays, **said, schema_version=np.array(SCHEMA_VERSION))


def read_train_files(path: Path) -> np.ndarray:
    """[T] str, the names of the training images alone."""
    return as_texts(_read(path, "train_files")["train_files"], path, RECOMPUTE_ADVICE)


def _read(path: Path, *names: str, optional: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The arrays. Raises `NewerSchemaError` for a file of a newer form than ours; official ones have no version."""
    arrays = read_npz(path, *names, optional=(*optional, "schema_version"), advice=RECOMPUTE_ADVICE)
    if "schema_version" in arrays:
        check_schema(path, arrays["schema_version"].tolist(), SCHEMA_VERSION, RECOMPUTE_ADVICE)
    return arrays


def _text(arrays: dict[str, np.ndarray], name: str, path: Path) -> str | None:
    if name not in arrays:
        return None
    if arrays[name].dtype.kind != "U" or arrays[name].shape != ():
        raise InputError(f"{path}: {name} is {arrays[name]!r}, not one text: {RECOMPUTE_ADVICE}")
    return str(arrays[name])


def check_one_clip(*parts: Embeddings | Neighbours) -> None:
    """Raises `InputError` where two of them name different CLIPs, or have embeddings of different dimensions."""
    named = {part.path: part.clip for part in parts if part.clip is not None}
    if len(set(named.values())) > 1:
        listed = ", ".join(f"{path} is of {clip}" for path, clip in named.items())
        raise InputError(f"two CLIPs are mixed: {listed}: {RECOMPUTE_ADVICE}")
    dimensions = {part.path: part.vectors.shape[1] for part in parts if isinstance(part, Embeddings)}
    if len(set(dimensions.values())) > 1:
        listed = " and ".join(f"{path} has {number} dimensions" for path, number in dimensions.items())
        raise InputError(f"{listed}: they are of two CLIPs, {RECOMPUTE_ADVICE}")
