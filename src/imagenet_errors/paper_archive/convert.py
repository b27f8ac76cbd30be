"""Archives of finished analyses: the paper's become errors_analysis.parquet, and ours take the paper's form.

An archive is `models-<dataset>.tar.gz`, as it is or unpacked: `<dataset>/<model>/{metadata.json, errors_analysis.pkl}`.
"""

import faulthandler
import gc
import hashlib
import logging
import os
import random
import resource
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from imagenet_errors import locks, processes
from imagenet_errors.dataset.annotations import non_prototypical_files
from imagenet_errors.dataset.classes import load_classes
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.errors import InputError, ProtectedFileError
from imagenet_errors.files import atomic_write
from imagenet_errors.formats import error_analyses, image_tables
from imagenet_errors.paper_archive import archived_outcomes, tar_reader
from imagenet_errors.paper_archive.analysis_frames import Reader
from imagenet_errors.paper_archive.archive_contents import is_of, read_contents, write_contents
from imagenet_errors.paths import Artefacts, model_dir_id
from imagenet_errors.progress import show_progress

log = logging.getLogger(__name__)

LARGEST = 1 << 30  # bytes of a pickle; the paper's have 16 MB
MEMORY = 2 << 30  # bytes that reading one may take ...
SECONDS = 60  # ... and seconds of a processor


@dataclass(frozen=True)
class Conversion:
    """How the archived analyses of a dataset are converted.

    Attributes:
        artefacts: Where they lie, and where the results go.
        dataset: A name of dataset_table.DATASETS.
        neighbours: Whether each image's ten nearest training images are kept; they are most of a file.
    """

    artefacts: Artefacts
    dataset: str
    neighbours: bool

    def is_done(self, model: str) -> bool:
        """Whether a valid analysis is there, whoever made it, or one that must not be touched."""
        return self.why(model) is None

    def why(self, model: str, is_replaced: bool = False) -> str | None:
        """Why a model is to be converted: "" if it has no analysis, else what is wrong with it; None if it is not.

        Args:
            model: A `model_dir_id`.
            is_replaced: Whether the archive held another analysis of the model before.
        """
        path = self.artefacts.analysis(self.dataset, model)
        if not path.exists():
            return ""
        try:
            analysis = error_analyses.read(path, model)
        except ProtectedFileError:
            return None
        except InputError as error:
            return str(error)
        if is_replaced and analysis.is_archived:
            return "the archive was replaced by another"
        has_images = image_tables.locate(path, analysis.image_table).exists()
        return None if has_images else f"its image table {analysis.image_table} is missing"

    def convert(self, model: str, content: bytes | None, is_replaced: bool) -> None:
        """Write the analysis in the pickle `content`, or else in the model's own file, unless one is there already."""
        with locks.locked(self.artefacts.root, f"{self.dataset}/{model}"):
            if self.why(model, is_replaced) is None:
                return
            source = self.artefacts.archived(self.dataset, model)
            if content is None:
                content = _read(source)
            else:
                source = self.artefacts.archive(self.dataset) / source.relative_to(self.artefacts.root)
            found = _reader(self.artefacts, self.dataset, self.neighbours).read(content, source)
            error_analyses.write(
                self.artefacts.analysis(self.dataset, model),
                found.columns,
                found.error_types,
                found.fingerprints,
                DATASETS[self.dataset].extent(len(found.images)),
                found.image_table,
            )


def find(artefacts: Artefacts, dataset: str) -> list[Path]:
    """The archive of a dataset and the archived analyses beside it, as far as they are there."""
    pickles = [artefacts.archived(dataset, model) for model in artefacts.models(dataset)]
    return [path for path in (artefacts.archive(dataset), *pickles) if path.is_file()]


def check_converted(artefacts: Artefacts, dataset: str) -> None:
    """Log that archived analyses are not converted yet; nothing is read.

    Raises:
        InputError: where nothing else tells which images the dataset's folder is of.
    """
    archive, contents = artefacts.archive(dataset), artefacts.archive_contents(dataset)
    unconverted = [
        path
        for path in find(artefacts, dataset)
        if not (contents if path == archive else path.with_suffix(".parquet")).exists()
    ]
    if unconverted:
        message = f"{unconverted[0]} is not converted: run download_artefacts.py --convert_archives --dataset {dataset}"
        if not artefacts.samples(dataset).exists():
            raise InputError(message)
        log.info(message)


