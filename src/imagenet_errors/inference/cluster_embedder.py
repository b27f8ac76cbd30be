"""Embeddings and nearest training images on a Dask cluster: a job embeds a block, or searches a block."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np

from imagenet_errors.dataset.dataset_table import Dataset
from imagenet_errors.errors import InputError, ModelError
from imagenet_errors.files import fingerprint
from imagenet_errors.formats.embeddings import Embeddings
from imagenet_errors.inference.clip import name_clip
from imagenet_errors.inference.cluster import open_queue, share_machine
from imagenet_errors.inference.cluster_options import ClusterOptions
from imagenet_errors.inference.cluster_workers import Place, list_versions
from imagenet_errors.inference.embedder import Embedder, EmbeddingOptions
from imagenet_errors.inference.embedding_blocks import Block, EmbeddingTask, compute_embeddings
from imagenet_errors.inference.embedding_jobs import EmbeddingRun, embed_block, forget, make_key, search_block
from imagenet_errors.inference.job_queue import Job, JobQueue
from imagenet_errors.inference.neighbours import Nearest, check_number
from imagenet_errors.inference.stored_images import ImageSource
from imagenet_errors.paths import Artefacts
from imagenet_errors.progress import open_progress

log = logging.getLogger(__name__)

ROWS_PER_JOB = 65536  # training images of a search: 200 MB at 768 dimensions


class ClusterEmbedder:
    """Embeds on a cluster, used as `Embedder` is; this process lists the names and joins the blocks.

    Args:
        artefacts: Where embeddings go.
        dataset: Of the images.
        options: How they are embedded on a worker.
        where: The cluster, opened with the first job.
        opened: Closes it.

    Raises:
        InputError: for flags that do not go together, or a device that is not here.
    """

    def __init__(
        self,
        artefacts: Artefacts,
        dataset: Dataset,
        options: EmbeddingOptions,
        where: ClusterOptions,
        opened: ExitStack,
    ):
        self.artefacts, self.dataset, self.where, self.opened = artefacts, dataset, where, opened
        self.options = share_machine(options, where)
        self.here = Embedder(artefacts, dataset, replace(options, device="cpu"))

    @cached_property
    def clip_name(self) -> str:
        name = name_clip(self.options.clip_model, self.options.clip_pretrained)
        log.info(f"CLIP is {name}")
        return name

    @property
    def training_images(self) -> ImageSource:
        return self.here.training_images

    @property
    def images(self) -> ImageSource:
        return self.here.images

    @cached_property
    def _description(self) -> EmbeddingRun:
        options, place = self.options, Place.of_client(self.artefacts, self.dataset, self.where, list_versions())
        if place.artefacts:  # files have the same paths for all, but not relative ones
            weights, folder = Path(options.clip_pretrained), options.train_dir
            options = replace(
                options,
                clip_pretrained=str(weights.absolute()) if weights.is_file() else options.clip_pretrained,
                train_dir=folder.absolute() if folder else None,
            )
        return EmbeddingRun(place, options)

    @cached_property
    def _jobs(self) -> JobQueue:
        return self.opened.enter_context(self._open_queue())

    @contextmanager
    def _open_queue(self) -> Iterator[JobQueue]:
        with open_queue(self.where, self._description.place, self.options.workers) as jobs:
            yield jobs
            jobs.client.run(forget, on_error="ignore")

    def _run(self, jobs: list[Job], description: str, done: int = 0) -> Iterator[tuple[Job, Any]]:
        """Yields every job with what it gave back. Raises `InputError` where one is given up."""
        if not jobs:  # no cluster is needed
            return
        with open_progress(description, done + len(jobs), done) as advance:
            for job, outcome in self._jobs.run(jobs):
                if isinstance(outcome, ModelError):
                    raise InputError(f"{job.name}: {outcome}; finished blocks are kept")
                yield job, outcome
                advance(1)

    def compute(self, task: EmbeddingTask) -> Embeddings:
        """As `Embedder.compute`: jobs embed the blocks that are missing, then this process joins all of them."""
        if not task.path.exists():
            blocks = task.list_blocks()
            missing = {f"block {block.start} of {task.path.name}": block for block in blocks if not block.is_valid()}
            jobs = [self._make_job(name, task.part, block) for name, block in missing.items()]
            for job, embedded in self._run(jobs, task.path.name, done=len(blocks) - len(jobs)):
                for level, message in embedded.messages:
                    log.log(level, message)
                if embedded.vectors is not None:
                    missing[job.name].write(embedded.vectors)
        return compute_embeddings(task, refuse_missing)

    def _make_job(self, name: str, part: str, block: Block) -> Job:
        block = replace(block, root=block.root.absolute())
        return Job(name, make_key(self._description, part, block), embed_block, (self._description, part, block))

    def find_nearest(self, queries: np.ndarray, train: np.ndarray, inputs: str) -> np.ndarray:
        """As `Embedder.find_nearest`: each job finds the nearest of a block of training images, merged here."""
        check_number(train)
        run, jobs = self._description, []
        for start in range(0, len(train), ROWS_PER_JOB):
            rows = train[start : start + ROWS_PER_JOB]
            key = f"search-{fingerprint(inputs, run.options, run.place.versions)}-{start}-{len(rows)}"
            jobs.append(Job(f"training images from {start}", key, search_block, (run, queries, rows, start)))
        results = (nearest for _, nearest in self._run(jobs, "neighbours"))
        return reduce(Nearest.merge, results).rows


def refuse_missing(names: np.ndarray) -> np.ndarray:
    """Raises `InputError`: a block is not where a worker has written it."""
    raise InputError(
        f"the embeddings of {names[0]} and others were written by a worker and are not here: give --no_shared_files"
        " where workers do not share the artefacts folder, else repeat the command"
    )
