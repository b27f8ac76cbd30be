"""What a worker of a cluster does for embeddings: embed a block, or find the nearest of a block of training images.

As with predictions, a job may run twice, where its worker is lost.
"""

from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from imagenet_errors import progress
from imagenet_errors.errors import InputError
from imagenet_errors.files import fingerprint
from imagenet_errors.inference.cluster_workers import Place, describe_this_worker, messages_kept
from imagenet_errors.inference.embedder import Embedder, EmbeddingOptions
from imagenet_errors.inference.embedding_blocks import Block
from imagenet_errors.inference.neighbours import Nearest, find_nearest


@dataclass(frozen=True)
class EmbeddingRun:
    """What all jobs of a run have in common.

    Attributes:
        place: Where they find images and leave embeddings.
        options: How images and prompts are embedded.
    """

    place: Place
    options: EmbeddingOptions


@dataclass(frozen=True)
class EmbeddedBlock:
    """What a job gives back.

    Attributes:
        messages: (level, text) of what was logged.
        vectors: [m, D] float32, where there is no shared folder.
    """

    messages: list[tuple[int, str]]
    vectors: np.ndarray | None


def make_key(run: EmbeddingRun, part: str, block: Block) -> str:
    """The name of a job, which says what it computes: the same images, CLIP and options give the same key."""
    place = run.place
    what = (block.clip, block.names, place.artefacts, place.images, run.options, place.versions)
    return f"embed-{fingerprint(*what)}-{part}-{block.start}"


def embed_block(run: EmbeddingRun, part: str, block: Block) -> EmbeddedBlock:
    """Embed a block on this worker.

    Args:
        run: What it has in common with other jobs.
        part: Of `EmbeddingTask`.
        block: What to embed.

    Raises:
        InputError: where it cannot be embedded here: other images or weights, an image that cannot be read, another
            version.
        OSError: where a file cannot be read or written.
    """
    embedder = _prepare(run)
    if embedder.clip_name != block.clip:
        raise InputError(
            f"{describe_this_worker()} has {embedder.clip_name}, and this machine {block.clip}: give all of them the"
            " same weights"
        )
    with progress.hidden(), messages_kept() as messages:
        embed_some = partial(embedder.embed, part)
        if run.place.artefacts is None:
            return EmbeddedBlock(messages, embed_some(block.names))
        block.embed(embed_some, wait=True)
    return EmbeddedBlock(messages, None)


def search_block(run: EmbeddingRun, queries: np.ndarray, train: np.ndarray, start: int) -> Nearest:
    """The nearest of a block of training images, on this worker.

    Args:
        run: What it has in common with other jobs.
        queries: [N, D] float32 of unit length, all images.
        train: [t, D] float32 of unit length, the block.
        start: How many training images come before.

    Raises:
        InputError: where this worker has another version.
    """
    embedder = _prepare(run)
    with progress.hidden():
        nearest = find_nearest(queries, train, embedder.device, embedder.options.memory_gb)
    return nearest._replace(rows=nearest.rows + np.int32(start))


@lru_cache(maxsize=1)
def _prepare(run: EmbeddingRun) -> Embedder:
    """Lists images and loads CLIP once, when they are needed; raises `InputError` where this worker is not fit."""
    return Embedder(*run.place.enter(run.options))


def forget() -> None:
    """Free what the worker keeps between the jobs of a run."""
    _prepare.cache_clear()
