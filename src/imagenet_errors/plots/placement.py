"""Where texts stand in a scatter plot: near what they name, on free ground, and the same in every run."""

from dataclasses import dataclass

import numpy as np

CELL = 1.5  # points: the grid that places are searched on
ELSEWHERE = 60.0  # points: so far from other named things a place is as good as any


@dataclass(frozen=True)
class Box:
    """A text to place. Lengths are in points, positions in points from the lower left corner of the axes.

    Attributes:
        width, height: Of the text.
        anchors: [n, 2] float: positions of what it names.
        reach: How far it may be from the nearest of these.
        gap: A line joins it to this anchor from this distance on.
    """

    width: float
    height: float
    anchors: np.ndarray
    reach: float
    gap: float


def place_boxes(
    boxes: list[Box], axes_size: tuple[float, float], marks: np.ndarray, mark_radius: float
) -> list[np.ndarray | None]:
    """Find places one after another: the free one nearest to the box's own anchors, and farther from the others'.

    Boxes are placed in the order given and in the reverse, and the better arrangement is returned.

    Args:
        boxes: What to place.
        axes_size: Width and height of the axes.
        marks: [m, 2] float: centres of what must not be covered.
        mark_radius: Of these marks.

    Returns:
        [2] float of each box: its lower left corner; None where no free place is within reach.
    """
    from scipy.ndimage import binary_dilation

    shape = tuple(int(length / CELL) for length in reversed(axes_size))
    is_taken = binary_dilation(_to_grid(marks, shape), iterations=int(np.ceil(mark_radius / CELL)))
    distances = [_distance_to(box.anchors, shape) for box in boxes]
    costs = [_find_costs(number, boxes, distances) for number in range(len(boxes))]
    forward = range(len(boxes))
    return min((_place(boxes, costs, order, is_taken.copy()) for order in (forward, forward[::-1])), key=_sum_costs)[0]


def _place(
    boxes: list[Box], costs: list[np.ndarray], order: range, is_taken: np.ndarray
) -> tuple[list[np.ndarray | None], list[float]]:
    """Places and costs of the boxes, found in this order; `is_taken` is changed."""
    places: list[np.ndarray | None] = [None] * len(boxes)
    found = [np.inf] * len(boxes)
    for number in order:
        if not costs[number].size:
            continue
        box, high, wide = boxes[number], *_cells_of(boxes[number])
        sums = np.pad(is_taken.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
        inside = sums[high:, wide:] - sums[:-high, wide:] - sums[high:, :-wide] + sums[:-high, :-wide]
        cost = np.where(inside > 0, np.inf, costs[number])
        if not np.isfinite(cost).any():
            continue
        row, column = divmod(int(cost.argmin()), cost.shape[1])
        is_taken[row : row + high, column : column + wide] = True
        corner = CELL * np.array([column + 0.5, row + 0.5])
        places[number], found[number] = corner, cost[row, column]
        if (ends := find_leader(box, corner)) is not None:
            is_taken |= _to_grid(np.linspace(ends[0], ends[1], 200), is_taken.shape)
    return places, found


def _sum_costs(placed: tuple[list[np.ndarray | None], list[float]]) -> tuple[int, float]:
    """How many boxes have no place, and the costs of the others."""
    costs = np.array(placed[1])
    return int(np.isinf(costs).sum()), float(costs[np.isfinite(costs)].sum())


def find_leader(box: Box, corner: np.ndarray) -> np.ndarray | None:
    """[2, 2] float: the ends of the shortest line from an anchor to a box with this corner; None if it is short."""
    near = np.clip(box.anchors, corner, corner + np.array([box.width, box.height]))
    lengths = np.hypot(*(box.anchors - near).T)
    nearest = int(lengths.argmin())
    return np.stack([box.anchors[nearest], near[nearest]]) if lengths[nearest] > box.gap else None


def _cells_of(box: Box) -> tuple[int, int]:
    """Height and width of a box in cells, with a margin."""
    return int(np.ceil(box.height / CELL)) + 1, int(np.ceil(box.width / CELL)) + 1


def _find_costs(number: int, boxes: list[Box], distances: list[np.ndarray]) -> np.ndarray:
    """What each place of a box costs, by its lower left cell; infinite beyond its reach, empty if it is too large."""
    box, (high, wide) = boxes[number], _cells_of(boxes[number])
    if high > distances[number].shape[0] or wide > distances[number].shape[1]:
        return np.empty((0, 0))
    nearest = _least_in_boxes(distances[number], (high, wide))
    centre = slice(high // 2, high // 2 + nearest.shape[0]), slice(wide // 2, wide // 2 + nearest.shape[1])
    cost = nearest + 0.3 * distances[number][centre]
    for other in (*distances[:number], *distances[number + 1 :]):
        cost -= 0.25 * np.minimum(other[centre], ELSEWHERE)
        cost += 2 * np.clip(nearest - _least_in_boxes(other, (high, wide)), 0, ELSEWHERE)
    return np.where(nearest <= box.reach, cost, np.inf)


def _to_grid(places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """[rows, columns] bool: the cells that `places`, in points, fall into."""
    grid = np.zeros(shape, bool)
    columns, rows = np.floor(places / CELL).astype(int).T
    is_inside = (rows >= 0) & (columns >= 0) & (rows < shape[0]) & (columns < shape[1])
    grid[rows[is_inside], columns[is_inside]] = True
    return grid


def _distance_to(anchors: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """[rows, columns] float: the distance of each cell from the nearest anchor, in points."""
    from scipy.ndimage import distance_transform_edt

    grid = _to_grid(anchors, shape)
    return CELL * distance_transform_edt(~grid) if grid.any() else np.full(shape, np.inf)


def _least_in_boxes(distances: np.ndarray, box: tuple[int, int]) -> np.ndarray:
    """The least distance in the box that begins at each cell."""
    from scipy.ndimage import minimum_filter1d

    for axis, length in enumerate(box):
        filtered = minimum_filter1d(distances, length, axis=axis, origin=-(length // 2))
        distances = np.delete(filtered, slice(distances.shape[axis] - length + 1, None), axis)
    return distances
