"""The batch sizes that were found for models on devices: batch_sizes.csv."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

from imagenet_errors.errors import InputError
from imagenet_errors.files import read_csv, write_csv


@dataclass(frozen=True)
class Conditions:
    """What a batch size was found for.

    Attributes:
        device: The name of the hardware.
        model_id: Of the model.
        geometry: Of its preprocessing; empty for a transform of the user's own.
        precision: `float32` or `amp`.
    """

    device: str
    model_id: str
    geometry: str
    precision: str


COLUMNS = [*Conditions.__annotations__, "batch_size"]


def read_batch_sizes(path: Path) -> dict[Conditions, int]:
    """{conditions: images per batch}, empty where there is no such file. Raises `InputError` for a damaged one."""
    return check(path) if path.exists() else {}


def write_batch_sizes(path: Path, sizes: Mapping[Conditions, int]) -> None:
    rows = [dict(zip(COLUMNS, (*astuple(conditions), size), strict=True)) for conditions, size in sizes.items()]
    write_csv(path, COLUMNS, rows)


def check(path: Path) -> dict[Conditions, int]:
    """The batch sizes. Raises `InputError` where the file is missing or damaged."""
    sizes = {}
    for row in read_csv(path, COLUMNS):
        text = row.pop("batch_size")
        if not (text.isdecimal() and int(text)):
            raise InputError(f"{path} has batch_size {text!r}: remove it, batch sizes are then measured again")
        sizes[Conditions(**row)] = int(text)
    return sizes
