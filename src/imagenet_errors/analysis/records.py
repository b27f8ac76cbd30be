"""Decisions as rows of errors_analysis.parquet and back."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagenet_errors.analysis.open_world import Proposal, Verdicts
from imagenet_errors.analysis.taxonomy import CODES, KINDS, NO_NOTE, NOTES, Decisions, Relations
from imagenet_errors.embeddings import Neighbours
from imagenet_errors.errors import InputError
from imagenet_errors.files import SCHEMA_VERSION, fingerprint, read_parquet, read_parquet_metadata, write_parquet
from imagenet_errors.knowledge.annotations import NO_LABEL, AnnotatedImages
from imagenet_errors.knowledge.superclasses import Superclasses
from imagenet_errors.storage import NUM_CLASSES

SKIPPED = "skipped"  # what `Inputs.open_world` is without the test ...
UNKNOWN = "unknown"  # ... and where its embeddings are not here: then a stored outcome stands
NUM_STORED = 10  # neighbours of an image
WITH_SUPERCLASSES = [CODES["fine_grained"], CODES["like_target"]]


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
    def of(
        cls, images: AnnotatedImages, relations: Relations, superclasses: Superclasses, open_world: str = SKIPPED
    ) -> "Inputs":
        """Of everything that is stored or decides; `open_world` is `OpenWorld.fingerprint`, SKIPPED or UNKNOWN."""
        return cls(
            fingerprint(
                images.files.tolist(),
                images.targets,
                images.labels,
                images.wrong_labels,
                images.problematic,
                images.non_prototypical,
            ),
            fingerprint(relations.share, relations.spurious, superclasses.names, superclasses.members),
            open_world,
        )

    def with_predictions(self, top1: np.ndarray) -> dict[str, str]:
        return vars(self) | {"predictions": fingerprint(top1)}


def is_current(path: Path, fingerprints: dict[str, str]) -> bool:
    """Whether the stored analysis was made from these inputs. Raises `InputError` where it cannot be read."""
    stored = read_parquet_metadata(path).get("fingerprints")
    if fingerprints["open_world"] == UNKNOWN and isinstance(stored, dict) and "open_world" in stored:
        return stored == fingerprints | {"open_world": stored["open_world"]}
    return stored == fingerprints


def image_columns(images: AnnotatedImages, nearest: Neighbours | None = None, train_files=None) -> dict:
    """The columns that are the same for every model, as Arrow arrays.

    Args:
        images: The n annotated images.
        nearest: Their nearest training images, of which ten are stored; None where they are unknown or not wanted.
        train_files: [T] str, the names of all training images, where they are known.
    """
    import pyarrow as pa

    return {
        "img_rel_path": pa.array(images.files),
        "target": pa.array(images.targets),
        "multi_label": _lists(images.labels, images.labels != NO_LABEL),
        "wrong_multi_label": _lists(images.wrong_labels, images.wrong_labels != NO_LABEL),
        "is_problematic": pa.array(images.problematic),
        "neighbours": _neighbours(nearest, train_files) if nearest else _nulls(len(images), _neighbour_type()),
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


def _neighbours(nearest: Neighbours, train_files):
    import pyarrow as pa

    indices = nearest.indices[:, :NUM_STORED].ravel()
    targets = nearest.targets[:, :NUM_STORED].ravel()
    files = pa.nulls(len(indices), pa.string()) if train_files is None else pa.array(train_files[indices])
    flat = pa.StructArray.from_arrays([pa.array(indices), pa.array(targets), files], fields=list(_neighbour_type()))
    return pa.ListArray.from_arrays(pa.array(range(0, len(indices) + 1, NUM_STORED), pa.int32()), flat)


def open_world_columns(rows: np.ndarray, verdicts: Verdicts, names: list[tuple[int, str]], n: int) -> dict:
    """What the open-world test said of the images at `rows`, as Arrow arrays of n rows; null where it was not asked.

    Args:
        rows: [p] positions of images, ascending.
        verdicts: Those on the p pairs.
        names: (offset, lemma) that the verdicts refer to.
        n: How many images there are.
    """
    import pyarrow as pa

    chosen = verdicts.best >= 0
    positions = pa.array(verdicts.best[chosen])
    offsets, lemmas = (pa.array(part).take(positions) for part in zip(*names, strict=True))
    flat = pa.StructArray.from_arrays(
        [offsets.cast(pa.int32()), lemmas, pa.array(verdicts.scores[chosen])], fields=list(_proposal_type())
    )
    asked = np.isin(np.arange(n), rows)
    lengths, num_prompts = np.zeros(n, int), np.zeros(n, np.int32)
    lengths[rows], num_prompts[rows] = chosen.sum(axis=1), verdicts.num_prompts
    ends = np.concatenate([[0], lengths.cumsum()]).astype(np.int32)
    return {
        "num_prompts": pa.array(num_prompts, mask=~asked),
        "top5": pa.ListArray.from_arrays(pa.array(ends), flat, mask=pa.array(~asked)),
    }


def superclass_lists(superclasses: Superclasses):
    """The superclasses of every class by name, as an Arrow array of 1001 lists; the last, of no class, is empty."""
    members = np.vstack([superclasses.members, np.zeros_like(superclasses.members[:1])])
    return _lists(superclasses.names, members)


def write(
    path: Path,
    columns: dict,
    labels: np.ndarray,
    superclasses,
    top1: np.ndarray,
    decisions: Decisions,
    open_world: dict | None,
    fingerprints: dict[str, str],
    extent: str,
) -> None:
    """Write one model's decisions: a row per annotated image.

    Args:
        path: The parquet file.
        columns: `image_columns` of the n annotated images.
        labels: [n, L] int16, their accepted labels.
        superclasses: `superclass_lists`.
        top1: [n] int16 class ids.
        decisions: Those of this model.
        open_world: `open_world_columns`, or None where the test was skipped.
        fingerprints: Of the inputs, for `is_current`.
        extent: How much of the dataset the predictions cover, e.g. `383 of 50,000 images`.
    """
    import pyarrow as pa

    n = len(top1)
    has_superclasses = np.isin(decisions.kinds, WITH_SUPERCLASSES)
    if open_world is None:
        open_world = {"num_prompts": pa.nulls(n, pa.int32()), "top5": _nulls(n, _proposal_type())}
        fingerprints = fingerprints | {"open_world": SKIPPED}
    table = pa.table(
        columns
        | {
            "top1": top1,
            "note": _names(decisions.notes, NOTES),
            "error_type": _names(decisions.kinds, KINDS),
            "provisional": decisions.provisional,
            "matching": _lists(labels, decisions.matching),
            "superclasses": superclasses.take(pa.array(np.where(has_superclasses, top1, NUM_CLASSES))),
        }
        | open_world
    )
    write_parquet(path, table, {"schema_version": SCHEMA_VERSION, "images": extent, "fingerprints": fingerprints})


def _names(codes: np.ndarray, kinds: tuple):
    """Codes as dictionary-encoded names; NO_NOTE as null."""
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes == NO_NOTE), [kind.name for kind in kinds])


def _lists(values, chosen: np.ndarray):
    """An Arrow list per row of the [n, k] mask `chosen`: of `values` [n, k], or of texts [k] shared by all rows."""
    import pyarrow as pa

    ends = np.concatenate([[0], chosen.sum(axis=1).cumsum()]).astype(np.int32)
    if isinstance(values, np.ndarray):
        flat = pa.array(values[chosen])
    else:
        flat = pa.array(values).take(pa.array(chosen.nonzero()[1]))
    return pa.ListArray.from_arrays(pa.array(ends), flat)


def read(path: Path, model: str, num_images: int) -> Analysis:
    """Read what tables and lists need. Raises `InputError` for damage, unknown types or another number of rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = read_parquet(path, ["top1", "error_type"])
    kinds = pc.index_in(table["error_type"].cast(pa.string()), pa.array([kind.name for kind in KINDS]))
    if kinds.null_count or len(kinds) != num_images:
        raise InputError(
            f"{path} has {len(kinds):,} rows for {num_images:,} images, {kinds.null_count:,} of an unknown type: run"
            " --perform_error_analysis again"
        )
    skipped = read_parquet_metadata(path)["fingerprints"]["open_world"] == SKIPPED
    return Analysis(model, table["top1"].to_numpy(), kinds.to_numpy().astype(np.int8), skipped)


def read_open_world(path: Path, rows: np.ndarray) -> list[tuple[int | None, list[Proposal]]]:
    """What the open-world test said of the images at `rows`: number of prompts and the best proposals.

    The number is None where it was not asked, and 0 where no near training image opened the gate.
    """
    table = read_parquet(path, ["num_prompts", "top5"]).take(rows)
    return [(row["num_prompts"], [Proposal(**proposal) for proposal in row["top5"] or ()]) for row in table.to_pylist()]