def convert(artefacts: Artefacts, dataset: str, jobs: int | None = None, neighbours: bool = True) -> dict[str, str]:
    """Convert every archived analysis of a dataset that has no valid errors_analysis.parquet yet.

    The table of open-world outcomes is made from them again when one was converted, and where it is missing.

    Args:
        artefacts: Where they lie; an archive that is not unpacked is read in place.
        dataset: A name of dataset_table.DATASETS.
        jobs: Processes; as many as there are processors by default.
        neighbours: As in `Conversion`.

    Returns:
        {model: message} of those that are damaged or refused; the others are converted.

    Raises:
        InputError: where the archive itself is damaged or odd; what came before that is converted.
    """
    conversion = Conversion(artefacts, dataset, neighbours)
    outcomes = artefacts.open_world_outcomes(dataset)
    found = [model for model in artefacts.models(dataset) if artefacts.archived(dataset, model).is_file()]
    reasons = {model: conversion.why(model) for model in found}
    unpacked = [model for model, why in reasons.items() if why is not None]
    for model, why in reasons.items():
        if why:
            log.info(f"{model}: converted again because {why}")
    archive = _unread(conversion)
    if not (unpacked or archive):
        if (found or artefacts.archive(dataset).is_file()) and not outcomes.exists():
            archived_outcomes.update(artefacts, dataset)
        return {}
    archived_outcomes.remove(outcomes)  # or a run that is killed would leave one of fewer analyses
    faults = _convert_all(conversion, unpacked, archive, jobs or os.cpu_count() or 1)
    archived_outcomes.update(artefacts, dataset, is_stale=True)
    return faults


def _convert_all(conversion: Conversion, unpacked: list[str], archive: Path | None, jobs: int) -> dict[str, str]:
    """Convert these models' own pickles and what is lacking of an archive; returns and raises as `convert`."""
    damage = None
    with ExitStack() as pools:
        work = _Work(conversion, pools, jobs)
        for model in show_progress(random.sample(unpacked, len(unpacked)), "converting"):  # others may be at it as well
            work.submit(model)
        work.finish()  # so that what lies both unpacked and in the archive is converted once
        if archive and (not unpacked or _unread(conversion)):
            damage = _convert_archive(conversion, archive, work)
        work.finish()
    log.info(f"{conversion.dataset}: {work.count - len(work.faults)} archived analyses converted")
    for fault in work.faults.values():
        log.info(fault)
    if damage:
        raise damage
    return work.faults


@dataclass
class _Work:
    """Conversions under way in other processes, not too many at a time, for pickles are large.

    A process that ends at a pickle takes its pool along; what was under way is then done again, each in a process of
    its own, and the rest in another pool.
    """

    conversion: Conversion
    pools: ExitStack
    jobs: int
    pool: ProcessPoolExecutor | None = None
    pending: dict = field(default_factory=dict)
    count: int = 0
    faults: dict[str, str] = field(default_factory=dict)

    def submit(self, model: str, content: bytes | None = None, is_replaced: bool = False) -> None:
        while len(self.pending) >= 2 * self.jobs:
            self._settle(wait(self.pending, return_when=FIRST_COMPLETED).done)
        if self.pool is None:
            self.pool = self.pools.enter_context(processes.pool(self.jobs))
        try:
            task = model, content, is_replaced
            self.pending[self.pool.submit(_convert, self.conversion, *task)] = task
        except BrokenProcessPool:
            self.pool = None
            self.finish()
            self.submit(model, content, is_replaced)

    def finish(self) -> None:
        self._settle(wait(self.pending).done)

    def _settle(self, futures: Iterable[Future]) -> None:
        for future in futures:
            model, *_ = task = self.pending.pop(future)
            try:
                fault = future.result()
            except BrokenProcessPool:
                self.pool = None
                fault = self._alone(*task)
            self.count += model not in self.faults
            self.faults.pop(model, None)  # of its file beside the archive, which has another
            if fault is not None:
                self.faults[model] = fault

    def _alone(self, model: str, content: bytes | None, is_replaced: bool) -> str | None:
        try:
            with ProcessPoolExecutor(1, initializer=processes.follow_parent) as pool:
                return pool.submit(_convert, self.conversion, model, content, is_replaced).result()
        except BrokenProcessPool:
            path = self.conversion.artefacts.archived(self.conversion.dataset, model)
            return (
                f"{path} is refused because reading it exceeds the limits of time or memory: download or copy it again"
            )


