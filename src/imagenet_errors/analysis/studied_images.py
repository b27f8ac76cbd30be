"""The images of a study: those predicted, and those annotated; from an archive's analyses where nothing else tells."""

from collections import Counter
from contextlib import suppress
from dataclasses import replace

import numpy as np

from imagenet_errors.dataset import annotations
from imagenet_errors.dataset.annotations import AnnotatedImages, load_annotated_images
from imagenet_errors.dataset.classes import Classes
from imagenet_errors.dataset.samples import Samples, check_targets, read_samples
from imagenet_errors.errors import InputError
from imagenet_errors.formats import error_analyses
from imagenet_errors.paths import ANNOTATIONS, Artefacts


def load(
    artefacts: Artefacts, dataset: str, source: str, classes: Classes
) -> tuple[Samples, AnnotatedImages, list[str]]:
    """The images predicted, the annotated ones, and what of it is only known from an archive's analysis."""
    path, borrowed = artefacts.samples(dataset), []
    lacks_labels = dataset == "imagenet" and source == "json" and not artefacts.has(ANNOTATIONS)
    archived = _archived_images(artefacts, dataset) if lacks_labels or not path.exists() else None
    if archived is None or path.exists():
        samples = read_samples(artefacts, dataset)
        check_targets(samples, classes, path)
    else:
        samples = Samples(archived.files, archived.targets)
        borrowed.append(f"{path} is missing: the images are those of an archive's analysis")
    if archived is None or not lacks_labels:
        return samples, load_annotated_images(artefacts, dataset, samples, classes, source), borrowed
    labels = artefacts.root / ANNOTATIONS
    borrowed.append(f"{labels} is missing: labels are those of an archive's analysis, ImageNet-M is unknown")
    rows = {file: row for row, file in enumerate(samples.files.tolist())}
    known = np.array([row for row, file in enumerate(archived.files.tolist()) if file in rows], int)
    if not len(known):
        raise InputError(f"{path} lists no image of the archive's analyses: use another folder for them")
    images = archived[known]
    return samples, replace(images, rows=np.array([rows[file] for file in images.files.tolist()])), borrowed


def _archived_images(artefacts: Artefacts, dataset: str) -> AnnotatedImages | None:
    """Those that most of the archive's analyses are of."""
    found = {}
    for model in artefacts.models(dataset):
        path = artefacts.analysis(dataset, model)
        with suppress(InputError):
            if path.exists() and error_analyses.is_archived(path):
                found[path] = error_analyses.images_of(path)
    for images, _ in Counter(found.values()).most_common():
        for path in (path for path, of in found.items() if of == images):
            with suppress(InputError):
                return error_analyses.read_images(path, annotations.non_prototypical_files(artefacts))
    return None
