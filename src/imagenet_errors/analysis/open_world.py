"""The open-world test: does the image show something that is no ImageNet class and looks like the prediction?

Source: Peychev et al. 2023, section 3. It needs embeddings alone: no image, no GPU, no CLIP.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from imagenet_errors.analysis.proposals import Proposer, prompt
from imagenet_errors.dataset.annotations import AnnotatedImages
from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.dataset.image_names import canonical_names
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError
from imagenet_errors.files import fingerprint
from imagenet_errors.formats.embeddings import (
    RECOMPUTE_ADVICE,
    Embeddings,
    Neighbours,
    check_one_clip,
    read_embeddings,
    read_neighbours,
)
from imagenet_errors.formats.error_analyses import Outcome
from imagenet_errors.formats.open_world_outcomes import NUM_PROPOSALS, Verdicts
from imagenet_errors.paths import TEXT_EMBEDDINGS, Artefacts

NUM_GATE_NEIGHBOURS = 10  # nearest training images that may open it
LOGIT_SCALE = 100  # CLIP's


def find_missing(artefacts: Artefacts, dataset: str) -> list[Path]:
    """The files that the test needs and that are not there."""
    return [path for path in _paths(artefacts, dataset) if not path.exists()]


def load(
    artefacts: Artefacts, dataset: str, samples: Samples, images: AnnotatedImages, proposer: Proposer
) -> "OpenWorld":
    """The test from its files.

    Args:
        artefacts: Where they lie.
        dataset: Of the images.
        samples: All N images of the dataset's folder.
        images: Those of them that are annotated.
        proposer: Gives the proposals.

    Raises:
        InputError: where a file is missing or damaged, or they do not fit each other or the images.
    """
    image_path, neighbour_path, text_path = _paths(artefacts, dataset)
    embedded = read_embeddings(image_path, "sample_files")
    if not np.array_equal(canonical_names(embedded.names.tolist()), samples.files):
        raise InputError(f"{image_path} is of other images than {artefacts.samples(dataset)}: {RECOMPUTE_ADVICE}")
    nearest = read_neighbours(neighbour_path, len(samples.files))
    return OpenWorld.of(proposer, images, embedded, nearest, read_embeddings(text_path, "prompts"))


def _paths(artefacts: Artefacts, dataset: str) -> tuple[Path, Path, Path]:
    return artefacts.image_embeddings(dataset), artefacts.neighbours(dataset), artefacts.root / TEXT_EMBEDDINGS


@dataclass(frozen=True)
class OpenWorld:
    """The test for the n annotated images of a dataset.

    Attributes:
        gate_sizes: How many neighbours the gate is varied by, to see how much depends on their number.
        proposer: Gives the proposals of a pair.
        images: The images.
        embeddings: [n, D] float32 of unit length.
        nearest: [n, 50] the training images nearest to each.
        texts: The embedding of every prompt.
    """

    gate_sizes: ClassVar = (5, 10, 20)

    proposer: Proposer
    images: AnnotatedImages
    embeddings: np.ndarray
    nearest: Neighbours
    texts: Embeddings

    @classmethod
    def of(
        cls, proposer: Proposer, images: AnnotatedImages, embedded: Embeddings, nearest: Neighbours, texts: Embeddings
    ) -> "OpenWorld":
        """Bring together what the files hold.

        Args:
            proposer: Gives the proposals.
            images: The n annotated ones of N images.
            embedded: Of the N images.
            nearest: The training images nearest to each of the N.
            texts: Of the prompts.

        Raises:
            InputError: where they come from two different CLIPs, have two dimensions, or a prompt has no embedding.
        """
        check_one_clip(embedded, nearest, texts)
        found = cls(proposer, images, embedded.vectors[images.rows], nearest[images.rows], texts)
        found._columns  # noqa: B018 - checks that no prompt is missing
        return found

    @cached_property
    def fingerprint(self) -> str:
        """Of all that decides."""
        return fingerprint(
            self.embeddings,
            self.nearest.targets[:, :NUM_GATE_NEIGHBOURS],
            self.names,
            self._vectors[self._columns],
            self.proposer.fingerprint,
        )

    @cached_property
    def names(self) -> list[tuple[int, str]]:
        """(offset, lemma) of all that can be proposed."""
        return self.proposer.all_names()

    @cached_property
    def _columns(self) -> np.ndarray:
        """[len(names)] which row of `_vectors` is each name's."""
        rows = {text: row for row, text in enumerate(self.texts.names)}
        texts = [prompt(lemma) for _, lemma in self.names]
        missing = next((text for text in texts if text not in rows), None)
        if missing is not None:
            raise InputError(f"{self.texts.path} lacks the prompt {missing!r}: {RECOMPUTE_ADVICE}")
        return self._unique[1][[rows[text] for text in texts]]

    @cached_property
    def _unique(self) -> tuple[np.ndarray, np.ndarray]:
        """Distinct embeddings of prompts, and which of them each is: equal ones then score equally, to the bit."""
        vectors, inverse = np.unique(self.texts.vectors, axis=0, return_inverse=True)
        return vectors.astype(np.float64), inverse.ravel()

    @property
    def _vectors(self) -> np.ndarray:
        return self._unique[0]

    @cached_property
    def _in_vocabulary(self) -> np.ndarray:
        """[len(names)] bool: the synset is one of the 1000 classes."""
        return np.isin([offset for offset, _ in self.names], self.proposer.classes.offsets)

    def gate(self, rows: np.ndarray, predictions: np.ndarray, num_neighbours: int = NUM_GATE_NEIGHBOURS) -> np.ndarray:
        """[p] bool: the class of a near training image shares a superclass with the prediction."""
        near = self.nearest.targets[rows, :num_neighbours]
        return self.proposer.superclasses.share[predictions[:, None], near].any(axis=1)

    def test_one(self, row: int, prediction: int) -> Outcome | None:
        """Test one pair."""
        return self.test(np.array([row]), np.array([prediction])).outcome(0, self.names)

    def test(self, rows: np.ndarray, predictions: np.ndarray, num_neighbours: int = NUM_GATE_NEIGHBOURS) -> Verdicts:
        """Test p pairs.

        Args:
            rows: [p] positions of images.
            predictions: [p] class ids.
            num_neighbours: Nearest training images that may open the gate.
        """
        verdicts = Verdicts.closed(len(rows))
        opened = np.flatnonzero(self.gate(rows, predictions, num_neighbours))
        order = opened[np.argsort(predictions[opened], kind="stable")]
        for group in np.split(order, np.flatnonzero(np.diff(predictions[order])) + 1):
            if len(group):
                self._decide(verdicts, group, rows[group], int(predictions[group[0]]))
        return verdicts

    def _decide(self, verdicts: Verdicts, group: np.ndarray, rows: np.ndarray, prediction: int) -> None:
        """Fill in the verdicts of the pairs `group`, all of one prediction."""
        candidates, names = self._positions[prediction]
        allowed = self.proposer.are_proposed(prediction, self.images.targets[rows])[:, candidates]
        columns, inverse = np.unique(self._columns[names], return_inverse=True)
        cosines = (self.embeddings[rows].astype(np.float64) @ self._vectors[columns].T)[:, inverse.ravel()]
        cosines[~allowed] = -np.inf
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :NUM_PROPOSALS]
        weights = np.exp(LOGIT_SCALE * (cosines - cosines.max(axis=1, keepdims=True)))
        scores = np.take_along_axis(weights / weights.sum(axis=1, keepdims=True), best, axis=1)
        exists = np.take_along_axis(allowed, best, axis=1)
        width = best.shape[1]
        verdicts.is_out_of_vocabulary[group] = ~self._in_vocabulary[names[best[:, 0]]]
        verdicts.num_prompts[group] = allowed.sum(axis=1)
        verdicts.best[group, :width] = np.where(exists, names[best], -1)
        verdicts.scores[group, :width] = np.where(exists, scores, 0)

    @cached_property
    def _positions(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """By prediction: which candidate each of its m lemmas names ([m]), and their positions in `names` ([m])."""
        positions: dict[int, list[int]] = {}
        for position, (offset, _) in enumerate(self.names):
            positions.setdefault(offset, []).append(position)
        return [
            (
                np.repeat(np.arange(len(offsets)), [len(positions[offset]) for offset in offsets]),
                np.concatenate([positions[offset] for offset in offsets]),
            )
            for offsets in (self.proposer.candidates(prediction) for prediction in range(NUM_CLASSES))
        ]
