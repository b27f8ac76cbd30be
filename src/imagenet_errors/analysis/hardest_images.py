"""The images that most models get wrong, and what the models make of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imagenet_errors.analysis.common_errors import find_most_common
from imagenet_errors.analysis.counting import CountedImages
from imagenet_errors.analysis.outcomes import OUTCOMES, WRONG
from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.error_types import ERROR_CODES, ERROR_TYPES
from imagenet_errors.formats.error_analyses import ErrorAnalysis

MOST_IMAGES = 5_000
MOST_PREDICTIONS = 5  # of an image
NO_OUTCOME = -1  # of a model without a prediction for the image


@dataclass(frozen=True)
class CommonErrors:
    """The list of the most common errors of one type, as evaluation.py --list_most_common_errors writes it.

    Attributes:
        images: [t] positions among `HardestImages.rows`.
        predictions: [t] class ids.
        counts: [t] how many models predict this class for the image.
    """

    images: np.ndarray
    predictions: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class HardestImages:
    """k images, the ones that most models get wrong first.

    Attributes:
        rows: [k] positions among the annotated images.
        outcomes: [m, k] int8 of each model, positions in OUTCOMES or NO_OUTCOME.
        num_hardest: How many of the images, the first ones, are kept for being wrong by at least half of the models;
            the others are in a list of common errors only.
        num_half: How many images at least half of the models get wrong; the first MOST_IMAGES are kept.
        predictions: [k] lists of (class id, position in OUTCOMES, number of models), wrong ones, most frequent first.
        common: By name of the error type.
    """

    rows: np.ndarray
    outcomes: np.ndarray
    num_hardest: int
    num_half: int
    predictions: list[list[tuple[int, int, int]]]
    common: dict[str, CommonErrors]


def find_hardest(counted: CountedImages, analyses: Sequence[ErrorAnalysis]) -> HardestImages:
    """The unproblematic images that at least half of the models with a prediction for them get wrong by top-1.

    Ties go by how many models get them wrong by multi-label, then in the order of the images. With them come the images
    of the most common errors of each type.

    Args:
        counted: The images.
        analyses: Of m models on these.
    """
    positions = np.full(len(ERROR_TYPES) + 1, NO_OUTCOME, np.int8)  # the last one is that of NO_ERROR_TYPE, -1
    positions[list(OUTCOMES)] = np.arange(len(OUTCOMES))
    outcomes = positions[np.array([analysis.error_types for analysis in analyses])]
    num_wrong, num_predicted = (outcomes > 0).sum(axis=0), (outcomes != NO_OUTCOME).sum(axis=0)
    half = np.flatnonzero(counted.counted & (num_wrong > 0) & (2 * num_wrong >= num_predicted))
    num_errors = np.isin(outcomes, np.flatnonzero(WRONG["multi_label"])).sum(axis=0)
    hardest = half[np.lexsort((-num_errors[half], -num_wrong[half]))][:MOST_IMAGES]
    lists = {ERROR_TYPES[code].name: find_most_common(counted, list(analyses), code) for code in ERROR_CODES}
    listed = np.setdiff1d(np.concatenate([images for _, images, *_ in lists.values()]), hardest)
    rows = np.concatenate([hardest, listed[np.argsort(-num_wrong[listed], kind="stable")]])
    places = np.full(len(counted.counted), -1)
    places[rows] = np.arange(len(rows))
    top1 = np.array([analysis.top1[rows] for analysis in analyses])
    return HardestImages(
        rows,
        outcomes[:, rows],
        len(hardest),
        len(half),
        count_predictions(top1, outcomes[:, rows]),
        {name: CommonErrors(places[images], *columns[:2]) for name, (_, images, *columns) in lists.items()},
    )


def count_predictions(top1: np.ndarray, outcomes: np.ndarray) -> list[list[tuple[int, int, int]]]:
    """The most frequent wrong predictions of each image, with their outcomes and numbers of models.

    Args:
        top1: [m, k] class ids.
        outcomes: [m, k] positions in OUTCOMES, or NO_OUTCOME.
    """
    images, models = np.nonzero(outcomes.T > 0)
    keys, first, counts = np.unique(images * NUM_CLASSES + top1[models, images], return_index=True, return_counts=True)
    order = np.lexsort((keys, -counts, keys // NUM_CLASSES))
    found: list[list[tuple[int, int, int]]] = [[] for _ in range(top1.shape[1])]
    types = outcomes[models[first], images[first]]
    for key, outcome, count in zip(keys[order].tolist(), types[order].tolist(), counts[order].tolist(), strict=True):
        image, prediction = divmod(key, NUM_CLASSES)
        if len(found[image]) < MOST_PREDICTIONS:
            found[image].append((prediction, outcome, count))
    return found
