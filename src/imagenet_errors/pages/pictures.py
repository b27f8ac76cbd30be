"""Where the images of a page are, and thumbnails that it holds."""

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from imagenet_errors.errors import InputError


def describe_pictures(
    files: Sequence[str], lists: Sequence[np.ndarray], folder: Path, path: Path, num_embedded: int
) -> dict[str, Any]:
    """`locate_images`, and `embedded`: {position: thumbnail, a JPEG in base 64}.

    Args:
        files: As for `locate_images`.
        lists: Positions among them; of each list the first `num_embedded` that have an image get a thumbnail.
        folder: As for `locate_images`.
        path: As for `locate_images`.
        num_embedded: Of each list.

    Raises:
        InputError: as `locate_images`, or where an image cannot be read.
    """
    located = locate_images(files, folder, path)
    embedded = {}
    if num_embedded:
        from imagenet_errors.inference.thumbnails import make_thumbnail

        has = np.array(located["has"], bool)
        chosen = np.unique(np.concatenate([of_list[has[of_list]][:num_embedded] for of_list in lists]))
        for position in chosen.tolist():
            file = files[position].rpartition("/")[2] if located["is_flat"] else files[position]
            embedded[position] = base64.b64encode(make_thumbnail(folder / file)).decode()
    return {**located, "embedded": embedded}


def locate_images(files: Sequence[str], folder: Path, path: Path) -> dict[str, Any]:
    """Where images are, seen from the page.

    Args:
        files: `<WordNet id>/<file name>` of each.
        folder: Of the images.
        path: Of the page.

    Returns:
        `base`, the address of the folder; `is_flat`, whether it has no class folders; `has`, 0 or 1 for each file.

    Raises:
        InputError: where none of the images is there.
    """
    for is_flat in (False, True):
        has = [int((folder / (file.rpartition("/")[2] if is_flat else file)).is_file()) for file in files]
        if any(has):
            base = quote(Path(os.path.relpath(folder.resolve(), path.resolve().parent)).as_posix())
            return {"base": base, "is_flat": is_flat, "has": has}
    raise InputError(
        f"--images {folder}: none of the {len(files):,} images is there, e.g. {files[0] if files else 'none'}: name the"
        " folder that has the class folders or the files"
    )


def describe_held(images: dict[str, Any] | None) -> str:
    """What the page says of the thumbnails of `describe_pictures` that it holds; empty where it holds none."""
    held = (images or {}).get("embedded")
    return f" It holds {len(held):,} images." if held else ""
