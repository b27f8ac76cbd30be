"""Embeddings of prompts and images, and the nearest training images, in this process or, by the flags, on a cluster."""

import logging
import socket
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imagenet_errors.dataset.dataset_table import Dataset
from imagenet_errors.errors import InputError
from imagenet_errors.formats.embeddings import Embeddings
from imagenet_errors.inference import predict
from imagenet_errors.inference.clip import Clip
from imagenet_errors.inference.cluster_options import ClusterOptions
from imagenet_errors.inference.embedding_blocks import EmbeddingTask, compute_embeddings
from imagenet_errors.inference.image_sources import find_source, find_training_images
from imagenet_errors.inference.images import Images
from imagenet_errors.inference.neighbours import check_number, find_nearest
from imagenet_errors.inference.stored_images import ImageSource
from imagenet_errors.paths import Artefacts

if TYPE_CHECKING:
    from imagenet_errors.inference.cluster_embedder import ClusterEmbedder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbeddingOptions:
    """How prompts and images are embedded: flags of compute_clip_embeddings.py.

    Attributes:
        clip_model: A model of open_clip.
        clip_pretrained: A tag of its weights, or a file of them.
        train_dir: The training images; None for those of $IMAGENET_DIR.
        batch_size: Images or prompts per batch.
        workers: Processes that decode images; None for a number that fits the device.
        device: Name of the device; None for the best there is.
        memory_gb: Gigabytes for similarities of images, on the device.
    """

    clip_model: str
    clip_pretrained: str
    train_dir: Path | None = None
    batch_size: int = 64
    workers: int | None = None
    device: str | None = None
    memory_gb: float = 2.0

    @classmethod
    def from_flags(cls, flags: Namespace) -> "EmbeddingOptions":
        """Those of compute_clip_embeddings.py."""
        return cls(**{field.name: getattr(flags, field.name) for field in fields(cls)})


class Embedder:
    """Embeds in this process. What needs CLIP, images or the device raises `InputError` where it cannot be had.

    Args:
        artefacts: The folder.
        dataset: Of the images.
        options: How they are embedded.
    """

    def __init__(self, artefacts: Artefacts, dataset: Dataset, options: EmbeddingOptions):
        self.artefacts, self.dataset, self.options = artefacts, dataset, options
        self.device = predict.choose_device(options.device)

    @cached_property
    def clip(self) -> Clip:
        clip = Clip.load(self.options.clip_model, self.options.clip_pretrained, self.device)
        log.info(f"CLIP is {clip.name}, on {self.device}")
        return clip

    @property
    def clip_name(self) -> str:
        return self.clip.name

    @cached_property
    def training_images(self) -> ImageSource:
        return find_training_images(self.artefacts, self.options.train_dir)

    @cached_property
    def images(self) -> ImageSource:
        return find_source(self.artefacts, self.dataset)

    def embed(self, part: str, names: np.ndarray) -> np.ndarray:
        """Embed some names of a part of `EmbeddingTask`.

        Args:
            part: What they are.
            names: [m] str.

        Returns:
            [m, D] float32 of unit length.

        Raises:
            InputError: also for an image that is not there or cannot be read.
        """
        if part == "texts":
            return self.clip.embed_texts(names, self.options.batch_size)
        source = self.training_images if part == "train" else self.images
        try:
            stored = source.select(names.tolist())
        except KeyError as error:
            raise InputError(
                f"{source.root} on {socket.gethostname()} lacks {error.args[0]}: give all machines the same images"
            ) from None
        workers = predict.default_workers(self.device) if self.options.workers is None else self.options.workers
        images = Images(stored, workers, pin_memory=self.device.type == "cuda")
        return self.clip.embed_images(images, self.options.batch_size)

    def compute(self, task: EmbeddingTask) -> Embeddings:
        """The embeddings of a task, written; raises as `compute_embeddings` and `embed` do."""
        return compute_embeddings(task, partial(self.embed, task.part))

    def find_nearest(self, queries: np.ndarray, train: np.ndarray, inputs: str) -> np.ndarray:
        """The rows of the fifty nearest training images, as `neighbours.find_nearest` finds them.

        Args:
            queries: [N, D] float32 of unit length.
            train: [T, D] float32 of unit length.
            inputs: A fingerprint of both.

        Returns:
            [N, 50] int32.

        Raises:
            InputError: where T is less than 50.
        """
        check_number(train)
        return find_nearest(queries, train, self.device, self.options.memory_gb).rows


@contextmanager
def open_embedder(artefacts: Artefacts, dataset: Dataset, flags: Namespace) -> "Iterator[Embedder | ClusterEmbedder]":
    """What embeds by the flags of compute_clip_embeddings.py; its cluster, where it has one, ends with the block.

    Raises:
        InputError: as `Embedder` and `ClusterEmbedder`.
    """
    options, where = EmbeddingOptions.from_flags(flags), ClusterOptions.from_flags(flags)
    if not where.is_used:
        yield Embedder(artefacts, dataset, options)
        return
    from imagenet_errors.inference.cluster_embedder import ClusterEmbedder  # it needs Dask

    with ExitStack() as opened:
        yield ClusterEmbedder(artefacts, dataset, options, where, opened)
