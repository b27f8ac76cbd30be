"""From finished analyses to the stats tables, and what they were made from."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagenet_errors.analysis.context import DatasetContext, load_context
from imagenet_errors.analysis.counting import describe, stats_row
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.analysis.pairs import decide_pairs, find_distinct
from imagenet_errors.error_types import ERROR_TYPES
from imagenet_errors.errors import InputError
from imagenet_errors.files import write_json
from imagenet_errors.formats import stats_tables
from imagenet_errors.formats.error_analyses import ErrorAnalysis
from imagenet_errors.formats.metadata import NUMBERS, read_metadata
from imagenet_errors.paths import made_from, stats_table

MADE_FROM_SCHEMA = 1  # of made_from.json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StatsTables:
    """The stats tables of a dataset.

    Attributes:
        titles: The models, each with the extent of its predictions where they are for some images only.
        rows: {group: a row per model}.
        totals: [models, len(ERROR_TYPES)] int, counts over all unproblematic images.
    """

    titles: list[str]
    rows: dict[str, list[dict[str, Any]]]
    totals: np.ndarray


def collect_tables(
    models: list[ModelFiles], analyses: list[ErrorAnalysis], label_source: str, arch_groups: dict[str, str]
) -> StatsTables:
    """Count the error types of finished analyses.

    Args:
        models: Those of the dataset.
        analyses: The current ones.
        label_source: Of ImageNet's multi-labels, for the accuracy on ImageNet that ImageNet-A's tables repeat.
        arch_groups: {architecture: group}.
    """
    context = models[0].context
    counted = context.counted_images
    by_name = {files.model: files for files in models}
    chosen = [by_name[analysis.model] for analysis in analyses]
    counts = [counted.count(analysis.error_types) for analysis in analyses]
    if context.dataset == "imagenet":
        known = {files.model: of_model.accuracies["all"][""] for files, of_model in zip(chosen, counts, strict=True)}
        on_imagenet = [_complete(files, known) for files in chosen]
    else:
        on_imagenet = _describe_on_imagenet(context, [files.model for files in chosen], label_source)
    described = [
        describe(files.model, files.metadata, metadata, arch_groups)
        for files, metadata in zip(chosen, on_imagenet, strict=True)
    ]
    rows = {
        group: [stats_row(counted, *model, group) for model in zip(analyses, counts, described, strict=True)]
        for group in counted.groups
    }
    totals = np.array([of_model.by_group["all"] for of_model in counts]).reshape(-1, len(ERROR_TYPES))
    return StatsTables([files.title for files in chosen], rows, totals)


def _complete(files: ModelFiles, accuracies: dict[str, float | None]) -> dict[str, Any]:
    """A model's metadata on ImageNet; the accuracies are those of its predictions where there are some."""
    if not files.has_predictions:
        return files.metadata
    return files.with_accuracy(files.metadata, "multi_label_val_acc", accuracies[files.model])


def _describe_on_imagenet(context: DatasetContext, models: list[str], label_source: str) -> list[dict[str, Any]]:
    """The metadata on ImageNet of models of another dataset, with the accuracies of their predictions there.

    Predictions and metadata that cannot be used are logged; accuracies are then those of the metadata, or None.
    """
    found: dict[str, dict[str, Any]] = {}
    files: dict[str, ModelFiles] = {}
    accuracies: dict[str, float | None] = {}
    faults: dict[str, InputError] = {}
    predicted = [model for model in models if context.artefacts.predictions("imagenet", model).exists()]
    try:
        if predicted:
            on_imagenet = load_context(context.artefacts, "imagenet", label_source, "skip")
            files = {model: ModelFiles(on_imagenet, model) for model in predicted}
            accuracies, faults = _compute_multi_label_accuracies(list(files.values()))
    except InputError as error:
        log.info(f"accuracies on ImageNet are those in metadata.json, where it has them, because {error}")
    for model in models:
        try:
            metadata = context.artefacts.metadata("imagenet", model)
            found[model] = _complete(files[model], accuracies) if model in accuracies else read_metadata(metadata)
        except InputError as error:
            found[model], faults[model] = dict.fromkeys(NUMBERS), error
    for model, fault in faults.items():
        log.info(f"{model}: its accuracies on ImageNet are not computed because {fault}")
    return [found[model] for model in models]


def _compute_multi_label_accuracies(models: list[ModelFiles]) -> tuple[dict[str, float | None], dict[str, InputError]]:
    """MLA in percent of models' predictions, and why those of others cannot be used; no open-world test is needed."""
    top1, unusable = {}, {}
    for files in models:
        try:
            top1[files.model] = files.top1
        except InputError as error:
            unusable[files.model] = error
    context = models[0].context
    pairs = decide_pairs(context, find_distinct(top1.values(), len(context.images)))
    error_types = {model: pairs.error_types_at(pairs.find(of_model)) for model, of_model in top1.items()}
    counted = context.counted_images
    return {model: counted.count(types).accuracies["all"][""] for model, types in error_types.items()}, unusable


def write_tables(
    context: DatasetContext, tables: StatsTables, analyses: list[ErrorAnalysis], results_dir: Path
) -> None:
    """Write a table per group, and beside them what they were made from."""
    for group, rows in tables.rows.items():
        path = stats_table(results_dir, context.dataset, group)
        stats_tables.write(path, context.dataset, rows)
        log.info(f"wrote {path}: {len(rows)} models")
    write_made_from(context, analyses, path)


def write_made_from(context: DatasetContext, analyses: list[ErrorAnalysis], path: Path) -> None:
    """Write, beside a table or list, what it was made from."""
    write_json(made_from(path), describe_inputs(context, analyses))


def describe_inputs(context: DatasetContext, analyses: list[ErrorAnalysis]) -> dict[str, Any]:
    """What tables and lists over these analyses are made from."""
    return {
        "schema_version": MADE_FROM_SCHEMA,
        "images": context.extent,
        "fingerprints": {"images": context.inputs.images, "relations": context.inputs.relations},
        "models": {analysis.model: analysis.fingerprints for analysis in analyses},
    }
