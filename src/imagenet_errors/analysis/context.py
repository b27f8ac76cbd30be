"""What the analysis of every model of a dataset needs besides the models: read once, never changed."""

import logging
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from imagenet_errors.analysis import archived_open_world
from imagenet_errors.analysis import open_world as open_world_test
from imagenet_errors.analysis.analysis_cache import AnalysisCache
from imagenet_errors.analysis.archived_open_world import ArchivedOpenWorld
from imagenet_errors.analysis.counting import CountedImages
from imagenet_errors.analysis.decision import Relations
from imagenet_errors.analysis.open_world import OpenWorld
from imagenet_errors.analysis.proposals import Proposer
from imagenet_errors.dataset.annotations import AnnotatedImages, load_annotated_images, non_prototypical_files
from imagenet_errors.dataset.class_numberings import ClassNumbering, list_numberings
from imagenet_errors.dataset.classes import Classes, load_classes
from imagenet_errors.dataset.cooccurrence import spurious_pairs
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.dataset.plausibility import find_fault
from imagenet_errors.dataset.real_labels import find_labels, read_real_labels
from imagenet_errors.dataset.samples import Samples, check_targets, read_samples
from imagenet_errors.dataset.superclasses import Superclasses, load_superclasses
from imagenet_errors.dataset.validation_labels import load_validation_samples
from imagenet_errors.dataset.wordnet import class_groups, load_wordnet
from imagenet_errors.errors import InputError
from imagenet_errors.files import fingerprint
from imagenet_errors.formats import image_tables
from imagenet_errors.formats.embeddings import RECOMPUTE_ADVICE, Neighbours, read_train_files
from imagenet_errors.formats.error_analyses import SKIPPED, UNKNOWN, Inputs
from imagenet_errors.paths import ANNOTATIONS, ARCHIVED_DATASETS, MULTI_LABELS, REAL_LABELS, TRAIN_EMBEDDINGS, Artefacts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetContext:
    """One dataset in one artefacts folder.

    Attributes:
        artefacts: Where everything was read from.
        dataset: A name of dataset_table.DATASETS.
        classes: The 1000 classes.
        class_groups: {group: [1000] bool}.
        superclasses: Which class is in which.
        relations: Which classes share a superclass, which are spurious pairs.
        samples: The N images predicted; all of ImageNet's where none is.
        images: The n of them that are annotated.
        open_world: The open-world test, or what an archive tells of it; None where it is skipped.
        missing_clip_files: The files for want of which it is not run; none where that was asked for.
        fallback_notes: What is known from an archive's analysis or the repository's tables alone, in a line each, for
            want of a file.
        analyses: The error analyses of the dataset's models, each read at most once.
        accepts_low_accuracy: Whether predictions hardly better than chance are analysed.
    """

    artefacts: Artefacts
    dataset: str
    classes: Classes
    class_groups: dict[str, np.ndarray]
    superclasses: Superclasses
    relations: Relations
    samples: Samples
    images: AnnotatedImages
    open_world: OpenWorld | ArchivedOpenWorld | None
    missing_clip_files: tuple[Path, ...]
    fallback_notes: tuple[str, ...]
    analyses: AnalysisCache
    accepts_low_accuracy: bool = False

    @cached_property
    def counted_images(self) -> CountedImages:
        return CountedImages.of(self.images, self.class_groups)

    @cached_property
    def inputs(self) -> Inputs:
        """Fingerprints of what every decision depends on besides the predictions."""
        without = UNKNOWN if self.missing_clip_files else SKIPPED
        relations = fingerprint(
            self.relations.share,
            self.relations.spurious,
            self.superclasses.names,
            self.superclasses.members,
            self.images.non_prototypical,
            self.images.wrong_labels,
        )
        open_world = self.open_world.fingerprint if self.open_world else without
        return Inputs(image_tables.images_fingerprint(self.images), relations, open_world)

    @cached_property
    def real_labels(self) -> np.ndarray:
        """[N, L] int16, the ReaL labels of ImageNet's samples, padded with NO_LABEL."""
        return find_labels(read_real_labels(self.artefacts.find(REAL_LABELS)), self.samples.numbers)

    @cached_property
    def models(self) -> list[str]:
        return self.artefacts.models(self.dataset)

    @property
    def has_predictions(self) -> bool:
        """Whether some model has predictions here; of others there are an archive's analyses."""
        return any(self.artefacts.predictions(self.dataset, model).exists() for model in self.models)

    @property
    def extent(self) -> str:
        """E.g. `383 of 50,000 images`."""
        return DATASETS[self.dataset].extent(len(self.samples.files))

    @cached_property
    def _numberings(self) -> list[ClassNumbering]:
        return list_numberings(self.artefacts)

    def check_plausible(self, top1: np.ndarray, path: Path) -> None:
        """Raises `InputError` where predictions ([N], of the file `path`) cannot be of these images and classes."""
        fault = find_fault(top1, self.samples, self._numberings, self.dataset)
        if fault and fault.meant:
            command = f"import_predictions.py {fault.meant.flags} --overwrite"
            raise InputError(f"the predictions of {path} have {fault}: import them again with {command}")
        if fault and not self.accepts_low_accuracy:
            advice = "check which images and classes they are of, or give --force to analyse them as they are"
            raise InputError(f"the predictions of {path} have {fault}: {advice}")

    def report(self) -> None:
        """Log which images are analysed, and what is missing."""
        log.info(f"{self.dataset}: {self.extent}, {len(self.images):,} of them annotated")
        for note in (*self.fallback_notes, *self._open_world_notes):
            log.info(note)
        if self.open_world is None and self.has_predictions:
            missing = ""
            if self.missing_clip_files:
                command = f"run compute_clip_embeddings.py --dataset {self.dataset}"
                if self.artefacts.open_world_outcomes(self.dataset).exists():
                    command += ", or give --open_world archive to take what archived analyses tell"
                elif self.dataset in ARCHIVED_DATASETS:
                    command += ", or download_artefacts.py --what archive --convert_archives for the paper's outcomes"
                missing = f" ({self.missing_clip_files[0]} is missing: {command}; stored outcomes are kept)"
            counts = "counts of out-of-vocabulary errors are missing and those after it provisional"
            log.info(f"the open-world test is skipped{missing}: {counts}")

    @property
    def _open_world_notes(self) -> list[str]:
        return self.open_world.notes if isinstance(self.open_world, ArchivedOpenWorld) else []

    @property
    def nearest(self) -> Neighbours | None:
        """The training images nearest to each annotated image, where the open-world test is run."""
        return self.open_world.nearest if isinstance(self.open_world, OpenWorld) else None

    def image_columns(self, with_neighbours: bool) -> dict[str, Any]:
        """The columns of the image table, with the nearest training images if they are known and wanted."""
        nearest, path = self.nearest, self.artefacts.root / TRAIN_EMBEDDINGS
        if nearest is None or not with_neighbours:
            return image_tables.build_columns(self.images)
        files = read_train_files(path) if path.exists() else None
        last = int(nearest.indices.max())
        if files is not None and last >= len(files):
            raise InputError(
                f"{nearest.path} names training image {last}, but {path} has {len(files):,}: {RECOMPUTE_ADVICE}"
            )
        return image_tables.build_columns(self.images, image_tables.nearest_column(nearest, files))


