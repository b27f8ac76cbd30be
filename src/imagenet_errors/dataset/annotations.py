"""What people said about images: accepted labels, problematic images, classes that co-occur, single images."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from imagenet_errors.dataset.classes import Classes
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError
from imagenet_errors.files import read_json, read_whole_text
from imagenet_errors.paths import ANNOTATIONS, NON_PROTOTYPICAL, SAMPLE_ANNOTATIONS, Artefacts

VALIDATION_PREFIX = "ILSVRC2012_val_"
NO_LABEL = -1  # pads the label matrices


class Annotation(NamedTuple):
    """One image: accepted class ids (correct, then unclear), wrong class ids, whether it is problematic."""

    labels: list[int]
    wrong_labels: list[int]
    problematic: bool


class Annotations(NamedTuple):
    """All annotated images by file name, the files of ImageNet-M, and where they are from (for messages)."""

    by_file: dict[str, Annotation]
    imagenet_m: frozenset[str]
    source: str


@dataclass(frozen=True)
class AnnotatedImages:
    """The images that are analysed: those that are both predicted and annotated, in the order of the samples.

    Attributes:
        rows: [n] int64, positions among the samples.
        files: [n] str, `<WordNet id>/<file name>`.
        targets: [n] int16, original labels.
        labels: [n, L] int16, accepted labels in annotation order, padded with -1.
        wrong_labels: [n, W] int16, padded with -1; they decide nothing.
        problematic: [n] bool; such images are typed but not counted.
        non_prototypical: [n] bool.
        imagenet_m: [n] bool: is in ImageNet-M; or None where no list of it is known.
    """

    rows: np.ndarray
    files: np.ndarray
    targets: np.ndarray
    labels: np.ndarray
    wrong_labels: np.ndarray
    problematic: np.ndarray
    non_prototypical: np.ndarray
    imagenet_m: np.ndarray | None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows) -> "AnnotatedImages":
        """The images at `rows` (an index array or slice)."""
        return AnnotatedImages(*(None if column is None else column[rows] for column in vars(self).values()))

    def in_group(self, classes: np.ndarray) -> np.ndarray:
        """[n] bool: an accepted label is one of `classes` ([1000] bool)."""
        return (classes[self.labels] & (self.labels != NO_LABEL)).any(axis=1)


def load_annotated_images(
    artefacts: Artefacts, dataset: str, samples: Samples, vocabulary: Classes, source: str
) -> AnnotatedImages:
    """The annotated images of a dataset among `samples`.

    Args:
        artefacts: Where the annotations lie.
        dataset: `imagenet` (Shankar et al. 2020, Vasudevan et al. 2022), `sample` (ours, in the same schema) or
            `imagenet-a` (the original label is the only accepted one).
        samples: The images with predictions.
        vocabulary: The classes.
        source: `json` (the official file) or `tfds` (tensorflow-datasets), for `imagenet` alone.

    Raises:
        InputError: where a file is missing or malformed, or an unproblematic image does not accept its original label.
    """
    if dataset == "imagenet-a":
        each = {
            file: Annotation([int(target)], [], False)
            for file, target in zip(samples.files, samples.targets, strict=True)
        }
        return align(Annotations(each, frozenset(), "ImageNet-A"), samples, samples.files, frozenset())
    if dataset == "imagenet" and source == "tfds":
        annotations = annotations_from_tfds()
    else:
        name, prefix = (ANNOTATIONS, VALIDATION_PREFIX) if dataset == "imagenet" else (SAMPLE_ANNOTATIONS, "")
        path = artefacts.find(name)
        annotations = annotations_from_json(read_json(path), str(path), vocabulary, prefix)
    names = np.array([file.rpartition("/")[2] for file in samples.files])
    return align(annotations, samples, names, non_prototypical_files(artefacts))


def annotations_from_json(content, where: str, vocabulary: Classes, prefix: str) -> Annotations:
    """Read the schema of `human_accuracy_v3.0.0.json`; only file names with `prefix` count."""
    if not isinstance(content, dict) or not isinstance(content.get("initial_annots"), dict):
        raise InputError(f"{where} has no object 'initial_annots': fetch it again")
    if "problematic_images" not in content:
        raise InputError(f"{where} does not say which images are problematic ('problematic_images'): fetch it again")
    problematic, imagenet_m = (_files(content, key, where) for key in ("problematic_images", "imagenet_m"))

    def ids(file: str, wnids: list) -> list[int]:
        try:
            if not isinstance(wnids, list):
                raise TypeError
            return [vocabulary.ids[wnid] for wnid in wnids]
        except (KeyError, TypeError):
            raise InputError(f"{where}: {file} has labels that are no list of ImageNet classes ({wnids})") from None

    by_file = {}
    for file, annotation in content["initial_annots"].items():
        if not isinstance(annotation, dict):
            raise InputError(f"{where}: {file} is {annotation!r}, not an object of label lists: correct it")
        if file.startswith(prefix):
            accepted = ids(file, annotation.get("correct", [])) + ids(file, annotation.get("unclear", []))
            by_file[file] = Annotation(accepted, ids(file, annotation.get("wrong", [])), file in problematic)
    return Annotations(by_file, imagenet_m, where)


def _files(content: dict, key: str, where: str) -> frozenset[str]:
    """The file names under `key`: the keys of an object, or a list; none where it is absent."""
    files = content.get(key, [])
    if not isinstance(files, dict | list) or not all(isinstance(file, str) for file in files):
        raise InputError(f"{where}: {key!r} is neither an object nor a list of file names: fetch it again")
    return frozenset(files)


def annotations_from_tfds() -> Annotations:
    """Read tensorflow-datasets' `imagenet2012_multilabel`, which must be installed and prepared."""
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
        raise InputError(f"--multi_label_source tfds needs a package ({error}): pip install it, or use json") from None
    except AssertionError:
        raise InputError(f"tensorflow-datasets' {name} is not prepared here: prepare it, or use json") from None

    by_file = {}
    for example in tfds.as_numpy(validation):
        file = _file_name(example)
        if file in by_file:
            raise InputError(f"tensorflow-datasets' {name} lists {file} twice: prepare it again")
        correct, unclear, wrong = (example[f"{kind}_multi_labels"].tolist() for kind in ("correct", "unclear", "wrong"))
        by_file[file] = Annotation(correct + unclear, wrong, bool(example["is_problematic"]))
    return Annotations(by_file, frozenset(map(_file_name, tfds.as_numpy(imagenet_m))), f"tensorflow-datasets' {name}")


