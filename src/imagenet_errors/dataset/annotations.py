"""Human annotations of images: accepted and wrong labels, problematic and non-prototypical images, ImageNet-M."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from imagenet_errors.dataset.classes import Classes
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.dataset.multi_labels import Annotation, Annotations, annotations_from_json, load_multi_labels
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.errors import InputError
from imagenet_errors.files import read_json, read_whole_text
from imagenet_errors.paths import NON_PROTOTYPICAL, SAMPLE_ANNOTATIONS, Artefacts

NO_LABEL = -1  # pads the label matrices


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
        source: `json` or `tfds`, for `imagenet` only, as in `load_multi_labels`.

    Raises:
        InputError: if a file is missing or malformed, no image is annotated, all images of ImageNet are there but not
            all annotated ones, or the original label of an unproblematic image is not among its accepted labels.
    """
    if dataset == "imagenet-a":
        by_file = {
            file: Annotation([int(target)], [], False)
            for file, target in zip(samples.files, samples.targets, strict=True)
        }
        return align(Annotations(by_file, frozenset(), "ImageNet-A"), samples, samples.files, frozenset())
    if dataset == "imagenet":
        annotations = load_multi_labels(artefacts, vocabulary, source)
    else:
        path = artefacts.find(SAMPLE_ANNOTATIONS)
        annotations = annotations_from_json(read_json(path), str(path), vocabulary, "")
    names = np.array([file.rpartition("/")[2] for file in samples.files])
    if dataset == "imagenet" and len(names) >= DATASETS[dataset].num_images:
        _check_complete(annotations, names, artefacts.samples(dataset))
    return align(annotations, samples, names, non_prototypical_files(artefacts))


def _check_complete(annotations: Annotations, names: np.ndarray, path: Path) -> None:
    """Raises `InputError` if an annotated image is not among `names`, those of all images in `path`."""
    missing = sorted(annotations.by_file.keys() - set(names.tolist()))
    if missing:
        raise InputError(
            f"{path} lists {len(names):,} images, as many as ImageNet has, but lacks {missing[0]} and"
            f" {len(missing) - 1:,} others that {annotations.source} annotates: check the files' names"
        )


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
        labels=pad_lists([annotation.labels for annotation in listed]),
        wrong_labels=pad_lists([annotation.wrong_labels for annotation in listed]),
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
        raise InputError(f"{where} lists an image twice: download it again, or write it with each image once")
    images = align(Annotations(listed, frozenset(), where), samples, samples.files, frozenset())
    names = [file.rpartition("/")[2] for file in files]
    return replace(images, rows=rows, non_prototypical=_are_in(names, experts))


def pad_lists(lists: list[list[int]]) -> np.ndarray:
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
