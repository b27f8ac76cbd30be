"""The pixels of all images of a run in one geometry, decoded once and kept for the models of that geometry."""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagenet_errors.files import fingerprint, remove_leftovers, temporary_path
from imagenet_errors.inference.preprocessing import Geometry, OwnTransform

log = logging.getLogger(__name__)

GIGABYTE = 10**9
SHARED = "pixels-"  # how names of shared files begin
MOST_OF_FREE_SPACE = 0.5  # so that predictions and other runs find space


@dataclass(frozen=True)
class CacheLimits:
    """Where pixels may be kept, and how many.

    Attributes:
        folder: Of the file. It has no name there: no other run sees it, and the operating system removes it when this
            process ends, however it ends.
        gigabytes: The file is never larger, nor are all files of one owner together.
        owner: Of the processes of this machine that share files, which then have names, the process that removes them;
            None for a process alone.
    """

    folder: Path
    gigabytes: float
    owner: int | None = None

    def compute_most_bytes(self) -> int:
        """How large a file may be now; the folder may be made later. Raises `OSError` where it cannot be looked at."""
        folder = next(path for path in (self.folder, *self.folder.resolve().parents) if path.exists())
        free = shutil.disk_usage(folder).free
        taken = sum(path.stat().st_size for path in self.list_shared())
        return int(min(self.gigabytes * GIGABYTE - taken, free * MOST_OF_FREE_SPACE))

    def name_shared(self, geometry: Geometry) -> Path | None:
        """The file that the processes of one owner share; None where they share none, or not this geometry."""
        if self.owner is None or isinstance(geometry, OwnTransform):  # of which every process has its own
            return None
        return temporary_path(self.folder / f"{SHARED}{fingerprint(repr(geometry))}", self.owner)

    def list_shared(self) -> list[Path]:
        """The files that the processes of this owner share now."""
        return [] if self.owner is None else list(self.folder.glob(temporary_path(Path(f"{SHARED}*"), self.owner).name))

    def remove_shared(self, geometry: Geometry | None = None) -> None:
        """Remove that of a geometry, or all of them, and those of owners that were killed.

        A process that uses one keeps it until it needs another.
        """
        paths = self.list_shared() if geometry is None else [self.name_shared(geometry)]
        for path in filter(None, paths):
            path.unlink(missing_ok=True)
        for path in self.folder.glob(f".{SHARED}*.tmp"):
            remove_leftovers(self.folder / path.name[1:].partition(".")[0])

    @contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile no other process makes a file in the folder."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class PixelCache:
    """Pixels in a memory-mapped file, and which of them are written: all processes that share the file see both.

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
        with limits.held():
            shared = limits.name_shared(geometry)
            most_bytes = limits.compute_most_bytes()
            if num_bytes > most_bytes and not (shared and shared.exists()):
                log.info(
                    f"{every_model} their pixels take {num_bytes / GIGABYTE:.1f} GB, and --cache_gb"
                    f" {limits.gigabytes:g} and half of the free space in {limits.folder} allow"
                    f" {most_bytes / GIGABYTE:.1f} GB"
                )
                return None
            with open(shared, "a+b") if shared else tempfile.TemporaryFile(dir=limits.folder) as file:
                size = num_bytes + num_images  # with the flags, a byte each
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    os.truncate(file.fileno(), size)
                content = np.memmap(file, np.uint8, "r+", shape=(size,))
    except OSError as error:
        log.info(f"{every_model} {limits.folder} cannot keep their pixels ({error.strerror})")
        return None
    pixels = content[:num_bytes].view(example.dtype).reshape(num_images, *example.shape)
    return PixelCache(pixels, content[num_bytes:].view(bool))
