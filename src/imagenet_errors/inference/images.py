"""The pixels of images, in batches."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL.Image import Image

from imagenet_errors import processes
from imagenet_errors.errors import InputError, ModelError, describe_exception
from imagenet_errors.inference.pixel_cache import CacheLimits, PixelCache, make_cache
from imagenet_errors.inference.preprocessing import Geometry, OwnTransform
from imagenet_errors.inference.stored_images import StoredImage


class ImageFiles(torch.utils.data.Dataset):
    """Images as pixels.

    An unreadable image is returned as the `InputError` that names it, a transform's failure as a `ModelError`: raised
    in a worker process, they would become a traceback.
    """

    def __init__(self, images: Sequence[StoredImage], to_pixels: Callable[[Image], torch.Tensor]):
        self.images, self.to_pixels = images, to_pixels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor | InputError | ModelError:
        try:
            image = self.images[index].decode()
        except InputError as error:
            return error
        try:
            return self.to_pixels(image)
        except Exception as error:
            return ModelError(f"its transform fails on {self.images[index]} ({describe_exception(error)})")


class CacheWriter(torch.utils.data.Dataset):
    """Images whose pixels are written to a cache, by whichever process decodes them; an item is None or the error."""

    def __init__(self, files: ImageFiles, cache: PixelCache):
        self.files, self.pixels, self.is_written = files, cache.pixels, cache.is_written

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> InputError | ModelError | None:
        if self.is_written[index]:  # meanwhile, by a process that shares the cache
            return None
        item = self.files[index]
        if isinstance(item, InputError | ModelError):
            return item
        pixels, row = as_array(item), self.pixels[index]
        if pixels is None or (pixels.shape, pixels.dtype) != (row.shape, row.dtype):
            return ModelError(f"its transform does not give tensors of one size ({self.files.images[index]})")
        row[...] = pixels
        self.is_written[index] = True
        return None


def as_array(item: Any) -> np.ndarray | None:
    """The array of a tensor; None for anything that cannot be kept in a file."""
    try:
        return item.detach().numpy()
    except (AttributeError, TypeError, RuntimeError):
        return None


def rotate(rows: range) -> list[int]:
    """The rows in an order of this process: processes that decode a batch at the same time share its work."""
    first = rows[os.getpid() % len(rows)]
    return [*range(first, rows.stop), *range(rows.start, first)]


def stack(batch: list) -> torch.Tensor | InputError | ModelError:
    """One tensor [B, 3, H, W], or the first error.

    A process that decodes puts it into shared memory here: later, where there is no room, torch only prints a
    traceback, and the batch is waited for without end.
    """
    error = find_error(batch)
    if error:
        return error
    try:
        pixels = torch.stack(batch)
    except (TypeError, RuntimeError) as failure:
        return ModelError(f"its transform does not give tensors of one size ({describe_exception(failure)})")
    try:
        return pixels.share_memory_() if torch.utils.data.get_worker_info() else pixels
    except RuntimeError as failure:
        return InputError(
            f"processes that decode cannot pass images on ({describe_exception(failure)}): give /dev/shm more memory,"
            " as docker run --shm-size does, or take fewer --workers or a smaller --batch_size"
        )


def find_error(batch: list) -> InputError | ModelError | None:
    """The first error among the items."""
    return next((item for item in batch if isinstance(item, InputError | ModelError)), None)


class SignalSafeLoader(torch.utils.data.DataLoader):
    """A loader whose workers leave signals to this process, and end with it."""

    def __iter__(self) -> Any:
        with processes.signals_blocked():
            return super().__iter__()


class ThreadedLoader:
    """Batches that this process decodes, each with all cores while the network waits: Pillow needs no Python lock.

    On a CPU, this is faster than decoding beside the network: every layer waits for all of its threads.
    """

    def __init__(
        self, dataset: torch.utils.data.Dataset, batches: Sequence[Sequence[int]], collate: Callable, threads: int
    ):
        self.dataset, self.rows, self.collate, self.threads = dataset, batches, collate, threads

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Any]:
        if self.threads == 1:
            yield from (self.collate([self.dataset[row] for row in rows]) for rows in self.rows)
            return
        with ThreadPoolExecutor(self.threads) as executor:
            for rows in self.rows:
                yield self.collate(list(executor.map(self.dataset.__getitem__, rows)))


class Images:
    """The images of a run, as batches of pixels.

    Args:
        stored: [N], where they lie.
        workers: Processes that decode images; 0 decodes in this one.
        limits: Of the pixels that are kept for models of one geometry; None decodes for every model.
        pin_memory: Whether batches go to a GPU.
    """

    def __init__(
        self, stored: Sequence[StoredImage], workers: int, limits: CacheLimits | None = None, pin_memory: bool = False
    ):
        self.stored, self.workers = stored, workers
        self.limits, self.pin_memory = limits, pin_memory
        self.is_shared = False
        self.geometry: Geometry | None = None  # that a cache was made for, or refused
        self.cache: PixelCache | None = None

    @contextmanager
    def shared_by(self, num_models: int) -> Iterator[None]:
        """Keep pixels while models run that see the same ones; for a single model that would not pay."""
        self.is_shared = num_models > 1
        try:
            yield
        finally:
            self.is_shared, self.geometry, self.cache = False, None, None

    def batches(self, geometry: Geometry, batch_size: int) -> "SignalSafeLoader | ThreadedLoader | CachedBatches":
        """A sized iterable of [B, 3, H, W] tensors, or of the error that stands for one."""
        files = ImageFiles(self.stored, geometry.to_pixels())
        count = len(self.stored)
        batches = [range(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]
        cache = self._find_cache(self.limits, geometry, files) if self.is_shared and self.limits else None
        if cache is None:
            return self._load(files, batches, stack, geometry)
        missing = [rows for rows in batches if not cache.is_written[rows].all()]
        is_alone = self.limits is None or self.limits.owner is None
        to_decode = missing if is_alone else list(map(rotate, missing))
        decoded = self._load(CacheWriter(files, cache), to_decode, find_error, geometry)
        return CachedBatches(cache, batches, set(missing), decoded)

    def _find_cache(self, limits: CacheLimits, geometry: Geometry, files: ImageFiles) -> PixelCache | None:
        """The cache of this geometry; it is made where there is none, and that of another is removed."""
        if self.geometry != geometry:
            self.geometry, self.cache = geometry, None
            example = as_array(files[0])
            if example is not None:
                self.cache = make_cache(limits, geometry, example, len(self.stored))
        return self.cache

    def _load(
        self, dataset: torch.utils.data.Dataset, batches: Sequence[Sequence[int]], collate: Callable, geometry: Geometry
    ) -> SignalSafeLoader | ThreadedLoader:
        num_workers = min(self.workers, len(batches))
        if not num_workers or (isinstance(dataset, CacheWriter) and sys.platform != "linux"):
            is_own = isinstance(geometry, OwnTransform)  # it may not be made for threads
            return ThreadedLoader(dataset, batches, collate, 1 if is_own else os.cpu_count() or 1)
        return SignalSafeLoader(
            dataset,
            batch_sampler=[list(rows) for rows in batches],
            num_workers=num_workers,
            collate_fn=collate,
            pin_memory=self.pin_memory,
            worker_init_fn=processes.follow_parent,
            multiprocessing_context="fork" if sys.platform == "linux" else None,  # workers write to the same memory
        )


class CachedBatches:
    """Batches of the pixels in a cache; those that are not written yet are decoded first."""

    def __init__(
        self,
        cache: PixelCache,
        batches: list[range],
        missing: set[range],
        decoded: Iterable[InputError | ModelError | None],
    ):
        self.cache, self.rows, self.missing, self.decoded = cache, batches, missing, decoded

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[torch.Tensor | InputError | ModelError]:
        decoded = iter(self.decoded)
        for rows in self.rows:
            if rows in self.missing:
                error = next(decoded)
                if error:
                    yield error
                    return
            yield torch.from_numpy(self.cache.pixels[rows.start : rows.stop])
