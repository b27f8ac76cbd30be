"""Image names: a validation image of ImageNet is known by its number, however a file of it is named."""

import re
from collections.abc import Iterable

import numpy as np

VALIDATION_PREFIX = "ILSVRC2012_val_"
VALIDATION_IMAGE = re.compile(VALIDATION_PREFIX + r"(\d{8})(?:_(n\d{8}))?(?:\.\w+)*", re.IGNORECASE)


def name_validation_file(number: int) -> str:
    """The validation file of this number, e.g. `ILSVRC2012_val_00000293.JPEG`."""
    return f"{VALIDATION_PREFIX}{number:08d}.JPEG"


def read_number(name: str) -> int | None:
    """The number of a validation image by its file name; None for a name of another form.

    Folders, extension, case and the suffix `_n01440764` of Hugging Face's archives do not matter.
    """
    match = _match(name)
    return None if match is None else int(match[1])


def read_wnid(name: str) -> str | None:
    """The WordNet id that the name of a validation image ends with in Hugging Face's archives; None without one."""
    match = _match(name)
    return match[2].lower() if match and match[2] else None


def _match(name: str) -> re.Match | None:
    return VALIDATION_IMAGE.fullmatch(name[max(name.rfind("/"), name.rfind("\\")) + 1 :])


def read_numbers(names: Iterable[str]) -> np.ndarray:
    """[N] int64, `read_number` of each name; 0 for a name of another form."""
    return np.array([read_number(name) or 0 for name in names], np.int64)


def canonical_name(path: str) -> str:
    """`path` with the official file name where it names a validation image: `a/ILSVRC2012_val_00000001.JPEG`."""
    number = read_number(path)
    return path if number is None else path[: path.rfind("/") + 1] + name_validation_file(number)


def canonical_names(paths: Iterable[str]) -> np.ndarray:
    """[N] str, `canonical_name` of each path."""
    return np.array([canonical_name(path) for path in paths])
