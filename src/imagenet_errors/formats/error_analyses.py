"""A model's error analysis: errors_analysis.parquet, one row per annotated image.

Schema 3 holds what is the model's own and names the image table that holds the rest; schema 4 is the same with empty
rows, for a model that has predictions for some of the images only; schema 2 holds everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imagenet_errors.dataset.superclasses import Superclasses
from imagenet_errors.error_types import CODES, ERROR_TYPES, NO_ERROR_TYPE, NO_NOTE, NOTES, ErrorType
from imagenet_errors.errors import InputError
from imagenet_errors.files import fingerprint
from imagenet_errors.formats import image_tables, sealed_parquet
from imagenet_errors.formats.image_tables import list_array, lists_of
from imagenet_errors.formats.predictions import NO_PREDICTION
from imagenet_errors.formats.sealed_parquet import SealedParquet, open_sealed

SCHEMA_VERSION = 4  # the newest that is read, of a model with predictions for some of the images ...
SCHEMA_OF_ALL_IMAGES = 3  # ... and of one with predictions for all
ALL_IN_ONE_FILE = 2  # the oldest schema that is read: image table and analysis in one file
ADVICE = "run evaluation.py --perform_error_analysis again"
SKIPPED = "skipped"  # the fingerprint of the open-world test where it was skipped on request ...
UNKNOWN = "unknown"  # ... and where its files are missing: then a stored outcome stands
ARCHIVED = "archived"  # the fingerprint of the relations of an archive's analysis, which stands whoever made it
RECORDED = "recorded-"  # begins the fingerprint of an archive's outcomes, which are not those of the test itself
OWN_COLUMNS = ("top1", "note", "error_type", "provisional", "matching", "superclasses", "num_prompts", "top5")
WITH_SUPERCLASSES = (CODES["fine_grained"], CODES["like_target"])


class Proposal(NamedTuple):
    """A prompt that was compared with an image.

    Attributes:
        offset: The WordNet offset of its synset.
        lemma: Its name, lower-cased, with spaces.
        score: Softmax of 100 x cosine over all prompts of the decision.
    """

    offset: int
    lemma: str
    score: float


class Outcome(NamedTuple):
    """What the open-world test said of one (image, prediction) pair.

    Attributes:
        is_out_of_vocabulary: Its verdict.
        num_prompts: How many prompts were compared; 0 where the gate was closed, None where an archive does not tell.
        proposals: The best, best first.
    """

    is_out_of_vocabulary: bool
    num_prompts: int | None
    proposals: Sequence[Proposal]


@dataclass(frozen=True)
class Inputs:
    """Fingerprints of what a decision depends on besides the prediction: another one makes a stored analysis stale."""

    images: str
    relations: str
    open_world: str = SKIPPED

    def with_predictions(self, top1: np.ndarray) -> dict[str, str]:
        return vars(self) | {"predictions": fingerprint(top1)}


@dataclass(frozen=True)
class ErrorAnalysis:
    """One model's error analysis, over the n annotated images.

    Attributes:
        model: Its `model_dir_id`.
        top1: [n] int16 class ids; NO_PREDICTION where there is none.
        error_types: [n] int8, positions in ERROR_TYPES; NO_ERROR_TYPE where there is no prediction.
        provisional: [n] bool: the open-world test could still say that it is out-of-vocabulary.
        fingerprints: Of the inputs and of the decisions; empty in a file of a schema that is not read any more.
        image_table: File name of its image table; None for schema 2, where the model's file holds those columns.
        listed: Of the images typed out-of-vocabulary [k] the number of prompts and the five best proposals, as an Arrow
            table beside their positions [k]; None where they were not read.
    """

    model: str
    top1: np.ndarray
    error_types: np.ndarray
    provisional: np.ndarray
    fingerprints: dict[str, str]
    image_table: str | None = None
    listed: tuple[np.ndarray, Any] | None = None

    @property
    def is_archived(self) -> bool:
        """Whether it comes from an archive."""
        return self.fingerprints.get("relations") == ARCHIVED

    @property
    def open_world_skipped(self) -> bool:
        """Whether the open-world test was skipped, which makes every type that it could change provisional."""
        return self.fingerprints.get("open_world") == SKIPPED

    @property
    def takes_recorded(self) -> bool:
        """Whether outcomes of the open-world test are those that an archive tells."""
        return self.fingerprints.get("open_world", "").startswith(RECORDED)

    def is_current(self, expected: dict[str, str], tested_stands: bool = False) -> bool:
        """Whether it was made from these inputs, or is an archive's of these images and predictions.

        Args:
            expected: Fingerprints of the inputs.
            tested_stands: Whether stored outcomes of the test itself stand where an archive's are expected.
        """
        stands: tuple[str, ...] = ("decisions",)
        tested = not (self.open_world_skipped or self.takes_recorded)
        if self.is_archived:
            stands += ("relations", "open_world")
        elif expected["open_world"] == UNKNOWN or (tested_stands and tested):
            stands += ("open_world",)
        return self.fingerprints == expected | {key: self.fingerprints.get(key) for key in stands}

    def proposals(self, rows: np.ndarray) -> list[tuple[int | None, list[Proposal]]]:
        """Number of prompts and best proposals of the out-of-vocabulary errors at `rows`, if `listed` was read."""
        positions, table = self.listed or (np.empty(0, int), None)
        return [] if table is None else _proposals(table.take(np.searchsorted(positions, rows)))


def _proposals(table: Any) -> list[tuple[int | None, list[Proposal]]]:
    return [(row["num_prompts"], [Proposal(**one) for one in row["top5"] or ()]) for row in table.to_pylist()]


def superclass_lists(superclasses: Superclasses) -> Any:
    """The superclasses of every class by name, as an Arrow array of 1001 lists; the last, of no class, is empty."""
    members = np.vstack([superclasses.members, np.zeros_like(superclasses.members[:1])])
    return lists_of(superclasses.names, members)


def proposal_type() -> Any:
    import pyarrow as pa

    return pa.struct([("offset", pa.int32()), ("lemma", pa.string()), ("score", pa.float32())])


def proposal_columns(
    rows: np.ndarray, num_prompts: np.ndarray, lengths: np.ndarray, proposals: tuple, n: int
) -> dict[str, Any]:
    """Prompts and proposals as Arrow arrays of n rows; null beside the p `rows`.

    Args:
        rows: [p] positions, ascending.
        num_prompts: [p] int.
        lengths: [p] int, how many proposals each has.
        proposals: Offsets, lemmas and scores, [sum of lengths] each.
        n: How many rows there are.
    """
    import pyarrow as pa

    types = [field.type for field in proposal_type()]
    parts = [pa.array(part, of) for part, of in zip(proposals, types, strict=True)]
    flat = pa.StructArray.from_arrays(parts, fields=list(proposal_type()))
    known, all_lengths, all_prompts = np.zeros(n, bool), np.zeros(n, int), np.zeros(n, np.int32)
    known[rows], all_lengths[rows], all_prompts[rows] = True, lengths, num_prompts
    return {"num_prompts": pa.array(all_prompts, mask=~known), "top5": list_array(all_lengths, flat, ~known)}


def table_of_proposals(columns: dict[str, Any], rows: np.ndarray) -> Any:
    """The rows of `proposal_columns` as an Arrow table."""
    import pyarrow as pa

    return pa.table({name: column.take(pa.array(rows)) for name, column in columns.items()})


def type_columns(
    top1: np.ndarray, error_types: np.ndarray, notes: np.ndarray, provisional: np.ndarray
) -> dict[str, Any]:
    """Predictions, error types and notes ([n] each) as columns; all are null where there is no prediction."""
    import pyarrow as pa

    missing = top1 == NO_PREDICTION
    return {
        "top1": pa.array(top1, mask=missing),
        "note": _names(notes, NOTES, missing | (notes == NO_NOTE)),
        "error_type": _names(error_types, ERROR_TYPES, missing),
        "provisional": pa.array(provisional, mask=missing),
    }


def _names(codes: np.ndarray, table: tuple[ErrorType, ...], mask: np.ndarray) -> Any:
    """Codes as dictionary-encoded names; null where `mask` is true."""
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=mask), [one.name for one in table])


def write(
    path: Path,
    columns: dict[str, Any],
    error_types: np.ndarray,
    fingerprints: dict[str, str],
    extent: str,
    image_table: str,
) -> dict[str, str]:
    """Write one model's analysis.

    Args:
        path: The parquet file.
        columns: OWN_COLUMNS as Arrow arrays.
        error_types: [n] int8, positions in ERROR_TYPES or NO_ERROR_TYPE; what is read again must be these.
        fingerprints: Of the inputs, for `ErrorAnalysis.is_current`.
        extent: How much of the dataset the predictions cover, e.g. `383 of 50,000 images`.
        image_table: File name of the image table beside the model's folder.

    Returns:
        The fingerprints stored, those of the decisions included.
    """
    import pyarrow as pa

    fingerprints = fingerprints | {"decisions": fingerprint(error_types)}
    metadata = {
        "schema_version": SCHEMA_VERSION if (error_types == NO_ERROR_TYPE).any() else SCHEMA_OF_ALL_IMAGES,
        "images": extent,
        "image_table": image_table,
        "fingerprints": fingerprints,
    }
    sealed_parquet.write(path, pa.table({name: columns[name] for name in OWN_COLUMNS}), metadata)
    return fingerprints


def read(path: Path, model: str, with_proposals: bool = False) -> ErrorAnalysis:
    """Read what tables, and with proposals lists, need.

    Raises:
        InputError: for a file that is missing, damaged, not as it was written, or has unknown error types.
        NewerSchemaError, UnreadableFileError: for one that may be whole.
    """
    file = _open(path)
    fingerprints, image_table = _header(file)
    table = file.read(("top1", "error_type", "provisional"))
    top1, error_types = _arrays(table, path)
    if fingerprints and (fingerprint(top1), fingerprint(error_types)) != (
        fingerprints.get("predictions"),
        fingerprints.get("decisions"),
    ):
        raise InputError(f"{path} is damaged (its rows are not those written): {ADVICE}")
    listed = None
    if with_proposals:
        rows = np.flatnonzero(error_types == CODES["out_of_vocabulary"])
        listed = rows, file.read(("num_prompts", "top5")).take(rows)
    provisional = table["provisional"].fill_null(False).to_numpy()
    return ErrorAnalysis(model, top1, error_types, provisional, fingerprints, image_table, listed)


def _open(path: Path) -> SealedParquet:
    return open_sealed(path, SCHEMA_VERSION, ADVICE)


def _header(file: SealedParquet) -> tuple[dict[str, str], str | None]:
    """Fingerprints and name of the image table."""
    stored, table = file.metadata.get("fingerprints"), file.metadata.get("image_table")
    if file.metadata["schema_version"] < ALL_IN_ONE_FILE or not isinstance(stored, dict):
        return {}, None
    return stored, table if isinstance(table, str) else None


def _arrays(table: Any, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Top-1 class ids and error types, as `ErrorAnalysis` has them; either both of an image are null or neither."""
    import pyarrow as pa
    import pyarrow.compute as pc

    top1, names = table["top1"], table["error_type"]
    try:
        codes = pc.index_in(names.cast(pa.string()), pa.array([one.name for one in ERROR_TYPES]))
        if codes.null_count or top1.null_count:
            if codes.null_count != names.null_count or not codes.is_null().equals(top1.is_null()):
                raise InputError(f"{path} has rows of an unknown error type: {ADVICE}")
            top1, codes = top1.fill_null(NO_PREDICTION), codes.fill_null(NO_ERROR_TYPE)
        return top1.to_numpy(), codes.to_numpy().astype(np.int8)
    except pa.ArrowException as error:
        raise InputError(f"{path} is damaged ({error}): {ADVICE}") from None


