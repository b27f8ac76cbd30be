"""Models with their errors, from the files of an artefacts folder or from predictions in memory."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from imagenet_errors import __version__
from imagenet_errors.analysis import study
from imagenet_errors.analysis.archived_open_world import Coverage
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.analysis.open_world import NUM_GATE_NEIGHBOURS
from imagenet_errors.analysis.pairs import decide_pairs, find_distinct
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.error_types import AFTER_OPEN_WORLD, CODES
from imagenet_errors.errors import InputError
from imagenet_errors.formats.error_analyses import SKIPPED, ErrorAnalysis, read_gates
from imagenet_errors.formats.predictions import NO_PREDICTION, Predictions, compute_accuracy, read


@dataclass(frozen=True)
class AnalysedModel:
    """A model whose errors have types.

    Attributes:
        analysis: Its errors on the n annotated images.
        extent: How much of the dataset it has predictions for, e.g. `383 of 50,000 images`.
        is_partial: Whether some of the N images have no prediction.
        top1_accuracy: Percent, of all images with a prediction; None where unknown.
        predictions: For the N images; None where only an archive's analysis is known.
        coverage: Of the errors on unproblematic images by an archive's outcomes; None where it did not take these.
    """

    analysis: ErrorAnalysis
    extent: str
    is_partial: bool
    top1_accuracy: float | None
    predictions: Predictions | None
    coverage: Coverage | None = None

    @property
    def name(self) -> str:
        return self.analysis.model


def analyse_files(models: list[ModelFiles]) -> list[AnalysedModel]:
    """Models of a folder; their errors are analysed and stored where that is not done.

    Raises:
        InputError: where one of them cannot be analysed.
    """
    study.perform_error_analysis(models, with_neighbours=True)
    return [_read_analysed(files) for files in models]


def _read_analysed(files: ModelFiles) -> AnalysedModel:
    analyses, _ = study.select_finished([files], with_reference=True)
    return join_files(files, analyses[0])


def join_files(files: ModelFiles, analysis: ErrorAnalysis) -> AnalysedModel:
    """A model of a folder with its current analysis, as `study.select_finished` gives it."""
    context = files.context
    path = context.artefacts.predictions(context.dataset, files.model)
    return AnalysedModel(
        analysis,
        files.extent if files.has_predictions else context.extent,
        files.is_partial,
        files.metadata["top1_val_acc"],
        read(path, context.samples) if files.has_predictions else None,
        _read_coverage(files, analysis),
    )


def read_analysed(files: ModelFiles) -> AnalysedModel:
    """A model of a folder with its stored analysis where that is current, else analysed anew; nothing is written."""
    context = files.context
    if files.has_analysis and files.is_current(context.analyses.read(files.model)):
        return _read_analysed(files)
    path = context.artefacts.predictions(context.dataset, files.model)
    return analyse_predictions(context, files.model, read(path, context.samples))


def _read_coverage(files: ModelFiles, analysis: ErrorAnalysis) -> Coverage | None:
    if not analysis.takes_recorded:
        return None
    context = files.context
    reaches = (
        np.isin(analysis.error_types, (CODES["out_of_vocabulary"], *AFTER_OPEN_WORLD)) & ~context.images.problematic
    )
    closed = int((read_gates(context.artefacts.analysis(context.dataset, files.model)) & reaches).sum())
    unknown = int((analysis.provisional & reaches).sum())
    return Coverage(closed, int(reaches.sum()) - closed - unknown, unknown)


def analyse_predictions(context: DatasetContext, name: str, predictions: Predictions) -> AnalysedModel:
    """A model that no folder holds; nothing is written.

    Args:
        context: Of the dataset.
        name: Of the model.
        predictions: For the N images of `context.samples`, or some of them.

    Raises:
        InputError: where none of the images with a prediction is annotated and unproblematic.
    """
    of_all = predictions.spread_top1(len(context.samples.files))
    num_images = int(np.count_nonzero(of_all != NO_PREDICTION))
    analysis, coverage = _analyse_top1(context, name, of_all[context.images.rows], NUM_GATE_NEIGHBOURS)
    return AnalysedModel(
        analysis,
        DATASETS[context.dataset].extent(num_images),
        num_images < len(of_all),
        compute_accuracy(of_all, context.samples.targets),
        predictions,
        coverage,
    )


def analyse_again(
    context: DatasetContext, model: AnalysedModel, num_neighbours: int = NUM_GATE_NEIGHBOURS
) -> AnalysedModel:
    """The same predictions with the error types that other labels or another gate give them; nothing is written.

    Args:
        context: Of the same images as the model, maybe with other labels.
        model: With its predictions on the annotated images.
        num_neighbours: Nearest training images that may open the gate of the open-world test.

    Raises:
        InputError: as `analyse_predictions`.
    """
    analysis, coverage = _analyse_top1(context, model.name, model.analysis.top1, num_neighbours)
    return replace(model, analysis=analysis, coverage=coverage)


def _analyse_top1(
    context: DatasetContext, name: str, top1: np.ndarray, num_neighbours: int
) -> tuple[ErrorAnalysis, Coverage | None]:
    """Analysis and coverage of top-1 predictions on the annotated images ([n], NO_PREDICTION where there is none)."""
    if (top1[~context.images.problematic] == NO_PREDICTION).all():
        raise InputError(
            f"{name}: none of the images that it has predictions for is annotated and unproblematic: predict or import"
            " others"
        )
    pairs = decide_pairs(context, find_distinct([top1], len(top1)), num_neighbours)
    fingerprints = context.inputs.with_predictions(top1)
    if context.open_world is None:
        fingerprints |= {"open_world": SKIPPED}
    index = pairs.find(top1)
    provisional = pairs.decisions.provisional[index] & (index >= 0)
    analysis = ErrorAnalysis(name, top1, pairs.error_types_at(index), provisional, fingerprints)
    return analysis, pairs.coverage(index[~context.images.problematic])


def describe_inputs(models: list[AnalysedModel]) -> dict[str, Any]:
    """What a report on these models is made from: the version of this package, and fingerprints of all inputs."""
    return {"version": __version__, "fingerprints": {model.name: model.analysis.fingerprints for model in models}}