def _convert(conversion: Conversion, model: str, content: bytes | None, is_replaced: bool) -> str | None:
    """In a process of its own; returns what is wrong with the archived analysis."""
    _prepare_worker()
    resource.setrlimit(
        resource.RLIMIT_CPU, (int(time.process_time()) + SECONDS, resource.getrlimit(resource.RLIMIT_CPU)[1])
    )
    try:
        conversion.convert(model, content, is_replaced)
    except InputError as error:
        return str(error)
    return None


@cache
def _reader(artefacts: Artefacts, dataset: str, neighbours: bool) -> Reader:
    folder = artefacts.dataset_dir(dataset)
    return Reader(load_classes(artefacts), non_prototypical_files(artefacts), neighbours, folder)


@cache
def _prepare_worker() -> None:
    """No garbage collection, which doubles the time to read a pickle; and a bound on memory where the system has one.

    A few bytes of a hostile pickle can ask for all the memory there is.
    """
    gc.disable()
    faulthandler.disable()  # the parent tells in one line which pickle ended this process
    size = Path("/proc/self/statm")
    if size.exists():
        now = int(size.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _read(path: Path) -> bytes:
    if path.stat().st_size > LARGEST:
        raise InputError(f"{path} has {path.stat().st_size:,} bytes, more than any analysis: download or copy it again")
    return path.read_bytes()


def _unread(conversion: Conversion) -> Path | None:
    """The archive, if it is there and may hold an analysis that is not converted."""
    artefacts, dataset = conversion.artefacts, conversion.dataset
    archive = artefacts.archive(dataset)
    if not archive.is_file():
        return None
    try:
        contents = read_contents(artefacts, dataset)
    except ProtectedFileError:
        raise
    except InputError as error:
        if artefacts.archive_contents(dataset).exists():
            log.info(f"{archive}: read again because {error}")
        return archive
    return None if is_of(contents, archive) and all(map(conversion.is_done, contents["models"])) else archive


def _convert_archive(conversion: Conversion, archive: Path, work: _Work) -> InputError | None:
    """Convert what is lacking, in one pass, and note what the archive holds; returns what is wrong with it."""
    try:
        models = _convert_members(conversion, archive, work)
    except InputError as error:
        return error
    write_contents(conversion.artefacts, conversion.dataset, models)
    return None


def _convert_members(conversion: Conversion, archive: Path, work: _Work) -> dict[str, str]:
    """Returns the models in the archive, with the sha256 of their pickles."""
    artefacts, dataset = conversion.artefacts, conversion.dataset
    models: dict[str, str] = {}
    try:
        known = read_contents(artefacts, dataset)["models"]
    except InputError:  # the archive was not read before
        known = {}
    for member in tar_reader.read_members(archive, tar_reader.Limits(member=LARGEST), f"converting {archive.name}"):
        match member.name.removeprefix("artefacts/").split("/"):
            case [folder, model, "metadata.json"] if folder == dataset:
                path = artefacts.metadata(dataset, model_dir_id(model))
                if not path.exists():
                    with atomic_write(path) as temporary:
                        temporary.write_bytes(member.file.read())
            case [folder, model, "errors_analysis.pkl"] if folder == dataset:
                model, content = model_dir_id(model), member.file.read()
                models[model] = hashlib.sha256(content).hexdigest()
                is_replaced = known.get(model, models[model]) != models[model]
                why = conversion.why(model, is_replaced)
                if why:
                    log.info(f"{model}: converted again because {why}")
                if why is not None:
                    work.submit(model, content, is_replaced)
            case _:
                log.info(f"{archive}: {member.name} is ignored because it is not an analysis of {dataset}")
    return models
