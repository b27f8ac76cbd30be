"""Which images a run is about, in whatever form people have them, see docs/images.md.

A validation image is known by the number in its name; its class is the label that comes with the repository. What its
folder, its name or a table say of its class must agree with that.
"""

import os
from pathlib import Path

import numpy as np

from imagenet_errors.dataset.classes import Classes, load_classes, load_imagenet_a_wnids
from imagenet_errors.dataset.dataset_table import Dataset
from imagenet_errors.dataset.image_names import canonical_name, read_numbers, read_wnid
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.dataset.validation_labels import read_validation_labels
from imagenet_errors.errors import InputError
from imagenet_errors.inference.image_archives import FORMS
from imagenet_errors.inference.image_folders import find_class, has_images, list_folder, write_sample_images
from imagenet_errors.inference.stored_images import ImageSource, StoredImage
from imagenet_errors.paths import VALIDATION_LABELS, Artefacts

ACCEPTED = (
    "a folder with class folders or the files ILSVRC2012_val_*, or whose val/ has them; ILSVRC2012_img_val.tar; or"
    " Hugging Face's validation-*.parquet or val_images.tar.gz"
)
NO_CLASS = -1


def find_source(artefacts: Artefacts, dataset: Dataset) -> ImageSource:
    """The images of a dataset: where its environment variable says, or the embedded sample.

    Raises:
        InputError: where the variable is not set, there are no images, or they are not of ImageNet's classes.
    """
    classes = load_classes(artefacts)
    if dataset.variable is None:
        return read_folder(artefacts, write_sample_images(artefacts, classes))
    accepted = ACCEPTED if dataset.name == "imagenet" else f"the folder of {dataset.name}'s class folders"
    if not os.environ.get(dataset.variable):
        raise InputError(f"${dataset.variable} is not set: set it to {accepted}")
    place = Path(os.environ[dataset.variable])
    if not (place.is_dir() or (place.is_file() and dataset.name == "imagenet")):
        raise InputError(f"{place} is not there: set ${dataset.variable} to {accepted}")
    if dataset.name == "imagenet":
        return _find_validation_images(artefacts, place, classes)
    source = read_folder(artefacts, place)
    others = {file[:9] for file in source.samples.files.tolist()} - load_imagenet_a_wnids(artefacts)
    if others:
        raise InputError(
            f"{place / min(others)} is not a class of ImageNet-A: set ${dataset.variable} to the folder of its 200"
            " class folders"
        )
    return source


def _find_validation_images(artefacts: Artefacts, place: Path, classes: Classes) -> ImageSource:
    """The images in or below a folder, or of an archive; unpacked ones go first."""
    places = [folder for folder in (place / "val", place, place / "data") if folder.exists()]
    for folder in places:
        if has_images(folder, classes):
            return read_folder(artefacts, folder)
    for form in FORMS:
        for folder in places:
            files = form.find_files(folder)
            if files:
                found = form.list_images(artefacts, files)
                return identify(artefacts, found, files[0] if len(files) == 1 else folder)
    raise InputError(f"{place} has no validation images: set $IMAGENET_DIR to {ACCEPTED}")


def find_training_images(artefacts: Artefacts, folder: Path | None) -> ImageSource:
    """The training images in this folder of class folders, by default `$IMAGENET_DIR/train`.

    Raises:
        InputError: where there is no such folder, and as `read_folder`.
    """
    if folder is None and not os.environ.get("IMAGENET_DIR"):
        raise InputError("no training images are given: use --train_dir, or set $IMAGENET_DIR, whose train/ has them")
    root = folder or Path(os.environ["IMAGENET_DIR"]) / "train"
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: give that of the training images with --train_dir")
    return read_folder(artefacts, root)


def read_folder(artefacts: Artefacts, root: Path) -> ImageSource:
    """The images in a folder. Raises `InputError` as `list_folder` and `identify` do."""
    return identify(artefacts, list_folder(root, load_classes(artefacts)), root)


def identify(artefacts: Artefacts, found: list[tuple[str, StoredImage]], root: Path) -> ImageSource:
    """The images by their official names, sorted by WordNet id, then name, by code point.

    Args:
        artefacts: Where the validation labels are.
        found: The path of each below `root`, and where it lies.
        root: The folder or archive.

    Raises:
        InputError: where there are none; for an image whose class is not known, or is another than its folder, its
            name or a table says; or for two files of one image.
    """
    if not found:
        raise InputError(f"{root} has no validation images: set $IMAGENET_DIR to {ACCEPTED}")
    classes, names = load_classes(artefacts), [name for name, _ in found]
    targets = _find_targets(artefacts, names, classes, root)
    files = np.array(
        [
            f"{classes.wnids[target]}/{canonical_name(os.path.basename(name))}"
            for name, target in zip(names, targets.tolist(), strict=True)
        ]
    )
    order = np.argsort(files, kind="stable")
    files, targets = files[order], targets[order]
    twice = np.flatnonzero(files[1:] == files[:-1])
    if len(twice):
        first, second = (names[order[twice[0] + later]] for later in (0, 1))
        raise InputError(f"{root} has {first} and {second}, one image: remove one of them")
    return ImageSource(root, Samples(files, targets), [found[row][1] for row in order.tolist()])


def _find_targets(artefacts: Artefacts, names: list[str], classes: Classes, root: Path) -> np.ndarray:
    """[N] int16 class ids: of validation images by their numbers, of others by their class folders."""
    labels = read_validation_labels(artefacts.find(VALIDATION_LABELS))
    numbers, folders = read_numbers(names), [os.path.basename(os.path.dirname(name)) for name in names]
    foreign = np.flatnonzero(numbers > len(labels))
    if len(foreign):
        raise InputError(
            f"{root}: {names[foreign[0]]} is not one of the {len(labels):,} validation images: move it elsewhere"
        )
    ids = {folder: find_class(folder, classes) for folder in set(folders)}
    by_folder = np.array([NO_CLASS if ids[folder] is None else ids[folder] for folder in folders], np.int16)
    by_suffix = np.array([classes.ids.get(read_wnid(name) or "", NO_CLASS) for name in names], np.int16)
    unchecked = np.flatnonzero((numbers == 0) & [folder not in classes.ids for folder in folders])
    if len(unchecked):
        raise InputError(
            f"{root}: the class of {names[unchecked[0]]} is not known: name class folders by WordNet id, or images"
            " ILSVRC2012_val_<number>"
        )
    targets = np.where(numbers > 0, labels[numbers - 1], by_folder).astype(np.int16)
    for stated, where in ((by_folder, "lies in the folder"), (by_suffix, "has the name")):
        wrong = np.flatnonzero((stated != targets) & (stated != NO_CLASS))
        if len(wrong):
            first = wrong[0]
            raise InputError(
                f"{root}: {names[first]} {where} of class {classes.describe(stated[first])}, and its label is"
                f" {classes.describe(targets[first])} ({len(wrong):,} of {len(names):,} images differ): number classes"
                " by sorted WordNet id, or sort the images again"
            )
    return targets
