"""How many images a batch has: found by doubling, halved where memory ends."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import torch
from torch.nn import Module

from imagenet_errors import locks
from imagenet_errors.errors import ModelError
from imagenet_errors.formats.batch_sizes import Conditions, read_batch_sizes, write_batch_sizes
from imagenet_errors.inference.calibration import measure_speed
from imagenet_errors.inference.predict import OutOfMemoryError
from imagenet_errors.inference.preprocessing import OwnTransform, Preprocessing
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import Artefacts

log = logging.getLogger(__name__)
Result = TypeVar("Result")

FIRST = 32
MOST = 256  # where timm's benchmark.py begins; processes that decode hold some such batches each in shared memory
LEAST_GAIN = 1.05  # in images per second, for twice the memory
SECONDS = 1  # of measuring a batch size


def choose_batch_size(
    artefacts: Artefacts,
    record: ModelRecord,
    model: Module,
    preprocessing: Preprocessing | OwnTransform,
    device: torch.device,
    amp: bool,
) -> int:
    """The batch size that was found for the model on such a device; where there is none, it is found and remembered.

    It is that of the network without torch.compile, which would compile it anew for every size.

    Raises:
        InputError: where the file of batch sizes is damaged.
        ModelError: where the model fails.
    """
    path = artefacts.batch_sizes()
    geometry = "" if isinstance(preprocessing, OwnTransform) else str(preprocessing.geometry)
    known = recall_batch_size(read_batch_sizes(path), device, record, geometry, amp)
    if known:
        return known
    size = find_batch_size(partial(measure_speed, model, preprocessing, device=device, amp=amp, seconds=SECONDS))
    log.info(f"{record.model_id}: batches of {size} images, remembered in {path}")
    with locks.locked(artefacts.root, path.name):
        found = {describe_conditions(device, record, geometry, amp): size}
        write_batch_sizes(path, read_batch_sizes(path) | found)
    return size


def recall_batch_size(
    known: Mapping[Conditions, int], device: torch.device, record: ModelRecord, geometry: str, amp: bool
) -> int | None:
    """The batch size of a model where it is known, as that on a CPU always is.

    A larger one does not pay there: on one core, doubling it from 32 on changed the images per second of four networks,
    convolutional ones and transformers, by -13 to 6 %.
    """
    return FIRST if device.type == "cpu" else known.get(describe_conditions(device, record, geometry, amp))


def describe_conditions(device: torch.device, record: ModelRecord, geometry: str, amp: bool) -> Conditions:
    """What the batch size of a model depends on; `geometry` is empty for a transform of the user's own."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return Conditions(name, record.model_id, geometry, "amp" if amp else "float32")


def find_batch_size(measure: Callable[[int], float]) -> int:
    """The largest of 32, 64, ... up to which each is faster by 5 % than its half; where 32 do not fit, 16.

    Args:
        measure: Gives images per second of a batch size, or raises `OutOfMemoryError`.
    """
    size, before = FIRST, 0.0
    while size <= MOST:
        try:
            speed = measure(size)
        except OutOfMemoryError:
            break
        if speed < before * LEAST_GAIN:
            break
        size, before = size * 2, speed
    return size // 2


def halve_until_it_fits(
    run: Callable[..., Result], batch_size: int, model_id: str, device: torch.device
) -> tuple[Result, int]:
    """What `run(batch_size=...)` gives, and the batch size that fitted.

    Raises:
        ModelError: where not even one image fits.
    """
    while True:
        try:
            return run(batch_size=batch_size), batch_size
        except OutOfMemoryError as error:
            if batch_size == 1:
                raise ModelError(f"{error} with a single image on {device}") from None
        batch_size //= 2
        log.info(f"{model_id}: out of memory, trying again with --batch_size {batch_size}")
