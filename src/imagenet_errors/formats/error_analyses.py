"""Decisions as rows of errors_analysis.parquet and back."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imagenet_errors.dataset.annotations import NO_LABEL, AnnotatedImages, from_columns
from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.dataset.superclasses import Superclasses
from imagenet_errors.error_types import CODES, ERROR_TYPES, NO_NOTE, NOTES
from imagenet_errors.errors import InputError
from imagenet_errors.files import fingerprint
from imagenet_errors.formats.embeddings import (
    Neighbours,
)
from imagenet_errors.formats.sealed_parquet import SCHEMA_VERSION, read_parquet, read_parquet_metadata, write_parquet

SKIPPED = "skipped"  # what `Inputs.open_world` is without the test ...
UNKNOWN = "unknown"  # ... and where its embeddings are not here: then a stored outcome stands
ARCHIVED = "archived"  # what `Inputs.relations` is of an analysis from an archive: it stands, whoever made it
NUM_STORED = 10  # neighbours of an image
WITH_SUPERCLASSES = [CODES["fine_grained"], CODES["like_target"]]


class Proposal(NamedTuple):
    """A prompt that was compared with an image.

    Attributes:
        offset: Of its synset.
        lemma: Its name, lower-cased, with spaces.
        score: Softmax of 100 x cosine over all prompts of the decision.
    """

    offset: int
    lemma: str
    score: float


@dataclass(frozen=True)
class Analysis:
    """One model's finished analysis, over the n annotated images.

    Attributes:
        model: Its `model_dir_id`.
        top1: [n] int16 class ids.
        kinds: [n] int8, positions in taxonomy.KINDS.
        open_world_skipped: Whether the open-world test was skipped, which makes some types provisional.
    """

    model: str
    top1: np.ndarray
    kinds: np.ndarray
    open_world_skipped: bool


@dataclass(frozen=True)
class Inputs:
    """What a decision depends on besides the prediction, as fingerprints: what makes a stored analysis stale."""

    images: str
    relations: str
    open_world: str = SKIPPED

    @classmethod
    def of(cls, images: AnnotatedImages, relations, superclasses: Superclasses, open_world: str = SKIPPED) -> "Inputs":
        """Of everything that is stored or decides; `open_world` is `OpenWorld.fingerprint`, SKIPPED or UNKNOWN."""
        return cls(
            images_fingerprint(images),
            fingerprint(
                relations.share,
                relations.spurious,
                superclasses.names,
                superclasses.members,
                images.non_prototypical,
                images.wrong_labels,
            ),
            open_world,
        )

    def with_predictions(self, top1: np.ndarray) -> dict[str, str]:
        return vars(self) | {"predictions": fingerprint(top1)}


def images_fingerprint(images: AnnotatedImages) -> str:
    """Of what every decision on these images depends on; the order of their labels changes none."""
    labels = np.sort(images.labels, axis=1)
    return fingerprint(images.files.tolist(), images.targets, labels, images.problematic)


def is_current(path: Path, fingerprints: dict[str, str]) -> bool:
    """Whether the stored analysis was made from these inputs, or is an archive's of these images and predictions.

    Raises `InputError` where it cannot be read.
    """
    stored = stored_fingerprints(path)
    stands = []
    if stored.get("relations") == ARCHIVED:
        stands = ["relations", "open_world"]
    elif fingerprints["open_world"] == UNKNOWN:
        stands = ["open_world"]
    return stored == fingerprints | {key: stored.get(key) for key in (*stands, "decisions")}


def is_archived(path: Path) -> bool:
    """Whether the stored analysis is from an archive. Raises `InputError` where it cannot be read."""
    return stored_fingerprints(path).get("relations") == ARCHIVED


def is_skipped(path: Path) -> bool:
    """Whether the open-world test was skipped. Raises `InputError` where the file cannot be read."""
    return stored_fingerprints(path).get("open_world") == SKIPPED


def images_of(path: Path) -> str:
    """The `images_fingerprint` of a stored analysis."""
    return stored_fingerprints(path).get("images")


def stored_fingerprints(path: Path) -> dict[str, str]:
    """Of what a stored analysis was made from, and of its decisions; empty where an earlier version wrote the file."""
    metadata = read_parquet_metadata(path)
    stored = metadata.get("fingerprints")
    return stored if metadata["schema_version"] == SCHEMA_VERSION and isinstance(stored, dict) else {}


def image_columns(images: AnnotatedImages, neighbours=None) -> dict:
    """The columns that are the same for every model, as Arrow arrays.

    Args:
        images: The n annotated images.
        neighbours: `neighbours_column`; None where they are unknown or not wanted.
    """
    import pyarrow as pa

    return {
        "row": pa.array(images.rows, pa.int32()),
        "img_rel_path": pa.array(images.files),
        "target": pa.array(images.targets),
        "multi_label": _lists(images.labels, images.labels != NO_LABEL),
        "wrong_multi_label": _lists(images.wrong_labels, images.wrong_labels != NO_LABEL),
        "is_problematic": pa.array(images.problematic),
        "neighbours": _nulls(len(images), _neighbour_type()) if neighbours is None else neighbours,
    }


def _nulls(n: int, of):
    """An Arrow array of n lists that are not there."""
    import pyarrow as pa

    return pa.nulls(n, pa.list_(of))


def _neighbour_type():
    import pyarrow as pa

    return pa.struct([("index", pa.int32()), ("target", pa.int16()), ("file", pa.string())])


def _proposal_type():
    import pyarrow as pa

    return pa.struct([("offset", pa.int32()), ("lemma", pa.string()), ("score", pa.float32())])


def neighbours_column(lengths: np.ndarray, indices: np.ndarray, targets: np.ndarray, files: np.ndarray | None):
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
    return _list_array(lengths, pa.StructArray.from_arrays(parts, fields=list(_neighbour_type())))


def nearest_column(nearest: Neighbours, train_files: np.ndarray | None):
    """`neighbours_column` of the ten nearest; `train_files` [T] names all training images, where they are known."""
    indices, targets = nearest.indices[:, :NUM_STORED], nearest.targets[:, :NUM_STORED].ravel()
    lengths = np.full(len(indices), NUM_STORED)
    return neighbours_column(
        lengths, indices.ravel(), targets, None if train_files is None else train_files[indices.ravel()]
    )


def _list_array(lengths: np.ndarray, flat, mask=None):
    """An Arrow array of lists, from their lengths and all they hold; null where `mask` is true."""
    import pyarrow as pa

    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), flat, mask=None if mask is None else pa.array(mask))


def open_world_columns(rows: np.ndarray, verdicts, names: list[tuple[int, str]], n: int) -> dict:
    """What the open-world test said of the images at `rows`, as Arrow arrays of n rows; null where it was not asked.

    Args:
        rows: [p] positions of images, ascending.
        verdicts: Those on the p pairs.
        names: (offset, lemma) that the verdicts refer to.
        n: How many images there are.
    """
    chosen = verdicts.best >= 0
    offsets, lemmas = (np.array(part)[verdicts.best[chosen]] for part in zip(*names, strict=True))
    return proposals_columns(
        rows, verdicts.num_prompts, chosen.sum(axis=1), (offsets, lemmas, verdicts.scores[chosen]), n
    )


def proposals_columns(rows: np.ndarray, num_prompts: np.ndarray, lengths: np.ndarray, proposals: tuple, n: int) -> dict:
    """Prompts and proposals as Arrow arrays of n rows; null beside the p `rows`.

    Args:
        rows: [p] positions of images, ascending.
        num_prompts: [p] int.
        lengths: [p] int, how many proposals each has.
        proposals: Offsets, lemmas and scores, [sum of lengths] each.
        n: How many images there are.
    """
    import pyarrow as pa

    types = [field.type for field in _proposal_type()]
    parts = [pa.array(part, kind) for part, kind in zip(proposals, types, strict=True)]
    flat = pa.StructArray.from_arrays(parts, fields=list(_proposal_type()))
    known, all_lengths, all_prompts = np.zeros(n, bool), np.zeros(n, int), np.zeros(n, np.int32)
    known[rows], all_lengths[rows], all_prompts[rows] = True, lengths, num_prompts
    return {"num_prompts": pa.array(all_prompts, mask=~known), "top5": _list_array(all_lengths, flat, ~known)}


def superclass_lists(superclasses: Superclasses):
    """The superclasses of every class by name, as an Arrow array of 1001 lists; the last, of no class, is empty."""
    members = np.vstack([superclasses.members, np.zeros_like(superclasses.members[:1])])
    return _lists(superclasses.names, members)


def decision_columns(labels: np.ndarray, superclasses, top1: np.ndarray, decisions, open_world: dict | None) -> dict:
    """The columns of one model's decisions, as Arrow arrays.

    Args:
        labels: [n, L] int16, the accepted labels of the images.
        superclasses: `superclass_lists`.
        top1: [n] int16 class ids.
        decisions: Those of this model.
        open_world: `open_world_columns`, or None where the test was skipped.
    """
    import pyarrow as pa

    n = len(top1)
    has_superclasses = np.isin(decisions.kinds, WITH_SUPERCLASSES)
    if open_world is None:
        open_world = {"num_prompts": pa.nulls(n, pa.int32()), "top5": _nulls(n, _proposal_type())}
    return named_columns(top1, decisions.kinds, decisions.notes, decisions.provisional) | {
        "matching": _lists(labels, decisions.matching),
        "superclasses": superclasses.take(pa.array(np.where(has_superclasses, top1, NUM_CLASSES))),
        **open_world,
    }


def named_columns(top1: np.ndarray, kinds: np.ndarray, notes: np.ndarray, provisional: np.ndarray) -> dict:
    """Predictions, error types and notes ([n] each) as columns."""
    import pyarrow as pa

    return {
        "top1": pa.array(top1),
        "note": _names(notes, NOTES),
        "error_type": _names(kinds, ERROR_TYPES),
        "provisional": pa.array(provisional),
    }


def write(path: Path, columns: dict, kinds: np.ndarray, fingerprints: dict[str, str], extent: str) -> None:
    """Write one model's analysis: a row per annotated image.

    Args:
        path: The parquet file.
        columns: `image_columns` and `decision_columns`.
        kinds: [n] int8, positions in KINDS; what is read again must be these.
        fingerprints: Of the inputs, for `is_current`.
        extent: How much of the dataset the predictions cover, e.g. `383 of 50,000 images`.
    """
    import pyarrow as pa

    fingerprints = fingerprints | {"decisions": fingerprint(kinds)}
    metadata = {"schema_version": SCHEMA_VERSION, "images": extent, "fingerprints": fingerprints}
    write_parquet(path, pa.table(columns), metadata, distinct=("row", "img_rel_path"))


def _names(codes: np.ndarray, kinds: tuple):
    """Codes as dictionary-encoded names; NO_NOTE as null."""
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes == NO_NOTE), [kind.name for kind in kinds])


def _lists(values, chosen: np.ndarray):
    """An Arrow list per row of the [n, k] mask `chosen`: of `values` [n, k], or of texts [k] shared by all rows."""
    import pyarrow as pa

    if isinstance(values, np.ndarray):
        flat = pa.array(values[chosen])
    else:
        flat = pa.array(values).take(pa.array(chosen.nonzero()[1]))
    return _list_array(chosen.sum(axis=1), flat)


def read(path: Path, model: str) -> Analysis:
    """Read what tables and lists need. Raises `InputError` for damage: what was not written so, or unknown types."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table, stored = read_parquet(path, ["top1", "error_type"]), stored_fingerprints(path)
    try:
        codes = pc.index_in(table["error_type"].cast(pa.string()), pa.array([kind.name for kind in ERROR_TYPES]))
    except pa.ArrowException as error:
        raise InputError(f"{path} is damaged ({error}): run --perform_error_analysis again") from None
    if codes.null_count or table["top1"].null_count:
        raise InputError(f"{path} has rows of an unknown type: run --perform_error_analysis again")
    top1, kinds = table["top1"].to_numpy(), codes.to_numpy().astype(np.int8)
    if (fingerprint(top1), fingerprint(kinds)) != (stored.get("predictions"), stored.get("decisions")):
        raise InputError(f"{path} is damaged (its rows are not those written): run --perform_error_analysis again")
    return Analysis(model, top1, kinds, stored.get("open_world") == SKIPPED)


def read_all(path: Path) -> tuple[list[str], list]:
    """Names and Arrow arrays of all columns."""
    table = read_parquet(path)
    return table.column_names, table.columns


def read_images(path: Path, experts: frozenset[str]) -> AnnotatedImages:
    """The images that an analysis is of; `experts` lists the non-prototypical ones."""
    columns = ["row", "img_rel_path", "target", "multi_label", "wrong_multi_label", "is_problematic"]
    rows, files, targets, *others = (column.to_pylist() for column in read_parquet(path, columns).columns)
    samples = Samples(np.array(files), np.array(targets, np.int16))
    return from_columns(samples, *others, np.array(rows), experts, str(path))


def read_open_world(path: Path, rows: np.ndarray) -> list[tuple[int | None, list[Proposal]]]:
    """What the open-world test said of the images at `rows`: number of prompts and the best proposals.

    The number is None where it was not asked, and 0 where no near training image opened the gate.
    """
    table = read_parquet(path, ["num_prompts", "top5"]).take(rows)
    return [(row["num_prompts"], [Proposal(**proposal) for proposal in row["top5"] or ()]) for row in table.to_pylist()]
