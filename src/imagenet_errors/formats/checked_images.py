"""Which images were decoded without a fault: checked_images.npz."""

from pathlib import Path

import numpy as np

from imagenet_errors.errors import InputError, ProtectedFileError
from imagenet_errors.files import read_npz, write_npz

ADVICE = "remove it, images are then checked again"


def read_checked_images(path: Path) -> np.ndarray:
    """[K] uint64, ascending: a hash of each image's place, size and time; none where the file is missing or damaged."""
    try:
        return check(path)
    except ProtectedFileError:
        raise
    except InputError:
        return np.empty(0, np.uint64)


def write_checked_images(path: Path, keys: np.ndarray) -> None:
    write_npz(path, keys=keys)


def check(path: Path) -> np.ndarray:
    """The hashes. Raises `InputError` where the file is missing or damaged."""
    keys = read_npz(path, "keys", advice=ADVICE)["keys"]
    if keys.dtype != np.uint64 or keys.ndim != 1 or (keys[1:] <= keys[:-1]).any():
        raise InputError(f"{path} does not hold ascending hashes: {ADVICE}")
    return keys
