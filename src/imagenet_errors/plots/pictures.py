"""Making and writing pictures: completely or not at all, with the same bytes for the same content."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from imagenet_errors.errors import InputError
from imagenet_errors.files import atomic_write
from imagenet_errors.plots.styles import FONTS, Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 200
METADATA: dict[str, dict] = {  # without dates and versions
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None},
    "svg": {"Date": None},
}


@contextmanager
def open_canvas(style: Style) -> Iterator["Figure"]:
    """An empty picture of this style, whose settings hold inside the block."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context(style.rc_params()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # names in any script
        canvas = plt.figure(figsize=(style.width, style.height), dpi=style.dpi)
        yield canvas
        plt.close(canvas)


def save_picture(figure: "Figure", path: Path, dpi: int = DPI) -> None:
    """Write a picture in the format of the path's suffix.

    Raises:
        InputError: where it is none of METADATA.
    """
    from matplotlib import rc_context

    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in METADATA:
        raise InputError(f"{path}: a picture is a file named .{', .'.join(METADATA)}")
    picture = io.BytesIO()
    with warnings.catch_warnings(), rc_context(FONTS):
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # names in any script
        figure.savefig(picture, format=suffix, dpi=dpi, metadata=METADATA[suffix])
    with atomic_write(path) as temporary:
        temporary.write_bytes(picture.getvalue())
