"""Images as our readers take them."""

from pathlib import Path

from imagenet_errors.inference.stored_images import StoredImage


def stored(folder: Path, *names) -> list[StoredImage]:
    """Images that are files of a folder."""
    return [StoredImage(str(folder / name)) for name in names]
