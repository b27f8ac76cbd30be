"""Writing a picture: completely or not at all, with the same bytes for the same content."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from imagenet_errors.errors import InputError
from imagenet_errors.files import atomic_write
from imagenet_errors.plots.canvas import METADATA

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 200


def save_picture(figure: "Figure", path: Path) -> None:
    """Write a picture in the format of the path's suffix.

    Raises:
        InputError: where it is none of METADATA.
    """
    from matplotlib import rc_context

    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in METADATA:
        raise InputError(f"{path}: a picture is a file named .{', .'.join(METADATA)}")
    with (
        atomic_write(path) as temporary,
        warnings.catch_warnings(),
        rc_context({"svg.hashsalt": "imagenet_errors", "pdf.fonttype": 42}),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # names in any script
        figure.savefig(temporary, format=suffix, dpi=DPI, metadata=METADATA[suffix])