def load_context(
    artefacts: Artefacts,
    dataset: str,
    label_source: str = "json",
    open_world: str = "auto",
    with_proposals: bool = False,
    accept_low_accuracy: bool = False,
    samples: Samples | None = None,
) -> DatasetContext:
    """Read everything but the predictions.

    Args:
        artefacts: Where it lies.
        dataset: A name of dataset_table.DATASETS.
        label_source: Of ImageNet's multi-labels, `json` or `tfds`, as in `load_annotated_images`.
        open_world: `clip` for the test, `archive` for what an archive tells of it, `skip` for none; `auto` for the test
            where its files are there, else for what the official archive tells where that is there.
        with_proposals: Whether lists will need the proposals of stored analyses.
        accept_low_accuracy: Whether predictions hardly better than chance are analysed.
        samples: The images predicted; by default those that the folder lists.
    """
    analyses = AnalysisCache(artefacts, dataset, with_proposals)
    classes = load_classes(artefacts)
    samples, images, notes = _load_images(artefacts, dataset, label_source, classes, analyses, samples)
    wordnet = load_wordnet(artefacts, classes)
    superclasses = load_superclasses(artefacts, classes, wordnet)
    missing = open_world_test.find_missing(artefacts, dataset)
    test: OpenWorld | ArchivedOpenWorld | None = None
    if open_world == "clip" or (open_world == "auto" and not missing):
        test = open_world_test.load(artefacts, dataset, samples, images, Proposer(classes, wordnet, superclasses))
    elif open_world != "skip":
        test = archived_open_world.load(artefacts, dataset, images, superclasses, analyses, open_world == "archive")
    return DatasetContext(
        artefacts,
        dataset,
        classes,
        class_groups(classes, wordnet),
        superclasses,
        Relations(superclasses.share, spurious_pairs(artefacts, superclasses.share)),
        samples,
        images,
        test,
        tuple(missing) if open_world == "auto" else (),
        tuple(notes),
        analyses,
        accept_low_accuracy,
    )


