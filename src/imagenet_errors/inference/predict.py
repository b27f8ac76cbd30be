"""The loop over images."""

import ctypes
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from imagenet_errors.errors import InputError
from imagenet_errors.inference.datasets import ImageFiles, Preprocessing, stack

TOP = 5
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


@dataclass(frozen=True)
class Predictions:
    """What a model says about N images, the most probable class first; of equal ones the lower id.

    Attributes:
        top5: [N, 5] int16.
        top5_probs: [N, 5] float32, of the softmax over all 1000 classes.
        seconds: Wall time of the loop, data loading included.
        top1_of_subset: [N] int16, the most probable of the classes asked for, or None.
        probs: [N, 1000] float32, or None.
    """

    top5: np.ndarray
    top5_probs: np.ndarray
    seconds: float
    top1_of_subset: np.ndarray | None = None
    probs: np.ndarray | None = None

    @property
    def top1(self) -> np.ndarray:
        """[N] int16."""
        return self.top5[:, 0]


def choose_device(name: str | None) -> torch.device:
    """The device of this name, or else the best there is. Raises `InputError` where it cannot be used."""
    name = name or ("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).item()
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise InputError(f"--device {name} cannot be used here ({str(error).splitlines()[0]}): try cpu") from None


def default_workers(device: torch.device) -> int:
    """How many processes decode images: one a core for another device, few where the CPU computes as well.

    A worker that takes a core from a network halves its speed, for every layer waits for all of its threads.
    """
    cores = os.cpu_count() or 1
    return cores // 4 if device.type == "cpu" else min(16, cores)


def make_deterministic() -> None:
    """Seed everything with 0, and compute in plain float32: no TF32, no autotuned convolutions."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def keep_freed_memory() -> None:
    """Have glibc reuse the memory of activations: giving it back after every layer halves the speed on a CPU."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)


def predict(
    model: torch.nn.Module,
    preprocessing: Preprocessing,
    root: Path,
    files: np.ndarray,
    *,
    batch_size: int,
    workers: int,
    device: torch.device,
    subset: list[int] | None = None,
    save_probs: bool = False,
    progress: Callable = iter,
) -> Predictions:
    """Run a model over image files.

    Args:
        model: Gives logits [B, 1000]; moved to `device`.
        preprocessing: The model's.
        root: Folder that `files` are relative to.
        files: [N] str.
        batch_size: Images per batch.
        workers: Processes that decode images; 0 decodes in this one.
        device: Where to compute.
        subset: Class ids among which `top1_of_subset` is taken.
        save_probs: Keep all probabilities.
        progress: Wraps the iterable of batches.

    Raises:
        InputError: for an image that cannot be read, or logits that are no numbers.
    """
    make_deterministic()
    loader = torch.utils.data.DataLoader(
        ImageFiles(root, files, preprocessing.to_pixels()),
        min(batch_size, len(files)),
        num_workers=min(workers, -(-len(files) // batch_size)),
        collate_fn=stack,
        pin_memory=device.type == "cuda",
    )
    start = time.perf_counter()
    batches = []
    for probs in probabilities(model, preprocessing, progress(loader), device):
        values, classes = probs.sort(dim=1, descending=True, stable=True)
        batch = {"top5": classes[:, :TOP].short(), "top5_probs": values[:, :TOP]}
        if subset is not None:
            columns = torch.tensor(subset, device=device)
            batch["top1_of_subset"] = columns[probs[:, columns].argmax(dim=1)].short()
        if save_probs:
            batch["probs"] = probs
        batches.append({name: values.cpu().numpy() for name, values in batch.items()})
    arrays = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    return Predictions(**arrays, seconds=time.perf_counter() - start)


@torch.inference_mode()
def probabilities(
    model: torch.nn.Module, preprocessing: Preprocessing, batches: Iterable, device: torch.device
) -> Iterator[torch.Tensor]:
    """The softmax of the model's logits, [B, 1000] float32 on `device`, of every batch of pixels."""
    model = model.to(device)
    if device.type == "cpu":
        keep_freed_memory()
        model = model.to(memory_format=torch.channels_last)
    for pixels in batches:
        if isinstance(pixels, InputError):
            raise pixels
        probs = model(preprocessing.normalise(pixels.to(device, non_blocking=True))).softmax(dim=1)
        if not probs.isfinite().all():
            raise InputError("the model gives not-a-number: its weights or its preprocessing are wrong")
        yield probs
