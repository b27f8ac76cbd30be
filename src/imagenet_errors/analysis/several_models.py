"""Several models next to each other: which are wrong on the same images, and how far runs of one model differ."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imagenet_errors.analysis.counting import CountedImages
from imagenet_errors.analysis.experts import kappa
from imagenet_errors.analysis.outcomes import (
    SHARES,
    WRONG,
    are_provisional,
    find_common,
    find_outcomes,
    measure_shares,
)
from imagenet_errors.formats.error_analyses import ErrorAnalysis


@dataclass(frozen=True)
class KappaMatrix:
    """Error consistency of every two of m models, each on the images that both have predictions for.

    Attributes:
        models: [m] names.
        wrong_by: A key of WRONG.
        num_images: [m, m] int, how many images each kappa rests on.
        kappas: [m, m] float, symmetric; not-a-number where undefined.
    """

    models: tuple[str, ...]
    wrong_by: str
    num_images: np.ndarray
    kappas: np.ndarray


def measure_kappas(
    counted: CountedImages, analyses: Sequence[ErrorAnalysis], wrong_by: str = "top1", group: str = "all"
) -> KappaMatrix:
    """Cohen's kappa of being wrong for every two models: error consistency (Geirhos et al. 2020).

    Args:
        counted: The images.
        analyses: Of m models on these images.
        wrong_by: A key of WRONG.
        group: One of `counted.groups`.

    Raises:
        InputError: as `find_common` does, for one model; two without a common image have no kappa.
    """
    # A count is at most the number of images, and float32 holds it exactly.
    predicted = np.array([find_common(counted, [analysis], group) for analysis in analyses])
    wrong = np.zeros_like(predicted)
    for row, analysis in enumerate(analyses):
        wrong[row, predicted[row]] = WRONG[wrong_by][find_outcomes([analysis], predicted[row])[0]]
    ones, errors = predicted.astype(np.float32), wrong.astype(np.float32)
    total = (ones @ ones.T).astype(int)
    of_first = (errors @ ones.T).astype(int)
    both = (errors @ errors.T).astype(int)
    right = total - of_first - of_first.T + both
    tables = np.stack([right, of_first.T - both, of_first - both, both], axis=-1).reshape(*total.shape, 2, 2)
    with np.errstate(invalid="ignore"):
        return KappaMatrix(tuple(analysis.model for analysis in analyses), wrong_by, total, kappa(tables))


def cluster_models(matrix: KappaMatrix) -> list[int]:
    """[m] rows of the matrix, models that are wrong on the same images next to each other.

    Average linkage of 1 - kappa, its leaves in the optimal order; an undefined kappa counts as 0.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distances = 1 - np.nan_to_num(matrix.kappas)
    np.fill_diagonal(distances, 0)
    return leaves_list(linkage(squareform(distances), "average", optimal_ordering=True)).tolist()


@dataclass(frozen=True)
class Runs:
    """Every share of r models, e.g. of runs of one model with different seeds, on the images common to all.

    Attributes:
        models: [r] names.
        group: Of images.
        num_images: How many are common to all.
        values: [r, 9] float, percent, in the order of SHARES; not-a-number where a model has no error, and where the
            open-world test, which was skipped for one of the models, would find them.
        is_provisional: Whether that test was skipped for one of the models: then shares that are a bound are bounds.
    """

    models: tuple[str, ...]
    group: str
    num_images: int
    values: np.ndarray
    is_provisional: bool

    @property
    def mean(self) -> np.ndarray:
        """[9] float, percent; not-a-number where a value is."""
        return self.values.mean(axis=0)

    @property
    def spread(self) -> np.ndarray:
        """[9] float, sample standard deviation (r - 1) in points; not-a-number of one model, and of bounds."""
        if len(self.values) < 2:
            return np.full(len(SHARES), np.nan)
        are_bounds = self.is_provisional & np.array([share.is_bound for share in SHARES])
        return np.where(are_bounds, np.nan, self.values.std(axis=0, ddof=1))


def summarise_runs(counted: CountedImages, analyses: Sequence[ErrorAnalysis], group: str = "all") -> Runs:
    """Measure every share of models on the unproblematic images that all have predictions for.

    Args:
        counted: The images.
        analyses: Of these images.
        group: One of `counted.groups`.

    Raises:
        InputError: as `find_common` does.
    """
    common = find_common(counted, analyses, group)
    values = np.array([measure_shares(counted, analysis, common, group) for analysis in analyses])
    is_provisional = are_provisional(analyses, common)
    values[:, is_provisional & np.array([share.is_unknown for share in SHARES])] = np.nan
    return Runs(
        tuple(analysis.model for analysis in analyses),
        group,
        int(common.sum()),
        values,
        is_provisional,
    )
