"""The figures: rows of figures.csv."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import pandas as pd

from imagenet_errors.error_types import ERROR_TYPES
from imagenet_errors.errors import InputError, describe_unknown
from imagenet_errors.files import read_csv
from imagenet_errors.paths import FIGURES, Artefacts

FIGURE_COLUMNS = [
    *("dataset", "family", "file_stem", "x", "x_label", "y", "y_computation", "y_unit", "y_label", "groups", "marker"),
    *("color", "x_min", "x_max", "x_ticks", "y_min", "y_max", "y_ticks", "group_labels", "linear_fit"),
    "fit_inflection",
]
UNIT_FACTORS = {"count": 1, "fraction": 1, "percent": 100}
COLUMN_TITLES = {one.column: one.title.capitalize() for one in ERROR_TYPES if one.column} | {
    "num_group_correct": "Correct predictions"
}
DATASET_TITLES = {"imagenet": "ImageNet", "imagenet-a": "ImageNet-A"}


def count_multi_label_errors(table: pd.DataFrame) -> pd.Series:
    """[models] errors that no other accepted label explains."""
    return table.num_group_top1_errors - table.num_collapsed_mappings - table.num_ambiguous


DENOMINATORS: dict[str, Callable[[pd.DataFrame, pd.DataFrame], pd.Series]] = {
    "abs": lambda of_group, of_all: pd.Series(1.0, of_group.index),
    "relative_to_group_mle": lambda of_group, of_all: count_multi_label_errors(of_group),
    "relative_to_group_top1_err": lambda of_group, of_all: of_group.num_group_top1_errors,
    "relative_to_all_mle": lambda of_group, of_all: count_multi_label_errors(of_all),
    "relative_to_all_top1_err": lambda of_group, of_all: of_all.num_group_top1_errors,
    "relative_to_num_group_samples": lambda of_group, of_all: of_group.num_group_samples,
}
"""{y_computation: [models] what y is divided by, from the tables of the group and of all images}"""


@dataclass(frozen=True)
class Figure:
    """A row of figures.csv: all that distinguishes one figure from another.

    Attributes:
        dataset: `imagenet` or `imagenet-a`.
        family: What figures that belong together share, e.g. `class_overlap`.
        file_stem: The name of its files.
        x, x_label: A column of the tables, in percent.
        y, y_computation, y_unit, y_label: A column, what it is divided by, and in what unit it is plotted. Only the
            label of a count begins with `#`.
        groups: Of images, in the order in which they are drawn.
        marker, color: Columns that markers and colours show.
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

    @property
    def heading(self) -> str:
        """The error type and the dataset."""
        return f"{COLUMN_TITLES.get(self.y, self.y)} · {DATASET_TITLES.get(self.dataset, self.dataset)}"

    @classmethod
    def from_row(cls, row: dict[str, str]) -> "Figure":
        """Parse a row of figures.csv. Raises `ValueError` for a cell that is not a number."""
        bends = dict(part.split(":") for part in row["fit_inflection"].split(";") if part)
        groups = tuple(row["groups"].split())
        fitted = groups if row["linear_fit"] == "yes" else ()
        return cls(
            dataset=row["dataset"],
            family=row["family"],
            file_stem=row["file_stem"],
            x=row["x"],
            x_label=row["x_label"],
            y=row["y"],
            y_computation=row["y_computation"],
            y_unit=row["y_unit"],
            y_label=row["y_label"] if row["y_unit"] == "count" else row["y_label"].removeprefix("# "),
            groups=groups,
            marker=row["marker"],
            color=row["color"],
            x_limits=(float(row["x_min"]), float(row["x_max"])),
            x_ticks=tuple(map(float, row["x_ticks"].split())),
            y_limits=(float(row["y_min"]), float(row["y_max"])),
            y_ticks=tuple(map(float, row["y_ticks"].split())),
            inflections={
                group: None if bends.get(group, "none") == "none" else float(bends[group]) for group in fitted
            },
        )


def load_figures(artefacts: Artefacts) -> list[Figure]:
    """Read figures.csv. Raises `InputError` where it is damaged or names an unknown computation or unit."""
    path = artefacts.find(FIGURES)
    try:
        figures = [Figure.from_row(row) for row in read_csv(path, FIGURE_COLUMNS)]
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): correct it or restore it from the repository") from None
    for figure in figures:
        for what, name, known in (
            ("y_computation", figure.y_computation, DENOMINATORS),
            ("y_unit", figure.y_unit, UNIT_FACTORS),
        ):
            if name not in known:
                raise InputError(f"{path}: {figure.file_stem}: {describe_unknown(what, name, known)}: correct it")
    return figures


def select_figures(figures: list[Figure], families: list[str] | None, names: list[str] | None) -> list[Figure]:
    """The figures of `families` whose file stem is one of `names` or matches one as a wildcard; None means all.

    Raises:
        InputError: for a family or a name that selects nothing.
    """
    known = {figure.family for figure in figures}
    for family in families or ():
        if family not in known:
            raise InputError(f"--family: {describe_unknown('family', family, sorted(known))}")
    selected = [figure for figure in figures if families is None or figure.family in families]
    for name in names or ():
        if not any(fnmatchcase(figure.file_stem, name) for figure in selected):
            stems = [figure.file_stem for figure in selected]
            raise InputError(f"--figure: {describe_unknown('figure', name, stems)}")
    if names is None:
        return selected
    return [figure for figure in selected if any(fnmatchcase(figure.file_stem, name) for name in names)]


def plot_against_imagenet_a(figure: Figure) -> Figure:
    """An ImageNet-A figure with ImageNet-A accuracy instead of ImageNet's as x."""
    ticks = tuple(map(float, range(0, 71, 10)))
    return replace(
        figure,
        x="imagenet_a_top1_val_acc",
        x_label="ImageNet-A Top-1 Accuracy [%]",
        x_limits=(ticks[0], ticks[-1]),
        x_ticks=ticks,
        inflections=dict.fromkeys(figure.inflections),
    )
