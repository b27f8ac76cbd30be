"""The embedded sample: the photographs of scikit-image that show ImageNet classes (annotated in artefacts/sample/)."""

import shutil
from importlib.util import find_spec
from pathlib import Path

from imagenet_errors.errors import InputError
from imagenet_errors.files import atomic_write, read_json
from imagenet_errors.knowledge.vocabulary import Vocabulary
from imagenet_errors.storage import SAMPLE_ANNOTATIONS, Artefacts


def write_images(artefacts: Artefacts, vocabulary: Vocabulary) -> Path:
    """Copy the photographs that are not there yet into class folders; returns the folder that holds these."""
    package = find_spec("skimage")
    if package is None:
        raise InputError("the sample's photographs come with a package that is not here: pip install scikit-image")
    photographs = Path(package.submodule_search_locations[0]) / "data"
    root = artefacts.dataset_dir("sample") / "images"
    for file, target in targets(artefacts).items():
        source, path = photographs / Path(file).name, root / target / Path(file).name
        if target not in vocabulary.wnids or not source.is_file():
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
