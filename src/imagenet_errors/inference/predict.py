"""Running one model over images."""

import ctypes
import os
import random
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn.utils import convert_conv2d_weight_memory_format

from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.errors import InputError, ModelError, describe_exception
from imagenet_errors.formats.predictions import Predictions
from imagenet_errors.inference.images import Images
from imagenet_errors.inference.preprocessing import OwnTransform, Preprocessing
from imagenet_errors.progress import show_progress

TOP = 5
MOST_QUEUED = 4  # batches on a GPU
BITS_OF_CLASS = (NUM_CLASSES - 1).bit_length()
OUT_OF_MEMORY = re.compile("allocate memory|out of memory|ALLOC_FAILED")  # torch, MPS, cuBLAS
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


class OutOfMemoryError(ModelError):
    """A batch that does not fit into memory; a smaller one may."""


def choose_device(name: str | None) -> torch.device:
    """The device of this name, by default a GPU where there is one. Raises `InputError` where it cannot be used."""
    name = name or ("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).item()
        device = torch.device(name)
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)  # else the thread that pins memory would take some of the first GPU
        return device
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise InputError(f"--device {name} cannot be used here ({str(error).splitlines()[0]}): try cpu") from None


def default_workers(device: torch.device) -> int:
    """How many processes decode images: one a core for another device, few where the CPU computes as well.

    On a CPU, a worker that takes a core from the network halves its speed: every layer waits for all of its threads.
    """
    cores = os.cpu_count() or 1
    return cores // 4 if device.type == "cpu" else min(16, cores)


def seed() -> None:
    """Seed all random numbers with 0."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def configure_arithmetic(amp: bool) -> None:
    """Seed everything with 0, and compute in plain float32: no TF32, no autotuned convolutions; with `amp`, both."""
    seed()
    torch.backends.cudnn.benchmark = amp
    torch.backends.cudnn.deterministic = not amp
    torch.backends.cudnn.allow_tf32 = amp
    torch.backends.cuda.matmul.allow_tf32 = amp


def keep_freed_memory() -> None:
    """Make glibc keep the memory of activations: returning it after every layer halves the speed on a CPU."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)


def choose_layout(device: torch.device, amp: bool) -> torch.memory_format:
    """Of the weights of convolutions: channels last on a CPU, and on a GPU in half precision.

    The tensor cores of GPUs compute convolutions in this layout, and other ones are converted to it for every layer
    (NVIDIA, Deep Learning Performance Documentation: Convolutional Layers, "Tensor Layouts In Memory").
    """
    is_faster = device.type == "cpu" or (device.type == "cuda" and amp)
    return torch.channels_last if is_faster else torch.contiguous_format


def predict(
    model: torch.nn.Module,
    preprocessing: Preprocessing | OwnTransform,
    images: Images,
    *,
    batch_size: int,
    device: torch.device,
    amp: bool = False,
    subset: list[int] | None = None,
    save_probs: bool = False,
    description: str = "predicting",
) -> Predictions:
    """Run a model over images.

    Args:
        model: Gives logits [B, 1000], or what `find_logits` finds them in; moved to `device`.
        preprocessing: The model's.
        images: What to run it on.
        batch_size: Images per batch.
        device: Where to compute.
        amp: Compute in half precision where PyTorch's autocast does: faster, not the same to the bit.
        subset: Class ids among which `top1_of_subset` is taken.
        save_probs: Keep all probabilities.
        description: Of the progress bar.

    Raises:
        InputError: for an image that cannot be read.
        OutOfMemoryError: where a batch does not fit.
        ModelError: for output that is not 1000 finite numbers per image, or any exception of the model's.
    """
    configure_arithmetic(amp)
    start = time.perf_counter()
    batches = []  # on the device, which is waited for at the end alone
    columns = None if subset is None else torch.tensor(subset, device=device)
    loader = show_progress(images.batches(preprocessing.geometry, batch_size), description)
    for probs in probabilities(model, preprocessing, loader, device, amp):
        batch = take_top_predictions(probs)
        if columns is not None:
            batch["top1_of_subset"] = columns[probs[:, columns].argmax(dim=1)].short()
        if save_probs:
            batch["probs"] = probs
        batches.append(batch)
    with model_errors():
        arrays = {name: torch.cat([batch[name] for batch in batches]).cpu().numpy() for name in batches[0]}
    return Predictions(**arrays, seconds=time.perf_counter() - start)


def take_top_predictions(probs: torch.Tensor) -> dict[str, torch.Tensor]:
    """The most probable class of each row, the first five and their probabilities; of equal ones the lower id first.

    Probabilities are not negative, and so are ordered as the integers that their bits are. Class ids below these bits
    make all of a row different, so that the first five are found without sorting all.
    """
    from_last = NUM_CLASSES - 1 - torch.arange(NUM_CLASSES, device=probs.device)
    keys = probs.view(torch.int32).long().bitwise_left_shift(BITS_OF_CLASS).bitwise_or(from_last)
    classes = NUM_CLASSES - 1 - keys.topk(TOP).values.bitwise_and(2**BITS_OF_CLASS - 1)
    return {"top1": classes[:, 0].short(), "top5": classes.short(), "top5_probs": probs.gather(1, classes)}


