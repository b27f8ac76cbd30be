"""What a worker of a cluster does: run one model over the images of a dataset, as one process without a cluster does.

A job may run twice, where its worker is lost: the second one waits for the lock of the first, where that still runs,
and keeps what it finds.
"""

import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import current_process
from pathlib import Path

from distributed import Worker, get_worker

from imagenet_errors import __version__, progress
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.errors import InputError
from imagenet_errors.files import fingerprint
from imagenet_errors.inference.failures import FailureListOfClient
from imagenet_errors.inference.runner import Collector, Options, freeze_libraries
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import REPOSITORY, Artefacts

DEVICE_VARIABLE = "IMAGENET_ERRORS_DEVICE"  # on a worker, the device of its jobs
LIBRARIES = ("torch", "torchvision", "timm", "transformers", "open_clip_torch", "numpy", "pillow")


@dataclass(frozen=True)
class Run:
    """What all jobs of a run have in common.

    Attributes:
        token: Differs from run to run: workers list the images anew for each.
        artefacts: The folder for predictions, which all workers share; None where they give them back.
        dataset: Its name.
        images: Where they lie for all workers; None where each knows its own place.
        samples: The fingerprint of the images.
        options: How models are run.
        owner: The process that removes pixels which processes of one machine share; None where they do not.
        versions: Of the client, as `list_versions` gives them.
    """

    token: str
    artefacts: Path | None
    dataset: str
    images: str | None
    samples: str
    options: Options
    owner: int | None
    versions: tuple[tuple[str, str], ...]


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
    what = fingerprint(record, state, run.artefacts, run.dataset, run.samples, run.options, run.versions)
    return f"predict-{what}-{record.dir_id}"


@cache
def list_versions() -> tuple[tuple[str, str], ...]:
    """(name, version) of what predictions depend on: of this package also a hash of its files, and main libraries.

    They are read once: a process goes on with what it has imported.
    """
    sources = [path.read_bytes() for path in sorted((REPOSITORY / "src" / "imagenet_errors").rglob("*.py"))]
    found = [("imagenet_errors", f"{__version__} ({fingerprint(*sources)[:8]})")]
    for library in LIBRARIES:
        try:
            found.append((library, version(library)))
        except PackageNotFoundError:
            found.append((library, "missing"))
    return tuple(found)


def check_worker(versions: tuple[tuple[str, str], ...], workers: int | None, dask_worker: Worker) -> str:
    """What keeps a worker from running jobs, or an empty text.

    Args:
        versions: Of the client.
        workers: The flag: processes that decode images.
        dask_worker: The worker; of this name Dask gives it to what `Client.run` calls.
    """
    num_threads = dask_worker.state.nthreads
    for (name, theirs), (_, ours) in zip(versions, list_versions(), strict=True):
        if theirs != ours:
            return f"has {name} {ours}, and this machine {theirs}: install the same, and start it again"
    if num_threads != 1:
        return f"runs {num_threads} jobs at once: start it with --nthreads 1, one worker a device"
    if current_process().daemon and workers != 0:
        return (
            "may not start the processes that decode images: set DASK_DISTRIBUTED__WORKER__DAEMON=False where it is"
            " started, or use --workers 0"
        )
    return ""


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
    with progress.hidden(), _messages_kept() as messages:
        lines = collector.run_one(record)
    failure = collector.failures.pop(record.model_id, None)
    files = _take_files(collector, record) if run.artefacts is None else None
    return Outcome(lines, messages, failure, files)


@lru_cache(maxsize=1)
def _prepare(run: Run) -> Collector:
    """The images of the run, found once; raises `InputError` as `run_job` does."""
    where = f"the worker on {socket.gethostname()}"
    refusal = check_worker(run.versions, run.options.workers, get_worker())
    if refusal:
        raise InputError(f"{where} {refusal}")
    dataset = DATASETS[run.dataset]
    if run.images is not None and dataset.variable:
        os.environ[dataset.variable] = run.images
    folder = run.artefacts or Path(get_worker().local_directory) / f"predictions-{run.token}"
    options = replace(run.options, device=os.environ.get(DEVICE_VARIABLE) or run.options.device)
    collector = Collector.prepare(Artefacts(folder), dataset, options)
    if collector.samples.fingerprint != run.samples:
        place = os.environ.get(dataset.variable or "", folder)
        raise InputError(f"{where} has other images in {place} than this machine: give all of them the same")
    if collector.images.limits:
        collector.images.limits = replace(collector.images.limits, owner=run.owner)
    freeze_libraries()
    return replace(collector, failure_list=FailureListOfClient(collector.artefacts, dataset.name, ""))


def forget() -> None:
    """Free what the worker keeps between the jobs of a run."""
    _prepare.cache_clear()


@contextmanager
def _messages_kept() -> Iterator[list[tuple[int, str]]]:
    """Keep what the library logs, for the client."""
    messages: list[tuple[int, str]] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append((record.levelno, record.getMessage()))  # type: ignore[method-assign]
    log = logging.getLogger("imagenet_errors")
    before, level = log.handlers, log.level
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    try:
        yield messages
    finally:
        log.handlers = before
        log.setLevel(level)


def _take_files(collector: Collector, record: ModelRecord) -> tuple[bytes, bytes] | None:
    """Read and remove the files of a model."""
    metadata = collector.artefacts.metadata(collector.dataset.name, record.dir_id)
    predictions = collector.artefacts.predictions(collector.dataset.name, record.dir_id)
    if not predictions.exists():
        return None
    files = metadata.read_bytes(), predictions.read_bytes()
    shutil.rmtree(predictions.parent)
    return files
