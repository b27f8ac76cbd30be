"""Every file of an artefacts folder is checked: sound, damaged, stale, left over or foreign; and what is missing."""

from collections.abc import Callable, Iterator
from functools import cache, cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imagenet_errors import locks, paths, public_files
from imagenet_errors.analysis import open_world
from imagenet_errors.analysis.collecting import MADE_FROM_SCHEMA, describe_inputs
from imagenet_errors.analysis.context import DatasetContext, load_context
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.dataset import annotations, label_sets, multi_labels, real_labels, samples, validation_labels
from imagenet_errors.dataset.classes import GROUPS, Classes, load_classes
from imagenet_errors.dataset.cooccurrence import spurious_pairs
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.dataset.superclasses import Superclasses, load_superclasses
from imagenet_errors.dataset.wordnet import WordNet, load_wordnet
from imagenet_errors.error_types import ERROR_TYPES
from imagenet_errors.errors import InputError
from imagenet_errors.files import check_schema, check_table, read_json, read_text, read_whole_text
from imagenet_errors.formats import (
    batch_sizes,
    checked_images,
    embeddings,
    error_analyses,
    image_tables,
    image_tar,
    metadata,
    open_world_outcomes,
    predictions,
    stats_tables,
)
from imagenet_errors.models.model_table import ModelRecord, load_records
from imagenet_errors.paper_archive import archive_contents, tar_reader
from imagenet_errors.paper_archive.analysis_frames import Reader
from imagenet_errors.paths import Artefacts
from imagenet_errors.progress import show_progress

SOUND, DAMAGED, STALE, MISSING, LEFTOVER, FOREIGN = "sound", "damaged", "stale", "missing", "leftover", "foreign"
COLLECT = "run evaluation.py --collect_results"


class Finding(NamedTuple):
    """The state of a file (one of the above), its path, and the reason."""

    state: str
    path: Path
    note: str = ""


class StaleError(Exception):
    """A file is whole, but was made from other inputs than those that are present."""


class _Folder:
    """What the checks of an artefacts folder share, read once.

    `samples` and `top1` are None if missing or damaged, which is a finding of its own; `context` is then the error.
    """

    def __init__(self, artefacts: Artefacts):
        self.artefacts = artefacts
        self.samples = cache(lambda dataset: _try(samples.check, artefacts, dataset, self.classes))
        self.context = cache(self._load_context)
        self.top1 = lru_cache(maxsize=1)(self._read_top1)

    def _read_top1(self, dataset: str, model: str) -> np.ndarray | None:
        images, path = self.samples(dataset), self.artefacts.predictions(dataset, model)
        return images and _try(predictions.read_top1, path, images)

    def _load_context(self, dataset: str) -> DatasetContext | InputError:
        try:
            return load_context(self.artefacts, dataset)
        except InputError as error:
            return error

    @cached_property
    def classes(self) -> Classes:
        return load_classes(self.artefacts)

    @cached_property
    def wordnet(self) -> WordNet:
        return load_wordnet(self.artefacts, self.classes)

    @cached_property
    def superclasses(self) -> Superclasses:
        return load_superclasses(self.artefacts, self.classes, self.wordnet)

    @cached_property
    def pickles(self) -> Reader:
        return Reader(self.classes, annotations.non_prototypical_files(self.artefacts))

    @cached_property
    def records(self) -> dict[str, ModelRecord]:
        return {record.dir_id: record for record in load_records(self.artefacts)}

    @cached_property
    def public_files(self) -> dict[str, public_files.PublicFile]:
        """{path: file}; empty if their table is damaged, which is a finding of its own."""
        return {file.path: file for file in _try(public_files.load_public_files, self.artefacts) or []}


class _File(NamedTuple):
    """A file to check, with its dataset and its model's folder if it has them."""

    folder: _Folder
    path: Path
    dataset: str = ""
    model: str = ""

    @property
    def samples(self) -> Samples | None:
        return self.folder.samples(self.dataset)

    @property
    def top1(self) -> np.ndarray | None:
        return self.folder.top1(self.dataset, self.model)


