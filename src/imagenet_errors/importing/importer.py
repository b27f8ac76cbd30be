"""Files of predictions become a model's predictions and metadata in the artefacts folder."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from imagenet_errors.dataset import plausibility
from imagenet_errors.dataset.class_numberings import ClassNumbering, choose_numbering, list_numberings
from imagenet_errors.dataset.classes import load_classes
from imagenet_errors.dataset.dataset_table import Dataset
from imagenet_errors.dataset.samples import Samples, read_samples
from imagenet_errors.dataset.validation_labels import load_validation_samples
from imagenet_errors.errors import InputError
from imagenet_errors.formats import prediction_files
from imagenet_errors.formats.prediction_files import PredictionFile
from imagenet_errors.formats.predictions import Predictions, compute_accuracy
from imagenet_errors.importing.match import ImageFinder
from imagenet_errors.importing.parts import Part, place
from imagenet_errors.importing.reading import check_accuracy, choose_reading
from imagenet_errors.importing.resolve import TOP, Resolver, join, take_top_classes
from imagenet_errors.importing.store import store
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import Artefacts

log = logging.getLogger(__name__)

SAME_AS_LABELS = 99.0  # percent of equal classes, from which predictions are taken for the original labels


@dataclass(frozen=True)
class Options:
    """How files are read: the flags of import_predictions.py.

    Attributes:
        order: Of images in arrays without names; None to find it by accuracy.
        label_offset: Added to the numbers of classes.
        classes: The class order: a name or file, see `choose_numbering`.
        file_column: The column or array of image names.
        class_column: The column or array of predictions.
        overwrite: Whether other predictions of the same name may be replaced.
        force: Whether an accuracy below `plausibility.LOWEST_ON_IMAGENET` is accepted.
        needs_scores: Whether a file must have scores of all classes.
        save_probs: Whether to store all probabilities, where a file has scores.
        read_tensors: Reads a file of torch.
    """

    order: str | None = None
    label_offset: int = 0
    classes: str | None = None
    file_column: str | None = None
    class_column: str | None = None
    overwrite: bool = False
    force: bool = False
    needs_scores: bool = False
    save_probs: bool = False
    read_tensors: Callable[[Path], dict[str, np.ndarray]] | None = None


@dataclass(frozen=True)
class Imported:
    """What was read from the files of one model.

    Attributes:
        predictions: For the images of `Importer.samples`.
        accuracy: Top-1, percent.
        source: The files, and the column or array that was read.
    """

    predictions: Predictions
    accuracy: float
    source: str


@dataclass(frozen=True)
class Importer:
    """Imports models into a dataset's folder.

    Attributes:
        artefacts: The folder.
        dataset: Of the images.
        options: The flags.
    """

    artefacts: Artefacts
    dataset: Dataset
    options: Options

    @cached_property
    def samples(self) -> Samples:
        """The images that the folder lists, else those of ImageNet's validation set."""
        if self.dataset.name == "imagenet" and not self.artefacts.samples(self.dataset.name).exists():
            return load_validation_samples(self.artefacts)
        return read_samples(self.artefacts, self.dataset.name)

    @cached_property
    def _finder(self) -> ImageFinder:
        return ImageFinder(self.samples)

    @cached_property
    def _resolver(self) -> Resolver:
        return Resolver(load_classes(self.artefacts))

    @cached_property
    def _numberings(self) -> list[ClassNumbering]:
        return list_numberings(self.artefacts)

    @cached_property
    def _numbering(self) -> ClassNumbering | None:
        """What flags say of the classes; None if nothing."""
        options = self.options
        if not (options.label_offset or options.classes):
            return None
        return choose_numbering(self.artefacts, options.label_offset, options.classes)

    def import_model(self, record: ModelRecord, paths: Sequence[Path], num_params: int | None = None) -> str:
        """Store the predictions of some files as those of one model; returns a line about them.

        Raises:
            InputError: as `read` and `store` do.
        """
        imported = self.read(paths)
        done = store(
            *(self.artefacts, self.dataset.name, record, self.samples, imported.predictions, num_params),
            overwrite=self.options.overwrite,
        )
        return f"{record.model_id}: {done}{self.describe(imported)}"

    def describe(self, imported: Imported) -> str:
        """A line about what was read."""
        extent = self.dataset.extent(len(imported.predictions.top1))
        return f"top-1 {imported.accuracy:.2f} % on {extent}, from {imported.source}"

    def read(self, paths: Sequence[Path]) -> Imported:
        """Read the predictions of one model; nothing is written.

        Raises:
            InputError: for files that cannot be read, or whose predictions cannot be of these images and classes.
        """
        names, read_tensors = (self.options.file_column, self.options.class_column), self.options.read_tensors
        return self.interpret([prediction_files.read(path, *names, read_tensors) for path in paths])

    def interpret(self, files: Sequence[PredictionFile]) -> Imported:
        """The predictions of one model, of which files or arrays are read; errors as in `read`."""
        parts = [self._place(file) for file in files]
        reading = choose_reading(parts, self.samples, self._numbering, self.options.order, self._numberings)
        parts = [part if part.positions is not None else part.in_order(reading.order, self.samples) for part in parts]
        predictions = self._join(parts, reading.numbering)
        targets = self.samples.targets if predictions.rows is None else self.samples.targets[predictions.rows]
        if not self.options.force:
            check_accuracy(reading, targets, self.dataset.name, files[0].path)
        accuracy = compute_accuracy(predictions.top1, targets)
        source = f"{', '.join(str(file.path) for file in files)} ({parts[0].raw.label})"
        if accuracy >= SAME_AS_LABELS and len(targets) >= plausibility.FEWEST_IMAGES:
            raise InputError(
                f"{source} equals the original labels of {accuracy:.2f} % of the images, so these are the labels: give"
                " the predictions, with --class_column where a file has both"
            )
        return Imported(predictions, accuracy, source)

    def _place(self, file: PredictionFile) -> Part:
        raw = self._resolver.choose(file, self._numbering or self._numberings[0])
        if self.options.needs_scores and raw.scores is None:
            raise InputError(
                f"{file.path}: {raw.label} has no logits, a number for each class: import_predictions.py takes others"
            )
        return place(file, raw, self._resolver.read_numbers(raw, file.path), self._finder, self.options.order)

    def _join(self, parts: list[Part], numbering: ClassNumbering) -> Predictions:
        """One prediction for each image. Raises `InputError` where two rows of one image differ."""
        keep_all = self.options.save_probs
        tops = [take_top_classes(part.raw, part.numbers, numbering, part.path, keep_all)[part.rows] for part in parts]
        positions = np.concatenate([part.positions for part in parts if part.positions is not None])
        order = np.argsort(positions, kind="stable")
        top, rows = join(tops)[order], positions[order]
        is_repeated = np.append(False, rows[1:] == rows[:-1])
        self._check_repeated(top.ids[:, 0], rows, is_repeated, parts[0].path)
        top, rows = top[~is_repeated], rows[~is_repeated].astype(np.int32)
        return Predictions(
            top1=top.ids[:, 0],
            top5=top.ids if top.ids.shape[1] == TOP else None,
            top5_probs=top.probs if top.ids.shape[1] == TOP else None,
            seconds=None,
            rows=None if len(rows) == len(self.samples.files) else rows,
            probs=top.all_probs,
        )

    def _check_repeated(self, top1: np.ndarray, rows: np.ndarray, is_repeated: np.ndarray, path: Path) -> None:
        """Raises `InputError` where rows of one image differ; others are counted in the log."""
        differ = np.flatnonzero(is_repeated & np.append(False, top1[1:] != top1[:-1]))
        if len(differ):
            at = differ[0]
            raise InputError(
                f"{path}: {self.samples.files[rows[at]]} is predicted as class {top1[at - 1]} and as {top1[at]}"
                f" ({len(differ):,} such images): keep one row of each image"
            )
        if is_repeated.any():
            log.info(f"{path}: {is_repeated.sum():,} repeated rows that agree are counted once")
