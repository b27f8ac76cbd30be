"""What collect_predictions.py lists: modules, models, and the time that predictions took."""

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta

from imagenet_errors.errors import InputError
from imagenet_errors.formats.metadata import read_metadata
from imagenet_errors.models import own_models, weight_files
from imagenet_errors.models.model_table import ALL, EVERYTHING, ModelRecord, load_records
from imagenet_errors.paths import Artefacts
from imagenet_errors.terminal import Table, align, fill

BYTES_PER_PARAMETER = 4  # weights are published as float32

log = logging.getLogger(__name__)


def describe_modules(artefacts: Artefacts) -> str:
    """A table of how many models each module has; `all` and `everything` come last."""
    records = load_records(artefacts)
    modules = [*sorted({record.module for record in records}), ALL, EVERYTHING]
    rows = [[module, f"{sum(record.is_in(module) for record in records):,}"] for module in modules]
    return align(Table(("module", "models"), {"": rows}))


def describe_models(
    artefacts: Artefacts, records: list[ModelRecord], is_cached: Callable[[ModelRecord], bool], width: int | None
) -> str:
    """A table of models with their parameters, corpus and what is to be downloaded, and the sums.

    Args:
        artefacts: Where weight_files.csv is.
        records: The models.
        is_cached: Whether weights are on this machine; called for models that weight_files.csv lacks.
        width: Columns of the terminal; None for no limit.
    """
    is_on_disk = make_cache_test(artefacts, is_cached)
    rows, missing = [], []
    for record in records:
        cached = is_on_disk(record)
        if not cached:
            missing.append(record)
        size = "cached" if cached else _format(record.num_params, BYTES_PER_PARAMETER / 1e6, 0, " MB")
        rows.append([record.model_id, _format(record.num_params, 1e-6, 1, "M"), record.training_data, size])
    table = Table(("model", "parameters", "training data", "download"), {"": rows})
    return f"{align(table, width)}\n\n{fill(_sum_up(records, missing), width)}"


def make_cache_test(artefacts: Artefacts, is_cached: Callable[[ModelRecord], bool]) -> Callable[[ModelRecord], bool]:
    """A function that tells whether a model needs no download; arguments as of `describe_models`."""
    files = weight_files.read_weight_files(artefacts)

    def is_on_disk(record: ModelRecord) -> bool:
        if record.model_id in files:
            return not weight_files.missing(files[record.model_id])
        return record.module == own_models.MODULE or is_cached(record)

    return is_on_disk


def count_bytes(record: ModelRecord) -> int | None:
    """Of a model's weights; None where its parameters are not known."""
    return None if record.num_params is None else BYTES_PER_PARAMETER * record.num_params


def _sum_up(records: list[ModelRecord], missing: list[ModelRecord]) -> str:
    """How many models, parameters and gigabytes."""
    known = [record for record in records if record.num_params is not None]
    parameters, to_download = _count_parameters(records), BYTES_PER_PARAMETER / 1e9 * _count_parameters(missing)
    text = f"{len(records):,} models, {len(records) - len(missing):,} cached"
    if parameters:
        text += f", {parameters / 1e6:,.1f}M parameters"
    if to_download:
        digits = 0 if to_download >= 10 else 2
        text += f", about {to_download:,.{digits}f} GB to download ({BYTES_PER_PARAMETER} bytes per parameter)"
    if len(known) < len(records):
        text += f", without {len(records) - len(known)} models of unknown size"
    return f"{text}."


def _count_parameters(records: list[ModelRecord]) -> int:
    """Those that are known."""
    return sum(record.num_params or 0 for record in records)


def _format(num_params: int | None, scale: float, digits: int, unit: str) -> str:
    return "–" if num_params is None else f"{num_params * scale:,.{digits}f}{unit}"


def describe_computation_time(artefacts: Artefacts, dataset: str) -> Iterator[str]:
    """The time that the predictions of a dataset took; models whose time is not known are logged.

    Raises:
        InputError: where there are no predictions.
    """
    models = artefacts.models(dataset)
    if not models:
        raise InputError(f"{artefacts.dataset_dir(dataset)} has no predictions: run it without --get_computation_time")
    times = {model: read_metadata(artefacts.metadata(dataset, model))["preds_comp_time"] for model in models}
    known = [seconds for seconds in times.values() if seconds is not None]
    without = [model for model, seconds in times.items() if seconds is None]
    if without:
        log.info(f"the time is not known of {', '.join(without)}")
    yield f"{dataset}: {len(known)} models took {timedelta(seconds=round(sum(known)))} ({sum(known):.1f} s)"
