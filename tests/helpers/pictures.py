"""What tests read from matplotlib's figures."""

import itertools

import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.markers import MarkerStyle
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, Bbox

from imagenet_errors.plots.markers import BEHIND_COLOR


def close_to(color, expected: str) -> bool:
    """Equal to within one step per channel."""
    return np.abs(np.array(to_rgba(color)[:3]) - np.array(to_rgba(expected)[:3])).max() * 255 < 1.001


def all_clouds(canvas) -> list[PathCollection]:
    """In the order in which matplotlib draws them."""
    found = [one for one in canvas.axes[0].collections if isinstance(one, PathCollection)]
    return sorted(found, key=PathCollection.get_zorder)


def clouds(canvas) -> list[PathCollection]:
    """Those of the figure's own points, neither highlighted nor grey."""
    return [one for one in all_clouds(canvas) if one.get_zorder() in (2, 3)]


def highlighted(canvas) -> np.ndarray:
    """[n, 2] x and y of highlighted points."""
    return np.vstack([np.empty((0, 2)), *(one.get_offsets() for one in all_clouds(canvas) if one.get_zorder() == 8)])


def behind(canvas) -> np.ndarray:
    """[n, 2] x and y of grey points behind the others."""
    grey = [one for one in all_clouds(canvas) if one.get_zorder() < 2]
    assert all(close_to(one.get_facecolors()[0], BEHIND_COLOR) for one in grey)
    return np.vstack([np.empty((0, 2)), *(one.get_offsets() for one in grey)])


def marks_drawn(canvas) -> list[tuple[float, float, tuple, np.ndarray]]:
    """(x, y, colour, vertices of the mark) of every point."""
    found = []
    for cloud in clouds(canvas):
        colors = cloud.get_facecolors() if len(cloud.get_facecolors()) else cloud.get_edgecolors()
        places = np.asarray(cloud.get_offsets())
        colors = np.broadcast_to(colors, (len(places), 4))
        found += [(*xy, tuple(color), cloud.get_paths()[0].vertices) for xy, color in zip(places, colors, strict=True)]
    return found


def is_mark(vertices: np.ndarray, code: str) -> bool:
    style = MarkerStyle(code)
    expected = style.get_path().transformed(style.get_transform()).vertices
    return vertices.shape == expected.shape and np.allclose(vertices, expected)


def legend_texts(canvas) -> list[str]:
    return [text.get_text() for legend in canvas.legends for text in legend.get_texts()]


def labels(canvas) -> dict[str, Text]:
    """{text: label} of what stands in the axes."""
    return {text.get_text(): text for text in canvas.axes[0].texts}


def box_of(text: Text) -> Bbox:
    return text.get_window_extent(text.figure.canvas.get_renderer())


def places_in_pixels(canvas) -> np.ndarray:
    """[n, 2] the centres of all points."""
    return np.vstack([canvas.axes[0].transData.transform(cloud.get_offsets()) for cloud in all_clouds(canvas)])


def boxes_of_marks(canvas) -> np.ndarray:
    """[n, 4] left, bottom, right, top of every mark, in pixels."""
    boxes = []
    for cloud in all_clouds(canvas):
        centres = canvas.axes[0].transData.transform(cloud.get_offsets())
        scale = Affine2D().scale(np.sqrt(cloud.get_sizes()[0]) * canvas.dpi / 72)
        around = cloud.get_paths()[0].get_extents().transformed(scale)
        boxes.append(np.hstack([centres + around.min, centres + around.max]))
    return np.vstack(boxes)


def overlap(one, other) -> bool:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return width > 0.5 and height > 0.5  # pixels of 300 to the inch


def well_laid_out(canvas) -> bool:
    """No mark or text leaves the picture, no texts overlap or cover a point, and no legend lies on the axes."""
    renderer, whole = canvas.canvas.get_renderer(), canvas.bbox
    marked = boxes_of_marks(canvas)
    assert marked[:, :2].min() >= 0
    assert (marked[:, 2:] <= (whole.x1, whole.y1)).all()
    assert not any(cloud.get_clip_on() for cloud in all_clouds(canvas))
    (x_low, x_high), (y_low, y_high) = canvas.axes[0].get_xlim(), canvas.axes[0].get_ylim()
    places = np.vstack([cloud.get_offsets() for cloud in all_clouds(canvas)])
    assert (places >= (x_low, y_low)).all()
    assert (places <= (x_high, y_high)).all()

    texts = [text for text in canvas.findobj(Text) if text.get_visible() and text.get_text().strip()]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    assert len(boxes) > 8
    assert [text for text, box in boxes if min(box.x0, box.y0) < 0 or box.x1 > whole.x1 or box.y1 > whole.y1] == []
    overlapping = [(a[0], b[0]) for a, b in itertools.combinations(boxes, 2) if overlap(a[1], b[1])]
    assert overlapping == [], overlapping
    keys = [legend.get_window_extent(renderer) for legend in canvas.legends]
    framed = canvas.axes[0].get_tightbbox(renderer)
    assert not any(overlap(key, framed) for key in keys)
    assert not any(overlap(*pair) for pair in itertools.combinations(keys, 2))
    x, y = places_in_pixels(canvas).T
    for text, label in labels(canvas).items():
        box, axes = box_of(label), canvas.axes[0].bbox
        assert not ((box.x0 < x) & (x < box.x1) & (box.y0 < y) & (y < box.y1)).any(), text
        assert axes.x0 - 1 < box.x0 < box.x1 < axes.x1 + 1, text
        assert axes.y0 - 1 < box.y0 < box.y1 < axes.y1 + 1, text
    return True
