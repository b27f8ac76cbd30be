"""The images that every model of a dataset was run on: samples_info.npz."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from imagenet_errors import locks
from imagenet_errors.dataset.classes import Classes, check_class_ids
from imagenet_errors.dataset.image_names import canonical_names, read_numbers
from imagenet_errors.errors import InputError, ProtectedFileError
from imagenet_errors.files import as_texts, fingerprint, read_npz, write_npz
from imagenet_errors.paths import Artefacts


@dataclass(frozen=True, eq=False)
class Samples:
    """The images that every model of a dataset was run on, in order.

    Attributes:
        files: [N] str, `<WordNet id>/<file name>`, sorted by code point; validation images by their official names.
        targets: [N] int16 class ids.
    """

    files: np.ndarray
    targets: np.ndarray

    @cached_property
    def numbers(self) -> np.ndarray:
        """[N] int64, validation file numbers; 0 for other images."""
        return read_numbers(self.files.tolist())

    @cached_property
    def ranks_by_number(self) -> np.ndarray | None:
        """[N] int, the position of each in order of validation file numbers; None where images have no numbers."""
        return np.argsort(np.argsort(self.numbers)) if self.numbers.all() else None

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the images; predictions store it."""
        return fingerprint(self.files.tolist(), self.targets)


def read_samples(artefacts: Artefacts, dataset: str) -> Samples:
    """Read the images of a dataset folder. Raises `InputError` if their list is missing or malformed."""
    path = artefacts.samples(dataset)
    if not path.exists():
        script = f"collect_predictions.py --dataset {dataset}"
        raise InputError(f"{path} is missing: it lists the images: restore it, or run {script}, which writes it")
    arrays = read_npz(path, "sample_files", "targets")
    files, targets = arrays["sample_files"], check_class_ids(arrays["targets"], str(path))
    if files.shape != targets.shape or files.ndim != 1 or not len(files):
        raise InputError(
            f"{path} has arrays of {files.shape} files and {targets.shape} targets: predict or import again"
        )
    files = canonical_names(as_texts(files, path, "predict or import again").tolist())
    if len(np.unique(files)) < len(files):
        raise InputError(f"{path} lists a file twice: predict or import again")
    return Samples(files, targets)


def register_samples(artefacts: Artefacts, dataset: str, samples: Samples) -> None:
    """Store `samples` as the images of a dataset folder.

    Raises:
        InputError: if the folder has predictions for other images.
    """
    if not _are_registered(artefacts, dataset, samples):
        with registered_samples(artefacts, dataset, samples):
            pass


@contextmanager
def registered_samples(artefacts: Artefacts, dataset: str, samples: Samples) -> Iterator[None]:
    """As `register_samples`; inside the context no other process can register other images."""
    with locks.locked(artefacts.root, f"{dataset}/samples_info.npz"):
        if not _are_registered(artefacts, dataset, samples):
            write_npz(artefacts.samples(dataset), sample_files=samples.files, targets=samples.targets)
        yield


def _are_registered(artefacts: Artefacts, dataset: str, samples: Samples) -> bool:
    """Whether the folder lists these images. Raises `InputError` if it has predictions for others."""
    path = artefacts.samples(dataset)
    predicted = [model for model in artefacts.models(dataset) if artefacts.predictions(dataset, model).exists()]
    try:
        known = read_samples(artefacts, dataset)
    except ProtectedFileError:
        raise
    except InputError as error:
        if not predicted:
            return False
        raise InputError(
            f"{error}; the predictions of {predicted[0]} are for the images it listed: restore it, or use another"
            " --artefacts_dir"
        ) from None
    if predicted and not np.array_equal(known.files, samples.files):
        is_reordered = np.array_equal(np.sort(known.files), samples.files)
        difference = "in another order" if is_reordered else "not the same"
        raise InputError(
            f"{path} lists {len(known.files):,} images, and these {len(samples.files):,} are {difference}:"
            " all models of a dataset need the same images, sorted by class folder and name; use another"
            " --artefacts_dir"
        )
    return known.fingerprint == samples.fingerprint


def check(artefacts: Artefacts, dataset: str, classes: Classes) -> Samples:
    """Read the samples; raises `InputError` as `read_samples` and `check_targets` do."""
    samples = read_samples(artefacts, dataset)
    check_targets(samples, classes, artefacts.samples(dataset))
    return samples


def check_targets(samples: Samples, classes: Classes, path: Path) -> None:
    """Raises `InputError` if a file is not in a class folder, or its target is not the class of that folder."""
    wnids = [file.partition("/")[0] for file in samples.files]
    for file, wnid in zip(samples.files, wnids, strict=True):
        if wnid not in classes.ids:
            raise InputError(f"{path}: {file} is not <WordNet id>/<file name>, e.g. n01440764/a.JPEG: rename it")
    wrong = np.flatnonzero(samples.targets != np.array([classes.ids[wnid] for wnid in wnids]))
    if len(wrong):
        file, target = samples.files[wrong[0]], samples.targets[wrong[0]]
        raise InputError(
            f"{path}: the target {target} of {file} is not the class id of its folder ({len(wrong):,} such images):"
            " number the classes by sorted WordNet id, then predict or import again"
        )
