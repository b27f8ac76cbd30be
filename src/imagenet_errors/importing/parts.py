"""One file of predictions, its rows matched to images as far as names or flags tell."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imagenet_errors.dataset.plausibility import CLASS_FOLDER, FILE_NUMBER, list_orders
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.formats.prediction_files import PredictionFile, RawPredictions
from imagenet_errors.importing import match


@dataclass(frozen=True)
class Part:
    """What one file says of m images.

    Attributes:
        path: The file.
        raw: Its predictions, M rows.
        numbers: [M] int64, the number of each row's best class.
        rows: [m] int64, the rows that count.
        positions: [m] int64, their images among the samples; None where names and flags do not tell.
        is_named: Whether the file names its images.
    """

    path: Path
    raw: RawPredictions
    numbers: np.ndarray
    rows: np.ndarray
    positions: np.ndarray | None
    is_named: bool

    def in_order(self, order: str | None, samples: Samples) -> "Part":
        """The part of an array that has a row for each sample, in this order."""
        rows = self.rows[list_orders(samples)[order]]
        return replace(self, rows=rows, positions=np.arange(len(rows)))


def place(
    file: PredictionFile, raw: RawPredictions, numbers: np.ndarray, finder: match.ImageFinder, order: str | None
) -> Part:
    """Match the rows of a file to images.

    Args:
        file: The file.
        raw: Which of its predictions count.
        numbers: `Resolver.read_numbers` of these.
        finder: Of the samples.
        order: What `--order` says of arrays without names.

    Raises:
        InputError: where the file names other images, or has another number of rows.
    """
    samples, every_row = finder.samples, np.arange(len(numbers))
    if file.names is not None:
        return Part(file.path, raw, numbers, every_row, finder.find_all(file.names, file.path), is_named=True)
    if order == FILE_NUMBER:
        rows = match.find_numbered_rows(len(numbers), samples, file.path)
        return Part(file.path, raw, numbers, rows, np.arange(len(rows)), is_named=False)
    match.check_num_rows(len(numbers), samples, file.path)
    is_known = order == CLASS_FOLDER or FILE_NUMBER not in list_orders(samples)
    return Part(file.path, raw, numbers, every_row, every_row if is_known else None, is_named=False)