@torch.inference_mode()
def probabilities(
    model: torch.nn.Module,
    preprocessing: Preprocessing | OwnTransform,
    batches: Iterable,
    device: torch.device,
    amp: bool = False,
) -> Iterator[torch.Tensor]:
    """The softmax of the model's logits, [B, 1000] float32 on `device`, of every batch of pixels.

    That all are finite is known after the first batch and at the end; on a CPU, which need not be waited for, at once.
    """
    if device.type == "cpu":
        keep_freed_memory()
    with model_errors():
        model = model.to(device)
        convert_conv2d_weight_memory_format(model, choose_layout(device, amp))
    precision = next((each.dtype for each in model.parameters() if each.is_floating_point()), torch.float32)
    is_finite = torch.tensor(True, device=device)
    pixels_of_batches = raise_errors(batches)
    if device.type == "cuda":
        pixels_of_batches = copy_ahead(pixels_of_batches, device)
    for number, pixels in enumerate(pixels_of_batches):
        with model_errors(), torch.autocast(device.type, enabled=amp):
            output = model(preprocessing.normalise(pixels.to(device)).to(precision))
            logits = torch.as_tensor(find_logits(output), device=device)
            if logits.shape != (len(pixels), NUM_CLASSES):
                raise ModelError(f"it gives {tuple(logits.shape)} for {len(pixels)} images, not {NUM_CLASSES} each")
            probs = logits.float().softmax(dim=1)
            is_finite &= probs.isfinite().all()
            if number == 0 or device.type == "cpu":
                check_finite(is_finite)
        yield probs
    with model_errors():
        check_finite(is_finite)


def check_finite(is_finite: torch.Tensor) -> None:
    """Wait for the device. Raises `ModelError` where the output so far is not finite."""
    if not is_finite:
        raise ModelError("it gives not-a-number: its weights or its preprocessing are wrong")


def raise_errors(batches: Iterable) -> Iterator[torch.Tensor]:
    """The batches up to the first that is an error, which is raised."""
    for batch in batches:
        if isinstance(batch, InputError | ModelError):
            raise batch
        yield batch


def copy_ahead(batches: Iterable[torch.Tensor], device: torch.device) -> Iterator[torch.Tensor]:
    """Batches on a GPU; each is copied, from pinned memory and on a stream of its own, while the one before is used.

    The host waits where it is `MOST_QUEUED` batches ahead of the GPU, whose memory they take.

    Raises:
        OutOfMemoryError: where a batch does not fit.
    """
    copying, before = torch.cuda.Stream(device), None
    used: deque[torch.cuda.Event] = deque()
    for pixels in batches:
        with model_errors(), torch.cuda.stream(copying):
            pinned = pixels if pixels.is_pinned() else pixels.pin_memory()
            copied = pinned.to(device, non_blocking=True), copying.record_event()
        if before:
            yield from _hand_over(*before, used)
        before = copied
    if before:
        yield from _hand_over(*before, used)


def _hand_over(
    pixels: torch.Tensor, is_copied: torch.cuda.Event, used: deque[torch.cuda.Event]
) -> Iterator[torch.Tensor]:
    """Yield pixels that whatever is computed from now on waits for, and that stay until it is computed."""
    computing = torch.cuda.current_stream(pixels.device)
    computing.wait_event(is_copied)
    pixels.record_stream(computing)
    yield pixels
    used.append(computing.record_event(torch.cuda.Event(blocking=True)))
    if len(used) > MOST_QUEUED:
        with model_errors():
            used.popleft().synchronize()


def find_logits(output: Any) -> torch.Tensor | np.ndarray:
    """The logits in what a model returns.

    They are the output itself, its attribute or entry `logits`, the first entry of a tuple or list, or the only array
    of a dictionary.

    Raises:
        ModelError: where there are none.
    """
    if hasattr(output, "logits"):
        output = output.logits
    elif isinstance(output, Mapping):
        arrays = [value for value in output.values() if isinstance(value, torch.Tensor | np.ndarray)]
        output = output.get("logits", arrays[0] if len(arrays) == 1 else output)
    elif isinstance(output, tuple | list) and output:
        output = output[0]
    if isinstance(output, torch.Tensor | np.ndarray):
        return output
    keys = f" with {', '.join(map(str, list(output)[:8]))}" if isinstance(output, Mapping) else ""
    raise ModelError(f"it returns a {type(output).__name__}{keys}, not logits: return a tensor, or name it 'logits'")


@contextmanager
def model_errors() -> Iterator[None]:
    """Turn what a model raises into `OutOfMemoryError` or `ModelError`."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or OUT_OF_MEMORY.search(str(error)):
            raise OutOfMemoryError("it runs out of memory") from error
        raise ModelError(f"it fails on an image ({describe_exception(error)})") from error
