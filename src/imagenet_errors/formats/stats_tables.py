"""The stats tables of a dataset, one per group of images: stats-<dataset>/non_problematic_stats_<group>.csv."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imagenet_errors.dataset.classes import GROUPS
from imagenet_errors.error_types import CODES, ERROR_COLUMNS
from imagenet_errors.errors import InputError
from imagenet_errors.files import write_csv
from imagenet_errors.paths import stats_table

if TYPE_CHECKING:  # imported where tables are read: counting and writing do without pandas
    import pandas as pd

COUNTS_AS_CORRECT = [CODES[name] for name in ("correct", "class_overlap", "missing_multi_label")]
MINOR = [*COUNTS_AS_CORRECT, CODES["fine_grained"], CODES["out_of_vocabulary"]]
EXPLAINABLE = [*MINOR, CODES["spurious_correlation"], CODES["non_prototypical"]]
ACCURACIES = {"": COUNTS_AS_CORRECT, "_minor_error": MINOR, "_explainable_error": EXPLAINABLE}
"""{suffix of a column `mla_<all or group>...`: codes of the outcomes that it counts as correct}"""

IMAGENET_M_COLUMNS = ("num_all_imagenet-m_samples", "num_group_imagenet-m_samples", "num_imagenet-m_errors")
TEXT_COLUMNS = ("model_dir_id", "training_data", "arch", "arch_family", "arch_group", "extra_annotations")
DERIVED_TEXT_COLUMNS = ("training_data_group", "pretrain_method")  # users' tables may bring them, ours do not
REQUIRED_COUNTS = ("num_group_samples", "num_group_correct", "num_group_top1_errors")
ADVICE = "write it again with evaluation.py --collect_results"


def columns(dataset: str) -> list[str]:
    """The columns of a dataset's stats tables, in the published order."""
    is_imagenet_a = dataset == "imagenet-a"
    return [
        *("model_dir_id", "num_params", "training_data", "arch", "arch_family", "arch_group", "extra_annotations"),
        *("top1_val_acc", *(("top1_val_acc_subset_200",) if is_imagenet_a else ())),
        *("imagenet_top1_val_acc", "imagenet_mla_val_acc"),
        *("num_all_samples", "num_group_samples", "num_group_correct", "num_all_top1_errors", "num_group_top1_errors"),
        *(f"mla_{scope}{suffix}" for scope in ("all", "group") for suffix in ACCURACIES),
        *ERROR_COLUMNS,
        *(() if is_imagenet_a else IMAGENET_M_COLUMNS),
    ]


def write(path: Path, dataset: str, rows: list[dict]) -> None:
    """Write one table: a row per model with a value, or None for an empty cell, for each of `columns(dataset)`."""
    write_csv(path, columns(dataset), rows)


def read(stats_dir: Path, dataset: str) -> "dict[str, pd.DataFrame]":
    """Read the tables of a dataset.

    Args:
        stats_dir: The folder with `stats-<dataset>/`.
        dataset: `imagenet` or `imagenet-a`.

    Returns:
        {group: table} with the same models in the same order. Texts are str, all other columns float64, where an empty
        cell is not-a-number. Columns of error types and `num_params` that a file lacks are empty.

    Raises:
        InputError: for a table that is missing, damaged, does not add up, or lists other models than the first.
    """
    tables = {group: _read_table(stats_table(stats_dir, dataset, group)) for group in GROUPS}
    models = tables["all"].model_dir_id.tolist()
    for group, table in tables.items():
        path = stats_table(stats_dir, dataset, group)
        if table.model_dir_id.tolist() != models:
            raise InputError(f"{path} lists other models than the table of all images, or in another order: {ADVICE}")
        _check_sums(table, path, dataset)
    return tables


def from_rows(dataset: str, rows: list[dict]) -> "pd.DataFrame":
    """One table as `read` gives it, of rows as `write` takes them."""
    import pandas as pd

    table = pd.DataFrame(rows, columns=columns(dataset))
    texts = table[list(TEXT_COLUMNS)]
    texts = texts.where(texts.notna(), "").astype(str)
    return table.astype({name: float for name in table if name not in TEXT_COLUMNS}).assign(**texts)


def check(path: Path, dataset: str) -> None:
    """Check one table that `write` has written.

    Raises:
        InputError: where its columns are not the published ones, a cell is damaged, or its counts do not add up.
    """
    table = _read_table(path)
    if list(table.columns) != columns(dataset):
        raise InputError(f"{path} has other columns than the published tables, or in another order: {ADVICE}")
    _check_sums(table, path, dataset)


def _read_table(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        table = pd.read_csv(path, keep_default_na=False, na_values={})
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing: run evaluation.py --collect_results, or give another folder of tables"
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a CSV table ({error}): {ADVICE}") from None
    missing = [name for name in (*TEXT_COLUMNS, *REQUIRED_COUNTS) if name not in table]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]!r}: {ADVICE}")
    duplicates = table.model_dir_id[table.model_dir_id.duplicated()]
    if len(duplicates):
        raise InputError(f"{path} lists {duplicates.iloc[0]} twice: {ADVICE}")
    absent = [name for name in (*ERROR_COLUMNS, "num_params") if name not in table]
    table = table.assign(**dict.fromkeys(absent, np.nan))
    numeric = [name for name in table.columns if name not in (*TEXT_COLUMNS, *DERIVED_TEXT_COLUMNS)]
    try:
        table[numeric] = table[numeric].replace("", np.nan).astype(float)
    except ValueError as error:
        raise InputError(f"{path} has a cell that is not a number ({error}): {ADVICE}") from None
    if np.isinf(table[numeric].to_numpy()).any():
        raise InputError(f"{path} has a cell that is not a finite number (inf): {ADVICE}")
    return table


def _check_sums(table: "pd.DataFrame", path: Path, dataset: str) -> None:
    """Raises `InputError` where correct and wrong predictions, or the error types, do not add up, empty cells aside."""
    errors = table.num_group_top1_errors
    differences = {
        "num_group_correct and num_group_top1_errors": table.num_group_correct + errors - table.num_group_samples,
        "the seven error types": table[list(ERROR_COLUMNS)].sum(axis=1, skipna=False) - errors,
    }
    if dataset == "imagenet-a":  # which has one label per image, and no list of non-prototypical images
        differences |= {name: table[name] for name in ("num_ambiguous", "num_non_prototypical")}
    for what, difference in differences.items():
        wrong = (difference.notna() & (difference != 0)).to_numpy()
        if wrong.any():
            raise InputError(f"{path}: {what} of {table.model_dir_id[wrong].iloc[0]} do not add up: {ADVICE}")
