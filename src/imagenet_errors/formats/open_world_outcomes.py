"""What an archive tells of the open-world test: A/<dataset>/open_world_outcomes.parquet, one row per image.

It holds the outcome of every (image, prediction) pair that reached the test in an archive's analyses, and for every
image the superclasses of its ten nearest training images, which are the test's gate. With these, errors of other models
are tested without CLIP.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.errors import InputError
from imagenet_errors.files import read_csv
from imagenet_errors.formats import sealed_parquet
from imagenet_errors.formats.error_analyses import Outcome, Proposal, proposal_columns
from imagenet_errors.formats.image_tables import list_array
from imagenet_errors.formats.sealed_parquet import open_sealed
from imagenet_errors.paths import DOWNLOAD_COLUMNS, DOWNLOADS, Artefacts

SCHEMA_VERSION = 1
COLUMNS = ("img_rel_path", "gate", "outcomes")
NUM_PROPOSALS = 5  # that are kept of an outcome
NO_NEIGHBOUR = 10  # in a gate: all ten nearest training images are of other superclasses
NOT_TOLD = -1  # the number of prompts where an archive does not tell it: of every no


@dataclass(frozen=True)
class Verdicts:
    """What the open-world test says of p (image, prediction) pairs.

    Attributes:
        is_out_of_vocabulary: [p] bool; false where unknown.
        num_prompts: [p] int32; 0 where the gate was closed, NOT_TOLD where an archive does not tell.
        best: [p, 5] int32, positions in a list of names, best first; -1 where there are fewer.
        scores: [p, 5] float32.
        is_known: [p] bool: whether the test, or an archive's, was asked.
    """

    is_out_of_vocabulary: np.ndarray
    num_prompts: np.ndarray
    best: np.ndarray
    scores: np.ndarray
    is_known: np.ndarray

    @classmethod
    def closed(cls, p: int) -> "Verdicts":
        """Those of p pairs whose gate is closed."""
        return cls(
            np.zeros(p, bool),
            np.zeros(p, np.int32),
            np.full((p, NUM_PROPOSALS), -1, np.int32),
            np.zeros((p, NUM_PROPOSALS), np.float32),
            np.ones(p, bool),
        )

    def __len__(self) -> int:
        return len(self.is_known)

    def __getitem__(self, rows: np.ndarray) -> "Verdicts":
        return Verdicts(**{name: column[rows] for name, column in vars(self).items()})

    def put(self, rows: np.ndarray, verdicts: "Verdicts") -> None:
        """Replace those at `rows`."""
        for name, column in vars(self).items():
            column[rows] = getattr(verdicts, name)

    def outcome(self, row: int, names: list[tuple[int, str]]) -> Outcome | None:
        """What is known of one pair, if anything; `names` are the (offset, lemma) that `best` points to."""
        if not self.is_known[row]:
            return None
        best = zip(self.best[row].tolist(), self.scores[row].tolist(), strict=True)
        named = [(names[position], score) for position, score in best if position >= 0]
        proposals = [Proposal(offset, lemma, score) for (offset, lemma), score in named]
        number = int(self.num_prompts[row])
        return Outcome(bool(self.is_out_of_vocabulary[row]), None if number == NOT_TOLD else number, proposals)

    def columns(self, names: list[tuple[int, str]], rows: np.ndarray, n: int) -> dict[str, Any]:
        """`proposal_columns` of n rows, these verdicts at `rows` ([p] ascending); null where prompts are not told."""
        told = self.num_prompts != NOT_TOLD
        best = self.best[told]
        chosen = best >= 0
        offsets, lemmas = (np.array(part)[best[chosen]] for part in zip(*names, strict=True)) if names else ([], [])
        proposals = (offsets, lemmas, self.scores[told][chosen])
        return proposal_columns(rows[told], self.num_prompts[told], chosen.sum(axis=1), proposals, n)


def verdicts_from_columns(is_out_of_vocabulary: Any, num_prompts: Any, top5: Any) -> tuple[Verdicts, list]:
    """Verdicts of p pairs, and the (offset, lemma) that they point to.

    Args:
        is_out_of_vocabulary: [p] Arrow booleans.
        num_prompts: [p] Arrow integers, null for a no.
        top5: [p] Arrow lists of at most five proposals, best first, null for a no.
    """
    told = is_out_of_vocabulary.to_numpy(zero_copy_only=False).astype(bool)
    if any((column.is_valid().to_numpy(zero_copy_only=False) != told).any() for column in (num_prompts, top5)):
        raise ValueError("its numbers of prompts and proposals are not those of the out-of-vocabulary pairs")
    verdicts = Verdicts.closed(len(told))
    lengths = top5.value_lengths().fill_null(0).to_numpy()
    offsets, lemmas, scores = top5.flatten().flatten()
    lemmas = lemmas.dictionary_encode()
    texts = lemmas.dictionary.to_pylist()
    width = max(1, len(texts))
    distinct, inverse = np.unique(
        offsets.to_numpy().astype(np.int64) * width + lemmas.indices.to_numpy(), return_inverse=True
    )
    is_there = np.arange(NUM_PROPOSALS) < lengths[:, None]
    verdicts.best[is_there], verdicts.scores[is_there] = inverse, scores.to_numpy()
    verdicts.is_out_of_vocabulary[:] = told
    verdicts.num_prompts[:] = num_prompts.fill_null(NOT_TOLD).to_numpy()
    return verdicts, [(int(code) // width, texts[code % width]) for code in distinct.tolist()]


@dataclass(frozen=True)
class Source:
    """Where outcomes come from.

    Attributes:
        archive: The sha256 of the archive; None for analyses that lay there unpacked.
        clip: Names the CLIP, as in files of embeddings; None where it is not known.
        superclasses: `Superclasses.fingerprint` of those that the gates were made with.
        num_models: Models whose analyses tell of the test.
        num_disagreeing: Pairs that were left out because two models disagree on them.
        num_regrouped: Classes that the archive's analyses group otherwise than these superclasses.
    """

    archive: str | None
    clip: str | None
    superclasses: str
    num_models: int
    num_disagreeing: int = 0
    num_regrouped: int = 0


@dataclass(frozen=True)
class OpenWorldOutcomes:
    """What is known of n images and q pairs of one of them and a prediction.

    Attributes:
        source: Where it comes from.
        files: [n] str, `<WordNet id>/<file name>`, distinct.
        superclasses: [s] names.
        gates: [n, s] int8: which of the ten nearest training images, from 0, is the first of a class in the superclass;
            NO_NEIGHBOUR where none is.
        has_gate: [n] bool; where it is false, these are not known.
        keys: [q] int64, position of the image x 1000 + prediction, ascending.
        verdicts: [q].
        names: (offset, lemma) that the verdicts' proposals point to.
    """

    source: Source
    files: np.ndarray
    superclasses: tuple[str, ...]
    gates: np.ndarray
    has_gate: np.ndarray
    keys: np.ndarray
    verdicts: Verdicts
    names: list[tuple[int, str]]

    def __post_init__(self) -> None:
        if len(np.unique(self.files)) < len(self.files):
            raise ValueError("it lists an image twice")
        if (np.diff(self.keys) <= 0).any():
            raise ValueError("its pairs are not in order and distinct")
        if (self.gates[~self.has_gate] != NO_NEIGHBOUR).any():
            raise ValueError("it has a gate that is not known")


def write(path: Path, outcomes: OpenWorldOutcomes) -> None:
    import pyarrow as pa

    images, predictions = np.divmod(outcomes.keys, NUM_CLASSES)
    verdicts = outcomes.verdicts
    columns = verdicts.columns(outcomes.names, np.arange(len(verdicts)), len(verdicts))
    flat = {
        "prediction": pa.array(predictions.astype(np.int16)),
        "is_out_of_vocabulary": pa.array(verdicts.is_out_of_vocabulary),
        **columns,
    }
    is_near = outcomes.gates != NO_NEIGHBOUR
    gates = {
        "superclass": pa.array(outcomes.superclasses, pa.string()).take(pa.array(is_near.nonzero()[1])),
        "neighbour": pa.array(outcomes.gates[is_near]),
    }
    table = {
        "img_rel_path": pa.array(outcomes.files.tolist(), pa.string()),
        "gate": list_array(is_near.sum(axis=1), _structs(gates), ~outcomes.has_gate),
        "outcomes": list_array(
            np.bincount(images, minlength=len(outcomes.files)),
            _structs(flat),
        ),
    }
    metadata = {"schema_version": SCHEMA_VERSION, "source": asdict(outcomes.source)}
    sealed_parquet.write(path, pa.table(table), metadata, distinct=("img_rel_path",))


def _structs(columns: dict[str, Any]) -> Any:
    import pyarrow as pa

    return pa.StructArray.from_arrays(list(columns.values()), names=list(columns))


def read(path: Path) -> OpenWorldOutcomes:
    """Read a table.

    Raises:
        InputError: where it is missing or damaged.
        NewerSchemaError, UnreadableFileError: where it may be whole.
    """
    file = open_sealed(path, SCHEMA_VERSION, advise(path))
    files, gates, outcomes = (column.combine_chunks() for column in file.read(COLUMNS).columns)
    try:
        names, neighbours = gates.flatten().flatten()
        names = names.dictionary_encode()
        matrix = np.full((len(files), len(names.dictionary)), NO_NEIGHBOUR, np.int8)
        lengths = gates.value_lengths().fill_null(0).to_numpy()
        matrix[np.repeat(np.arange(len(files)), lengths), names.indices.to_numpy()] = neighbours.to_numpy()
        predictions, *told = outcomes.flatten().flatten()
        classes = predictions.to_numpy().astype(np.int64)
        if len(classes) and not 0 <= classes.min() <= classes.max() < NUM_CLASSES:
            raise ValueError(f"it has predictions that are not class ids of 0 to {NUM_CLASSES - 1}")
        images = np.repeat(np.arange(len(files)), outcomes.value_lengths().to_numpy())
        verdicts, proposed = verdicts_from_columns(*told)
        return OpenWorldOutcomes(
            Source(**file.metadata["source"]),
            np.array(files.to_pylist(), dtype=str),
            tuple(names.dictionary.to_pylist()),
            matrix,
            gates.is_valid().to_numpy(zero_copy_only=False),
            images * NUM_CLASSES + classes,
            verdicts,
            proposed,
        )
    except (ValueError, TypeError, KeyError) as error:  # Arrow's are among them
        raise InputError(f"{path} is damaged ({error}): {advise(path)}") from None


def advise(path: Path) -> str:
    """How the table at `path` is made."""
    return f"run download_artefacts.py --convert_archives --dataset {path.parent.name}"


def check(path: Path) -> None:
    """Raises `InputError` where a table is damaged."""
    read(path)


def published_archives(artefacts: Artefacts) -> dict[str, str]:
    """{address: sha256} of the official archives, as far as it is published."""
    rows = read_csv(artefacts.find(DOWNLOADS), DOWNLOAD_COLUMNS)
    return {row["url"]: row["sha256"] for row in rows if row["what"] == "archive" and row["sha256"]}
