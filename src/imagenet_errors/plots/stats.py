"""The stats tables as frames: checked, with the columns that figures derive."""

import ast
import operator
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from imagenet_errors.dataset.classes import GROUPS
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.error_types import ERROR_COLUMNS
from imagenet_errors.errors import InputError, describe_unknown
from imagenet_errors.paths import stats_table

TEXTS = ("model_dir_id", "training_data", "arch", "arch_family", "arch_group", "extra_annotations")
DERIVED_TEXTS = ("training_data_group", "pretrain_method")
COUNTS = ("num_group_samples", "num_group_correct", "num_group_top1_errors")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Corpus:
    """What a model was trained on (Peychev et al. 2023).

    Attributes:
        size: Images.
        group: By size.
        marker: matplotlib's code.
    """

    size: float
    group: str
    marker: str


CORPORA = {
    "ImageNet-1k (1.2M)": Corpus(1.2e6, "small (< 5M)", "o"),
    "ImageNet-21k (14M)": Corpus(14e6, "medium (< 50M)", "s"),
    "Merged (30M)": Corpus(30e6, "medium (< 50M)", "p"),
    "Merged (38M)": Corpus(38e6, "medium (< 50M)", "8"),
    "Flickr YFCC (90M)": Corpus(90e6, "large (< 500M)", "*"),
    "JFT (300M)": Corpus(300e6, "large (< 500M)", "D"),
    "WIT (400M)": Corpus(400e6, "large (< 500M)", "<"),
    "LAION-400M (400M)": Corpus(400e6, "large (< 500M)", ">"),
    "Instagram (940M)": Corpus(940e6, "xlarge (> 500M)", "X"),
    "RandomInternetImages (2B)": Corpus(2e9, "xlarge (> 500M)", "v"),
    "LAION-2B (2.3B)": Corpus(2.3e9, "xlarge (> 500M)", "^"),
    "Instagram (3.6B)": Corpus(3.6e9, "xlarge (> 500M)", "P"),
}
PRETRAIN_METHODS = (
    "Standard",
    "Semi-Supervised Learning",
    "Self-Supervised Learning",
    "Distillation",
    "CLIP Training",
    "Adversarial Training",
)
FILTER = re.compile(r"\s*(?P<column>[\w-]+)\s*(?P<sign><=|>=|==|!=|<|>)\s*(?P<value>.+?)\s*")
SIGNS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne}


def load(stats_dir: Path, dataset: str, filters: list[str] = ()) -> dict[str, pd.DataFrame]:
    """{group: table} of a dataset, with derived columns; a row per model.

    Args:
        stats_dir: Holds `stats-<dataset>/`.
        dataset: `imagenet` or `imagenet-a`.
        filters: Conditions as `num_params<5e7`, all of which a model must meet.

    Raises:
        InputError: where a table is missing, damaged, of other models than the others, or does not add up; for a filter
            that cannot be read or leaves no model.
    """
    frames = {group: _read(stats_table(stats_dir, dataset, group)) for group in GROUPS}
    first = frames["all"]
    for group, frame in frames.items():
        path = stats_table(stats_dir, dataset, group)
        if frame.model_dir_id.tolist() != first.model_dir_id.tolist():
            raise InputError(f"{path} lists other models than the table of all, or in another order: collect again")
        _check_identities(frame, path, dataset)
    if dataset == "imagenet-a":
        accuracy = 100 * first.num_group_correct / DATASETS[dataset].num_images
        frames = {group: frame.assign(imagenet_a_top1_val_acc=accuracy) for group, frame in frames.items()}
    frames = {group: _derive(frame) for group, frame in frames.items()}
    for condition in filters:
        kept = _meets(frames["all"], condition)
        frames = {group: frame[kept.to_numpy()].reset_index(drop=True) for group, frame in frames.items()}
    if not len(frames["all"]):
        left = f" that meets {' and '.join(filters)}" if filters else ""
        raise InputError(f"{stats_table(stats_dir, dataset, 'all')} lists no model{left}: nothing can be drawn")
    return frames


