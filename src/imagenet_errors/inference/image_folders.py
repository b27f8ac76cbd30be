"""Which images a run is about: those in a folder of class folders, or the embedded sample.

The sample are photographs of scikit-image that show ImageNet classes; its annotations are in artefacts/sample/.
"""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from imagenet_errors.dataset.classes import Classes, load_classes, load_imagenet_a_wnids
from imagenet_errors.dataset.dataset_table import Dataset
from imagenet_errors.dataset.image_names import canonical_names
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError
from imagenet_errors.files import atomic_write, read_json
from imagenet_errors.paths import SAMPLE_ANNOTATIONS, Artefacts


def find_samples(artefacts: Artefacts, dataset: Dataset, limit: int | None) -> tuple[Path, Samples, list[int]]:
    """The folder of images, those to run (the first `limit`), and the ids of the classes that have any."""
    classes = load_classes(artefacts)
    root = find_folder(dataset) if dataset.variable else write_sample_images(artefacts, classes)
    found = find_images(root, classes)
    if dataset.name == "imagenet-a":
        others = set(found.files.astype("<U9")) - load_imagenet_a_wnids(artefacts)
        if others:
            raise InputError(f"{root / min(others)} is not a class of ImageNet-A: remove it")
    samples = Samples(found.files[:limit], found.targets[:limit], found.paths[:limit])
    return root, samples, sorted(set(found.targets.tolist()))


def find_folder(dataset: Dataset) -> Path:
    """The folder of class folders that the dataset's environment variable names.

    Raises:
        InputError: where the variable is not set, or names no such folder.
    """
    variable = str(dataset.variable)
    folder = os.environ.get(variable)
    if not folder:
        below = f" whose {dataset.subfolder}/ holds" if dataset.subfolder else " of"
        raise InputError(f"${variable} is not set: set it to the folder{below} {dataset.name}'s class folders")
    path = Path(folder) / dataset.subfolder
    if not path.is_dir():
        raise InputError(f"{path} is not a folder: set ${variable} to the images of {dataset.name}")
    return path


def find_images(root: Path, vocabulary: Classes) -> Samples:
    """The images in the class folders of `root`, sorted by class folder, then official file name, by code point.

    Hidden folders, and files beside the class folders (ImageNet-A has a README.txt there), are ignored.

    Args:
        root: Holds a folder per class, named by its WordNet id.
        vocabulary: The classes there may be.

    Raises:
        InputError: for a folder that is not an ImageNet class, a file that is not an image, or no images at all.
    """
    files = []
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        if folder.name not in vocabulary.ids:
            raise InputError(f"{folder} is not an ImageNet class: name class folders by WordNet id, e.g. n01440764")
        names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
        other = next((name for name in names if not name.lower().endswith(IMG_EXTENSIONS)), None)
        if other:
            raise InputError(f"{folder / other} is not an image ({', '.join(IMG_EXTENSIONS)}): remove it")
        files += [f"{folder.name}/{name}" for name in names]
    if not files:
        raise InputError(f"{root} has no images in class folders (such as n01440764/): put them there")
    undecodable = next((file for file in files if not _is_utf8(file)), None)
    if undecodable:
        raise InputError(f"{root / undecodable!r} has a name that is not UTF-8: rename it")
    return _to_samples(files, vocabulary, root)


def _to_samples(paths: list[str], vocabulary: Classes, root: Path) -> Samples:
    """Images by their official names. Raises `InputError` where two files of a folder are of one image."""
    files = canonical_names(paths)
    order = np.argsort(files, kind="stable")
    files, by_name = files[order], np.array(paths)[order]
    twice = np.flatnonzero(files[1:] == files[:-1])
    if len(twice):
        raise InputError(f"{root} has {by_name[twice[0]]} and {by_name[twice[0] + 1]}, one image: remove one of them")
    targets = np.array([vocabulary.ids[file.partition("/")[0]] for file in files], np.int16)
    return Samples(files, targets, by_name)


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
