"""How files of predictions are meant to be read: as flags say, or as the accuracy of arrays without names tells."""

import logging
from pathlib import Path

import numpy as np

from imagenet_errors.dataset import plausibility
from imagenet_errors.dataset.class_numberings import OWN_NUMBERING, ClassNumbering
from imagenet_errors.dataset.plausibility import LEAST, TIMES, Fault, Reading
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError
from imagenet_errors.importing.parts import Part

log = logging.getLogger(__name__)


def choose_reading(
    parts: list[Part],
    samples: Samples,
    numbering: ClassNumbering | None,
    order: str | None,
    numberings: list[ClassNumbering],
) -> Reading:
    """The reading of a model's files.

    Args:
        parts: The files.
        samples: The images.
        numbering: What flags say of classes; None if nothing.
        order: What `--order` says.
        numberings: Those to try.

    Raises:
        InputError: where an array without names has no plausible reading, or the given reading is a mix-up.
    """
    if any(part.raw.texts is not None for part in parts):
        numberings = [OWN_NUMBERING]
    unplaced = next((part for part in parts if part.positions is None), None)
    if unplaced and len(parts) > 1:
        raise InputError(f"{unplaced.path} has no image names: give --order, or import it alone")
    if unplaced:
        return _find_reading(unplaced, samples, [numbering] if numbering else numberings)
    return _check_reading(parts, samples, numbering or OWN_NUMBERING, order, numberings)


def _find_reading(part: Part, samples: Samples, numberings: list[ClassNumbering]) -> Reading:
    """The only plausible reading of an array without names."""
    orders = plausibility.list_orders(samples)
    best, second, *_ = readings = plausibility.compare_readings(part.numbers, samples.targets, orders, numberings)
    is_clear = best.accuracy >= max(LEAST, TIMES * second.accuracy)
    if is_clear and plausibility.can_be_judged(samples.targets):
        others = f"any other reading gives at most {second.accuracy:.2f} %"
        log.info(f"{part.path} is read with {best.flags}: its top-1 accuracy is {best.accuracy:.2f} %, {others}")
        return best
    tried = "; ".join(f"{reading.flags}: {reading.accuracy:.2f} %" for reading in readings)
    raise InputError(
        f"{part.path} has no image names, and no reading of it is clearly right by its top-1 accuracy ({tried}): give"
        " --order, or add the images' names, as an array or list called files"
    )


def _check_reading(
    parts: list[Part],
    samples: Samples,
    numbering: ClassNumbering,
    order: str | None,
    numberings: list[ClassNumbering],
) -> Reading:
    """The given reading, unless another one is meant."""
    numbers = np.concatenate([part.numbers[part.rows] for part in parts])
    targets = samples.targets[np.concatenate([part.positions for part in parts if part.positions is not None])]
    accuracy = plausibility.percent_equal(numbering.to_class_ids(numbers), targets)
    given = Reading(None if parts[0].is_named else order, numbering, accuracy)
    if not plausibility.can_be_judged(targets):
        return given
    orders: dict[str | None, np.ndarray | slice] = {None: slice(None)}
    if given.order and len(parts) == 1 and len(parts[0].numbers) == len(samples.files):
        numbers, targets, orders = parts[0].numbers, samples.targets, plausibility.list_orders(samples)
    best = plausibility.compare_readings(numbers, targets, orders, numberings)[0]
    if plausibility.is_mix_up(given, best):
        raise InputError(f"the predictions of {parts[0].path} have {Fault(accuracy, best)}: give {best.flags}")
    return given


def check_accuracy(reading: Reading, targets: np.ndarray, dataset: str, path: Path) -> None:
    """Raises `InputError` where the accuracy on ImageNet is too low to be right."""
    if plausibility.is_too_low(reading.accuracy, dataset) and plausibility.can_be_judged(targets):
        raise InputError(
            f"the predictions of {path} have {Fault(reading.accuracy, None)}: check which images and classes they are"
            " of, or give --force to import them as they are"
        )
