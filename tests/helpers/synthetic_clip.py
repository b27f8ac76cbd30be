"""Synthetic CLIP files: random unit vectors of 32 dimensions, and neighbours of the predicted classes."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from imagenet_errors.analysis.proposals import Proposer
from imagenet_errors.dataset.classes import load_classes
from imagenet_errors.dataset.superclasses import load_superclasses
from imagenet_errors.dataset.wordnet import load_wordnet
from imagenet_errors.formats.embeddings import (
    NUM_NEIGHBOURS,
    Embeddings,
    Neighbours,
    write_embeddings,
    write_neighbours,
)
from imagenet_errors.paths import REPOSITORY, TEXT_EMBEDDINGS, TRAIN_EMBEDDINGS, Artefacts

CLIP = "synthetic"
NUM_TRAIN = 2_000  # training image t is of class t % 1000


@cache
def proposer() -> Proposer:
    committed = Artefacts(REPOSITORY / "artefacts")
    classes = load_classes(committed)
    synsets = load_wordnet(committed, classes)
    return Proposer(classes, synsets, load_superclasses(committed, classes, synsets))


def units(m: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(m, 32)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@dataclass(frozen=True)
class Made:
    """The content of the CLIP files of a dataset: N images, the neighbours of each, all prompts."""

    files: np.ndarray
    images: np.ndarray
    indices: np.ndarray
    prompts: np.ndarray
    texts: np.ndarray

    @classmethod
    def of(cls, files, indices) -> "Made":
        prompts = np.array(proposer().all_prompts())
        return cls(
            np.array(files), units(len(files), 1), np.asarray(indices, np.int32), prompts, units(len(prompts), 2)
        )

    def __getitem__(self, rows: np.ndarray) -> "Made":
        """Those of some of the images."""
        return replace(self, files=self.files[rows], images=self.images[rows], indices=self.indices[rows])

    @property
    def near(self) -> np.ndarray:
        """[N, 50] classes of the neighbours."""
        return (self.indices % 1000).astype(np.int16)

    @property
    def embedding_of(self) -> dict[str, np.ndarray]:
        return dict(zip(self.prompts.tolist(), self.texts, strict=True))

    def parts(self, folder: Path = Path(), clip: str | None = CLIP) -> tuple[Embeddings, Neighbours, Embeddings]:
        """What `OpenWorld.of` takes."""
        at = Artefacts(folder)
        return (
            Embeddings(at.image_embeddings("imagenet"), self.files, self.images, clip),
            Neighbours(at.neighbours("imagenet"), self.indices, self.near, clip),
            Embeddings(folder / TEXT_EMBEDDINGS, self.prompts, self.texts, clip),
        )

    def write(self, folder: Path) -> None:
        images, neighbours, texts = self.parts(folder)
        write_embeddings(images.path, "sample_files", images)
        write_neighbours(neighbours)
        write_embeddings(texts.path, "prompts", texts)

    def like(self, row: int, prompt: str) -> "Made":
        """The same, where the image at `row` has the embedding of a prompt."""
        images = self.images.copy()
        images[row] = self.embedding_of[prompt]
        return replace(self, images=images)


def train_files() -> np.ndarray:
    wnids = proposer().classes.wnids
    return np.array([f"{wnids[t % 1000]}/{wnids[t % 1000]}_{t}.JPEG" for t in range(NUM_TRAIN)])


def write_train(folder: Path) -> None:
    targets = (np.arange(NUM_TRAIN) % 1000).astype(np.int16)
    path = folder / TRAIN_EMBEDDINGS
    write_embeddings(path, "train_files", Embeddings(path, train_files(), units(NUM_TRAIN, 3), CLIP, targets))


def gates(top1: np.ndarray, seed: int = 4) -> np.ndarray:
    """[N, 50] training images: one of the class of each of [M, N] predictions among the first 25, the others random."""
    rng = np.random.default_rng(seed)
    indices = rng.integers(0, NUM_TRAIN, (top1.shape[1], NUM_NEIGHBOURS))
    for predictions in top1:
        indices[np.arange(len(indices)), rng.integers(0, 25, len(indices))] = predictions + 1000
    return indices
