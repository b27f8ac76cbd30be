"""What the figures ask, as numbers: does the share of an error type depend on more than accuracy?

Source: the paper's headline, that a model's accuracy predicts its error profile, whatever its corpus and architecture.
"""

import numpy as np
import pandas as pd

from imagenet_errors.error_types import ERROR_COLUMNS
from imagenet_errors.plots.figure_table import DENOMINATORS

OF_TOP1_ERRORS = ("num_collapsed_mappings", "num_ambiguous")  # the others are shares of multi-label errors
ACCURACIES = {
    "imagenet": {True: "top1_val_acc", False: "mla_all"},
    "imagenet-a": {True: "imagenet_top1_val_acc", False: "imagenet_mla_val_acc"},
}
COLUMNS = [
    *("error_type", "group", "share_of", "accuracy", "n"),
    *("slope", "slope_low", "slope_high", "r", "r_squared", "r_squared_bent"),
    *("corpus_partial_r_squared", "corpus_coefficient", "corpus_low", "corpus_high", "corpus_f", "corpus_p"),
    *("arch_partial_r_squared", "arch_f", "arch_p"),
]


def trends(dataset: str, frames: dict[str, pd.DataFrame]) -> list[dict]:
    """A row per error type and group.

    The share, in percent, is fitted to accuracy by ordinary least squares: a straight line gives slope (points of share
    per point of accuracy, 95 % interval) and correlation. Trends bend, so whether corpus size or architecture group add
    anything is asked of what a parabola leaves: the partial R squared (the part of the remaining variance that they
    explain), and the F test of the nested models. The corpus coefficient is in points of share per tenfold corpus.
    """
    return [
        _trend(dataset, column, group, frame, frames["all"])
        for column in ERROR_COLUMNS
        for group, frame in frames.items()
        if frame[column].notna().any() and frame[column].any()
    ]


def _trend(dataset: str, column: str, group: str, frame: pd.DataFrame, everything: pd.DataFrame) -> dict:
    import statsmodels.api as sm

    of_top1 = column in OF_TOP1_ERRORS
    accuracy = ACCURACIES[dataset][of_top1]
    kind = "relative_to_group_top1_err" if of_top1 else "relative_to_group_mle"
    denominator = DENOMINATORS[kind](frame, everything)
    share = 100 * frame[column] / denominator.where(denominator != 0)
    known = (share.notna() & frame[accuracy].notna() & frame.training_data_size.notna()).to_numpy()
    y, x = share[known].to_numpy(), frame[accuracy][known].to_numpy()
    row = {"error_type": column, "group": group, "share_of": kind, "accuracy": accuracy, "n": len(y)}
    if len(y) < 30 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return row | dict.fromkeys(COLUMNS[len(row) :])
    straight = sm.OLS(y, sm.add_constant(x)).fit()
    bent_columns = np.column_stack([x, x**2])
    bent = sm.OLS(y, sm.add_constant(_standard(bent_columns))).fit()
    size = np.log10(frame.training_data_size[known].to_numpy())
    groups = pd.get_dummies(frame.arch_group[known], drop_first=True).to_numpy(float)
    low, high = straight.conf_int()[1]
    row |= {
        "slope": straight.params[1],
        "slope_low": low,
        "slope_high": high,
        "r": np.corrcoef(x, y)[0, 1],
        "r_squared": straight.rsquared,
        "r_squared_bent": bent.rsquared,
    }
    added = _added(y, bent_columns, bent, size[:, None]) if np.ptp(size) else None
    if added is None:
        row |= dict.fromkeys(name for name in COLUMNS if name.startswith("corpus"))
    else:
        partial, model, f, p = added
        low, high = model.conf_int()[-1]
        row |= {
            "corpus_partial_r_squared": partial,
            "corpus_coefficient": model.params[-1],
            "corpus_low": low,
            "corpus_high": high,
            "corpus_f": f,
            "corpus_p": p,
        }
    if not groups.shape[1]:
        return row | dict.fromkeys(name for name in COLUMNS if name.startswith("arch"))
    partial, _, f, p = _added(y, bent_columns, bent, groups)
    return row | {"arch_partial_r_squared": partial, "arch_f": f, "arch_p": p}


def _added(y: np.ndarray, columns: np.ndarray, without, more: np.ndarray) -> tuple:
    """What `more` columns add to the model `without` them: partial R squared, the model with them, F and p."""
    import statsmodels.api as sm

    model = sm.OLS(y, np.column_stack([sm.add_constant(_standard(columns)), more])).fit()
    f, p, _ = model.compare_f_test(without)
    return 1 - model.ssr / without.ssr, model, float(f), float(p)


def _standard(columns: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance: the same models, better conditioned."""
    return (columns - columns.mean(axis=0)) / columns.std(axis=0)


def report(rows: list[dict]) -> list[str]:
    """The lines to print, effect sizes first."""
    lines = [
        "share of errors by accuracy: least squares; corpus size and architecture group: partial R squared beyond a"
        " parabola in accuracy, F test of the nested models",
        f"{'error type':24}{'group':>9}{'n':>5}{'slope [95 % interval]':>27}{'r':>7}{'R2':>6}{'bent':>6}"
        f"{'corpus':>8}{'(p)':>9}{'arch':>7}{'(p)':>9}",
    ]
    for row in rows:
        if row["slope"] is None:
            lines.append(f"{row['error_type']:24}{row['group']:>9}{row['n']:>5}  too few models, or all alike")
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
