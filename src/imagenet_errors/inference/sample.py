"""The embedded sample: the photographs of scikit-image that show ImageNet classes (annotated in artefacts/sample/)."""

import shutil
from importlib.util import find_spec
from pathlib import Path

from imagenet_errors.errors import InputError
from imagenet_errors.storage import SAMPLE_ANNOTATIONS, Artefacts, atomic_write, read_json


def write_images(artefacts: Artefacts) -> Path:
    """Copy the photographs that are not there yet into class folders; returns the folder that holds these."""
    package = find_spec("skimage")
    if package is None:
        raise InputError("the sample's photographs come with a package that is not here: pip install scikit-image")
    photographs = Path(package.submodule_search_locations[0]) / "data"
    root = artefacts.dataset_dir("sample") / "images"
    for file, annotation in read_json(artefacts.find(SAMPLE_ANNOTATIONS))["initial_annots"].items():
        path = root / annotation["target"] / file
        if not path.exists():
            with atomic_write(path) as temporary:
                shutil.copyfile(photographs / file, temporary)
    return root
