"""Whether images can be decoded, found out before models are run, and remembered while files are the same."""

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

from imagenet_errors import locks
from imagenet_errors.errors import InputError
from imagenet_errors.formats.checked_images import read_checked_images, write_checked_images
from imagenet_errors.inference.stored_images import StoredImage
from imagenet_errors.paths import Artefacts
from imagenet_errors.progress import show_progress

log = logging.getLogger(__name__)


def check_images(artefacts: Artefacts, dataset: str, images: Sequence[StoredImage]) -> None:
    """Decode every image that was not decoded before as it is now, in parallel; the others are remembered.

    An image is the same while its place, and the size and the time of its file are.

    Raises:
        InputError: where some cannot be read; every one is named.
    """
    path = artefacts.checked_images(dataset)
    with locks.locked(artefacts.root, f"{dataset}/{path.name}"):
        known, keys = read_checked_images(path), _identify(images)
        rows = np.flatnonzero(~np.isin(keys, known))
        errors = dict(zip(rows.tolist(), _check(images, rows), strict=True))
        damaged = [row for row, error in errors.items() if error]
        sound = np.setdiff1d(rows, damaged)
        if len(sound):
            write_checked_images(path, np.union1d(known, keys[sound]))
    if len(damaged) == 1:
        raise InputError(errors[damaged[0]])
    for row in damaged:
        log.error(errors[row])
    if damaged:
        raise InputError(f"{len(damaged):,} of {len(images):,} images cannot be read: replace or remove those named")


def _check(images: Sequence[StoredImage], rows: np.ndarray) -> Iterator[str]:
    """For each of the rows why the image cannot be read, or an empty text. Pillow decodes without Python's lock."""
    executor = ThreadPoolExecutor()
    try:
        results = executor.map(lambda row: _find_fault(images[row]), rows.tolist())
        yield from show_progress(results, "checking images", len(rows))
    finally:
        executor.shutdown(cancel_futures=True)


def _find_fault(image: StoredImage) -> str:
    try:
        image.decode(is_check=True)
    except InputError as error:
        return str(error)
    return ""


def _identify(images: Sequence[StoredImage]) -> np.ndarray:
    """[N] uint64, hashes of place, size and time; the size is 0 for a file that is not there."""
    describe = cache(_describe_file)
    parts = (repr((*image, describe(image.path))).encode() for image in images)
    digests = b"".join(hashlib.blake2b(part, digest_size=8).digest() for part in parts)
    return np.frombuffer(digests, np.uint64)


def _describe_file(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:  # decoding it will tell
        return 0, 0
    return status.st_size, status.st_mtime_ns
