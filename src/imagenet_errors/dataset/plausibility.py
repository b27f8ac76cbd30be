"""Whether predictions can be of these images and classes: mix-ups of their order or numbering show in the accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from imagenet_errors.dataset.class_numberings import NO_CLASS, OWN_NUMBERING, ClassNumbering
from imagenet_errors.dataset.samples import Samples

# A reading of predictions is a mix-up where another one is so many times as accurate, and at least so accurate (%).
TIMES, LEAST = 5, 5.0
FEWEST_IMAGES, FEWEST_CLASSES = 1000, 100  # that are judged
LOWEST_ON_IMAGENET = 0.5  # percent; chance is 0.1, and no published model is below 50
CLASS_FOLDER, FILE_NUMBER = "class_folder", "file_number"  # values of --order


@dataclass(frozen=True)
class Reading:
    """A way to read predictions, and the accuracy that it gives.

    Attributes:
        order: Of the images, as `--order` names it; None where their names are known.
        numbering: Of the classes.
        accuracy: Top-1, in percent.
    """

    order: str | None
    numbering: ClassNumbering
    accuracy: float

    @property
    def flags(self) -> str:
        """The flags of import_predictions.py that choose it."""
        order = f"--order {self.order}" if self.order else ""
        return f"{order} {self.numbering.flags}".strip() or "neither --label_offset nor --classes"


def can_be_judged(targets: np.ndarray) -> bool:
    """Whether the accuracy on images with these original labels tells whether predictions are mixed up."""
    return len(targets) >= FEWEST_IMAGES and len(np.unique(targets)) >= FEWEST_CLASSES


def percent_equal(predicted: np.ndarray, targets: np.ndarray) -> float:
    """Percent of equal entries, exactly rounded."""
    return 100 * int(np.count_nonzero(predicted == targets)) / len(targets)


def list_orders(samples: Samples) -> dict[str | None, np.ndarray | slice]:
    """{order: where the prediction for each sample stands in an array of that order}."""
    orders: dict[str | None, np.ndarray | slice] = {CLASS_FOLDER: slice(None)}
    return orders if samples.ranks_by_number is None else orders | {FILE_NUMBER: samples.ranks_by_number}


def compare_readings(
    numbers: np.ndarray,
    targets: np.ndarray,
    orders: Mapping[str | None, np.ndarray | slice],
    numberings: Sequence[ClassNumbering],
) -> list[Reading]:
    """Every reading of the predicted numbers [M] for images with these original labels [M], best first."""
    readings = [
        Reading(order, numbering, percent_equal(numbering.to_class_ids(numbers[positions]), targets))
        for order, positions in orders.items()
        for numbering in numberings
    ]
    return sorted(readings, key=lambda reading: -reading.accuracy)


def is_mix_up(given: Reading, best: Reading) -> bool:
    """Whether `best` must be what is meant instead of `given`."""
    return best.accuracy >= LEAST and best.accuracy >= TIMES * given.accuracy


def is_too_low(accuracy: float, dataset: str) -> bool:
    """Whether a top-1 accuracy (percent) alone cannot be right; on ImageNet-A nearly any can."""
    return dataset == "imagenet" and accuracy < LOWEST_ON_IMAGENET


@dataclass(frozen=True)
class Fault:
    """Why a model's predictions cannot be right.

    Attributes:
        accuracy: Top-1, in percent.
        meant: The reading that must be meant instead; None where the accuracy alone is too low.
    """

    accuracy: float
    meant: Reading | None

    def __str__(self) -> str:
        instead = "which is hardly more than chance"
        if self.meant:
            instead = f"and of {self.meant.accuracy:.2f} % when they are read with {self.meant.flags}"
        return f"a top-1 accuracy of {self.accuracy:.2f} %, {instead}"


def find_fault(top1: np.ndarray, samples: Samples, numberings: Sequence[ClassNumbering], dataset: str) -> Fault | None:
    """What is wrong with a model's predictions.

    Args:
        top1: [N] class ids for the samples; NO_CLASS where there is no prediction.
        samples: The images.
        numberings: `list_numberings`.
        dataset: A name of dataset_table.DATASETS.
    """
    predicted = top1 != NO_CLASS
    accuracy = 100 * np.count_nonzero(top1 == samples.targets) / np.count_nonzero(predicted)
    if TIMES * accuracy > 100:
        return None
    targets, given = samples.targets[predicted], Reading(None, OWN_NUMBERING, accuracy)
    if not can_be_judged(targets):
        return None
    orders: dict[str | None, np.ndarray | slice] = {None: slice(None)}
    if predicted.all():
        orders |= {order: rows for order, rows in list_orders(samples).items() if order != CLASS_FOLDER}
    best = compare_readings(top1[predicted], targets, orders, numberings)[0]
    if is_mix_up(given, best):
        return Fault(given.accuracy, best)
    return Fault(given.accuracy, None) if is_too_low(given.accuracy, dataset) else None
