"""The open-world test without CLIP: what an archive tells of it, see formats/open_world_outcomes.py."""

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from imagenet_errors.analysis.analysis_cache import AnalysisCache
from imagenet_errors.analysis.open_world import NUM_GATE_NEIGHBOURS
from imagenet_errors.dataset.annotations import AnnotatedImages
from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.dataset.superclasses import Superclasses
from imagenet_errors.errors import InputError
from imagenet_errors.files import fingerprint
from imagenet_errors.formats import open_world_outcomes
from imagenet_errors.formats.error_analyses import RECORDED, Outcome
from imagenet_errors.formats.open_world_outcomes import (
    NO_NEIGHBOUR,
    NOT_TOLD,
    OpenWorldOutcomes,
    Source,
    Verdicts,
    published_archives,
)
from imagenet_errors.paths import Artefacts


class Coverage(NamedTuple):
    """How many errors that reach the open-world test have a closed gate, a recorded outcome, or neither."""

    closed: int
    recorded: int
    unknown: int

    def describe(self, what: str = "errors") -> str:
        """A sentence."""
        unknown = (
            f"{self.unknown:,} are unknown: types after the test are bounds" if self.unknown else "none is unknown"
        )
        known = f"{self.closed:,} have a closed gate, {self.recorded:,} a recorded outcome"
        return f"of {sum(self):,} {what} that reach the test {known}, {unknown}"


@dataclass(frozen=True)
class ArchivedOpenWorld:
    """What an archive tells of the test, for the n annotated images of a dataset; it is asked as `OpenWorld` is.

    A pair is decided where it is among the archive's, and where the image's gate is closed to the prediction; of others
    the verdict is not known.

    Attributes:
        path: Of the table.
        source: Where the table comes from.
        superclasses: Which class is in which.
        gate_sizes: How many neighbours the gate can be varied by.
        gates: [n, s] int8: which near training image, from 0, is the first in each superclass; NO_NEIGHBOUR for none.
        has_gate: [n] bool: whether that is known.
        keys: [q] int64, position of the image x 1000 + prediction, ascending.
        verdicts: [q], those of the archive's pairs.
        names: (offset, lemma) of their proposals.
    """

    gate_sizes: ClassVar = (5, NUM_GATE_NEIGHBOURS)

    path: Path
    source: Source
    superclasses: Superclasses
    gates: np.ndarray
    has_gate: np.ndarray
    keys: np.ndarray
    verdicts: Verdicts
    names: list[tuple[int, str]]

    @cached_property
    def fingerprint(self) -> str:
        """Of all that decides; it begins with RECORDED."""
        verdicts = (
            self.verdicts.is_out_of_vocabulary,
            self.verdicts.num_prompts,
            self.verdicts.best,
            self.verdicts.scores,
        )
        return RECORDED + fingerprint(self.gates, self.has_gate, self.keys, *verdicts, self.names)

    @property
    def notes(self) -> list[str]:
        """What to know of the outcomes, in a line each."""
        source = self.source
        number = f"{len(self.keys):,} outcomes of {source.num_models:,} models"
        notes = [f"the open-world test is that of archived analyses ({number} in {self.path})"]
        if source.superclasses != self.superclasses.fingerprint:
            notes.append(
                f"{self.path} was made with other superclasses than those here: only pairs that it tells are decided,"
                f" {open_world_outcomes.advise(self.path)}"
            )
        elif source.num_regrouped:
            notes.append(
                f"{self.path} is of analyses that put {source.num_regrouped:,} classes in other superclasses than those"
                " here: put their superclasses.json into the artefacts folder if you have it"
            )
        return notes

    def test_one(self, row: int, prediction: int) -> Outcome | None:
        """What is known of one pair; None where nothing is."""
        return self.test(np.array([row]), np.array([prediction])).outcome(0, self.names)

    def test(self, rows: np.ndarray, predictions: np.ndarray, num_neighbours: int = NUM_GATE_NEIGHBOURS) -> Verdicts:
        """What is known of p pairs.

        Args:
            rows: [p] positions of images.
            predictions: [p] class ids.
            num_neighbours: Nearest training images that may open the gate, at most the ten that an archive has.
        """
        keys = rows.astype(np.int64) * NUM_CLASSES + predictions
        at = np.searchsorted(self.keys, keys)
        is_told = at < len(self.keys)
        is_told[is_told] = self.keys[at[is_told]] == keys[is_told]
        opens = (self.gates[rows] < num_neighbours) & self.superclasses.members[predictions]
        is_closed = self.has_gate[rows] & ~opens.any(axis=1)
        told = np.flatnonzero(is_told)
        found = self.verdicts[at[told]]
        is_unknown = ~is_told & ~is_closed
        if num_neighbours == NUM_GATE_NEIGHBOURS:
            takes = found.is_out_of_vocabulary | ~is_closed[told]
        else:  # a yes may be of a neighbour that does not count here
            is_unknown[told] |= found.is_out_of_vocabulary & ~self.has_gate[rows[told]]
            takes = ~is_closed[told] & ~is_unknown[told]
        verdicts = Verdicts.closed(len(keys))
        verdicts.put(told[takes], found[takes])
        verdicts.is_known[is_unknown], verdicts.num_prompts[is_unknown] = False, NOT_TOLD
        return verdicts


