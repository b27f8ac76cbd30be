"""The nearest training images of images by cosine similarity: exact, whatever blocks they are searched in."""

from typing import NamedTuple

import numpy as np
import torch

from imagenet_errors.errors import InputError
from imagenet_errors.formats.embeddings import NUM_NEIGHBOURS
from imagenet_errors.inference.predict import configure_arithmetic
from imagenet_errors.progress import show_progress

QUERIES_PER_BLOCK = 256  # images whose neighbours are searched at once
NUM_CANDIDATES = NUM_NEIGHBOURS + 14  # rows whose similarity is computed in double precision
SIMILARITY_TOLERANCE = 1e-5  # more than the rounding errors of single precision


class Nearest(NamedTuple):
    """The nearest of some training images, nearest first; of equal ones the lower row first.

    Attributes:
        similarities: [N, k] float64, in double precision; k is 50, or the number of training images.
        rows: [N, k] int32, theirs.
    """

    similarities: np.ndarray
    rows: np.ndarray

    def merge(self, others: "Nearest") -> "Nearest":
        """The fifty nearest of these and of those of other training images."""
        similarities = np.concatenate([self.similarities, others.similarities], axis=1)
        rows = np.concatenate([self.rows, others.rows], axis=1)
        order = np.lexsort((rows, -similarities))[:, :NUM_NEIGHBOURS]
        return Nearest(np.take_along_axis(similarities, order, axis=1), np.take_along_axis(rows, order, axis=1))


def check_number(train: np.ndarray) -> None:
    """Raises `InputError` where there are less than fifty training images."""
    if len(train) < NUM_NEIGHBOURS:
        raise InputError(f"there are {len(train)} training images for {NUM_NEIGHBOURS} neighbours: add some")


@torch.inference_mode()
def find_nearest(queries: np.ndarray, train: np.ndarray, device: torch.device, memory_gb: float) -> Nearest:
    """The 50 nearest rows of `train` for each query by cosine similarity; of equal ones the lower row first.

    Products in single precision find candidates, and double precision orders them. Where other rows could be among the
    fifty too, the query is compared with all rows in double precision. A similarity in double precision is the same
    whatever other rows are compared, so that the nearest of blocks of rows, merged, are those of all.

    Args:
        queries: [N, D] float32 of unit length.
        train: [T, D] float32 of unit length.
        device: Where to compute products.
        memory_gb: For blocks of similarities there.
    """
    configure_arithmetic(amp=False)
    columns = max(NUM_CANDIDATES, int(memory_gb * 1e9 / (3 * 4 * QUERIES_PER_BLOCK)))
    shape = len(queries), min(NUM_NEIGHBOURS, len(train))
    found = Nearest(np.empty(shape), np.empty(shape, np.int32))
    for start in show_progress(range(0, len(queries), QUERIES_PER_BLOCK), "neighbours"):
        some = queries[start : start + QUERIES_PER_BLOCK]
        candidates, uncertain = _find_candidates(some, train, columns, device)
        exact = np.einsum("qcd,qd->qc", train[candidates].astype(np.float64), some.astype(np.float64))
        order = np.lexsort((candidates, -exact))[:, : shape[1]]
        found.rows[start : start + len(some)] = np.take_along_axis(candidates, order, axis=1)
        found.similarities[start : start + len(some)] = np.take_along_axis(exact, order, axis=1)
        for row in np.flatnonzero(uncertain):
            exact = np.einsum("td,d->t", train, some[row], dtype=np.float64)
            nearest = np.argsort(-exact, kind="stable")[: shape[1]]
            found.rows[start + row], found.similarities[start + row] = nearest, exact[nearest]
    return found


def _find_candidates(
    queries: np.ndarray, train: np.ndarray, columns: int, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """[n, c] rows of `train`, the fifty nearest among them, and [n] whether other rows could be among the fifty."""
    left = torch.from_numpy(queries).to(device)
    values = torch.empty(len(queries), 0, device=device)
    rows = torch.empty(len(queries), 0, dtype=torch.int64, device=device)
    for start in range(0, len(train), columns):
        products = left @ torch.from_numpy(train[start : start + columns]).to(device).T
        block_values, block_rows = products.topk(min(NUM_CANDIDATES, products.shape[1]))
        values, rows = torch.cat([values, block_values], dim=1), torch.cat([rows, block_rows + start], dim=1)
        values, kept = values.topk(min(NUM_CANDIDATES, values.shape[1]))
        rows = rows.gather(1, kept)
    last = min(NUM_NEIGHBOURS, len(train)) - 1
    uncertain = (values[:, -1] > values[:, last] - SIMILARITY_TOLERANCE) & (rows.shape[1] < len(train))
    return rows.cpu().numpy(), uncertain.cpu().numpy()
