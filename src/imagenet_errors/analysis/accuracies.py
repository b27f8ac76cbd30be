"""Accuracies of one model: how often the same predictions are right by several rulers, with 95 % intervals."""

from dataclasses import dataclass

import numpy as np

from imagenet_errors.analysis.analysed_models import AnalysedModel
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.counting import CountedImages
from imagenet_errors.analysis.shares import wilson_intervals
from imagenet_errors.dataset.annotations import NO_LABEL
from imagenet_errors.error_types import NO_ERROR_TYPE
from imagenet_errors.formats.predictions import NO_PREDICTION

TITLES = {"top1": "top-1", "top5": "top-5", "real": "ReaL", "multi_label": "MLA", "imagenet_m": "ImageNet-M"}
NO_PREDICTIONS = "the predictions for all images are not known, only an archive's analysis"


@dataclass(frozen=True)
class Accuracy:
    """How often predictions are right by one ruler.

    Attributes:
        name: A key of TITLES.
        value: Percent; None where unknown.
        low, high: 95 % interval, percent; None where it is unknown.
        num_images: How many images it is of; None where unknown.
        unknown: Why the value is unknown; empty where it is known.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    num_images: int | None = None
    unknown: str = ""

    @property
    def title(self) -> str:
        """Its name for people."""
        return TITLES[self.name]


def measure_accuracies(context: DatasetContext, model: AnalysedModel) -> tuple[Accuracy, ...]:
    """The accuracies of one model, in the order of TITLES, each over the images that it has predictions for.

    Args:
        context: Of the dataset. ReaL labels and ImageNet-M are of ImageNet; other datasets have no such accuracy.
        model: With its errors by the labels of the context, which are the multi-labels.
    """
    is_imagenet, counted, predictions = context.dataset == "imagenet", context.counted_images, model.predictions
    if predictions is None:
        unknown = NO_PREDICTIONS if model.top1_accuracy is None else ""
        found = [Accuracy("top1", model.top1_accuracy, unknown=unknown)]
        found += [Accuracy(name, None, unknown=NO_PREDICTIONS) for name in ("top5", "real")[: 1 + is_imagenet]]
    else:
        rows = slice(None) if predictions.rows is None else predictions.rows
        targets = context.samples.targets[rows]
        found = [measure_top1(predictions.top1, targets), measure_top5(predictions.top5, targets)]
        found += [measure_real(predictions.top1, context.real_labels[rows])] if is_imagenet else []
    found += [measure_multi_label(counted, model.analysis.error_types)]
    found += [measure_imagenet_m(counted, model.analysis.top1)] if is_imagenet else []
    return tuple(found)


def measure_top1(top1: np.ndarray, targets: np.ndarray) -> Accuracy:
    """The share of images whose original label is the prediction. Arguments: [M] class ids."""
    return _of_proportion("top1", top1 == targets)


def measure_top5(top5: np.ndarray | None, targets: np.ndarray) -> Accuracy:
    """The share of images whose original label is among the five most probable classes.

    Args:
        top5: [M, 5] class ids; None where only the most probable is known.
        targets: [M] class ids.
    """
    if top5 is None:
        return Accuracy("top5", None, unknown="only the most probable class of each image is known")
    return _of_proportion("top5", (top5 == targets[:, None]).any(axis=1))


def measure_real(top1: np.ndarray, real_labels: np.ndarray) -> Accuracy:
    """The share of images whose prediction is among their ReaL labels; images that have none do not count.

    Args:
        top1: [M] class ids.
        real_labels: [M, L] class ids, padded with NO_LABEL.

    Source: Beyer et al. 2020.
    """
    has_labels = (real_labels != NO_LABEL).any(axis=1)
    is_right = (real_labels == top1[:, None]).any(axis=1)
    return _of_proportion("real", is_right[has_labels])


def measure_multi_label(counted: CountedImages, error_types: np.ndarray) -> Accuracy:
    """MLA: the mean over the classes of the share of their images that count as correct.

    The interval is Wilson's for the effective number of images (Kish 1965), `1 / sum(w ** 2)` with the weight `w` of
    each image in the mean: 18,212 for the 18,692 unproblematic ones. As in the other intervals, images are taken to be
    drawn independently; drawn within fixed classes they vary less, and the interval holds 96 % instead of 95 %.

    Args:
        counted: The images.
        error_types: [n] int8 of all annotated ones.
    """
    value = counted.count(error_types).accuracies["all"][""]
    if value is None:
        return Accuracy("multi_label", None, num_images=0, unknown="none of the images is annotated and unproblematic")
    classes = counted.images.targets[counted.counted & (error_types != NO_ERROR_TYPE)]
    _, sizes = np.unique(classes, return_counts=True)
    return _with_interval("multi_label", value, len(sizes) ** 2 / (1 / sizes).sum(), len(classes))


def measure_imagenet_m(counted: CountedImages, top1: np.ndarray) -> Accuracy:
    """The share of ImageNet-M's images whose prediction is an accepted label (Vasudevan et al. 2022).

    Args:
        counted: The images.
        top1: [n] class ids of all annotated ones, or NO_PREDICTION.
    """
    if counted.imagenet_m is None:
        return Accuracy("imagenet_m", None, unknown="only the official annotations list its images")
    listed = counted.imagenet_m["all"]
    is_right = (counted.images.labels[listed] == top1[listed, None]).any(axis=1)
    return _of_proportion("imagenet_m", is_right[top1[listed] != NO_PREDICTION])


def _of_proportion(name: str, is_right: np.ndarray) -> Accuracy:
    """The share of [m] bool that is true."""
    if not len(is_right):
        return Accuracy(name, None, num_images=0, unknown="there is no image to count")
    return _with_interval(name, 100 * int(is_right.sum()) / len(is_right), len(is_right), len(is_right))


def _with_interval(name: str, value: float, effective: float, num_images: int) -> Accuracy:
    """An accuracy in percent with Wilson's interval for the effective number of images."""
    low, high = wilson_intervals(np.array(value / 100 * effective), np.array(effective))
    return Accuracy(name, value, float(low), float(high), num_images)
