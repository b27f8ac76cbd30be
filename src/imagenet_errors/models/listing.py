"""What collect_predictions.py lists: modules, models, and the time that predictions took."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta

from imagenet_errors.errors import InputError
from imagenet_errors.formats.metadata import read_metadata
from imagenet_errors.models import own_models, weight_files
from imagenet_errors.models.model_table import ModelRecord, load_records
from imagenet_errors.paths import Artefacts

log = logging.getLogger(__name__)


def describe_modules(artefacts: Artefacts) -> Iterator[str]:
    """A line per module of the tables."""
    for module, count in sorted(Counter(record.module for record in load_records(artefacts)).items()):
        yield f"{module}  {count} models"


def describe_models(
    artefacts: Artefacts, records: list[ModelRecord], is_cached: Callable[[ModelRecord], bool]
) -> Iterator[str]:
    """A line per model; `is_cached` is called for those that weight_files.csv lacks."""
    files = weight_files.read_weight_files(artefacts)
    for record in records:
        if record.model_id in files:
            cached = not weight_files.missing(files[record.model_id])
        else:
            cached = record.module == own_models.MODULE or is_cached(record)
        params = "unknown" if record.num_params is None else f"{record.num_params / 1e6:.1f}M"
        state = "cached" if cached else "not cached"
        yield f"{record.model_id}  {params} parameters  {record.training_data}  {state}"


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