def _try(read: Callable[..., Any], *arguments: Any) -> Any:
    """What `read` returns; None if it finds its input missing or damaged."""
    try:
        return read(*arguments)
    except InputError:
        return None


def _check_archive_contents(file: _File) -> None:
    artefacts, dataset = file.folder.artefacts, file.dataset
    contents, archive = archive_contents.read_contents(artefacts, dataset), artefacts.archive(dataset)
    if archive.exists() and not archive_contents.is_of(contents, archive):
        raise StaleError(f"{archive} has changed: evaluation.py reads it again")


def _check_outcomes(file: _File) -> None:
    source = open_world_outcomes.read(file.path).source
    superclasses = _try(lambda: file.folder.superclasses)
    if superclasses is not None and superclasses.fingerprint != source.superclasses:
        raise StaleError(f"the superclasses have changed: {open_world_outcomes.advise(file.path)}")


def _check_analysis(file: _File) -> None:
    error_analyses.check(file.path)
    context = file.folder.context(file.dataset)
    if isinstance(context, InputError):
        return
    analysis = context.analyses.read(file.model)
    if analysis.is_archived and analysis.fingerprints["images"] != context.inputs.images:
        raise StaleError("it is of an archive, and the labels or images have changed")
    files = ModelFiles(context, file.model)
    if files.has_predictions and file.top1 is None:
        return
    if not files.is_current(analysis):
        raise StaleError("its predictions, labels, superclasses or CLIP files have changed: analyse again")


def _check_made_from(folder: _Folder, dataset: str, path: Path, advice: str) -> None:
    stored = read_json(path)
    if not (isinstance(stored, dict) and isinstance(stored.get("models"), dict)):
        raise InputError(f"{path} does not list the models that the files beside it were made from: {advice}")
    check_schema(path, stored.get("schema_version"), MADE_FROM_SCHEMA, advice)
    try:
        context = folder.context(dataset)
        if isinstance(context, InputError):
            raise context
        current = describe_inputs(context, [context.analyses.read(model) for model in stored["models"]])
    except InputError as error:
        raise StaleError(f"the files beside it cannot be made again ({error})") from None
    if stored != current:
        raise StaleError(f"the files beside it were made from other analyses than those present: {advice}")


def _by_path(check: Callable[..., object], *arguments: object) -> Callable[[_File], object]:
    return lambda file: check(file.path, *arguments)