def _load_images(
    artefacts: Artefacts,
    dataset: str,
    label_source: str,
    classes: Classes,
    analyses: AnalysisCache,
    samples: Samples | None,
) -> tuple[Samples, AnnotatedImages, list[str]]:
    """The images predicted, the annotated ones, and a line for each file that others had to stand in for."""
    path, notes = artefacts.samples(dataset), []
    lacks_labels = dataset == "imagenet" and label_source == "json" and not artefacts.has(ANNOTATIONS)
    lacks_samples = samples is None and not path.exists()
    archived = _images_of_archive(artefacts, dataset, analyses) if lacks_labels or lacks_samples else None
    if lacks_samples and archived is not None:
        samples = Samples(archived.files, archived.targets)
        notes.append(f"{path} is missing: the images are those of an archive's analysis")
    if samples is None:
        samples = _read_samples(artefacts, dataset, classes)
    if lacks_labels:
        labels = "of an archive's analysis" if archived is not None else f"in {artefacts.find(MULTI_LABELS)}"
        notes.append(
            f"{artefacts.root / ANNOTATIONS} is missing: the multi-labels are those {labels}, and ImageNet-M is"
            " unknown: download_artefacts.py --what annotations gets it"
        )
    if archived is None or not lacks_labels:
        return samples, load_annotated_images(artefacts, dataset, samples, classes, label_source), notes
    rows = {file: row for row, file in enumerate(samples.files.tolist())}
    known = np.array([row for row, file in enumerate(archived.files.tolist()) if file in rows], int)
    if not len(known):
        raise InputError(
            f"{path} lists no image of the archive's analyses: use another --artefacts_dir for the archive or for your"
            " own predictions"
        )
    images = archived[known]
    return samples, replace(images, rows=np.array([rows[file] for file in images.files.tolist()])), notes


def _read_samples(artefacts: Artefacts, dataset: str, classes: Classes) -> Samples:
    """The images predicted; where nothing is predicted yet, all validation images."""
    if dataset == "imagenet" and not artefacts.samples(dataset).exists() and not artefacts.models(dataset):
        return load_validation_samples(artefacts)
    samples = read_samples(artefacts, dataset)
    check_targets(samples, classes, artefacts.samples(dataset))
    return samples


def _images_of_archive(artefacts: Artefacts, dataset: str, analyses: AnalysisCache) -> AnnotatedImages | None:
    """Those that most of the archive's analyses are of."""
    found = []
    for model in artefacts.models(dataset):
        path = artefacts.analysis(dataset, model)
        with suppress(InputError):
            if path.exists() and (analysis := analyses.read(model)).is_archived:
                found.append((analysis.fingerprints["images"], image_tables.locate(path, analysis.image_table)))
    for images, _ in Counter(images for images, _ in found).most_common():
        for path in dict.fromkeys(path for of, path in found if of == images):
            with suppress(InputError):
                return image_tables.read_images(path, non_prototypical_files(artefacts))
    return None
