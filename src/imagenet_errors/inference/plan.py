"""What a run would do, before it is started: models in their order, bytes, and hours where the device was measured."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch

from imagenet_errors.dataset.dataset_table import Dataset
from imagenet_errors.formats.batch_sizes import read_batch_sizes
from imagenet_errors.inference import predict, zoo
from imagenet_errors.inference.batching import FIRST, recall_batch_size
from imagenet_errors.inference.calibration import Rates, measure_rates
from imagenet_errors.inference.pixel_cache import GIGABYTE, CacheLimits
from imagenet_errors.inference.runner import Options
from imagenet_errors.models import listing
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import Artefacts
from imagenet_errors.terminal import Table, align, fill

UNKNOWN = "unknown"


@dataclass(frozen=True)
class PlannedModel:
    """A model of a run; None where something is not known.

    Attributes:
        record: The model.
        multiply_adds: For one image.
        download_bytes: Of weights that are not on this machine, at four bytes a parameter.
        batch_size: Images per batch.
    """

    record: ModelRecord
    multiply_adds: int | None
    download_bytes: int | None
    batch_size: int | None


@dataclass(frozen=True)
class PlannedGeometry:
    """Models that see the same pixels, in the order in which they run: those of most multiply-adds first.

    Attributes:
        name: The geometry; empty where it is not known before its models are built.
        models: Not empty.
        pixel_bytes: Of all images; None where that is not known.
        is_cached: Whether images are decoded once for all of the models.
    """

    name: str
    models: list[PlannedModel]
    pixel_bytes: int | None
    is_cached: bool


def write_plan(
    artefacts: Artefacts,
    dataset: Dataset,
    records: Iterable[ModelRecord],
    options: Options,
    is_measured: bool,
    width: int | None = None,
    as_json: bool = False,
) -> str:
    """The plan of a run, for people or as JSON.

    Args:
        artefacts: Of the run.
        dataset: Of the images, which are not looked at.
        records: The models; those that have predictions count as well.
        options: How they would be run.
        is_measured: Whether the device is measured for ten seconds, to estimate hours.
        width: Columns of the terminal; None for no limit.
        as_json: Whether it is for programs.

    Raises:
        InputError: for a device or folder that cannot be used.
    """
    device = predict.choose_device(options.device)
    workers = predict.default_workers(device) if options.workers is None else options.workers
    limits, num_images = (
        options.get_cache_limits(artefacts),
        min(options.limit or dataset.num_images, dataset.num_images),
    )
    plan = make_plan(artefacts, records, options, device, num_images, limits)
    rates = measure_rates(options.batch_size or FIRST, device, workers, options.amp) if is_measured else None
    facts = {
        "dataset": dataset.name,
        "device": str(device),
        "batch_size": options.batch_size,
        "cache_dir": str(limits.folder) if limits else None,
    }
    if as_json:
        return json.dumps(to_json(plan, facts, num_images, rates), indent=2)
    return describe(plan, facts, num_images, rates, width)


def make_plan(
    artefacts: Artefacts,
    records: Iterable[ModelRecord],
    options: Options,
    device: torch.device,
    num_images: int,
    limits: CacheLimits | None,
) -> list[PlannedGeometry]:
    """The geometries of a run, in its order. Models that have predictions count as well."""
    most_bytes = limits.compute_most_bytes() if limits else 0
    batch_sizes = {} if options.batch_size else read_batch_sizes(artefacts.batch_sizes())
    is_on_disk = listing.make_cache_test(artefacts, zoo.is_cached)
    plan = []
    for key, group in zoo.group_in_order(artefacts, records, options.use_test_size).items():
        name = "" if isinstance(key, str) else str(key)
        models = [
            PlannedModel(
                record,
                number,
                0 if is_on_disk(record) else listing.count_bytes(record),
                options.batch_size or recall_batch_size(batch_sizes, device, record, name, options.amp),
            )
            for record, number in group
        ]
        pixel_bytes = None if isinstance(key, str) else key.num_bytes * num_images
        is_cached = len(group) > 1 and pixel_bytes is not None and pixel_bytes <= most_bytes
        plan.append(PlannedGeometry(name, models, pixel_bytes, is_cached))
    return plan


def estimate_seconds(geometry: PlannedGeometry, num_images: int, rates: Rates) -> float | None:
    """How long the models of a geometry take; None where the multiply-adds of one are not known."""
    numbers = [model.multiply_adds for model in geometry.models]
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers):
        return None
    passes = 1 if geometry.is_cached else len(known)
    return num_images * (sum(known) / rates.multiply_adds + passes / rates.images)


def to_json(plan: list[PlannedGeometry], facts: dict[str, Any], num_images: int, rates: Rates | None) -> dict[str, Any]:
    """The plan as JSON; what is not known is null."""
    return facts | {
        "num_images": num_images,
        "rates": vars(rates) if rates else None,
        "geometries": [
            {
                "geometry": geometry.name or None,
                "pixel_bytes": geometry.pixel_bytes,
                "is_cached": geometry.is_cached,
                "seconds": estimate_seconds(geometry, num_images, rates) if rates else None,
                "models": [
                    {
                        "model_id": model.record.model_id,
                        "num_params": model.record.num_params,
                        "multiply_adds": model.multiply_adds,
                        "download_bytes": model.download_bytes,
                        "batch_size": model.batch_size,
                    }
                    for model in geometry.models
                ],
            }
            for geometry in plan
        ],
    }


def describe(
    plan: list[PlannedGeometry], facts: dict[str, Any], num_images: int, rates: Rates | None, width: int | None
) -> str:
    """The plan as a table and a paragraph."""
    parts = {}
    for number, geometry in enumerate(plan, 1):
        pixels = UNKNOWN if geometry.pixel_bytes is None else f"{geometry.pixel_bytes / GIGABYTE:.1f} GB"
        how = "kept for its models" if geometry.is_cached else "not kept"
        title = f"{number}. {geometry.name or 'geometry known when its models are built'}: pixels {pixels}, {how}"
        parts[title] = [_make_row(model, num_images, rates) for model in geometry.models]
    table = Table(("model", "parameters", "multiply-adds", "download", "batch", "hours"), parts)
    return f"{align(table, width)}\n\n{fill(_sum_up(plan, facts, num_images, rates), width)}"


def _make_row(model: PlannedModel, num_images: int, rates: Rates | None) -> list[str]:
    hours = None
    if rates and model.multiply_adds is not None:
        hours = num_images * model.multiply_adds / rates.multiply_adds / 3600
    return [
        model.record.model_id,
        _format(model.record.num_params, 1e6, 1, "M"),
        _format(model.multiply_adds, 1e9, 2, "G"),
        "cached" if model.download_bytes == 0 else _format(model.download_bytes, 1e6, 0, " MB"),
        _format(model.batch_size, 1, 0, ""),
        _format(hours, 1, 2, ""),
    ]


def _format(value: float | None, unit: float, digits: int, suffix: str) -> str:
    return UNKNOWN if value is None else f"{value / unit:,.{digits}f}{suffix}"


def _sum_up(plan: list[PlannedGeometry], facts: dict[str, Any], num_images: int, rates: Rates | None) -> str:
    models = [model for geometry in plan for model in geometry.models]
    downloads = [model.download_bytes for model in models]
    largest = max((geometry.pixel_bytes or 0 for geometry in plan if geometry.is_cached), default=0)
    weights = max((listing.count_bytes(model.record) or 0 for model in models), default=0)
    text = (
        f"{len(models):,} models in {len(plan)} geometries, {num_images:,} images."
        f" To download: {sum(filter(None, downloads)) / GIGABYTE:,.1f} GB{_without(downloads)}."
        f" Pixels on the disk: at most {largest / GIGABYTE:.1f} GB at a time, in {facts['cache_dir']}."
        f" Memory for weights: at most {weights / GIGABYTE:.1f} GB; that of activations is unknown."
    )
    if rates is None:
        return f"{text} Hours: unknown, --calibrate measures this device."
    seconds = [estimate_seconds(geometry, num_images, rates) for geometry in plan]
    time = timedelta(seconds=round(sum(filter(None, seconds))))
    return (
        f"{text} Time on {facts['device']}: about {time}{_without(seconds)}, at {rates.multiply_adds / 1e9:,.0f}G"
        f" multiply-adds and {rates.images:,.0f} images decoded per second, as measured with a ResNet-50: networks of"
        " other kinds can take several times as long."
    )


def _without(values: list[Any]) -> str:
    """What a sum lacks."""
    number = sum(value is None for value in values)
    return f", without {number:,} of unknown size" if number else ""
