"""What is usual: the shares of error types of many models, and the place of one model among those of its accuracy."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtr, stdtrit

from imagenet_errors.analysis.local_regression import LocalLines, fit_local_lines
from imagenet_errors.analysis.shares import CONFIDENCE, ERROR_NAMES, compute_shares
from imagenet_errors.dataset.classes import GROUPS
from imagenet_errors.error_types import ERROR_CODES, ERROR_TYPES
from imagenet_errors.errors import InputError
from imagenet_errors.files import fingerprint
from imagenet_errors.formats import stats_tables
from imagenet_errors.paths import PUBLISHED_TABLES, stats_table

if TYPE_CHECKING:
    import pandas as pd

NEIGHBOURS = 150  # models nearest in MLA
CURVE_POINTS = 200
MIN_COUNT = 5  # the median over the reference, below which a share has no place: its errors are far from normal
DATASETS = ("imagenet", "imagenet-a")  # that the paper has tables of
CELLS = [(group, name) for group in GROUPS for name in ERROR_NAMES]


@dataclass(frozen=True)
class Place:
    """Where a model's share of an error type stands among the models of about its MLA.

    Attributes:
        expected: Share at this MLA, percent.
        spread: Standard deviation of the models' shares around what is expected near this MLA, points.
        low, high: 95 % of models of this MLA have shares between them, percent.
        deviation: Of the share from `expected`, in standard errors of a new model: `spread` and the line's own error.
        p_value: Of a deviation of this size, two-sided, from Student's t.
        percentile: Of the share's residual among those of the neighbours, 0 to 100; half of equal ones count.
        neighbours: How many models were compared: the nearest in MLA.
        smaller, larger: How many of them have a smaller or larger residual.
    """

    expected: float
    spread: float
    low: float
    high: float
    deviation: float
    p_value: float
    percentile: float
    neighbours: int
    smaller: int
    larger: int

    @property
    def is_outermost(self) -> bool:
        """Whether no neighbour has a residual as far on this side."""
        return max(self.smaller, self.larger) == self.neighbours


@dataclass(frozen=True)
class Curve:
    """What is expected of a share over the range of the reference's MLA.

    Attributes:
        mla: [CURVE_POINTS] percent.
        expected, low, high: [CURVE_POINTS] percent, as in `Place`; not-a-number where the share has no place.
    """

    mla: np.ndarray
    expected: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Reference:
    """The models of stats tables that others are compared with.

    Attributes:
        dataset: Its name.
        folder: Of the tables.
        models: [n] their `model_dir_id`.
        num_images: How many images each was counted on; the shares of others are not comparable.
        mla: [n] multi-label accuracy on all images of the dataset, percent.
        shares: [n, 4, 7] by group (`GROUPS`) and error type (`ERROR_NAMES`), percent; not-a-number where unknown.
        median_counts: [4, 7] over the models.
    """

    dataset: str
    folder: Path
    models: tuple[str, ...]
    num_images: int
    mla: np.ndarray
    shares: np.ndarray
    median_counts: np.ndarray

    @property
    def fingerprint(self) -> str:
        """Of all that places depend on."""
        return fingerprint(self.models, self.mla, self.shares, self.median_counts)

    @property
    def has_places(self) -> np.ndarray:
        """[4, 7] bool: cells whose shares are known of every model and whose counts are large enough."""
        return ~np.isnan(self.shares).any(axis=0) & (self.median_counts >= MIN_COUNT)

    def fit(self, mla: np.ndarray, left_out: np.ndarray | None = None) -> LocalLines:
        """What is expected at each MLA ([m] percent), for all cells; they are the last axis, in the order of `CELLS`.

        Args:
            mla: [m] percent.
            left_out: [m] int, the row of the model that a fit does without, or -1.
        """
        shares = self.shares.reshape(len(self.models), len(CELLS))
        return fit_local_lines(self.mla, shares, np.asarray(mla, float), NEIGHBOURS, left_out)

    def compute_curves(self, group: str) -> list[Curve]:
        """The curve of each error type (`ERROR_NAMES`) in a group of images."""
        mla = np.linspace(self.mla.min(), self.mla.max(), CURVE_POINTS)
        lines, first = self.fit(mla), CELLS.index((group, ERROR_NAMES[0]))
        curves = []
        for cell, has_places in enumerate(self.has_places[GROUPS.index(group)], first):
            expected = lines.expected[:, cell] if has_places else np.full(CURVE_POINTS, np.nan)
            half_width = student_quantile(lines) * lines.errors[:, cell]
            curves.append(Curve(mla, expected, expected - half_width, expected + half_width))
        return curves

    def explain_absence(self, group: str, error_type: str, mla: float | None, leave_out: str | None = None) -> str:
        """Why a share has no place, in a few words for the user; empty where it has one. Arguments as for `place`."""
        cell = GROUPS.index(group), ERROR_NAMES.index(error_type)
        others = self.mla[[model != leave_out for model in self.models]]
        low, high = others.min(), others.max()
        if mla is None or not low <= mla <= high:
            text = "unknown" if mla is None else f"{mla:.2f} %"
            return f"its MLA is {text}, the reference's {low:.2f} to {high:.2f} %"
        if np.isnan(self.shares[:, *cell]).any():
            return "the reference does not know this share of all its models"
        if self.median_counts[cell] < MIN_COUNT:
            return f"the reference's median count is {self.median_counts[cell]:g}, below {MIN_COUNT}"
        if np.isclose(self._fit_one(mla, leave_out).spread[0, CELLS.index((group, error_type))], 0):
            return "the reference's shares do not vary near this MLA"
        return ""

    def place(
        self, group: str, error_type: str, mla: float | None, share: float, leave_out: str | None = None
    ) -> Place | None:
        """The place of a share among the models nearest in MLA; None where unknown or `explain_absence` says why.

        Args:
            group: Of images, one of `GROUPS`.
            error_type: One of `ERROR_NAMES`.
            mla: The model's MLA on all images of the dataset, percent; None where unknown.
            share: The model's, percent, as `compute_shares` gives it.
            leave_out: A `model_dir_id` that is not compared with, where the reference has it: the model's own.
        """
        if mla is None or np.isnan(share) or self.explain_absence(group, error_type, mla, leave_out):
            return None
        lines, cell = self._fit_one(mla, leave_out), CELLS.index((group, error_type))
        expected, error, residuals = lines.expected[0, cell], lines.errors[0, cell], lines.residuals[0, :, cell]
        half_width = student_quantile(lines)[0] * error
        deviation = (share - expected) / error
        smaller, larger = int((residuals < share - expected).sum()), int((residuals > share - expected).sum())
        return Place(
            expected=float(expected),
            spread=float(lines.spread[0, cell]),
            low=float(expected - half_width),
            high=float(expected + half_width),
            deviation=float(deviation),
            p_value=float(two_sided_p(deviation, lines.degrees[0])),
            percentile=50 * (1 + (smaller - larger) / NEIGHBOURS),
            neighbours=NEIGHBOURS,
            smaller=smaller,
            larger=larger,
        )

    def _fit_one(self, mla: float, leave_out: str | None) -> LocalLines:
        row = self.models.index(leave_out) if leave_out in self.models else -1
        return self.fit(np.array([mla]), np.array([row]))


@dataclass(frozen=True)
class Calibration:
    """How the places of the reference's own models turn out, each left out in turn.

    Attributes:
        coverage: [4, 7] how many of the models have a share between `Place.low` and `Place.high`, percent;
            not-a-number for cells without places.
        num_placed: Models that have a place: all but those at the ends of the range of MLA.
        num_comparisons: Cells that have one.
        num_standing_out: Models of which at least one cell stands out after Holm's correction over all these cells.
    """

    coverage: np.ndarray
    num_placed: int
    num_comparisons: int
    num_standing_out: int


def find_reference(dataset: str, folder: Path = PUBLISHED_TABLES) -> Reference | None:
    """The reference of a dataset, as `load_reference`; None for a dataset that the paper has no tables of."""
    return load_reference(dataset, folder) if dataset in DATASETS else None


def load_reference(dataset: str, folder: Path = PUBLISHED_TABLES) -> Reference:
    """Read the stats tables of a dataset as a reference.

    Args:
        dataset: `imagenet` or `imagenet-a`.
        folder: With `stats-<dataset>/`.

    Raises:
        InputError: for tables that `stats_tables.read` refuses, too few models, models that were counted on different
            images, and cells that every share depends on but are empty.
    """
    path = stats_table(folder, dataset, "all")
    if not path.is_file():
        raise InputError(f"{path} is missing: a reference is a folder that evaluation.py --collect_results has written")
    tables = stats_tables.read(folder, dataset)
    table = tables["all"]
    if len(table) <= NEIGHBOURS:
        raise InputError(f"{path} lists {len(table)} models: a reference takes more than {NEIGHBOURS}, collect more")
    if "mla_all" not in table:
        raise InputError(f"{path} lacks the column 'mla_all': {stats_tables.ADVICE}")
    different = table.num_group_samples != table.num_group_samples.iloc[0]
    if different.any():
        other = table[different].iloc[0]
        raise InputError(
            f"{path}: {other.model_dir_id} was counted on {other.num_group_samples:,.0f} images, "
            f"{table.model_dir_id.iloc[0]} on {table.num_group_samples.iloc[0]:,.0f}: take models of the same images"
        )
    columns = [ERROR_TYPES[code].column for code in ERROR_CODES]
    for group, of_group in tables.items():
        _check_filled(of_group, ["mla_all"] if group == "all" else [], stats_table(folder, dataset, group))
        _check_filled(of_group, ["num_group_top1_errors", *columns[:2]], stats_table(folder, dataset, group))
    counts = np.stack([tables[group][columns].to_numpy() for group in GROUPS], axis=1)
    top1_errors = np.stack([tables[group].num_group_top1_errors.to_numpy() for group in GROUPS], axis=1)
    return Reference(
        dataset=dataset,
        folder=folder,
        models=tuple(table.model_dir_id),
        num_images=int(table.num_group_samples.iloc[0]),
        mla=table.mla_all.to_numpy(),
        shares=compute_shares(counts, top1_errors),
        median_counts=np.median(counts, axis=0),
    )


def _check_filled(table: "pd.DataFrame", columns: list[str], path: Path) -> None:
    for column in columns:
        empty = table[column].isna()
        if empty.any():
            raise InputError(f"{path}: {column} of {table.model_dir_id[empty].iloc[0]} is empty: {stats_tables.ADVICE}")


def compute_calibration(reference: Reference) -> Calibration:
    """Place each model of the reference among the others."""
    has_places = reference.has_places.ravel()
    inside = (reference.mla > reference.mla.min()) & (reference.mla < reference.mla.max())
    rows = np.flatnonzero(inside)
    lines = reference.fit(reference.mla[rows], rows)
    residuals = reference.shares[rows].reshape(len(rows), len(CELLS)) - lines.expected
    deviations = residuals[:, has_places] / lines.errors[:, has_places]
    coverage = np.full(len(CELLS), np.nan)
    coverage[has_places] = 100 * (np.abs(deviations) <= student_quantile(lines)[:, None]).mean(axis=0)
    p_values = two_sided_p(deviations, lines.degrees[:, None])
    stands_out = p_values.min(axis=1) <= (1 - CONFIDENCE) / has_places.sum()  # the first step of Holm's method
    return Calibration(
        coverage=coverage.reshape(reference.has_places.shape),
        num_placed=len(rows),
        num_comparisons=int(has_places.sum()),
        num_standing_out=int(stands_out.sum()),
    )


def student_quantile(lines: LocalLines) -> np.ndarray:
    """[m] how many standard errors a 95 % interval of a new point extends to either side."""
    return stdtrit(lines.degrees, (1 + CONFIDENCE) / 2)


def two_sided_p(deviations: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """P values of deviations in standard errors, from Student's t; shapes broadcast."""
    return 2 * stdtr(degrees, -np.abs(deviations))
