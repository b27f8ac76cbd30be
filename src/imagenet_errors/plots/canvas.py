"""Pictures as matplotlib makes and writes them: the same bytes in every run."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from imagenet_errors.files import atomic_write
from imagenet_errors.plots.styles import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

METADATA: dict[str, dict] = {  # without dates and versions
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None},
    "svg": {"Date": None},
}


@contextmanager
def open_canvas(style: Style) -> Iterator["Canvas"]:
    """An empty picture of this style, whose settings hold inside the block."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context(style.rc_params()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # names in any script
        canvas = plt.figure(figsize=(style.width, style.height), dpi=style.dpi)
        yield canvas
        plt.close(canvas)


def save(canvas: "Canvas", paths: list[Path]) -> None:
    """Write a picture to each of `paths`, whose suffix is the format."""
    for path in paths:
        suffix, picture = path.suffix.removeprefix("."), io.BytesIO()
        canvas.savefig(picture, format=suffix, metadata=METADATA[suffix])
        with atomic_write(path) as temporary:
            temporary.write_bytes(picture.getvalue())
