"""The stats tables as figures use them: with derived columns, and only the models that were asked for."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.errors import InputError, describe_unknown
from imagenet_errors.formats import stats_tables
from imagenet_errors.paths import stats_table
from imagenet_errors.plots.model_columns import add_model_columns

WITH_FIGURES = ("imagenet", "imagenet-a")
Frames = dict[str, pd.DataFrame]  # by group, a row per model
CONDITION = re.compile(r"\s*(?P<column>[\w-]+)\s*(?P<sign><=|>=|==|!=|<|>)\s*(?P<value>.+?)\s*")
COMPARISONS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}  # methods of a column

log = logging.getLogger(__name__)


def find_datasets(stats_dir: Path) -> list[str]:
    """The datasets with figures that a folder has tables of; one that it lacks is named in the log.

    All, where the folder has no tables: reading them then says so.
    """
    present = [dataset for dataset in WITH_FIGURES if stats_table(stats_dir, dataset, "all").exists()]
    for dataset in WITH_FIGURES:
        if present and dataset not in present:
            log.info(f"{stats_dir} has no tables of {dataset}: its figures are left out")
    return present or list(WITH_FIGURES)


def load_frames(stats_dir: Path, dataset: str, filters: Sequence[str] = ()) -> Frames:
    """Read the stats tables of a dataset, derive columns and keep the models that meet all `filters`.

    Args:
        stats_dir: The folder with `stats-<dataset>/`.
        dataset: `imagenet` or `imagenet-a`.
        filters: Conditions, e.g. `num_params<5e7`.

    Raises:
        InputError: for tables that `stats_tables.read` refuses, a malformed filter, or if no model is left.
    """
    frames = derive_columns(stats_tables.read(stats_dir, dataset), dataset)
    for condition in filters:
        is_kept = _meets(frames["all"], condition).to_numpy()
        frames = {group: frame[is_kept].reset_index(drop=True) for group, frame in frames.items()}
    if frames["all"].empty:
        asked = f" that meets {' and '.join(filters)}" if filters else ""
        raise InputError(f"{stats_table(stats_dir, dataset, 'all')} lists no model{asked}: there is nothing to draw")
    return frames


def derive_columns(tables: Frames, dataset: str) -> Frames:
    """Stats tables, by group, with the columns that figures need besides theirs."""
    if dataset == "imagenet-a":
        accuracy = 100 * tables["all"].num_group_correct / DATASETS[dataset].num_images
        tables = {group: table.assign(imagenet_a_top1_val_acc=accuracy) for group, table in tables.items()}
    return {group: add_model_columns(table) for group, table in tables.items()}


def _meets(frame: pd.DataFrame, condition: str) -> pd.Series:
    """[models] bool. Raises `InputError` for a malformed condition."""
    match = CONDITION.fullmatch(condition)
    if match is None:
        raise InputError(f"--filter {condition!r} is not a condition: write column, sign and value, as num_params<5e7")
    name, value = match["column"], match["value"].strip("'\"")
    if name not in frame:
        raise InputError(f"--filter {condition!r}: {describe_unknown('column', name, frame.columns)}")
    compare = getattr(frame[name], COMPARISONS[match["sign"]])
    if pd.api.types.is_numeric_dtype(frame[name]):
        try:
            return compare(float(value))
        except ValueError:
            raise InputError(f"--filter {condition!r}: {value!r} is not a number, as {name} is") from None
    if match["sign"] not in ("==", "!="):
        raise InputError(f"--filter {condition!r}: {name} is a text: compare it with == or !=")
    return compare(value)
