"""Which image each row of a file of predictions is of."""

from pathlib import Path

import numpy as np

from imagenet_errors.dataset.image_names import canonical_names
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError

UNKNOWN, SEVERAL = -1, -2


class ImageFinder:
    """Finds images by name: by number, by class folder and name, or by a name that only one image has."""

    def __init__(self, samples: Samples):
        self.samples = samples
        files = samples.files.tolist()
        self._positions = {file: row for row, file in enumerate(files)}
        for row, file in enumerate(files):
            name = file.rpartition("/")[2]
            self._positions[name] = SEVERAL if name in self._positions else row

    def find(self, names: np.ndarray) -> np.ndarray:
        """[M] int64 positions among the samples; UNKNOWN or SEVERAL for a name that does not tell one."""
        return np.array([self._find(name) for name in canonical_names(names.tolist()).tolist()], np.int64)

    def _find(self, path: str) -> int:
        folders, _, name = path.replace("\\", "/").rpartition("/")
        exact = self._positions.get(f"{folders.rpartition('/')[2]}/{name}")
        return self._positions.get(name, UNKNOWN) if exact is None else exact

    def find_all(self, names: np.ndarray, path: Path) -> np.ndarray:
        """`find`, for the rows of a file. Raises `InputError` for a name that does not tell one image."""
        positions = self.find(names)
        wrong = np.flatnonzero(positions < 0)
        if not len(wrong):
            return positions
        row, name = wrong[0] + 1, str(names[wrong[0]])
        if positions[wrong[0]] == SEVERAL:
            raise InputError(
                f"{path} row {row}: {name!r} is the name of several images: write the class folder before it, as in"
                " n01440764/name"
            )
        raise InputError(
            f"{path} row {row}: {name!r} is none of the dataset's {len(self.samples.files):,} images ({len(wrong):,}"
            " such rows): remove these rows, or name the column of image names with --file_column"
        )


def find_numbered_rows(num_rows: int, samples: Samples, path: Path) -> np.ndarray:
    """Of an array whose row i is of validation file i + 1: the row of each sample, [N] int64.

    Raises:
        InputError: where a sample has none.
    """
    absent = np.flatnonzero((samples.numbers == 0) | (samples.numbers > num_rows))
    if len(absent):
        name = samples.files[absent[0]].rpartition("/")[2]
        raise InputError(f"{path} has {num_rows:,} rows, by number of the validation file, and none for {name}")
    return samples.numbers - 1


def check_num_rows(num_rows: int, samples: Samples, path: Path) -> None:
    """Raises `InputError` where an array without names does not have a row for each sample."""
    if num_rows != len(samples.files):
        raise InputError(
            f"{path} has {num_rows:,} rows without image names, and the dataset {len(samples.files):,} images: add"
            " their names, as an array or list called files"
        )
