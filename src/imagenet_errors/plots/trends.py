"""The figures' questions as numbers: does the share of an error type depend on more than accuracy?

Source: the paper's main claim, that accuracy predicts a model's error profile, whatever its corpus and architecture.
"""

from typing import Any

import numpy as np
import pandas as pd

from imagenet_errors.error_types import ERROR_COLUMNS
from imagenet_errors.plots.figure_table import DENOMINATORS
from imagenet_errors.plots.model_frames import Frames
from imagenet_errors.plots.points import TOP1_COLUMNS

ACCURACY_COLUMNS = {
    "imagenet": {True: "top1_val_acc", False: "mla_all"},
    "imagenet-a": {True: "imagenet_top1_val_acc", False: "imagenet_mla_val_acc"},
}
"""{dataset: {whether the share is of top-1 errors: the accuracy that it is compared with}}"""
MIN_MODELS = 30
TREND_COLUMNS = [
    *("error_type", "group", "share_of", "accuracy", "n"),
    *("slope", "slope_low", "slope_high", "r", "r_squared", "r_squared_bent"),
    *("corpus_partial_r_squared", "corpus_coefficient", "corpus_low", "corpus_high", "corpus_f", "corpus_p"),
    *("arch_partial_r_squared", "arch_f", "arch_p"),
]


def compute_trends(dataset: str, frames: Frames) -> list[dict]:
    """A row of `TREND_COLUMNS` per error type and group; None where too few or too similar models allow no number.

    The share, in percent, is fitted to accuracy by ordinary least squares: a straight line gives slope (points of share
    per point of accuracy, 95 % interval) and correlation. Because trends bend, corpus size and architecture group are
    added to a parabola in accuracy: partial R squared (the part of the remaining variance that they explain) and the F
    test of the nested models. The corpus coefficient is in points of share per tenfold corpus.
    """
    return [
        _compute_trend(dataset, column, group, frame, frames["all"])
        for column in ERROR_COLUMNS
        for group, frame in frames.items()
        if frame[column].notna().any() and frame[column].any()
    ]


def _compute_trend(dataset: str, column: str, group: str, frame: pd.DataFrame, of_all: pd.DataFrame) -> dict:
    of_top1 = column in TOP1_COLUMNS
    accuracy = ACCURACY_COLUMNS[dataset][of_top1]
    computation = "relative_to_group_top1_err" if of_top1 else "relative_to_group_mle"
    denominator = DENOMINATORS[computation](frame, of_all)
    share = 100 * frame[column] / denominator.where(denominator != 0)
    is_known = (share.notna() & frame[accuracy].notna() & frame.training_data_size.notna()).to_numpy()
    models = frame[is_known]
    y, x = share[is_known].to_numpy(), models[accuracy].to_numpy()
    row = dict.fromkeys(TREND_COLUMNS) | {
        "error_type": column,
        "group": group,
        "share_of": computation,
        "accuracy": accuracy,
        "n": len(y),
    }
    if len(y) < MIN_MODELS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return row
    parabola = np.column_stack([x, x**2])
    row |= _fit_accuracy(y, x, parabola)
    size = np.log10(models.training_data_size.to_numpy())
    if np.ptp(size):
        row |= _test_corpus(y, parabola, size)
    archs = pd.get_dummies(models.arch_group, drop_first=True).to_numpy(float)
    if archs.shape[1]:
        partial, _, f, p = _compare_nested(y, parabola, archs)
        row |= {"arch_partial_r_squared": partial, "arch_f": f, "arch_p": p}
    return row


def _fit_accuracy(y: np.ndarray, x: np.ndarray, parabola: np.ndarray) -> dict[str, float]:
    """The straight line of share against accuracy, and how much of the variance a parabola explains."""
    import statsmodels.api as sm

    line = sm.OLS(y, sm.add_constant(x)).fit()
    low, high = line.conf_int()[1]
    return {
        "slope": line.params[1],
        "slope_low": low,
        "slope_high": high,
        "r": np.corrcoef(x, y)[0, 1],
        "r_squared": line.rsquared,
        "r_squared_bent": sm.OLS(y, sm.add_constant(_standardize(parabola))).fit().rsquared,
    }


def _test_corpus(y: np.ndarray, parabola: np.ndarray, size: np.ndarray) -> dict[str, float]:
    """What the corpus' size, log10 of images, adds to a parabola in accuracy."""
    partial, model, f, p = _compare_nested(y, parabola, size[:, None])
    low, high = model.conf_int()[-1]
    return {
        "corpus_partial_r_squared": partial,
        "corpus_coefficient": model.params[-1],
        "corpus_low": low,
        "corpus_high": high,
        "corpus_f": f,
        "corpus_p": p,
    }


def _compare_nested(y: np.ndarray, columns: np.ndarray, added: np.ndarray) -> tuple[float, Any, float, float]:
    """Least squares on `columns`, and on these with the `added` ones ([n, a]).

    Returns:
        Partial R squared, the larger model, F and p.
    """
    import statsmodels.api as sm

    constant_and_columns = sm.add_constant(_standardize(columns))
    smaller = sm.OLS(y, constant_and_columns).fit()
    larger = sm.OLS(y, np.column_stack([constant_and_columns, added])).fit()
    f, p, _ = larger.compare_f_test(smaller)
    return 1 - larger.ssr / smaller.ssr, larger, float(f), float(p)


def _standardize(columns: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance: the same models, better conditioned."""
    return (columns - columns.mean(axis=0)) / columns.std(axis=0)


def format_trends(rows: list[dict]) -> list[str]:
    """The lines to print, effect sizes before p values."""
    lines = [
        "share of errors by accuracy: least squares; corpus size and architecture group: partial R squared beyond a"
        " parabola in accuracy, F test of the nested models",
        f"{'error type':24}{'group':>9}{'n':>5}{'slope [95 % interval]':>27}{'r':>7}{'R2':>6}{'bent':>6}"
        f"{'corpus':>8}{'(p)':>9}{'arch':>7}{'(p)':>9}",
    ]
    for row in rows:
        if row["slope"] is None:
            lines.append(f"{row['error_type']:24}{row['group']:>9}{row['n']:>5}  fewer than 30 models, or no variation")
            continue
        slope = f"{row['slope']:+.3f} [{row['slope_low']:+.3f}, {row['slope_high']:+.3f}]"
        added = "".join(
            f"{'':>{width + 9}}"
            if row[f"{name}_partial_r_squared"] is None
            else f"{row[f'{name}_partial_r_squared']:{width}.3f}{row[f'{name}_p']:9.1e}"
            for name, width in (("corpus", 8), ("arch", 7))
        )
        lines.append(
            f"{row['error_type']:24}{row['group']:>9}{row['n']:>5}{slope:>27}{row['r']:7.2f}{row['r_squared']:6.2f}"
            f"{row['r_squared_bent']:6.2f}{added}"
        )
    return lines
