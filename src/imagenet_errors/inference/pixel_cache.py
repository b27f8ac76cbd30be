"""The pixels of all images of a run in one geometry, decoded once and kept for the models of that geometry."""

import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagenet_errors.inference.preprocessing import Geometry

log = logging.getLogger(__name__)

GIGABYTE = 10**9
MOST_OF_FREE_SPACE = 0.5  # so that predictions and other runs find space


@dataclass(frozen=True)
class CacheLimits:
    """Where pixels may be kept, and how many.

    Attributes:
        folder: Of the file. It has no name there: no other run sees it, and the operating system removes it when this
            process ends, however it ends.
        gigabytes: The file is never larger.
    """

    folder: Path
    gigabytes: float

    def compute_most_bytes(self) -> int:
        """How large a file may be now; the folder may be made later. Raises `OSError` where it cannot be looked at."""
        folder = next(path for path in (self.folder, *self.folder.resolve().parents) if path.exists())
        free = shutil.disk_usage(folder).free
        return int(min(self.gigabytes * GIGABYTE, free * MOST_OF_FREE_SPACE))


@dataclass(frozen=True)
class PixelCache:
    """Pixels in a memory-mapped file. Which rows are written, only the process that made it knows.

    Attributes:
        pixels: [N, 3, H, W] uint8; for a user's own transform, [N, ...] of the shape and dtype that it gives.
        is_written: [N] bool.
    """

    pixels: np.ndarray
    is_written: np.ndarray


def make_cache(limits: CacheLimits, geometry: Geometry, example: np.ndarray, num_images: int) -> PixelCache | None:
    """A cache with no row written; None, and a line in the log, where it does not fit.

    Its space on the disk is taken at once, so that writing to it cannot fail later.

    Args:
        limits: Of its size.
        geometry: Of its pixels, for the log.
        example: Pixels of one image: every row is of this shape and dtype.
        num_images: How many rows.
    """
    num_bytes = num_images * example.nbytes
    every_model = f"{geometry}: images are decoded for every model:"
    try:
        most_bytes = limits.compute_most_bytes()
        if num_bytes > most_bytes:
            log.info(
                f"{every_model} their pixels take {num_bytes / GIGABYTE:.1f} GB, and --cache_gb {limits.gigabytes:g}"
                f" and half of the free space in {limits.folder} allow {most_bytes / GIGABYTE:.1f} GB"
            )
            return None
        with tempfile.TemporaryFile(dir=limits.folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, num_bytes)
            pixels = np.memmap(file, example.dtype, "r+", shape=(num_images, *example.shape))
    except OSError as error:
        log.info(f"{every_model} {limits.folder} cannot keep their pixels ({error.strerror})")
        return None
    return PixelCache(pixels, np.zeros(num_images, bool))
