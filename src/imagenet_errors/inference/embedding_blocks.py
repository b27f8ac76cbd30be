"""Embeddings in blocks: each is written when it is complete, so that a killed run is continued, and all are joined."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagenet_errors import locks
from imagenet_errors.errors import InputError, ProtectedFileError
from imagenet_errors.formats.embeddings import Embeddings, read_embeddings, write_embeddings
from imagenet_errors.progress import show_progress

EmbedSome = Callable[[np.ndarray], np.ndarray]  # from [m] names to [m, D] float32 of unit length


@dataclass(frozen=True)
class Block:
    """Some of the names of a task.

    Attributes:
        root: The artefacts folder.
        archive: Where the embeddings of all names go, relative to it.
        start: How many names of the task come before.
        names: [m] str.
        clip: The name of the CLIP.
    """

    root: Path
    archive: Path
    start: int
    names: np.ndarray
    clip: str

    @property
    def path(self) -> Path:
        """Where its embeddings are until all blocks are complete."""
        return self.root / self.archive.with_suffix(".parts") / f"{self.start:08d}.npz"

    def read_valid(self) -> np.ndarray | None:
        """The embeddings of an earlier run, if they are complete and of these names by this CLIP."""
        if not self.path.exists():
            return None
        try:
            block = read_embeddings(self.path, "names")
        except ProtectedFileError:
            raise
        except InputError:
            return None
        return block.vectors if block.clip == self.clip and np.array_equal(block.names, self.names) else None

    def is_valid(self) -> bool:
        """Whether `read_valid` gives embeddings."""
        return self.read_valid() is not None

    def write(self, vectors: np.ndarray) -> None:
        write_embeddings(self.path, "names", Embeddings(self.path, self.names, vectors, self.clip))

    def embed(self, embed_some: EmbedSome, wait: bool) -> np.ndarray | None:
        """Its embeddings, as they are written.

        Args:
            embed_some: Embeds them, unless that was done.
            wait: For another process that embeds the block.

        Returns:
            [m, D] float32 of unit length; None where another process embeds it, or has joined all blocks.
        """
        vectors = self.read_valid()
        if vectors is not None:
            return vectors
        lock = f"{self.archive}/{self.start:08d}"
        with locks.locked(self.root, lock) if wait else locks.if_free(self.root, lock) as is_ours:
            if not is_ours or (self.root / self.archive).exists():
                return None
            vectors = self.read_valid()
            if vectors is None:
                self.write(embed_some(self.names))
                vectors = read_embeddings(self.path, "names").vectors
            return vectors


@dataclass(frozen=True)
class EmbeddingTask:
    """Names to be embedded and written to one archive.

    Attributes:
        part: What they are: `texts`, `train` or `images`.
        root: The artefacts folder.
        path: The archive in it.
        field: The array of the archive that has the names.
        names: [m] str, images or prompts.
        targets: [m] class ids to write with them, or None.
        clip: The name of the CLIP.
        block: How many are embedded and written at a time.
    """

    part: str
    root: Path
    path: Path
    field: str
    names: np.ndarray
    targets: np.ndarray | None
    clip: str
    block: int

    def list_blocks(self) -> list[Block]:
        archive = self.path.relative_to(self.root)
        starts = range(0, len(self.names), self.block)
        return [Block(self.root, archive, start, self.names[start : start + self.block], self.clip) for start in starts]


def compute_embeddings(task: EmbeddingTask, embed_some: EmbedSome) -> Embeddings:
    """The embeddings of a task, written to its archive, a block at a time.

    Several processes share the blocks; one of them joins them.

    Args:
        task: What to embed.
        embed_some: From some of the names to their embeddings.

    Raises:
        InputError: where the archive has embeddings of other names or of another CLIP.
    """
    if not task.path.exists():
        blocks = task.list_blocks()
        found = [block.embed(embed_some, wait=False) for block in show_progress(blocks, task.path.name)]
        found = [
            block.embed(embed_some, wait=True) if vectors is None else vectors
            for block, vectors in zip(blocks, found, strict=True)
        ]
        with locks.locked(task.root, f"{task.path.relative_to(task.root)}/all"):
            if not task.path.exists():
                vectors = np.concatenate([vectors for vectors in found if vectors is not None])
                embeddings = Embeddings(task.path, task.names, vectors, task.clip, task.targets)
                write_embeddings(task.path, task.field, embeddings)
    embeddings = check_same(read_embeddings(task.path, task.field), task.clip, task.names)
    shutil.rmtree(task.path.with_suffix(".parts"), ignore_errors=True)  # also those of a run that ended before
    return embeddings


def check_same(embeddings: Embeddings, clip: str, names: np.ndarray | None = None) -> Embeddings:
    """Raises `InputError` for embeddings of another CLIP or, if these are given, other names; returns them."""
    if names is not None and not np.array_equal(embeddings.names, names):
        raise InputError(
            f"{embeddings.path} has embeddings of other files or prompts ({len(embeddings.names):,}) than those of this"
            f" run ({len(names):,}): remove it"
        )
    if embeddings.clip not in (None, clip):
        raise InputError(
            f"{embeddings.path} is of {embeddings.clip}, not {clip}, and two CLIPs must not be mixed: remove it,"
            " or use another --artefacts_dir"
        )
    return embeddings
