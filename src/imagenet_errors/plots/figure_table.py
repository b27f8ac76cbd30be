"""The figures: rows of figures.csv."""

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import pandas as pd

from imagenet_errors.errors import InputError, describe_unknown
from imagenet_errors.files import read_csv
from imagenet_errors.paths import FIGURES, Artefacts

SCALES = {"count": 1, "fraction": 1, "percent": 100}


def multi_label_errors(frame: pd.DataFrame) -> pd.Series:
    """Errors that no other accepted label explains."""
    return frame.num_group_top1_errors - frame.num_collapsed_mappings - frame.num_ambiguous


# What y is divided by: from the frames of the group and of all models' images to [models].
DENOMINATORS = {
    "abs": lambda group, everything: pd.Series(1.0, group.index),
    "relative_to_group_mle": lambda group, everything: multi_label_errors(group),
    "relative_to_group_top1_err": lambda group, everything: group.num_group_top1_errors,
    "relative_to_all_mle": lambda group, everything: multi_label_errors(everything),
    "relative_to_all_top1_err": lambda group, everything: everything.num_group_top1_errors,
    "relative_to_num_group_samples": lambda group, everything: group.num_group_samples,
}


@dataclass(frozen=True)
class Figure:
    """A row of figures.csv: all that distinguishes one figure from another.

    Attributes:
        dataset, family, file_stem: Whose figure it is, and what its files are called.
        x, x_label: A column of the tables.
        y, y_computation, y_unit, y_label: A column, what it is divided by, and in what unit it is plotted.
        groups: Drawn in this order.
        marker, color: Columns that shape and shade stand for.
        x_limits, y_limits: As published; widened where a point would be cut.
        x_ticks, y_ticks: As published.
        inflections: {group: x where its line may bend, or None} where lines are fitted.
    """

    dataset: str
    family: str
    file_stem: str
    x: str
    x_label: str
    y: str
    y_computation: str
    y_unit: str
    y_label: str
    groups: tuple[str, ...]
    marker: str
    color: str
    x_limits: tuple[float, float]
    x_ticks: tuple[float, ...]
    y_limits: tuple[float, float]
    y_ticks: tuple[float, ...]
    inflections: dict[str, float | None]

    @classmethod
    def from_row(cls, row: dict[str, str]) -> "Figure":
        bends = dict(part.split(":") for part in filter(None, row["fit_inflection"].split(";")))
        groups = tuple(row["groups"].split())
        fitted = groups if row["linear_fit"] == "yes" else ()
        inflections = {group: None if bends.get(group, "none") == "none" else float(bends[group]) for group in fitted}
        return cls(
            *(row[name] for name in ("dataset", "family", "file_stem", "x", "x_label", "y", "y_computation")),
            row["y_unit"],
            row["y_label"],
            groups,
            row["marker"],
            row["color"],
            (float(row["x_min"]), float(row["x_max"])),
            tuple(map(float, row["x_ticks"].split())),
            (float(row["y_min"]), float(row["y_max"])),
            tuple(map(float, row["y_ticks"].split())),
            inflections,
        )


COLUMNS = [
    *("dataset", "family", "file_stem", "x", "x_label", "y", "y_computation", "y_unit", "y_label", "groups", "marker"),
    *("color", "x_min", "x_max", "x_ticks", "y_min", "y_max", "y_ticks", "group_labels", "linear_fit"),
    "fit_inflection",
]


def load_figures(artefacts: Artefacts) -> list[Figure]:
    path = artefacts.find(FIGURES)
    try:
        figures = [Figure.from_row(row) for row in read_csv(path, COLUMNS)]
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): correct it or restore it from the repository") from None
    for figure in figures:
        if figure.y_computation not in DENOMINATORS or figure.y_unit not in SCALES:
            what = f"{figure.y_computation} or {figure.y_unit}"
            raise InputError(f"{path}: {figure.file_stem} has the unknown {what}: correct it")
    return figures


def select(figures: list[Figure], families: list[str] | None, names: list[str] | None) -> list[Figure]:
    """Those of the families whose stem is one of `names` or matches one as a wildcard; all where None.

    Raises:
        InputError: for a family or a name that there is not.
    """
    known = {figure.family for figure in figures}
    for family in families or ():
        if family not in known:
            raise InputError(f"--family: {describe_unknown('family', family, sorted(known))}")
    chosen = [figure for figure in figures if families is None or figure.family in families]
    for name in names or ():
        if not any(fnmatchcase(figure.file_stem, name) for figure in chosen):
            stems = [figure.file_stem for figure in chosen]
            raise InputError(f"--figure: {describe_unknown('figure', name, stems)}")
    return [figure for figure in chosen if names is None or any(fnmatchcase(figure.file_stem, name) for name in names)]


def on_imagenet_a(figure: Figure) -> Figure:
    """An ImageNet-A figure against ImageNet-A accuracy instead of ImageNet's."""
    ticks = tuple(map(float, range(0, 71, 10)))
    return replace(
        figure,
        x="imagenet_a_top1_val_acc",
        x_label="ImageNet-A Top-1 Accuracy [%]",
        x_limits=(ticks[0], ticks[-1]),
        x_ticks=ticks,
        inflections=dict.fromkeys(figure.inflections),
    )
