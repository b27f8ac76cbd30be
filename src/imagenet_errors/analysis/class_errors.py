"""How many errors of each class to expect of a model, by the errors that other models make."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtrc, expit, logit

from imagenet_errors.analysis.analysed_models import AnalysedModel
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.shares import CONFIDENCE, adjust_p_values
from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.error_types import NO_ERROR_TYPE
from imagenet_errors.formats.predictions import NO_PREDICTION

LEAST_MODELS = 5  # with 20 images a class, five models give its expected errors to about one error
LARGEST_SHIFT = 50.0  # in logits


@dataclass(frozen=True)
class ClassErrors:
    """A model's top-1 errors on the unproblematic images that it has predictions for, by original label.

    Attributes:
        num_images: [1000] int.
        expected: [1000] float: errors of a model of this accuracy; None with fewer than five other models, or where
            the model is right, or wrong, on every image.
        num_models: Of how many other models these are; models without a prediction for some of the images are left out.
        stands_out: Ids of the classes with more errors than expected, by the binomial test at 5 % after Holm's
            correction for all classes that have images.
    """

    num_images: np.ndarray
    expected: np.ndarray | None
    num_models: int
    stands_out: tuple[int, ...]


def count_class_errors(context: DatasetContext, model: AnalysedModel, others: Sequence[np.ndarray]) -> ClassErrors:
    """Compare a model with others by class.

    Args:
        context: Of the dataset.
        model: Whose errors.
        others: Top-1 of other models on the annotated images, [n] int16 each, as `browse.read_all_others` gives them.
    """
    rows = np.flatnonzero(context.counted_images.counted & (model.analysis.error_types != NO_ERROR_TYPE))
    targets = context.images.targets[rows]
    num_images = np.bincount(targets, minlength=NUM_CLASSES)
    errors = _count(targets, model.analysis.top1[rows])
    complete = [top1[rows] for top1 in others if (top1[rows] != NO_PREDICTION).all()]
    if len(complete) < LEAST_MODELS or not 0 < errors.sum() < len(rows):
        return ClassErrors(num_images, None, len(complete), ())
    of_others = np.sum([_count(targets, top1) for top1 in complete], axis=0)
    expected = expect_errors(num_images, of_others, len(complete), int(errors.sum()))
    return ClassErrors(num_images, expected, len(complete), _find_outliers(errors, expected, num_images))


def expect_errors(num_images: np.ndarray, of_others: np.ndarray, num_models: int, total: int) -> np.ndarray:
    """[c] float: a model's expected errors in each class, which add up to its errors in all classes.

    Its odds of an error in a class are those of the other models, times a factor that is the same for all classes.

    Args:
        num_images: [c] int, of each class.
        of_others: [c] int, errors of all other models together.
        num_models: How many these are.
        total: Errors of the model; more than 0 and fewer than all images.
    """
    from scipy.optimize import brentq

    logits = logit((of_others + 0.5) / (num_models * num_images + 1))
    shift = brentq(lambda by: (num_images * expit(logits + by)).sum() - total, -LARGEST_SHIFT, LARGEST_SHIFT)
    return num_images * expit(logits + shift)


def _count(targets: np.ndarray, top1: np.ndarray) -> np.ndarray:
    return np.bincount(targets[top1 != targets], minlength=NUM_CLASSES)


def _find_outliers(errors: np.ndarray, expected: np.ndarray, num_images: np.ndarray) -> tuple[int, ...]:
    classes = np.flatnonzero(num_images)
    shares = expected[classes] / num_images[classes]
    p_values = bdtrc(errors[classes] - 1.0, num_images[classes], shares)  # of so many errors or more
    return tuple(classes[adjust_p_values(p_values) <= 1 - CONFIDENCE].tolist())