def _read(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, keep_default_na=False, na_values={})
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing: run evaluation.py --collect_results, or name its folder with --stats_dir"
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no table ({error}): collect it again") from None
    missing = [name for name in (*TEXTS, *COUNTS) if name not in frame]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]!r}: collect it again")
    if frame.model_dir_id.duplicated().any():
        raise InputError(f"{path} lists {frame.model_dir_id[frame.model_dir_id.duplicated()].iloc[0]} twice")
    absent = [name for name in (*ERROR_COLUMNS, "num_params") if name not in frame]
    frame = frame.assign(**dict.fromkeys(absent, np.nan))
    numbers = frame.columns.difference((*TEXTS, *DERIVED_TEXTS))
    try:
        frame[numbers] = frame[numbers].replace("", np.nan).astype(float)
    except ValueError as error:
        raise InputError(f"{path} holds something that is no number ({error}): collect it again") from None
    if np.isinf(frame[numbers]).to_numpy().any():
        raise InputError(f"{path} holds something that is no number (inf): collect it again")
    return frame


def _check_identities(frame: pd.DataFrame, path: Path, dataset: str) -> None:
    """Raises `InputError` where correct and wrong, or the error types, do not add up, empty cells aside."""
    errors = frame.num_group_top1_errors
    sums = {
        "num_group_correct and num_group_top1_errors": frame.num_group_correct + errors - frame.num_group_samples,
        "the seven error types": frame[list(ERROR_COLUMNS)].sum(axis=1, skipna=False) - errors,
    }
    if dataset == "imagenet-a":  # which has one label per image, and no experts' list
        sums |= {name: frame[name] for name in ("num_ambiguous", "num_non_prototypical")}
    for what, difference in sums.items():
        wrong = (difference.notna() & (difference != 0)).to_numpy()
        if wrong.any():
            raise InputError(f"{path}: {what} of {frame.model_dir_id[wrong].iloc[0]} do not add up: collect it again")


def _derive(frame: pd.DataFrame) -> pd.DataFrame:
    """With the columns that figures need and the file does not have."""
    corpora = frame.training_data.map(CORPORA)
    derived = {
        "training_data_size": corpora.map(lambda corpus: corpus.size, na_action="ignore").astype(float),
        "training_data_group": corpora.map(lambda corpus: corpus.group, na_action="ignore")
        .astype(object)
        .fillna(UNKNOWN),
        "pretrain_method": frame.extra_annotations.map(pretrain_method),
    }
    return frame.assign(**{name: column for name, column in derived.items() if name not in frame})


def pretrain_method(extra_annotations: str) -> str:
    """The one way of training beyond labels that a list, as Python prints it, names."""
    try:
        listed = ast.literal_eval(extra_annotations)
    except (ValueError, SyntaxError):
        return UNKNOWN
    if not isinstance(listed, list):
        return UNKNOWN
    if not listed:
        return "Standard"
    if sorted(listed) == ["CLIP Training", "Self-Supervised Learning"]:
        return "CLIP Training"
    return listed[0] if len(listed) == 1 else UNKNOWN


def _meets(frame: pd.DataFrame, condition: str) -> pd.Series:
    """[models] bool. Raises `InputError` for a condition that cannot be read."""
    match = FILTER.fullmatch(condition)
    if match is None:
        raise InputError(f"--filter {condition!r} is no condition: write column, sign and value, as num_params<5e7")
    name, value = match["column"], match["value"].strip("'\"")
    if name not in frame:
        raise InputError(f"--filter {condition!r}: {describe_unknown('column', name, frame.columns)}")
    column = frame[name]
    if pd.api.types.is_numeric_dtype(column):
        try:
            value = float(value)
        except ValueError:
            raise InputError(f"--filter {condition!r}: {value!r} is no number, as {name} is") from None
    elif match["sign"] not in ("==", "!="):
        raise InputError(f"--filter {condition!r}: {name} is a text, which == and != compare")
    return SIGNS[match["sign"]](column, value)
