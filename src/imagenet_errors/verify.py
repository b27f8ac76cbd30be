"""Every file of an artefacts folder, checked: whole, damaged, stale, left over, unknown; and what is missing."""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from imagenet_errors import locks, paths, public_files
from imagenet_errors.analysis import open_world
from imagenet_errors.analysis.study import MADE_FROM_SCHEMA, Study
from imagenet_errors.dataset import annotations
from imagenet_errors.dataset.classes import GROUPS, load_classes
from imagenet_errors.dataset.cooccurrence import spurious_pairs
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.dataset.samples import Samples, check_targets, read_samples
from imagenet_errors.dataset.superclasses import load_superclasses
from imagenet_errors.dataset.wordnet import load_wordnet
from imagenet_errors.errors import InputError
from imagenet_errors.files import check_schema, read_json, read_npz, read_text, read_whole_text
from imagenet_errors.formats import embeddings, error_analyses
from imagenet_errors.formats.metadata import read_metadata
from imagenet_errors.formats.predictions import check_predictions, read_top1
from imagenet_errors.formats.sealed_parquet import read_parquet
from imagenet_errors.models.model_table import ModelRecord, load_records
from imagenet_errors.paper_archive import convert, tar_reader
from imagenet_errors.paper_archive.analysis_frames import Reader
from imagenet_errors.paths import Artefacts
from imagenet_errors.progress import show_progress

SOUND, DAMAGED, STALE, MISSING, LEFTOVER, FOREIGN = "sound", "damaged", "stale", "missing", "leftover", "foreign"
COLLECT = "run evaluation.py --collect_results"


class Finding(NamedTuple):
    """What is said of a file: one of the states above, its path, and why."""

    state: str
    path: Path
    note: str = ""


class Stale(Exception):
    """A file that is whole, and made from other inputs than those that are here."""


def verify(artefacts: Artefacts) -> Iterator[Finding]:
    """Check every file of an artefacts folder, then say what is missing.

    Args:
        artefacts: The folder.
    """
    verifier = _Verifier(artefacts)
    files = sorted(path for path in artefacts.root.rglob("*") if verifier.is_checked(path))
    sound = True
    for path in show_progress(files, "verifying"):
        finding = verifier.finding(path)
        sound &= finding.state == SOUND
        yield finding
    for dataset in DATASETS:
        missing = list(verifier.missing(dataset))
        yield from missing
        if sound and not missing:
            yield from verifier.mismatch(dataset)


def verify_tables(artefacts: Artefacts, results_dir: Path, dataset: str) -> Iterator[Finding]:
    """Whether the stats tables of a dataset are whole, and of the analyses that are here now."""
    tables = [paths.stats_table(results_dir, dataset, group) for group in GROUPS]
    if not any(table.exists() for table in tables):
        return
    for table in tables:
        yield _checked(table, _check_table) if table.exists() else Finding(MISSING, table, COLLECT)
    path = paths.made_from(tables[0])
    yield (
        _checked(path, partial(_check_made_from, artefacts, dataset))
        if path.exists()
        else Finding(MISSING, path, f"nothing says what the tables beside it are made from: {COLLECT}")
    )


def _check_made_from(artefacts: Artefacts, dataset: str, path: Path) -> None:
    stored = read_json(path)
    if not (isinstance(stored, dict) and isinstance(stored.get("models"), dict)):
        raise InputError(f"{path} does not say what tables are made from: {COLLECT}")
    check_schema(path, stored.get("schema_version"), MADE_FROM_SCHEMA, COLLECT)
    try:
        current = Study.load(artefacts, dataset).made_from(list(stored["models"]))
    except InputError as error:
        raise Stale(f"the tables beside it cannot be made again ({error})") from None
    if stored != current:
        raise Stale(f"the tables beside it are of other analyses than are here now: {COLLECT}")


def _checked(path: Path, check: Callable[[Path], object]) -> Finding:
    try:
        check(path)
    except Stale as error:
        return Finding(STALE, path, str(error))
    except (InputError, OSError) as error:
        return Finding(DAMAGED, path, str(error))
    return Finding(SOUND, path)


