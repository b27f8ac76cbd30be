"""Multi-labels of ImageNet's validation images: the official JSON file, our compact table, tensorflow-datasets."""

from pathlib import Path
from typing import Any, NamedTuple

from imagenet_errors.dataset.classes import NUM_CLASSES, Classes
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.dataset.image_names import VALIDATION_PREFIX, canonical_name, name_validation_file
from imagenet_errors.errors import InputError
from imagenet_errors.files import read_csv, read_json
from imagenet_errors.paths import ANNOTATIONS, MULTI_LABELS, Artefacts

COLUMNS = ["number", "correct", "unclear", "wrong", "is_problematic"]  # of the compact table
NUM_ANNOTATED = 20_000  # images (Vasudevan et al. 2022)
CLASS_IDS = {str(class_id): class_id for class_id in range(NUM_CLASSES)}
NUMBERS = {str(number): number for number in range(1, DATASETS["imagenet"].num_images + 1)}
FLAGS = {"0": False, "1": True}


class Annotation(NamedTuple):
    """The annotation of one image.

    Attributes:
        labels: Accepted class ids: correct ones, then unclear ones.
        wrong_labels: Class ids of wrong proposals.
        problematic: Whether the image is problematic.
    """

    labels: list[int]
    wrong_labels: list[int]
    problematic: bool


class Annotations(NamedTuple):
    """The annotations of all images.

    Attributes:
        by_file: {file name: annotation}.
        imagenet_m: The file names of ImageNet-M; empty where they are not known.
        source: Where the annotations are from, for messages.
    """

    by_file: dict[str, Annotation]
    imagenet_m: frozenset[str]
    source: str


def load_multi_labels(artefacts: Artefacts, vocabulary: Classes, source: str) -> Annotations:
    """Load the annotations of ImageNet's validation images.

    Args:
        artefacts: The folder that may hold the official JSON file.
        vocabulary: The classes.
        source: `json` (the official file where it is present, else the compact table of the same labels) or `tfds`
            (tensorflow-datasets).

    Raises:
        InputError: if they cannot be read.
    """
    if source == "tfds":
        return annotations_from_tfds()
    if not artefacts.has(ANNOTATIONS):
        return annotations_from_csv(artefacts.find(MULTI_LABELS))
    path = artefacts.find(ANNOTATIONS)
    return annotations_from_json(read_json(path), str(path), vocabulary, VALIDATION_PREFIX)


def annotations_from_json(content: Any, where: str, vocabulary: Classes, prefix: str) -> Annotations:
    """Parse annotations in the schema of `human_accuracy_v3.0.0.json`.

    Args:
        content: The parsed JSON.
        where: Its file, for messages.
        vocabulary: The classes.
        prefix: Only file names that begin with it are kept.

    Raises:
        InputError: if the content does not have this schema.
    """
    if not isinstance(content, dict) or not isinstance(content.get("initial_annots"), dict):
        raise InputError(f"{where} has no object 'initial_annots': download it again")
    if "problematic_images" not in content:
        raise InputError(f"{where} has no list 'problematic_images': download it again")
    problematic, imagenet_m = (_parse_files(content, key, where) for key in ("problematic_images", "imagenet_m"))

    def parse_labels(file: str, wnids: Any) -> list[int]:
        if not isinstance(wnids, list) or not all(isinstance(wnid, str) and wnid in vocabulary.ids for wnid in wnids):
            raise InputError(
                f"{where}: the labels of {file} are not a list of WordNet ids of ImageNet classes ({wnids}): correct it"
            )
        return [vocabulary.ids[wnid] for wnid in wnids]

    by_file = {}
    for file, annotation in content["initial_annots"].items():
        if not isinstance(annotation, dict):
            raise InputError(
                f"{where}: the annotation of {file} is {annotation!r}, not an object of label lists: correct it"
            )
        file = canonical_name(file)
        if file.startswith(prefix):
            correct, unclear, wrong = (
                parse_labels(file, annotation.get(key, [])) for key in ("correct", "unclear", "wrong")
            )
            by_file[file] = Annotation(correct + unclear, wrong, file in problematic)
    return Annotations(by_file, imagenet_m, where)


def _parse_files(content: dict, key: str, where: str) -> frozenset[str]:
    """The file names under `key`: the keys of an object, or a list; empty if it is absent."""
    files = content.get(key, [])
    if not isinstance(files, dict | list) or not all(isinstance(file, str) for file in files):
        raise InputError(f"{where}: {key!r} is neither an object nor a list of file names: download it again")
    return frozenset(map(canonical_name, files))


def annotations_from_csv(path: Path) -> Annotations:
    """Read `multi_labels.csv`, which has the official labels in class ids, but not ImageNet-M.

    Raises:
        InputError: if the table is missing, damaged or incomplete, or lists an image twice.
    """
    by_file: dict[str, Annotation] = {}
    for line, row in enumerate(read_csv(path, COLUMNS), start=2):
        try:
            file = name_validation_file(NUMBERS[row["number"]])
            correct, unclear, wrong = (
                [CLASS_IDS[class_id] for class_id in row[key].split(" ") if class_id]
                for key in ("correct", "unclear", "wrong")
            )
            problematic = FLAGS[row["is_problematic"]]
        except KeyError as error:
            raise InputError(
                f"{path} line {line}: {error} is not a validation file's number, class ids or 0 or 1, as its column"
                " needs: restore it from the repository"
            ) from None
        if file in by_file:
            raise InputError(f"{path} line {line} lists image {row['number']} again: restore it from the repository")
        by_file[file] = Annotation(correct + unclear, wrong, problematic)
    if len(by_file) != NUM_ANNOTATED:
        raise InputError(
            f"{path} lists {len(by_file):,} images instead of {NUM_ANNOTATED:,}: restore it from the repository"
        )
    return Annotations(by_file, frozenset(), str(path))


def annotations_from_tfds() -> Annotations:
    """Read tensorflow-datasets' `imagenet2012_multilabel`.

    Raises:
        InputError: if the package is not installed, the dataset is not prepared, or it lists a file twice.
    """
    name = "imagenet2012_multilabel:3.0.0"
    try:
        import tensorflow_datasets as tfds

        validation, imagenet_m = tfds.load(
            name,
            split=["validation", "imagenet_m"],
            decoders={"image": tfds.decode.SkipDecoding()},
            download=False,
        )
    except ImportError as error:
        raise InputError(
            f"--multi_label_source tfds needs other packages ({error}): pip install -r requirements-tfds.txt, or use"
            " --multi_label_source json"
        ) from None
    except AssertionError:
        raise InputError(
            f"tensorflow-datasets' {name} is not prepared: prepare it (tfds build {name}), or use --multi_label_source"
            " json"
        ) from None

    by_file = {}
    for example in tfds.as_numpy(validation):
        file = _file_name(example)
        if file in by_file:
            raise InputError(f"tensorflow-datasets' {name} lists {file} twice: prepare it again")
        correct, unclear, wrong = (example[f"{key}_multi_labels"].tolist() for key in ("correct", "unclear", "wrong"))
        by_file[file] = Annotation(correct + unclear, wrong, bool(example["is_problematic"]))
    return Annotations(by_file, frozenset(map(_file_name, tfds.as_numpy(imagenet_m))), f"tensorflow-datasets' {name}")


def _file_name(example: dict) -> str:
    return canonical_name(example["file_name"].decode())
