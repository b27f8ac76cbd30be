"""How many multiply-adds a model needs for an image: multiply_adds.csv, which make_artefacts.py writes."""

from imagenet_errors.errors import InputError
from imagenet_errors.files import read_csv
from imagenet_errors.paths import MULTIPLY_ADDS, Artefacts

COLUMNS = ["model_id", "side", "multiply_adds"]


def read_multiply_adds(artefacts: Artefacts) -> dict[tuple[str, int], int]:
    """{(model id, side of the image in pixels): multiply-adds} of the models that could be counted.

    Raises:
        InputError: for a table that is missing or damaged.
    """
    path = artefacts.find(MULTIPLY_ADDS)
    try:
        return {(row["model_id"], int(row["side"])): int(row["multiply_adds"]) for row in read_csv(path, COLUMNS)}
    except ValueError:
        raise InputError(f"{path} has values that are not integers: restore it from the repository") from None
