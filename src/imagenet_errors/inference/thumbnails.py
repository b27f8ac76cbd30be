"""Small pictures of images, to be kept in a page."""

import io
from pathlib import Path

from imagenet_errors.inference.stored_images import StoredImage

SIDE = 224  # pixels, of the longer side
QUALITY = 70  # of JPEG


def make_thumbnail(path: Path) -> bytes:
    """The image of a file as a JPEG of at most SIDE x SIDE pixels. Raises `InputError` where it cannot be read."""
    picture, content = StoredImage(str(path)).decode(), io.BytesIO()
    picture.thumbnail((SIDE, SIDE))
    picture.save(content, "jpeg", quality=QUALITY)
    return content.getvalue()