def check(path: Path) -> None:
    """Raises `InputError` where a file is damaged, or the image table that it names is missing."""
    image_table = read(path, path.parent.name).image_table
    read_rows(path)
    if not image_tables.locate(path, image_table).exists():
        raise InputError(f"{path} names {image_table}, which is missing: {ADVICE}")


def read_outcome(path: Path, row: int) -> Outcome | None:
    """What the open-world test said of one image; None where that is not known."""
    return read_outcomes(path, np.array([row]))[0]


def read_outcomes(path: Path, rows: np.ndarray) -> list[Outcome | None]:
    """What the open-world test said of images by position ([k] int); None where that is not known."""
    table = _open(path).read(("error_type", "provisional", "num_prompts", "top5")).take(rows)
    return [
        None if provisional else Outcome(error_type == "out_of_vocabulary", *found)
        for provisional, error_type, found in zip(
            table["provisional"].to_pylist(), table["error_type"].to_pylist(), _proposals(table), strict=True
        )
    ]


def read_gates(path: Path) -> np.ndarray:
    """[n] bool: the open-world test was asked, and its gate was closed."""
    return _open(path).read(("num_prompts",))["num_prompts"].fill_null(-1).to_numpy() == 0


def list_superclasses(path: Path) -> dict[int, frozenset[str]]:
    """{class: its superclasses by name} of the predictions that the analysis tells them of."""
    table = _open(path).read(("top1", "superclasses"))
    told = np.flatnonzero(table["superclasses"].combine_chunks().value_lengths().fill_null(0).to_numpy())
    classes, first = np.unique(table["top1"].fill_null(NO_PREDICTION).to_numpy()[told], return_index=True)
    names = table["superclasses"].take(told[first]).to_pylist()
    return dict(zip(classes.tolist(), map(frozenset, names), strict=True))


def read_rows(path: Path) -> dict[str, list]:
    """OWN_COLUMNS as Python lists."""
    table = _open(path).read(OWN_COLUMNS)
    return {name: table[name].to_pylist() for name in OWN_COLUMNS}


def upgrade(path: Path) -> str | None:
    """Write a file of schema 2 as one of schema 3 and its image table. Returns the name of the table, if it did."""
    file = _open(path)
    fingerprints, image_table = _header(file)
    if image_table or not fingerprints:
        return image_table
    image_table = image_tables.store(path.parents[1], image_tables.read_columns(file))
    own = file.read(OWN_COLUMNS)
    columns = {name: own[name] for name in OWN_COLUMNS}
    write(path, columns, _arrays(own, path)[1], fingerprints, file.metadata["images"], image_table)
    return image_table
