"""What a worker of a cluster does: run one model over the images of a dataset, as one process without a cluster does.

A job may run twice, where its worker is lost: the second one waits for the lock of the first, where that still runs,
and keeps what it finds.
"""

import os
import shutil
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from imagenet_errors import progress
from imagenet_errors.errors import InputError
from imagenet_errors.files import fingerprint
from imagenet_errors.inference.cluster_workers import Place, describe_this_worker, messages_kept
from imagenet_errors.inference.failures import FailureListOfClient
from imagenet_errors.inference.runner import Collector, Options, freeze_libraries
from imagenet_errors.models.model_table import ModelRecord


@dataclass(frozen=True)
class Run:
    """What all jobs of a run have in common.

    Attributes:
        place: Where they find images and leave predictions.
        samples: The fingerprint of the images.
        options: How models are run.
        owner: The process that removes pixels which processes of one machine share; None where they do not.
    """

    place: Place
    samples: str
    options: Options
    owner: int | None


@dataclass(frozen=True)
class Outcome:
    """What a job gives back.

    Attributes:
        lines: A line for a new result.
        messages: (level, text) of what was logged.
        failure: Why the model failed, or None.
        files: The bytes of metadata.json and preds.npz, where there is no shared folder.
    """

    lines: list[str]
    messages: list[tuple[int, str]]
    failure: str | None
    files: tuple[bytes, bytes] | None = None


def make_key(run: Run, record: ModelRecord) -> str:
    """The name of a job, which says what it computes: the same model, weights, images and options give the same key."""
    texts = (record.weights, record.builder.rpartition(":")[0])
    files = [Path(text).stat() for text in texts if text and Path(text).is_file()]
    state = [(file.st_size, file.st_mtime_ns) for file in files]
    place = run.place
    what = fingerprint(record, state, place.artefacts, place.dataset, run.samples, run.options, place.versions)
    return f"predict-{what}-{record.dir_id}"


def run_job(run: Run, record: ModelRecord, shares_pixels: bool) -> Outcome:
    """Run a model on this worker.

    Args:
        run: What it has in common with other jobs.
        record: The model.
        shares_pixels: Whether to keep the pixels for the next models, if they have the same geometry.

    Raises:
        InputError: where no model can be run here: other images, an image that cannot be read, another version.
        OSError: where a file cannot be read or written.
    """
    collector = _prepare(run)
    collector.images.is_shared = shares_pixels
    with progress.hidden(), messages_kept() as messages:
        lines = collector.run_one(record)
    failure = collector.failures.pop(record.model_id, None)
    files = _take_files(collector, record) if run.place.artefacts is None else None
    return Outcome(lines, messages, failure, files)


@lru_cache(maxsize=1)
def _prepare(run: Run) -> Collector:
    """The images of the run, found once; raises `InputError` as `run_job` does."""
    artefacts, dataset, options = run.place.enter(run.options)
    try:
        collector = Collector.prepare(artefacts, dataset, options)
    except InputError as error:
        raise InputError(f"{describe_this_worker()}: {error}") from error
    if collector.samples.fingerprint != run.samples:
        place = os.environ.get(dataset.variable or "", artefacts.root)
        raise InputError(
            f"{describe_this_worker()} has other images in {place} than this machine: give all of them the same"
        )
    if collector.images.limits:
        collector.images.limits = replace(collector.images.limits, owner=run.owner)
    freeze_libraries()
    return replace(collector, failure_list=FailureListOfClient(collector.artefacts, dataset.name, ""))


def forget() -> None:
    """Free what the worker keeps between the jobs of a run."""
    _prepare.cache_clear()


def _take_files(collector: Collector, record: ModelRecord) -> tuple[bytes, bytes] | None:
    """Read and remove the files of a model."""
    metadata = collector.artefacts.metadata(collector.dataset.name, record.dir_id)
    predictions = collector.artefacts.predictions(collector.dataset.name, record.dir_id)
    if not predictions.exists():
        return None
    files = metadata.read_bytes(), predictions.read_bytes()
    shutil.rmtree(predictions.parent)
    return files