@dataclass(frozen=True, eq=False)  # the folder may have changed since another one read it
class _Verifier:
    """The checks of one folder. What they have in common is read once."""

    artefacts: Artefacts

    def _name(self, path: Path) -> str:
        return path.relative_to(self.artefacts.root).as_posix()

    def is_checked(self, path: Path) -> bool:
        """Files, and folders that stand where a file should."""
        is_file = path.is_symlink() or not path.is_dir() or self._check_of(self._name(path)) not in (None, bool)
        return is_file and locks.FOLDER not in path.parts

    def finding(self, path: Path) -> Finding:
        name = self._name(path)
        if path.is_symlink() and not path.exists():
            return Finding(DAMAGED, path, "a link to nothing: remove it")
        if _is_leftover(name):
            return Finding(LEFTOVER, path, "of a run that was interrupted: the same command goes on, or remove it")
        check = self._check_of(name)
        if check is None:
            return Finding(FOREIGN, path, "nothing here reads it")
        return _checked(path, check)

    def _check_of(self, name: str) -> Callable[[Path], object] | None:
        """What checks the file of this name, below the folder; None where no file has it."""
        dataset, _, rest = name.partition("/")
        if name in self._of_folder:
            return self._of_folder[name]
        if name.startswith("sample/images/"):
            return bool
        if dataset not in DATASETS:
            return None
        if rest in self._of_dataset:
            return partial(self._of_dataset[rest], dataset)
        model, _, file = rest.partition("/")
        return partial(self._of_model[file], dataset, model) if file in self._of_model else None

    @cached_property
    def _of_folder(self) -> dict[str, Callable[[Path], object]]:
        artefacts = self.artefacts
        tables = (paths.ARCHS, paths.MODELS, paths.MODELS_BEYOND, paths.WEIGHT_TAGS, paths.FIGURES)
        lists = (artefacts.downloads_done().name, artefacts.weights().name, paths.PUBLISHED_MODELS)
        return {
            **dict.fromkeys((*tables, *lists), _check_table),
            **dict.fromkeys((paths.NON_PROTOTYPICAL, paths.IMAGENET_A_WNIDS), read_whole_text),
            **dict.fromkeys((paths.WNIDS, paths.DESCRIPTIONS), lambda _: self._classes),
            paths.SUPERCLASSES_LISTING: read_text,
            paths.SAMPLE_ANNOTATIONS: read_json,
            paths.CLOSURE: lambda _: self._synsets,
            paths.SUPERCLASSES: lambda _: self._superclasses,
            paths.COOCCURRENCES: lambda _: spurious_pairs(artefacts, self._superclasses.share),
            paths.TRAIN_EMBEDDINGS: lambda path: embeddings.read_embeddings(path, "train_files"),
            paths.TEXT_EMBEDDINGS: lambda path: embeddings.read_embeddings(path, "prompts"),
            paths.DOWNLOADS: lambda _: public_files.load(artefacts),
            **{artefacts.archive(dataset).name: _check_archive for dataset in DATASETS},
            **{file.path: partial(self._check_download, file) for file in self._downloads},
        }

    @cached_property
    def _of_dataset(self) -> dict[str, Callable[[str, Path], object]]:
        return {
            "samples_info.npz": lambda dataset, _: self._read_samples(dataset),
            "failures.csv": lambda _, path: _check_table(path),
            "archive.json": self._check_contents,
            "clip_image_embeddings.npz": lambda _, path: embeddings.read_embeddings(path, "sample_files"),
            "valid_clip_knn.npz": self._check_neighbours,
        }

    @cached_property
    def _of_model(self) -> dict[str, Callable[[str, str, Path], object]]:
        return {
            "preds.npz": self._check_predictions,
            "metadata.json": self._check_metadata,
            "errors_analysis.parquet": self._check_analysis,
            "errors_analysis.pkl": lambda _, __, path: self._reader.read(path.read_bytes(), path),
        }

    @cached_property
    def _classes(self):
        return load_classes(self.artefacts)

    @cached_property
    def _synsets(self):
        return load_wordnet(self.artefacts, self._classes)

    @cached_property
    def _superclasses(self):
        return load_superclasses(self.artefacts, self._classes, self._synsets)

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self._classes, annotations.non_prototypical_files(self.artefacts))

    @cached_property
    def _records(self) -> dict[str, ModelRecord]:
        return {record.dir_id: record for record in load_records(self.artefacts)}

    @cached_property
    def _downloads(self) -> list[public_files.PublicFile]:
        """Empty where their table is damaged, which is a finding of its own."""
        try:
            return public_files.load(self.artefacts)
        except InputError:
            return []

    @cache  # noqa: B019 - as long as this object, which is a run
    def _samples(self, dataset: str) -> Samples | None:
        """None where they are missing or damaged, which is a finding of its own."""
        try:
            return self._read_samples(dataset)
        except InputError:
            return None

    def _read_samples(self, dataset: str) -> Samples:
        samples = read_samples(self.artefacts, dataset)
        check_targets(samples, self._classes, self.artefacts.samples(dataset))
        return samples

    @cache  # noqa: B019
    def _top1(self, dataset: str, model: str) -> np.ndarray | None:
        """A model's predictions on all images; None where they are not here, or damaged."""
        samples = self._samples(dataset)
        try:
            return None if samples is None else read_top1(self.artefacts.predictions(dataset, model), samples)
        except InputError:
            return None

    def _check_predictions(self, dataset: str, _: str, path: Path) -> None:
        samples = self._samples(dataset)
        if samples is None:
            read_npz(path, "top1", optional=("top5", "top5_probs", "probs"))
        else:
            check_predictions(path, samples, probs="probs" in read_npz(path, optional=("probs",)))

    @cache  # noqa: B019
    def _study(self, dataset: str) -> Study | None:
        """None where a file that it needs is missing or damaged, which is a finding of its own."""
        try:
            return Study.load(self.artefacts, dataset)
        except InputError:
            return None

    def _check_metadata(self, dataset: str, model: str, path: Path) -> None:
        metadata = read_metadata(path)
        named = metadata.get("model_id")
        if named is not None and paths.model_dir_id(named) != model:
            raise InputError(f"{path} is of {named}: move it, or correct its model_id")
        if model in self._records:
            for key in ("arch", "training_data", "num_params"):
                known = getattr(self._records[model], key)
                if metadata[key] not in (known, None, "unknown") and known is not None:
                    raise InputError(
                        f"{path} has {key} {metadata[key]}, and our table of models {known}: predict again"
                    )
        top1 = self._top1(dataset, model)
        if metadata["top1_val_acc"] is None or top1 is None:
            return
        hits = (top1 == self._samples(dataset).targets).sum()
        if abs(metadata["top1_val_acc"] / 100 * len(top1) - hits) > 0.5:
            raise InputError(
                f"{path} has top1_val_acc {metadata['top1_val_acc']}, and the predictions have"
                f" {100 * hits / len(top1):.3f}: predict again"
            )

    def _check_analysis(self, dataset: str, model: str, path: Path) -> None:
        error_analyses.read(path, model)
        read_parquet(path)
        study = self._study(dataset)
        if study is None:
            return
        if error_analyses.is_archived(path) and error_analyses.images_of(path) != study.inputs.images:
            raise Stale("it is an archive's, and the labels or images are others now")
        if self.artefacts.predictions(dataset, model).exists() and self._top1(dataset, model) is None:
            return
        if not error_analyses.is_current(path, study.inputs.with_predictions(study.top1(model))):
            raise Stale("its predictions, labels, superclasses or CLIP files are others now: analyse again")

    def _check_neighbours(self, dataset: str, path: Path) -> None:
        samples = self._samples(dataset)
        if samples is not None:
            embeddings.read_neighbours(path, len(samples.files))

    def _check_contents(self, dataset: str, path: Path) -> None:
        contents = convert.read_contents(self.artefacts, dataset)
        archive = self.artefacts.archive(dataset)
        if archive.exists() and not convert.is_of(contents, archive):
            raise Stale(f"{archive} is another one now: evaluation.py reads it again")

    def _check_download(self, file: public_files.PublicFile, path: Path) -> None:
        found = public_files.status(self.artefacts, file)
        if found.state == public_files.DAMAGED:
            raise InputError(f"{path}: {found.note}")

    def mismatch(self, dataset: str) -> Iterator[Finding]:
        """Why files that are sound, each by itself, cannot be used together."""
        if self.artefacts.models(dataset):
            try:
                Study.load(self.artefacts, dataset)
            except InputError as error:
                yield Finding(STALE, self.artefacts.dataset_dir(dataset), str(error))

    def missing(self, dataset: str) -> Iterator[Finding]:
        """The files that others of this dataset call for."""
        artefacts = self.artefacts
        models = artefacts.models(dataset)
        predicted = [model for model in models if artefacts.predictions(dataset, model).exists()]
        if predicted and not artefacts.samples(dataset).exists():
            yield Finding(MISSING, artefacts.samples(dataset), "it says which images were predicted: predict again")
        if predicted and dataset == "imagenet" and not artefacts.has(paths.ANNOTATIONS):
            yield Finding(MISSING, artefacts.root / paths.ANNOTATIONS, "download_artefacts.py --what annotations")
        for model in models:
            archived, analysis = artefacts.archived(dataset, model), artefacts.analysis(dataset, model)
            if not (model in predicted or archived.exists() or analysis.exists()):
                yield Finding(MISSING, artefacts.predictions(dataset, model), "there is metadata alone: predict again")
            if model in predicted and not (analysis.exists() or archived.exists()):
                yield Finding(MISSING, analysis, "run evaluation.py --perform_error_analysis")
        clip = open_world.missing(artefacts, dataset)
        if clip and any(path.exists() for path in (artefacts.image_embeddings(dataset), artefacts.neighbours(dataset))):
            yield from (Finding(MISSING, path, "run compute_clip_embeddings.py") for path in clip)


def _is_leftover(name: str) -> bool:
    embedded = (paths.TRAIN_EMBEDDINGS, paths.TEXT_EMBEDDINGS, "clip_image_embeddings.npz")
    parts = {Path(file).with_suffix(".parts").name for file in embedded}
    return name.endswith((".tmp", ".part", ".part.json")) or not parts.isdisjoint(PurePosixPath(name).parts)


def _check_table(path: Path) -> None:
    try:
        rows = list(csv.reader(io.StringIO(read_whole_text(path), newline="")))
    except csv.Error as error:
        raise InputError(f"{path} is no table ({error})") from None
    if not rows or {len(row) for row in rows} != {len(rows[0])}:
        raise InputError(f"{path} is no table: its rows are not of one length")


def _check_archive(path: Path) -> None:
    for _ in tar_reader.members(path):
        pass
