"""The pixels of images, in batches."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image

from imagenet_errors import processes
from imagenet_errors.errors import InputError, ModelError, describe_exception
from imagenet_errors.inference.preprocessing import Geometry
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


def stack(batch: list) -> torch.Tensor | InputError | ModelError:
    """One tensor [B, 3, H, W], or the first error."""
    error = next((item for item in batch if isinstance(item, InputError | ModelError)), None)
    if error:
        return error
    try:
        return torch.stack(batch)
    except (TypeError, RuntimeError) as failure:
        return ModelError(f"its transform does not give tensors of one size ({describe_exception(failure)})")


class SignalSafeLoader(torch.utils.data.DataLoader):
    """A loader whose workers leave signals to this process, and end with it."""

    def __iter__(self) -> Any:
        with processes.signals_blocked():
            return super().__iter__()


class Images:
    """The images of a run, as batches of pixels.

    With a cache folder, images are decoded once for all consecutive models of one geometry: their pixels are kept in a
    nameless file there, which is gone when another geometry comes or the run ends, however it ends. It takes
    `N * 3 * H * W` bytes: 7.5 GB for 50,000 images at 224 x 224.

    Args:
        stored: [N], where they lie.
        workers: Processes that decode images; 0 decodes in this one.
        cache_dir: Where to keep pixels; None decodes for every model.
        pin_memory: Whether batches go to a GPU.
    """

    def __init__(
        self, stored: Sequence[StoredImage], workers: int, cache_dir: Path | None = None, pin_memory: bool = False
    ):
        self.stored, self.workers = stored, workers
        self.cache_dir, self.pin_memory = cache_dir, pin_memory
        self.cached: tuple[Geometry, np.ndarray] | None = None

    def batches(self, geometry: Geometry, batch_size: int) -> "SignalSafeLoader | CachedBatches | CachingLoader":
        """A sized iterable of [B, 3, H, W] tensors, or of the error that stands for one."""
        if self.cached and self.cached[0] == geometry:
            return CachedBatches(self.cached[1], batch_size)
        loader = SignalSafeLoader(
            ImageFiles(self.stored, geometry.to_pixels()),
            min(batch_size, len(self.stored)),
            num_workers=min(self.workers, -(-len(self.stored) // batch_size)),
            collate_fn=stack,
            pin_memory=self.pin_memory,
            worker_init_fn=processes.follow_parent,
        )
        if self.cache_dir is None:
            return loader
        self.cached = None
        return CachingLoader(loader, self, geometry)


class CachingLoader:
    """Batches of a loader that are also written to the cache, which is valid once all have come."""

    def __init__(self, loader: SignalSafeLoader, images: Images, geometry: Geometry):
        self.loader, self.images, self.geometry = loader, images, geometry

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[torch.Tensor | InputError | ModelError]:
        with tempfile.TemporaryFile(dir=self.images.cache_dir) as file:
            for batch in self.loader:
                if isinstance(batch, torch.Tensor):
                    file.write(batch.numpy().data)
                yield batch
            file.flush()
            shape = (len(self.images.stored), *batch.shape[1:])
            self.images.cached = self.geometry, np.memmap(file, batch.numpy().dtype, "r+", shape=shape)


class CachedBatches:
    """Batches of the pixels in the cache."""

    def __init__(self, pixels: np.ndarray, batch_size: int):
        self.pixels, self.batch_size = pixels, batch_size

    def __len__(self) -> int:
        return -(-len(self.pixels) // self.batch_size)

    def __iter__(self) -> Iterator[torch.Tensor]:
        for start in range(0, len(self.pixels), self.batch_size):
            yield torch.from_numpy(self.pixels[start : start + self.batch_size])
