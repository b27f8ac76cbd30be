"""What a worker of a cluster must be to run jobs, and what all jobs do there, whatever they compute."""

import logging
import os
import platform
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import current_process
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from distributed import Client, Worker, get_worker

from imagenet_errors import __version__, locks
from imagenet_errors.dataset.dataset_table import DATASETS, Dataset
from imagenet_errors.errors import InputError, describe_exception
from imagenet_errors.files import fingerprint
from imagenet_errors.inference.cluster_options import ClusterOptions
from imagenet_errors.inference.embedder import EmbeddingOptions
from imagenet_errors.inference.runner import Options
from imagenet_errors.paths import REPOSITORY, Artefacts

DEVICE_VARIABLE = "IMAGENET_ERRORS_DEVICE"  # on a worker, the device of its jobs
LIBRARIES = ("distributed", "torch", "torchvision", "timm", "transformers", "open_clip_torch", "numpy", "pillow")
VARIABLES = sorted({one.variable for one in DATASETS.values() if one.variable})  # that say where images lie
REPLACED: dict[str, tuple[str, str | None]] = {}  # what the present run has named, and what was there before
AnyOptions = TypeVar("AnyOptions", Options, EmbeddingOptions)


@dataclass(frozen=True)
class Place:
    """Where the jobs of a run find images and leave results, and which workers may run them.

    Attributes:
        token: Differs from run to run: workers list the images anew for each.
        artefacts: The folder for results, which all workers share; None where they give them back.
        dataset: Its name.
        images: The environment variables that say where images lie; None where each worker has its own.
        versions: Of the client, as `list_versions` gives them.
    """

    token: str
    artefacts: Path | None
    dataset: str
    images: tuple[tuple[str, str], ...] | None
    versions: tuple[tuple[str, str], ...]

    @classmethod
    def of_client(
        cls, artefacts: Artefacts, dataset: Dataset, where: ClusterOptions, versions: tuple[tuple[str, str], ...]
    ) -> "Place":
        """That of a run which this process submits."""
        images = [(variable, os.path.abspath(os.environ[variable])) for variable in VARIABLES if variable in os.environ]
        return cls(
            token=uuid4().hex,
            artefacts=None if where.no_shared_files else artefacts.root.absolute(),
            dataset=dataset.name,
            images=None if where.no_shared_files else tuple(images),
            versions=versions,
        )

    def enter(self, options: AnyOptions) -> tuple[Artefacts, Dataset, AnyOptions]:
        """On a worker: the folder for results, the dataset, whose images are found from now on, and its own device.

        Raises:
            InputError: where this worker may not run the jobs.
        """
        refusal = check_worker(self, options.workers, get_worker())
        if refusal:
            raise InputError(f"{describe_this_worker()} {refusal}")
        name_images(dict(self.images or ()))
        folder = self.artefacts or Path(get_worker().local_directory) / f"results-{self.token}"
        options = replace(options, device=os.environ.get(DEVICE_VARIABLE) or options.device)
        return Artefacts(folder), DATASETS[self.dataset], options

    @property
    def mark(self) -> Path | None:
        """A file that is there as long as the run, by which workers know the folder; None as `artefacts`."""
        return self.artefacts and self.artefacts / locks.FOLDER / f"run-{self.token}"

    @contextmanager
    def marked(self) -> Iterator[None]:
        """On the client: meanwhile `mark` is there."""
        if self.mark is None:
            yield
            return
        self.mark.parent.mkdir(parents=True, exist_ok=True)
        self.mark.touch()
        try:
            yield
        finally:
            self.mark.unlink(missing_ok=True)


def name_images(images: dict[str, str]) -> None:
    """Have the environment name the images of a run; of others, what it named before the run before this one."""
    for variable, (named, own) in REPLACED.items():
        if os.environ.get(variable) == named:
            del os.environ[variable]
            os.environ.update({} if own is None else {variable: own})
    REPLACED.clear()
    REPLACED.update({variable: (place, os.environ.get(variable)) for variable, place in images.items()})
    os.environ.update(images)


def describe_this_worker() -> str:
    return f"the worker on {socket.gethostname()}"


@cache
def list_versions() -> tuple[tuple[str, str], ...]:
    """(name, version) of what must be the same everywhere: of this package also a hash of its files, and libraries.

    They are read once: a process goes on with what it has imported.
    """
    sources = [path.read_bytes() for path in sorted((REPOSITORY / "src" / "imagenet_errors").rglob("*.py"))]
    found = [("imagenet_errors", f"{__version__} ({fingerprint(*sources)[:8]})")]
    found.append(("Python", ".".join(platform.python_version_tuple()[:2])))
    for library in LIBRARIES:
        try:
            found.append((library, version(library)))
        except PackageNotFoundError:
            found.append((library, "missing"))
    return tuple(found)


def check_worker(place: Place, workers: int | None, dask_worker: Worker) -> str:
    """What keeps a worker from running jobs, or an empty text.

    Args:
        place: Of the run.
        workers: The flag: processes that decode images.
        dask_worker: The worker; of this name Dask gives it to what `Client.run` calls.
    """
    num_threads = dask_worker.state.nthreads
    for (name, theirs), (_, ours) in zip(place.versions, list_versions(), strict=True):
        if theirs != ours:
            return f"has {name} {ours}, and this machine {theirs}: install the same, and start it again"
    if num_threads != 1:
        return f"runs {num_threads} jobs at once: start it with --nthreads 1, one worker a device"
    if current_process().daemon and workers != 0:
        return (
            "may not start the processes that decode images: set DASK_DISTRIBUTED__WORKER__DAEMON=False where it is"
            " started, or use --workers 0"
        )
    if place.mark and not place.mark.exists():
        return (
            f"has another folder {place.artefacts} than this machine: put it where all machines see the same one, or"
            " use --no_shared_files"
        )
    return ""


def check_workers(client: Client, place: Place, workers: int | None) -> None:
    """Raises `InputError` where a worker of the cluster cannot run jobs; the arguments are those of `check_worker`."""
    answers = client.run(check_worker, place, workers, on_error="return")
    for address, answer in answers.items():
        if isinstance(answer, BaseException):
            answer = f"cannot run this package ({describe_exception(answer)}): install the same files there"
        if answer:
            raise InputError(f"the worker {address} {answer}")


@contextmanager
def messages_kept() -> Iterator[list[tuple[int, str]]]:
    """Keep what the library logs meanwhile, as (level, text), for the client."""
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