CHECKS: dict[str, Callable[[_File], object]] = {
    **dict.fromkeys((paths.ARCHS, paths.MODELS, paths.MODELS_BEYOND, paths.WEIGHT_TAGS), _by_path(check_table)),
    **dict.fromkeys(
        (paths.WEIGHT_FILES, paths.MULTIPLY_ADDS, paths.FIGURES, paths.PUBLISHED_MODELS), _by_path(check_table)
    ),
    **dict.fromkeys(("downloads_done.csv", "weights.csv"), _by_path(check_table)),
    "batch_sizes.csv": _by_path(batch_sizes.check),
    **dict.fromkeys((paths.NON_PROTOTYPICAL, paths.IMAGENET_A_WNIDS), _by_path(read_whole_text)),
    **dict.fromkeys((paths.WNIDS, paths.DESCRIPTIONS), lambda file: file.folder.classes),
    **dict.fromkeys((paths.SUPERCLASSES_LISTING, "README.md", "published/README.md"), _by_path(read_text)),
    paths.VALIDATION_LABELS: _by_path(validation_labels.read_validation_labels),
    paths.MULTI_LABELS: _by_path(multi_labels.annotations_from_csv),
    paths.REAL_LABELS: _by_path(real_labels.read_real_labels),
    paths.LABEL_SETS: lambda file: label_sets.load_label_sets(file.folder.artefacts),
    paths.SAMPLE_ANNOTATIONS: _by_path(read_json),
    paths.CLOSURE: lambda file: file.folder.wordnet,
    paths.SUPERCLASSES: lambda file: file.folder.superclasses,
    paths.COOCCURRENCES: lambda file: spurious_pairs(file.folder.artefacts, file.folder.superclasses.share),
    paths.TRAIN_EMBEDDINGS: _by_path(embeddings.read_embeddings, "train_files"),
    paths.TEXT_EMBEDDINGS: _by_path(embeddings.read_embeddings, "prompts"),
    paths.DOWNLOADS: lambda file: public_files.load_public_files(file.folder.artefacts),
    **dict.fromkeys((f"models-{dataset}.tar.gz" for dataset in DATASETS), _by_path(tar_reader.check)),
    "<dataset>/samples_info.npz": lambda file: samples.check(file.folder.artefacts, file.dataset, file.folder.classes),
    "<dataset>/failures.csv": _by_path(check_table),
    "<dataset>/checked_images.npz": _by_path(checked_images.check),
    "<dataset>/copied_images.tar": _by_path(image_tar.check),
    "<dataset>/images-<fingerprint>.parquet": _by_path(image_tables.check),
    "<dataset>/archive.json": _check_archive_contents,
    "<dataset>/open_world_outcomes.parquet": _check_outcomes,
    "<dataset>/clip_image_embeddings.npz": _by_path(embeddings.read_embeddings, "sample_files"),
    "<dataset>/valid_clip_knn.npz": lambda file: embeddings.check_neighbours(file.path, file.samples),
    "<dataset>/<model>/preds.npz": lambda file: predictions.check(file.path, file.samples),
    "<dataset>/<model>/metadata.json": lambda file: metadata.check(
        file.path, file.model, file.folder.records.get(file.model), file.samples, file.top1
    ),
    "<dataset>/<model>/errors_analysis.parquet": _check_analysis,
    "<dataset>/<model>/errors_analysis.pkl": lambda file: file.folder.pickles.read(file.path.read_bytes(), file.path),
}
EMBEDDINGS = (paths.TRAIN_EMBEDDINGS, paths.TEXT_EMBEDDINGS, "clip_image_embeddings.npz")
UNFINISHED = {Path(name).with_suffix(".parts").name for name in EMBEDDINGS}  # folders


def _find_check(folder: _Folder, path: Path) -> Callable[[], object] | None:
    """The check of the file at `path`; None if no file has its name."""
    name = path.relative_to(folder.artefacts.root).as_posix()
    if name in folder.public_files:
        return partial(public_files.check, folder.artefacts, folder.public_files[name])
    dataset, model, pattern = "", "", name
    match name.split("/"):
        case [dataset, file] if dataset in DATASETS and name not in CHECKS:
            is_image_table = image_tables.is_named_by_content(path)
            pattern = f"<dataset>/{'images-<fingerprint>.parquet' if is_image_table else file}"
        case [dataset, model, file] if dataset in DATASETS:
            pattern = f"<dataset>/<model>/{file}"
    return partial(CHECKS[pattern], _File(folder, path, dataset, model)) if pattern in CHECKS else None


def check_path(folder: _Folder, path: Path) -> Finding:
    """The finding of one file."""
    name = path.relative_to(folder.artefacts.root)
    if path.is_symlink() and not path.exists():
        return Finding(DAMAGED, path, "a link to a missing file: remove it")
    if path.name.endswith((".tmp", ".part", ".part.json")) or not UNFINISHED.isdisjoint(name.parts):
        return Finding(LEFTOVER, path, "of an interrupted run: the same command resumes it, or remove it")
    check = _find_check(folder, path)
    if check is not None:
        return _run(path, check)
    if name.is_relative_to("sample/images"):
        return Finding(SOUND, path)
    return Finding(FOREIGN, path, "not a file of this repository")


