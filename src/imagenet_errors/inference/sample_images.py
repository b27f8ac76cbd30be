"""The images of a run, and the embedded sample: photographs of scikit-image that show ImageNet classes.

The sample's annotations are in artefacts/sample/.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path

from imagenet_errors.dataset.classes import Classes, load_classes, load_imagenet_a_wnids
from imagenet_errors.dataset.dataset_table import Dataset
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError
from imagenet_errors.files import atomic_write, read_json
from imagenet_errors.inference.images import find_images, locate
from imagenet_errors.paths import SAMPLE_ANNOTATIONS, Artefacts


def find_samples(artefacts: Artefacts, dataset: Dataset, limit: int | None) -> tuple[Path, Samples, list[int]]:
    """The folder of images, those to run, and the classes that have any."""
    classes = load_classes(artefacts)
    root = locate(dataset) if dataset.variable else write_images(artefacts, classes)
    found = find_images(root, classes)
    if dataset.name == "imagenet-a":
        strange = set(found.files.astype("<U9")) - load_imagenet_a_wnids(artefacts)
        if strange:
            raise InputError(f"{root / min(strange)} is no class of ImageNet-A: remove it")
    samples = Samples(found.files[:limit], found.targets[:limit])
    return root, samples, sorted(set(found.targets.tolist()))


def write_images(artefacts: Artefacts, classes: Classes) -> Path:
    """Copy the photographs that are not there yet into class folders; returns the folder that holds these."""
    package = find_spec("skimage")
    if package is None:
        raise InputError("the sample's photographs come with a package that is not here: pip install scikit-image")
    photographs = Path(package.submodule_search_locations[0]) / "data"
    root = artefacts.dataset_dir("sample") / "images"
    for file, target in targets(artefacts).items():
        source, path = photographs / Path(file).name, root / target / Path(file).name
        if target not in classes.wnids or not source.is_file():
            raise InputError(f"{SAMPLE_ANNOTATIONS}: {file} of class {target} is no such photograph: correct it")
        if not path.exists():
            with atomic_write(path) as temporary:
                shutil.copyfile(source, temporary)
    return root


def targets(artefacts: Artefacts) -> dict[str, str]:
    """{file name: WordNet id of its class folder}."""
    path = artefacts.find(SAMPLE_ANNOTATIONS)
    try:
        return {file: str(annotation["target"]) for file, annotation in read_json(path)["initial_annots"].items()}
    except (AttributeError, KeyError, TypeError):
        raise InputError(f"{path} does not give every photograph a 'target': restore it from the repository") from None
