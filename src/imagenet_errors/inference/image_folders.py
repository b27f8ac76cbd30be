"""Images in folders: class folders, a flat folder of validation images, and the embedded sample.

The sample are photographs of scikit-image that show ImageNet classes; its annotations are in artefacts/sample/.
"""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from imagenet_errors.dataset.classes import NUM_CLASSES, Classes
from imagenet_errors.dataset.image_names import read_number
from imagenet_errors.errors import InputError
from imagenet_errors.files import atomic_write, read_json
from imagenet_errors.inference.stored_images import StoredImage
from imagenet_errors.paths import SAMPLE_ANNOTATIONS, Artefacts

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # as torchvision has them


def find_class(folder: str, classes: Classes) -> int | None:
    """The class id that a folder is named for: by WordNet id, or a number from 0 to 999; None for another name."""
    if folder.isascii() and folder.isdecimal() and int(folder) < NUM_CLASSES:
        return int(folder)
    return classes.ids.get(folder)


def is_validation_image(name: str) -> bool:
    """Whether a path is that of a validation image, hidden files aside."""
    return read_number(name) is not None and name.lower().endswith(IMG_EXTENSIONS)


def has_images(root: Path, classes: Classes) -> bool:
    """Whether a folder has a class folder or a validation image."""
    return root.is_dir() and any(
        find_class(entry.name, classes) is not None if entry.is_dir() else is_validation_image(entry.name)
        for entry in os.scandir(root)
    )


def list_folder(root: Path, classes: Classes) -> list[tuple[str, StoredImage]]:
    """(path below `root`, image) of the images in class folders and of the validation images beside these.

    Hidden folders, and other files beside the class folders (ImageNet-A has a README.txt there), are ignored.

    Raises:
        InputError: for a folder that is not of an ImageNet class, a file in a class folder that is not an image, or no
            images at all.
    """
    names = []
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            names += [entry.name] if is_validation_image(entry.name) else []
            continue
        if find_class(entry.name, classes) is None:
            raise InputError(
                f"{entry.path} is not an ImageNet class: give the folder that has the class folders, which are named by"
                " WordNet id, e.g. n01440764"
            )
        files = [file for file in sorted(os.listdir(entry.path)) if not file.startswith(".")]
        other = next((file for file in files if not file.lower().endswith(IMG_EXTENSIONS)), None)
        if other:
            raise InputError(f"{entry.path}/{other} is not an image ({', '.join(IMG_EXTENSIONS)}): move it elsewhere")
        names += [f"{entry.name}/{file}" for file in files]
    if not names:
        raise InputError(f"{root} has no images in class folders (such as n01440764/): give the folder that has these")
    undecodable = next((name for name in names if not _is_utf8(name)), None)
    if undecodable:
        raise InputError(f"{root / undecodable!r} has a name that is not UTF-8: rename it")
    return [(name, StoredImage(f"{root}/{name}")) for name in names]


def _is_utf8(name: str) -> bool:
    """Whether the name of a file is UTF-8; Python stands surrogates for bytes that are not."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def write_sample_images(artefacts: Artefacts, classes: Classes) -> Path:
    """Copy the photographs that are missing into class folders; returns the folder of these."""
    package = find_spec("skimage")
    if package is None or not package.submodule_search_locations:
        raise InputError("the sample's photographs come with a package that is not installed: pip install scikit-image")
    photographs = Path(package.submodule_search_locations[0]) / "data"
    root = artefacts.dataset_dir("sample") / "images"
    for file, target in read_sample_targets(artefacts).items():
        source, path = photographs / Path(file).name, root / target / Path(file).name
        if target not in classes.wnids or not source.is_file():
            raise InputError(f"{SAMPLE_ANNOTATIONS}: there is no photograph {file} of class {target}: correct it")
        if not path.exists():
            with atomic_write(path) as temporary:
                shutil.copyfile(source, temporary)
    return root


def read_sample_targets(artefacts: Artefacts) -> dict[str, str]:
    """{file name: WordNet id of its class folder} of the sample."""
    path = artefacts.find(SAMPLE_ANNOTATIONS)
    try:
        return {file: str(annotation["target"]) for file, annotation in read_json(path)["initial_annots"].items()}
    except (AttributeError, KeyError, TypeError):
        raise InputError(f"{path} does not give every photograph a 'target': restore it from the repository") from None
