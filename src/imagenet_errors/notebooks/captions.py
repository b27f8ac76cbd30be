"""What a figure shows of the tables that it is drawn from, in a sentence."""

from collections.abc import Callable, Sequence

import pandas as pd

from imagenet_errors.error_types import ERROR_TYPES
from imagenet_errors.plots.figure_table import Figure
from imagenet_errors.plots.markers import GROUP_NAMES

DENOMINATORS = {
    "relative_to_group_mle": "the group's multi-label errors",
    "relative_to_group_top1_err": "the group's top-1 errors",
    "relative_to_all_mle": "all multi-label errors",
    "relative_to_all_top1_err": "all top-1 errors",
}
NAMES = {one.column: f"{one.title} errors" for one in ERROR_TYPES} | {"num_not_classified": "model failures"}
FORMATS = {"count": "{:,.0f}", "percent": "{:.1f} %", "fraction": "{:.3f}"}
TENTH = 10
WEAK = 0.2  # a rank correlation nearer to 0 is called none


def describe_method(num_models: int) -> str:
    """What the numbers of `describe_trend` are."""
    tenth = num_models // TENTH
    if tenth > 1:
        ends = f"medians of the {tenth} least and of the {tenth} most accurate models"
    else:
        ends = "of the least and of the most accurate model"
    return f"The numbers below figures are {ends}; ρ is Spearman's rank correlation with accuracy."


def name_y(figure: Figure) -> str:
    """What is on the y axis, e.g. `the number of fine-grained errors`."""
    if figure.y == "num_group_correct":
        return "the top-1 accuracy on ImageNet-A"
    if figure.y_computation == "abs":
        return f"the number of {NAMES[figure.y]}"
    return f"the share of {NAMES[figure.y]} among {DENOMINATORS[figure.y_computation]}"


def name_x(figure: Figure) -> str:
    """What is on the x axis, e.g. `top-1 accuracy on ImageNet`."""
    of_imagenet, name = "ImageNet " in figure.x_label, figure.x_label.removesuffix(" [%]").removeprefix("ImageNet ")
    return name.replace("Top-1 Accuracy", "top-1 accuracy") + (" on ImageNet" if of_imagenet else "")


def name_groups(groups: Sequence[str]) -> str:
    """E.g. `organisms, artifacts and others`."""
    *first, last = [GROUP_NAMES[group] for group in groups]
    return f"{', '.join(first)} and {last}" if first else last


def describe_trend(figure: Figure, points: pd.DataFrame, groups: Sequence[str]) -> str:
    """How y changes with accuracy, e.g. `it falls for organisms from 310 to 74 (ρ −0.98)`.

    Args:
        figure: Which.
        points: Its `compute_points`.
        groups: Those of the figure's groups that are described.
    """
    write = FORMATS[figure.y_unit].format
    return "; ".join(
        f"it {_describe_group(points[points.group == group], GROUP_NAMES[group], write)}" for group in groups
    )


def _describe_group(points: pd.DataFrame, name: str, write: Callable[[float], str]) -> str:
    if points.empty:
        return f"is unknown for {name}"
    by_accuracy = points.sort_values("x", kind="stable").y
    size = max(1, len(points) // TENTH)
    low, high = write(by_accuracy.head(size).median()), write(by_accuracy.tail(size).median())
    rho = points.x.rank().corr(points.y.rank())
    if pd.isna(rho):  # one model, or the same value for all
        return f"is {low} for {name}"
    correlation = f"ρ {rho:+.2f}".replace("-", "−")
    if abs(rho) < WEAK:
        return f"shows no trend for {name} (from {low} to {high}, {correlation})"
    return f"{'rises' if rho > 0 else 'falls'} for {name} from {low} to {high} ({correlation})"
