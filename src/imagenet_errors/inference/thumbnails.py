"""Small pictures of images, for notebooks."""

import io
from pathlib import Path

from PIL import Image

from imagenet_errors.errors import InputError


def make_thumbnail(path: Path, size: int) -> tuple[bytes, int]:
    """The PNG of an image whose longer side has at most `size` pixels, and its width.

    Raises:
        InputError: where the file cannot be read.
    """
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read ({error}): fetch it again or remove it") from None
    picture.thumbnail((size, size))
    content = io.BytesIO()
    picture.save(content, "png")
    return content.getvalue(), picture.width