def _run(path: Path, check: Callable[[], object]) -> Finding:
    try:
        check()
    except StaleError as error:
        return Finding(STALE, path, str(error))
    except (InputError, OSError) as error:
        return Finding(DAMAGED, path, str(error))
    return Finding(SOUND, path)


def verify(artefacts: Artefacts, results_dir: Path | None = None) -> Iterator[Finding]:
    """Check every file of an artefacts folder, find what is missing, and check the results made from it.

    Args:
        artefacts: The folder.
        results_dir: The folder of tables and lists; None to leave them out.

    Raises:
        InputError: where there is no such folder.
    """
    if not artefacts.root.is_dir():
        raise InputError(f"{artefacts.root} is not a folder: there is nothing to verify")
    folder = _Folder(artefacts)
    files = [path for path in sorted(artefacts.root.rglob("*")) if _is_checked(folder, path)]
    is_sound = True
    for path in show_progress(files, "verifying"):
        yield (finding := check_path(folder, path))
        is_sound &= finding.state == SOUND
    for dataset in DATASETS:
        missing = list(_find_missing(artefacts, dataset))
        yield from missing
        error = folder.context(dataset) if is_sound and not missing and artefacts.models(dataset) else None
        if isinstance(error, InputError):  # files that are sound each by itself cannot be used together
            yield Finding(STALE, artefacts.dataset_dir(dataset), str(error))
        if results_dir is not None:
            yield from _verify_results(folder, results_dir, dataset)


def _is_checked(folder: _Folder, path: Path) -> bool:
    """Files, and folders in the place of a file; locks aside."""
    is_file = path.is_symlink() or not path.is_dir() or _find_check(folder, path)
    return bool(is_file) and locks.FOLDER not in path.parts


def _find_missing(artefacts: Artefacts, dataset: str) -> Iterator[Finding]:
    """The files that other files of this dataset need."""
    models = artefacts.models(dataset)
    predicted = [model for model in models if artefacts.predictions(dataset, model).exists()]
    if predicted and not artefacts.samples(dataset).exists():
        yield Finding(
            MISSING, artefacts.samples(dataset), "it lists the images that were predicted: predict or import again"
        )
    for model in models:
        archived, analysis = artefacts.archived(dataset, model), artefacts.analysis(dataset, model)
        if not (model in predicted or archived.exists() or analysis.exists()):
            yield Finding(
                MISSING, artefacts.predictions(dataset, model), "only its metadata is present: predict or import again"
            )
        if model in predicted and not (analysis.exists() or archived.exists()):
            yield Finding(MISSING, analysis, "run evaluation.py --perform_error_analysis")
    clip = open_world.find_missing(artefacts, dataset)
    if clip and any(path.exists() for path in (artefacts.image_embeddings(dataset), artefacts.neighbours(dataset))):
        yield from (Finding(MISSING, path, "run compute_clip_embeddings.py") for path in clip)


def _verify_results(folder: _Folder, results_dir: Path, dataset: str) -> Iterator[Finding]:
    """Whether the tables and lists of a dataset are whole, and of the analyses that are present."""
    tables = [paths.stats_table(results_dir, dataset, group) for group in GROUPS]
    lists = [paths.common_errors_list(results_dir, dataset, each.flag) for each in ERROR_TYPES if each.flag]
    if any(table.exists() for table in tables):
        for table in tables:
            yield (
                _run(table, partial(stats_tables.check, table, dataset))
                if table.exists()
                else Finding(MISSING, table, COLLECT)
            )
    for files, advice in ((tables, COLLECT), (lists, "run evaluation.py --list_most_common_errors")):
        path = paths.made_from(files[0])
        if path.exists():
            yield _run(path, partial(_check_made_from, folder, dataset, path, advice))
        elif any(file.exists() for file in files):
            yield Finding(MISSING, path, f"it says what the files beside it were made from: {advice}")
