"""Human annotations of images: accepted and wrong labels, problematic and non-prototypical images, ImageNet-M."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from imagenet_errors.dataset.classes import Classes
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError
from imagenet_errors.files import read_json, read_whole_text
from imagenet_errors.paths import ANNOTATIONS, NON_PROTOTYPICAL, SAMPLE_ANNOTATIONS, Artefacts

VALIDATION_PREFIX = "ILSVRC2012_val_"
NO_LABEL = -1  # pads the label matrices


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


@dataclass(frozen=True)
class AnnotatedImages:
    """The images that are analysed: those with both predictions and annotations, in the order of the samples.

    Attributes:
        rows: [n] int64, positions in the samples.
        files: [n] str, `<WordNet id>/<file name>`.
        targets: [n] int16, original labels.
        labels: [n, L] int16, accepted labels in annotation order, padded with -1.
        wrong_labels: [n, W] int16, padded with -1; not used by the decision.
        problematic: [n] bool; such images get an error type but are not counted.
        non_prototypical: [n] bool.
        imagenet_m: [n] bool, whether in ImageNet-M; or None where its files are not known.
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

    def __getitem__(self, rows: np.ndarray | slice) -> "AnnotatedImages":
        """The images at these positions."""
        columns: dict[str, Any] = {
            name: None if column is None else column[rows] for name, column in vars(self).items()
        }
        return AnnotatedImages(**columns)

    def in_group(self, classes: np.ndarray) -> np.ndarray:
        """[n] bool: whether an accepted label is one of `classes` ([1000] bool)."""
        return (classes[self.labels] & (self.labels != NO_LABEL)).any(axis=1)


def load_annotated_images(
    artefacts: Artefacts, dataset: str, samples: Samples, vocabulary: Classes, source: str
) -> AnnotatedImages:
    """Load the annotated images of a dataset among `samples`.

    Args:
        artefacts: The folder with the annotations.
        dataset: `imagenet` (Shankar et al. 2020, Vasudevan et al. 2022), `sample` (ours, in the same schema) or
            `imagenet-a` (the original label is the only accepted one).
        samples: The images with predictions.
        vocabulary: The classes.
        source: `json` (the official file) or `tfds` (tensorflow-datasets), for `imagenet` only.

    Raises:
        InputError: if a file is missing or malformed, no image is annotated, or the original label of an unproblematic
            image is not among its accepted labels.
    """
    if dataset == "imagenet-a":
        by_file = {
            file: Annotation([int(target)], [], False)
            for file, target in zip(samples.files, samples.targets, strict=True)
        }
        return align(Annotations(by_file, frozenset(), "ImageNet-A"), samples, samples.files, frozenset())
    if dataset == "imagenet" and source == "tfds":
        annotations = annotations_from_tfds()
    else:
        name, prefix = (ANNOTATIONS, VALIDATION_PREFIX) if dataset == "imagenet" else (SAMPLE_ANNOTATIONS, "")
        path = artefacts.find(name)
        annotations = annotations_from_json(read_json(path), str(path), vocabulary, prefix)
    names = np.array([file.rpartition("/")[2] for file in samples.files])
    return align(annotations, samples, names, non_prototypical_files(artefacts))


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
    return frozenset(files)


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
            f"--multi_label_source tfds needs a package ({error}): pip install it, or use --multi_label_source json"
        ) from None
    except AssertionError:
        raise InputError(
            f"tensorflow-datasets' {name} is not prepared: prepare it, or use --multi_label_source json"
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
    return example["file_name"].decode()


def align(
    annotations: Annotations, samples: Samples, names: np.ndarray, non_prototypical: frozenset[str]
) -> AnnotatedImages:
    """Select the samples that are annotated.

    Args:
        annotations: The annotations of all images.
        samples: N images.
        names: [N] str, the name of each sample in the annotations.
        non_prototypical: The names of non-prototypical images.

    Raises:
        InputError: if none is annotated, a name occurs twice, or the original label of an unproblematic image is not
            among its accepted labels.
    """
    rows = np.array([row for row, name in enumerate(names) if name in annotations.by_file], dtype=np.int64)
    if not len(rows):
        raise InputError(
            f"none of the {len(names):,} images is annotated in {annotations.source}: check their file names"
        )
    selected = names[rows].tolist()
    if len(set(selected)) < len(selected):
        duplicate = next(name for name in selected if selected.count(name) > 1)
        raise InputError(
            f"{duplicate} is in two class folders: remove it from one and predict again, with another --artefacts_dir"
        )
    listed = [annotations.by_file[name] for name in selected]
    images = AnnotatedImages(
        rows=rows,
        files=samples.files[rows],
        targets=samples.targets[rows],
        labels=_pad([annotation.labels for annotation in listed]),
        wrong_labels=_pad([annotation.wrong_labels for annotation in listed]),
        problematic=np.array([annotation.problematic for annotation in listed]),
        non_prototypical=_are_in(selected, non_prototypical),
        imagenet_m=_are_in(selected, annotations.imagenet_m) if annotations.imagenet_m else None,
    )
    contradictory = ~images.problematic & ~(images.labels == images.targets[:, None]).any(axis=1)
    if contradictory.any():
        raise InputError(
            f"{annotations.source}: {images.files[contradictory][0]} is not problematic, but its original label is not"
            f" among its accepted labels ({contradictory.sum()} such images): correct the annotations or the image's"
            " class folder"
        )
    return images


def from_columns(
    samples: Samples,
    labels: list[list[int]],
    wrong: list[list[int]],
    problematic: list[bool],
    rows: np.ndarray,
    experts: frozenset[str],
    where: str,
) -> AnnotatedImages:
    """The annotated images that are stored with an error analysis.

    Args:
        samples: The n images.
        labels: [n] lists of accepted class ids, in annotation order.
        wrong: [n] lists of wrong class ids.
        problematic: [n] bool.
        rows: [n] int, their positions among all predicted images.
        experts: `non_prototypical_files`.
        where: The analysis, for messages.

    Raises:
        InputError: if an image is listed twice, or as `align` does.
    """
    files = samples.files.tolist()
    listed = dict(zip(files, map(Annotation, labels, wrong, problematic), strict=True))
    if len(listed) < len(files):
        raise InputError(f"{where} lists an image twice: analyse or download it again")
    images = align(Annotations(listed, frozenset(), where), samples, samples.files, frozenset())
    names = [file.rpartition("/")[2] for file in files]
    return replace(images, rows=rows, non_prototypical=_are_in(names, experts))


def _pad(lists: list[list[int]]) -> np.ndarray:
    """Lists of class ids as one int16 matrix, padded with NO_LABEL; at least one column."""
    lengths = np.array([len(labels) for labels in lists])
    matrix = np.full((len(lists), max(1, lengths.max())), NO_LABEL, np.int16)
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = [label for labels in lists for label in labels]
    return matrix


def _are_in(names: list[str], listed: frozenset[str]) -> np.ndarray:
    """[n] bool."""
    return np.array([name in listed for name in names])


def non_prototypical_files(artefacts: Artefacts) -> frozenset[str]:
    """The 36 file names with mistakes that the experts of Vasudevan et al. 2022 call non-prototypical."""
    return frozenset(read_whole_text(artefacts.find(NON_PROTOTYPICAL)).splitlines())
