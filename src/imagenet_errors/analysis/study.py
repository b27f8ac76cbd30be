"""The error analyses of a dataset's models: made where they are missing or stale, and chosen for tables and lists."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from imagenet_errors import locks
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.analysis.pairs import DecidedPairs, decide_pairs, find_distinct
from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.error_types import CODES
from imagenet_errors.errors import InputError, ProtectedFileError
from imagenet_errors.formats import error_analyses, image_tables
from imagenet_errors.formats.error_analyses import WITH_SUPERCLASSES, ErrorAnalysis
from imagenet_errors.formats.predictions import NO_PREDICTION
from imagenet_errors.progress import show_progress

log = logging.getLogger(__name__)

MOST_NAMED = 3  # models that a line names
REFERENCE_MODELS = ("greedysoups", "vit3b")  # of Vasudevan et al. 2022; not among the paper's 962


def load_models(context: DatasetContext) -> list[ModelFiles]:
    """Every model that the dataset's folder has files of, in order of `model_dir_id`; nothing is read yet."""
    return [ModelFiles(context, model) for model in context.models]


def perform_error_analysis(models: list[ModelFiles], with_neighbours: bool, jobs: int | None = None) -> None:
    """Decide and store every model's errors, unless a current analysis is there.

    All distinct (image, prediction) pairs of the stale models are decided at once. A model whose predictions cannot be
    used is counted in the log, and named by `select_finished`.

    Args:
        models: Of one dataset; analyses are remembered in its context.
        with_neighbours: Whether the image table holds each image's ten nearest training images.
        jobs: Threads that write; as many as there are processors by default.
    """
    if not models:
        return
    context = models[0].context
    image_table = _ImageTable(context, with_neighbours)
    outcomes: Counter[str] = Counter()
    stale = {}
    for files in show_progress(models, "reading"):
        try:
            reason = _stale_reason(files, image_table)
        except InputError:
            outcomes["not analysed"] += 1
            continue
        if reason is None:
            outcomes["kept"] += 1
        else:
            stale[files.model] = _Stale(files, reason, _signature(files))
    if stale:
        top1 = [one.files.top1 for one in stale.values() if not one.is_upgrade]
        if top1:
            image_tables.store(context.artefacts.dataset_dir(context.dataset), image_table.columns)
        pairs = decide_pairs(context, find_distinct(top1, len(context.images)))
        coverage = pairs.coverage()
        if coverage:
            log.info(f"open-world test: {coverage.describe('distinct errors')}")
        outcomes += _write_all(list(stale.values()), _Writer(context, pairs, image_table), jobs)
    log.info("; ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))


@dataclass(frozen=True)
class _ImageTable:
    """The image table that analyses made now would have."""

    context: DatasetContext
    with_neighbours: bool

    @cached_property
    def columns(self) -> dict[str, Any]:
        return self.context.image_columns(self.with_neighbours)

    @cached_property
    def name(self) -> str:
        return image_tables.name_of(self.columns)


UPGRADE = "its schema is an older one"


def _stale_reason(files: ModelFiles, image_table: _ImageTable) -> str | None:
    """Why a model's stored analysis is not to be kept; empty where there is none, None where it is kept.

    Raises:
        InputError: where its predictions cannot be used, or its analysis must not be overwritten.
    """
    files.fingerprints  # noqa: B018 - predictions that cannot be used are told here
    if not files.has_analysis:
        return ""
    try:
        analysis = files.context.analyses.read(files.model)
    except ProtectedFileError:
        raise
    except InputError as error:
        return str(error)
    if not files.is_current(analysis):
        return "its inputs have changed"
    if analysis.image_table is None:
        return UPGRADE
    path = files.context.artefacts.analysis(files.context.dataset, files.model)
    if not image_tables.locate(path, analysis.image_table).exists():
        return f"its image table {analysis.image_table} is missing"
    if files.context.nearest is not None and not analysis.is_archived and analysis.image_table != image_table.name:
        return "other neighbours are to be stored"
    return None


@dataclass(frozen=True)
class _Stale:
    """A model to analyse, why, and what its stored analysis was when that was decided."""

    files: ModelFiles
    reason: str
    signature: tuple[int, ...] | None

    @property
    def is_upgrade(self) -> bool:
        return self.reason == UPGRADE


def _signature(files: ModelFiles) -> tuple[int, ...] | None:
    """What changes when another process writes the analysis."""
    path = files.context.artefacts.analysis(files.context.dataset, files.model)
    if not path.exists():
        return None
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class _Writer:
    """Writes analyses of models whose pairs are decided.

    Attributes:
        context: Of the dataset.
        pairs: All pairs of the models.
        image_table: What they name.
    """

    context: DatasetContext
    pairs: DecidedPairs
    image_table: _ImageTable

    @cached_property
    def _superclasses(self) -> Any:
        return error_analyses.superclass_lists(self.context.superclasses)

    def write(self, stale: _Stale, wait: bool) -> str | None:
        """Write one model's analysis unless another process did. Returns what was done; None where one is at it."""
        files, context = stale.files, self.context
        name = f"{context.dataset}/{files.model}"
        lock = locks.locked if wait else locks.if_free
        with lock(context.artefacts.root, name) as is_ours:
            if not is_ours:
                return None
            if _signature(files) != stale.signature:
                context.analyses.forget(files.model)
                if _stale_reason(files, self.image_table) is None:
                    return "kept"
            path = context.artefacts.analysis(context.dataset, files.model)
            if stale.is_upgrade:
                error_analyses.upgrade(path)
                return "upgraded"
            context.analyses.put(self._write(path, files))
            if stale.reason:
                log.info(f"{files.model}: analysed again because {stale.reason}")
            return "analysed again" if stale.reason else "analysed"

    def _write(self, path: Path, files: ModelFiles) -> ErrorAnalysis:
        context, pairs, top1 = self.context, self.pairs, files.top1
        index = pairs.find(top1)
        error_types = pairs.error_types_at(index)
        provisional = pairs.decisions.provisional[index] & (index >= 0)
        columns = self._columns(top1, index, error_types, provisional)
        skipped = context.open_world is None
        fingerprints = files.fingerprints | ({"open_world": error_analyses.SKIPPED} if skipped else {})
        stored = error_analyses.write(path, columns, error_types, fingerprints, files.extent, self.image_table.name)
        listed = None
        if context.analyses.with_proposals:
            rows = np.flatnonzero(error_types == CODES["out_of_vocabulary"])
            listed = rows, error_analyses.table_of_proposals(pairs.proposals, index[rows])
        return ErrorAnalysis(files.model, top1, error_types, provisional, stored, self.image_table.name, listed)

    def _columns(
        self, top1: np.ndarray, index: np.ndarray, error_types: np.ndarray, provisional: np.ndarray
    ) -> dict[str, Any]:
        """The columns of the model's file, gathered from those of the pairs."""
        import pyarrow as pa

        missing = top1 == NO_PREDICTION
        decisions, positions = self.pairs.decisions, pa.array(index, mask=missing)
        with_superclasses = np.where(np.isin(error_types, WITH_SUPERCLASSES), top1, NUM_CLASSES)
        return error_analyses.type_columns(top1, error_types, decisions.notes[index], provisional) | {
            "matching": self.pairs.matching.take(positions),
            "superclasses": self._superclasses.take(pa.array(with_superclasses, mask=missing)),
            **{name: column.take(positions) for name, column in self.pairs.proposals.items()},
        }


def _write_all(stale: list[_Stale], writer: _Writer, jobs: int | None) -> Counter[str]:
    """Write in threads; what another process is at comes last, and is waited for."""
    outcomes: Counter[str] = Counter()
    with _threads(jobs or os.cpu_count() or 1) as pool:
        for wait in (False, True):
            waiting = {pool.submit(writer.write, one, wait): one for one in stale}
            stale = []
            for done in show_progress(as_completed(waiting), "analysing", len(waiting)):
                outcome = done.result()
                if outcome is None:
                    stale.append(waiting[done])
                else:
                    outcomes[outcome] += 1
    return outcomes


@contextmanager
def _threads(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads. When it is left early, tasks that have begun are finished and the others dropped."""
    pool = ThreadPoolExecutor(jobs)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def select_finished(
    models: list[ModelFiles], with_reference: bool = False, unreadable: dict[str, str] | None = None
) -> tuple[list[ErrorAnalysis], list[str]]:
    """The current analyses, in order of `model_dir_id`; a model without one is named in the log and left out.

    So are the reference models, unless they are wanted: they are not among those that the paper counts. Models with
    predictions for some images only are named as well.

    Args:
        models: Of one dataset.
        with_reference: Whether reference models are wanted.
        unreadable: {model: message} of archived analyses that could not be read, and were named.

    Returns:
        The analyses, and a message for every other model that is left out.

    Raises:
        InputError: where no analysis is left.
    """
    unreadable = unreadable or {}
    analyses: list[ErrorAnalysis] = []
    skipped: dict[str, str] = {}
    reference = [] if with_reference else [files.model for files in models if files.model in REFERENCE_MODELS]
    if reference:
        log.info(f"left out {', '.join(reference)}: give --with_reference_models to count them")
    for files in models:
        if files.model in reference or (files.model in unreadable and not files.has_analysis):
            continue
        try:
            analyses.append(_current_analysis(files))
        except InputError as error:
            skipped[files.model] = str(error)
    _log_skipped(skipped)
    left_out = [*unreadable.values(), *skipped.values()]
    if not analyses:
        if len(reference) == len(models):
            raise InputError(f"only reference models are in {models[0].context.dataset}: give --with_reference_models")
        raise InputError(left_out[0])
    chosen = {analysis.model for analysis in analyses}
    partial = [files.title for files in models if files.model in chosen and files.is_partial]
    if partial:
        log.info(
            f"{len(partial)} of {len(analyses)} models have predictions for some images only: {', '.join(partial)}"
        )
    return analyses, left_out


def _log_skipped(skipped: dict[str, str]) -> None:
    """Log {model: why it is left out}, in one line for all models with the same reason."""
    by_reason: dict[str, list[str]] = {}
    for model, message in skipped.items():
        by_reason.setdefault(message.replace(model, ""), []).append(model)
    for models in by_reason.values():
        rest = len(models) - MOST_NAMED
        named = ", ".join(models[:MOST_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")
        log.info(f"skipped {named}: {skipped[models[0]]}")


def _current_analysis(files: ModelFiles) -> ErrorAnalysis:
    """The analysis. Raises `InputError` where there is no current one, or a file of the model is damaged."""
    files.metadata  # noqa: B018 - a damaged one is named here
    files.fingerprints  # noqa: B018 - so are its predictions
    path = files.context.artefacts.analysis(files.context.dataset, files.model)
    if not files.has_analysis:
        raise InputError(f"{path} is missing: run evaluation.py --perform_error_analysis")
    analysis = files.context.analyses.read(files.model)
    if not files.is_current(analysis):
        raise InputError(
            f"{path} was made from other predictions, labels, superclasses or CLIP files than those here: run"
            " evaluation.py --perform_error_analysis"
        )
    return analysis