def _file_name(example: dict) -> str:
    return example["file_name"].decode()


def align(
    annotations: Annotations, samples: Samples, names: np.ndarray, non_prototypical: frozenset[str]
) -> AnnotatedImages:
    """The samples that are annotated, as arrays; `names` [N] are the samples' names in the annotations."""
    rows = np.array([row for row, name in enumerate(names) if name in annotations.by_file], dtype=np.int64)
    if not len(rows):
        raise InputError(f"none of the {len(names):,} images is annotated in {annotations.source}")
    names = names[rows].tolist()
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{twice} is in two class folders: remove it from one and predict again, in another folder")
    listed = [annotations.by_file[name] for name in names]
    images = AnnotatedImages(
        rows,
        samples.files[rows],
        samples.targets[rows],
        _padded([annotation.labels for annotation in listed]),
        _padded([annotation.wrong_labels for annotation in listed]),
        np.array([annotation.problematic for annotation in listed]),
        _membership(names, non_prototypical),
        _membership(names, annotations.imagenet_m) if annotations.imagenet_m else None,
    )
    unsound = ~images.problematic & ~(images.labels == images.targets[:, None]).any(axis=1)
    if unsound.any():
        raise InputError(
            f"{annotations.source}: {images.files[unsound][0]} is not problematic, yet its original label is not among"
            f" its accepted labels ({unsound.sum()} such images): correct the annotations or the image's class folder"
        )
    return images


def from_columns(
    samples: Samples,
    labels: list,
    wrong: list,
    problematic: list,
    rows: np.ndarray,
    experts: frozenset[str],
    where: str,
) -> AnnotatedImages:
    """The images of a finished analysis.

    Args:
        samples: All n of them.
        labels: [n] lists of accepted class ids, in annotation order.
        wrong: [n] lists of wrong class ids.
        problematic: [n] bool.
        rows: [n] int, their positions among all predicted images.
        experts: `non_prototypical_files`.
        where: The analysis, for messages.
    """
    files = samples.files.tolist()
    listed = dict(zip(files, map(Annotation, labels, wrong, problematic), strict=True))
    if len(listed) < len(files):
        raise InputError(f"{where} lists an image twice: fetch it again")
    images = align(Annotations(listed, frozenset(), where), samples, samples.files, frozenset())
    names = [file.rpartition("/")[2] for file in files]
    return replace(images, rows=rows, non_prototypical=_membership(names, experts))


def _padded(lists: list[list[int]]) -> np.ndarray:
    """Lists of class ids as one int16 matrix, padded with NO_LABEL; at least one column."""
    lengths = np.array([len(labels) for labels in lists])
    matrix = np.full((len(lists), max(1, lengths.max())), NO_LABEL, np.int16)
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = [label for labels in lists for label in labels]
    return matrix


def _membership(names: list[str], listed: frozenset[str]) -> np.ndarray:
    return np.array([name in listed for name in names])


def non_prototypical_files(artefacts: Artefacts) -> frozenset[str]:
    """The 36 files whose mistakes the experts of Vasudevan et al. 2022 call non-prototypical."""
    return frozenset(read_whole_text(artefacts.find(NON_PROTOTYPICAL)).splitlines())