def load(
    artefacts: Artefacts,
    dataset: str,
    images: AnnotatedImages,
    superclasses: Superclasses,
    analyses: AnalysisCache,
    is_named: bool,
) -> ArchivedOpenWorld | None:
    """Read the table of a dataset for its annotated images.

    Args:
        artefacts: Where it lies.
        dataset: A name of dataset_table.DATASETS.
        images: The n annotated ones.
        superclasses: Which class is in which.
        analyses: Those of the dataset.
        is_named: Whether it was asked for; else it is taken only where it was made from the official archive.

    Raises:
        InputError: where it is damaged, or was asked for and is missing.
    """
    path = artefacts.open_world_outcomes(dataset)
    if not path.exists():
        if is_named:
            raise InputError(f"{path} is missing{_advise_missing(artefacts, dataset, analyses)}")
        return None
    outcomes = open_world_outcomes.read(path)
    if not is_named and outcomes.source.archive not in published_archives(artefacts).values():
        return None
    return align(outcomes, images, superclasses, path)


def align(
    outcomes: OpenWorldOutcomes, images: AnnotatedImages, superclasses: Superclasses, path: Path
) -> ArchivedOpenWorld:
    """What outcomes tell of these images. Gates that were made with other superclasses are not known."""
    rows = {file: row for row, file in enumerate(outcomes.files.tolist())}
    at = np.array([rows.get(file, -1) for file in images.files.tolist()])
    is_there = at >= 0
    has_gate = np.zeros(len(images), bool)
    gates = np.full((len(images), len(superclasses.names)), NO_NEIGHBOUR, np.int8)
    if outcomes.source.superclasses == superclasses.fingerprint:
        has_gate[is_there] = outcomes.has_gate[at[is_there]]
        columns = np.array([superclasses.names.index(name) for name in outcomes.superclasses], int)
        gates[np.flatnonzero(is_there)[:, None], columns] = outcomes.gates[at[is_there]]
    positions = np.full(len(outcomes.files), -1)
    positions[at[is_there]] = np.flatnonzero(is_there)
    of_pairs, predictions = np.divmod(outcomes.keys, NUM_CLASSES)
    kept = np.flatnonzero(positions[of_pairs] >= 0)
    keys = positions[of_pairs[kept]] * NUM_CLASSES + predictions[kept]
    order = np.argsort(keys)
    return ArchivedOpenWorld(
        path,
        outcomes.source,
        superclasses,
        gates,
        has_gate,
        keys[order],
        outcomes.verdicts[kept[order]],
        outcomes.names,
    )


def _advise_missing(artefacts: Artefacts, dataset: str, analyses: AnalysisCache) -> str:
    """What to do where the table is missing."""
    advice = open_world_outcomes.advise(artefacts.open_world_outcomes(dataset)).removeprefix("run ")
    if artefacts.archive(dataset).is_file() or any(
        artefacts.archived(dataset, model).is_file() or _is_archived(analyses, model)
        for model in artefacts.models(dataset)
    ):
        return f": {advice} makes it from the archived analyses, or says what they lack"
    if dataset == "sample":
        return ", and there is no archive of these images: give --open_world clip or skip"
    return f", and here is no archive to make it from: run download_artefacts.py --what archive, then {advice}"


def _is_archived(analyses: AnalysisCache, model: str) -> bool:
    with suppress(InputError):  # of a missing or damaged one, which is named elsewhere
        return analyses.read(model).is_archived
    return False
