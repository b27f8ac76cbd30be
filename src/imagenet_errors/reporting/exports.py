"""One model's errors in forms that other tools read: a CSV file, and a folder that FiftyOne opens."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenet_errors.dataset.classes import Classes
from imagenet_errors.errors import InputError
from imagenet_errors.files import write_csv, write_json

if TYPE_CHECKING:
    import pandas as pd

SEPARATOR = "; "  # between the values of a list in a cell
LISTS = ("accepted", "top5", "groups", "superclasses", "reason", "nearest")
OWN_FIELDS = {"label": "original_label"}  # FiftyOne has a field `label` of its own: the prediction
NAME_OF_FIELD = re.compile(r"\W")  # what a name of a field is written without


def write_errors_csv(errors: "pd.DataFrame", path: Path) -> None:
    """Write a row per image; the values of lists are joined by `; `, what is not known is empty.

    Args:
        errors: The table of `browse.list_errors`.
        path: Of the file; an existing one is replaced.
    """
    rows = _list_rows(errors)
    for row in rows:
        row.update({name: SEPARATOR.join(map(str, row[name])) for name in LISTS if row[name] is not None})
    write_csv(path, list(map(str, errors)), rows)


def write_fiftyone(errors: "pd.DataFrame", classes: Classes, images: Path, folder: Path) -> int:
    """Write a dataset in FiftyOne's format for image classification: `labels.json`, and links to images in `data/`.

    The label of an image is the prediction, its confidence the probability, and its attributes are the columns of the
    table.

    Args:
        errors: The table of `browse.list_errors`.
        classes: Of ImageNet.
        images: The folder that has the images, as `<WordNet id>/<file>` or `<file>`.
        folder: Where to write; new or empty.

    Returns:
        How many errors are written; those whose image is not in `images` are left out.

    Raises:
        InputError: where `folder` is a file or has files, or none of the images is there.

    Source: the format of FiftyOneImageClassificationDataset,
        https://docs.voxel51.com/user_guide/import_datasets.html
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"--fiftyone {folder} is not empty: name a new folder")
    found = {file: path for file in errors["file"] if (path := _find_image(images, file))}
    if not found:
        raise InputError(f"--images {images} has none of the {len(errors):,} images: name the folder of class folders")
    for file, path in found.items():
        link = folder / "data" / file
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
    rows = _list_rows(errors[errors["file"].isin(found)])
    labels = {row["file"].rpartition(".")[0]: _describe(row, classes) for row in rows}
    write_json(folder / "labels.json", {"classes": None, "labels": labels})
    return len(found)


def _list_rows(errors: "pd.DataFrame") -> list[dict[str, Any]]:
    """A dictionary per row; None for what is not known."""
    columns = errors.astype(object).where(errors.notna(), None).to_dict("list")
    return [dict(zip(map(str, columns), row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _find_image(images: Path, file: str) -> Path | None:
    """Where an image is: in its class folder, or beside all others; None where it is not there."""
    places = (images / file, images / file.rpartition("/")[2])
    return next((place for place in places if place.is_file()), None)


def _describe(row: dict[str, Any], classes: Classes) -> dict[str, Any]:
    """The label of an image as FiftyOne's JSON has it. A label is WordNet id and text, for two texts are equal."""
    class_id = row["prediction"]
    attributes = {NAME_OF_FIELD.sub("_", OWN_FIELDS.get(name, name)): value for name, value in row.items()}
    return {
        "label": f"{classes.wnids[class_id]} {classes.descriptions[class_id]}",
        "confidence": row["probability"],
        "attributes": attributes,
    }
