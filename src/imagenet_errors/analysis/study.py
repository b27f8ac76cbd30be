"""One dataset in one artefacts folder: all that is known about its images, and the analyses of its models."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from imagenet_errors import locks
from imagenet_errors.analysis import counting, studied_images
from imagenet_errors.analysis import open_world as open_world_test
from imagenet_errors.analysis.decision import Decisions, Relations, decide
from imagenet_errors.analysis.open_world import OpenWorld, Outcome, Tested
from imagenet_errors.analysis.proposals import Proposer
from imagenet_errors.dataset import wordnet
from imagenet_errors.dataset.annotations import AnnotatedImages
from imagenet_errors.dataset.classes import NUM_CLASSES, Classes, load_classes
from imagenet_errors.dataset.cooccurrence import spurious_pairs
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.dataset.samples import Samples, read_samples
from imagenet_errors.dataset.superclasses import Superclasses, load_superclasses
from imagenet_errors.dataset.wordnet import load_wordnet
from imagenet_errors.error_types import CODES
from imagenet_errors.errors import InputError, ProtectedFileError
from imagenet_errors.formats import error_analyses
from imagenet_errors.formats.embeddings import RECOMPUTE_ADVICE, read_train_files
from imagenet_errors.formats.error_analyses import SKIPPED, UNKNOWN, Analysis, Inputs
from imagenet_errors.formats.metadata import NUMBERS, read_metadata
from imagenet_errors.formats.predictions import read_top1
from imagenet_errors.formats.stats_tables import COUNTS_AS_CORRECT
from imagenet_errors.paths import TRAIN_EMBEDDINGS, Artefacts

log = logging.getLogger(__name__)

REFERENCE_MODELS = ("greedysoups", "vit3b")  # of Vasudevan et al. 2022; not among the paper's 962


MADE_FROM_SCHEMA = 1  # of made_from.json


@dataclass(frozen=True)
class Study:
    """What the analysis of any model of a dataset needs, loaded once.

    Attributes:
        artefacts: Where everything was read from.
        dataset: A name of dataset_table.DATASETS.
        source: Where ImageNet's multi-labels are from, `json` or `tfds`.
        vocabulary: The 1000 classes.
        class_groups: {group: [1000] bool}.
        superclasses: Which class is in which.
        relations: Which classes share, which are spurious pairs.
        samples: The N images predicted.
        images: The n of them that are annotated.
        open_world: The open-world test; None where it is skipped.
        skipped_for: The files for want of which it is skipped; none where that was asked for.
        borrowed: What is known from an archive's analysis alone, in a line each, for want of a file.
    """

    artefacts: Artefacts
    dataset: str
    source: str
    vocabulary: Classes
    class_groups: dict[str, np.ndarray]
    superclasses: Superclasses
    relations: Relations
    samples: Samples
    images: AnnotatedImages
    open_world: OpenWorld | None
    skipped_for: list[Path]
    borrowed: list[str]

    @classmethod
    def load(cls, artefacts: Artefacts, dataset: str, source: str = "json", open_world: str = "auto") -> "Study":
        """Read everything but the predictions.

        Args:
            artefacts: Where it lies.
            dataset: A name of dataset_table.DATASETS.
            source: Of the multi-labels, as in `annotations.load`.
            open_world: `clip` for the test, `skip` for none, `auto` for the test where its files are there.
        """
        classes = load_classes(artefacts)
        samples, images, borrowed = studied_images.load(artefacts, dataset, source, classes)
        synsets = load_wordnet(artefacts, classes)
        grouped = load_superclasses(artefacts, classes, synsets)
        missing = open_world_test.missing(artefacts, dataset)
        test = None
        if open_world == "clip" or (open_world == "auto" and not missing):
            test = open_world_test.load(artefacts, dataset, samples, images, Proposer(classes, synsets, grouped))
        return cls(
            artefacts,
            dataset,
            source,
            classes,
            wordnet.class_groups(classes, synsets),
            grouped,
            Relations(grouped.share, spurious_pairs(artefacts, grouped.share)),
            samples,
            images,
            test,
            missing if open_world == "auto" else [],
            borrowed,
        )

    @cached_property
    def population(self) -> counting.CountedImages:
        return counting.CountedImages.of(self.images, self.class_groups)

    @cached_property
    def inputs(self) -> Inputs:
        without = UNKNOWN if self.skipped_for else SKIPPED
        open_world = self.open_world.fingerprint if self.open_world else without
        return Inputs.of(self.images, self.relations, self.superclasses, open_world)

    @cached_property
    def _superclass_lists(self):
        return error_analyses.superclass_lists(self.superclasses)

    def image_columns(self, neighbours: bool = True) -> dict:
        """What is stored of every model alike: `records.image_columns`, with the nearest training images if wanted."""
        if self.open_world is None or not neighbours:
            return error_analyses.image_columns(self.images)
        nearest = self.open_world.nearest
        path = self.artefacts.root / TRAIN_EMBEDDINGS
        files = read_train_files(path) if path.exists() else None
        most = int(nearest.indices.max())
        if files is not None and most >= len(files):
            raise InputError(
                f"{nearest.path} names training image {most}, and {path} has {len(files):,}: {RECOMPUTE_ADVICE}"
            )
        return error_analyses.image_columns(self.images, error_analyses.nearest_column(nearest, files))

    def test_open_world(self, models: Iterable[str]) -> Tested:
        """The verdicts on every distinct (image, prediction) of these models that needs one."""
        keys = [np.empty(0, int)]
        for model in models:
            try:
                top1 = self.top1(model)
                if not self._is_current(model, top1):
                    rows = self._to_test(top1)
                    keys.append(rows * NUM_CLASSES + top1[rows])
            except InputError:  # said when it is analysed
                continue
        return self.open_world.test_all(np.unique(np.concatenate(keys)))

    def decide(self, rows: np.ndarray, predictions: np.ndarray) -> Decisions:
        """The types of single (image, prediction) pairs: [p] positions of images and class ids."""
        images = self.images[rows]
        decisions = decide(images, predictions, self.relations)
        if self.open_world is None:
            return decisions
        asked = np.flatnonzero(decisions.provisional)
        says = np.zeros(len(rows), bool)
        says[asked] = self.open_world.test(rows[asked], predictions[asked]).out_of_vocabulary
        return decide(images, predictions, self.relations, says)

    def open_world_on(self, model: str, row: int) -> Outcome | None:
        """What the test says of a model's prediction on one image; without embeddings what is stored of it, if any."""
        top1 = self.top1(model)
        if self.open_world is not None:
            return self.open_world.test_one(row, int(top1[row]))
        path = self.artefacts.analysis(self.dataset, model)
        if not self._is_current(model, top1) or error_analyses.is_skipped(path):
            return None
        ((num_prompts, proposals),) = self.stored_proposals(model, np.array([row]))
        if num_prompts is None and not error_analyses.is_archived(path):
            return None
        return Outcome(
            error_analyses.read(path, model).kinds[row] == CODES["out_of_vocabulary"], num_prompts, proposals
        )

    def archived_kind(self, model: str, row: int) -> int | None:
        """The type of a model's prediction on one image, a position in KINDS, where an archive's analysis says it."""
        path = self.artefacts.analysis(self.dataset, model)
        if not self._is_current(model, self.top1(model)) or not error_analyses.is_archived(path):
            return None
        return int(error_analyses.read(path, model).kinds[row])

    def stored_proposals(self, model: str, rows: np.ndarray) -> list:
        """`records.read_open_world` of a model."""
        return error_analyses.read_open_world(self.artefacts.analysis(self.dataset, model), rows)

    def _to_test(self, top1: np.ndarray) -> np.ndarray:
        """Positions of the images whose type depends on the open-world test."""
        return np.flatnonzero(decide(self.images, top1, self.relations).provisional)

    def _is_current(self, model: str, top1: np.ndarray) -> bool:
        path = self.artefacts.analysis(self.dataset, model)
        return path.exists() and error_analyses.is_current(path, self.inputs.with_predictions(top1))

    @property
    def models(self) -> list[str]:
        return self.artefacts.models(self.dataset)

    @property
    def predicted(self) -> list[str]:
        """The models that have predictions here; of the others there is an archive's analysis."""
        return [model for model in self.models if self._has_predictions(self.dataset, model)]

    @property
    def extent(self) -> str:
        """E.g. `383 of 50,000 images`."""
        return DATASETS[self.dataset].extent(len(self.samples.files))

    def top1(self, model: str) -> np.ndarray:
        """[n] int16: the model's predictions on the annotated images; those of an archive where there are no others."""
        path, analysis = self.artefacts.predictions(self.dataset, model), self.artefacts.analysis(self.dataset, model)
        if path.exists() or not (analysis.exists() and error_analyses.is_archived(analysis)):
            return read_top1(path, self.samples)[self.images.rows]
        if error_analyses.images_of(analysis) != self.inputs.images:
            raise InputError(
                f"{analysis} is an archive's analysis of other images or labels: use another folder for it"
            )
        return error_analyses.read(analysis, model).top1

    def analyse(self, model: str, columns: dict, tested: Tested | None, wait: bool) -> str | None:
        """Decide and store one model's errors, unless a current analysis is there.

        Args:
            model: Its `model_dir_id`.
            columns: `image_columns`.
            tested: `test_open_world` of models this one is among.
            wait: Whether to wait for another process that is at it.

        Returns:
            What was done, in one word or more; None where another process is at it.
        """
        top1 = self.top1(model)
        why = self._why_again(model, top1)
        if why is None:
            return "kept"
        root, name = self.artefacts.root, f"{self.dataset}/{model}"
        with locks.locked(root, name) if wait else locks.if_free(root, name) as mine:
            if not mine:
                return None
            if self._why_again(model, top1) is None:
                return "kept"
            self._analyse(model, top1, columns, tested)
            return "analysed" + why

    def _why_again(self, model: str, top1: np.ndarray) -> str | None:
        """Why a model's stored analysis is not to be kept; empty where there is none, None where it is."""
        path = self.artefacts.analysis(self.dataset, model)
        if not path.exists():
            return ""
        try:
            if not error_analyses.is_current(path, self.inputs.with_predictions(top1)):
                return " again, for its inputs have changed"
            error_analyses.read(path, model)
        except ProtectedFileError:
            raise
        except InputError as error:
            return f" again, for {error}"
        return None

    def _analyse(self, model: str, top1: np.ndarray, columns: dict, tested: Tested | None) -> None:
        fingerprints = self.inputs.with_predictions(top1)
        rows = self._to_test(top1)
        if tested is None:
            fingerprints |= {"open_world": SKIPPED}
            says = stored = None
        else:
            verdicts = tested.of(rows, top1[rows]) or self.open_world.test(rows, top1[rows])
            stored = error_analyses.open_world_columns(rows, verdicts, self.open_world.names, len(top1))
            says = np.zeros(len(top1), bool)
            says[rows] = verdicts.out_of_vocabulary
        decisions = decide(self.images, top1, self.relations, says)
        decided = error_analyses.decision_columns(self.images.labels, self._superclass_lists, top1, decisions, stored)
        path = self.artefacts.analysis(self.dataset, model)
        error_analyses.write(path, columns | decided, decisions.kinds, fingerprints, self.extent)

    def finished(
        self, reference: bool = False, unreadable: dict[str, str] | None = None
    ) -> tuple[list[Analysis], list[str]]:
        """The current analyses, in order of `model_dir_id`; a model without one is named in the log and left out.

        So are the reference models, unless they are wanted: they are not among those that the paper counts.

        Args:
            reference: Whether reference models are wanted.
            unreadable: {model: message} of archived analyses that could not be read, and were named.

        Returns:
            The analyses, and a message for every model that is left out because a file of it is damaged.
        """
        unreadable = unreadable or {}
        analyses, faults = [], list(unreadable.values())
        left_out = [] if reference else [model for model in self.models if model in REFERENCE_MODELS]
        if left_out:
            log.info(f"left out {', '.join(left_out)}: give --with_reference_models to count them")
        for model in self.models:
            path = self.artefacts.analysis(self.dataset, model)
            if model in left_out or (model in unreadable and not path.exists()):
                continue
            try:
                self._metadata(self.dataset, model)
                fingerprints = self.inputs.with_predictions(self.top1(model))
                if not path.exists():
                    log.info(f"skipped {model}: it is not analysed, run --perform_error_analysis")
                elif not error_analyses.is_current(path, fingerprints):
                    log.info(f"skipped {model}: its analysis is of other inputs, run --perform_error_analysis")
                else:
                    analyses.append(error_analyses.read(path, model))
            except InputError as error:
                faults.append(str(error))
                log.info(f"skipped {model}: {error}")
        if left_out and not analyses and not faults and set(left_out) == set(self.models):
            raise InputError(f"only reference models are in {self.dataset}: give --with_reference_models")
        if not analyses:
            folder = self.artefacts.dataset_dir(self.dataset)
            raise InputError(faults[0] if faults else f"no model in {folder} is analysed: run --perform_error_analysis")
        return analyses, faults

    def made_from(self, models: list[str]) -> dict:
        """What tables and lists over the analyses of some models are made from, to be stored beside them."""
        analyses = {
            model: error_analyses.stored_fingerprints(self.artefacts.analysis(self.dataset, model)) for model in models
        }
        return {
            "schema_version": MADE_FROM_SCHEMA,
            "images": self.extent,
            "fingerprints": {"images": self.inputs.images, "relations": self.inputs.relations},
            "models": analyses,
        }

    def described(self, model: str, arch_groups: dict[str, str]) -> dict:
        """The cells of a model's stats row that are not counted (`tables.describe`).

        Its accuracies on ImageNet are empty, and that is said, where its files there are damaged.
        """
        metadata = self._metadata(self.dataset, model)
        on_imagenet = dict.fromkeys(NUMBERS)
        try:
            on_imagenet = self._metadata("imagenet", model)
            if on_imagenet["multi_label_val_acc"] is None and self._has_predictions("imagenet", model):
                on_imagenet["multi_label_val_acc"] = self._on_imagenet.multi_label_accuracy(model)
        except InputError as error:
            log.info(f"{model}: its accuracies on ImageNet are incomplete, for {error}")
        return counting.describe(metadata | {"model_dir_id": model}, on_imagenet, arch_groups)

    def multi_label_accuracy(self, model: str) -> float | None:
        """MLA in percent over all unproblematic images; no open-world test is needed for it."""
        kinds = decide(self.images, self.top1(model), self.relations).kinds
        correct = np.isin(kinds, COUNTS_AS_CORRECT) & self.population.counted
        counted = self.population.counted
        return counting.multi_label_accuracy(self.images.targets[counted], correct[counted])

    @cached_property
    def _on_imagenet(self) -> "Study":
        return self if self.dataset == "imagenet" else Study.load(self.artefacts, "imagenet", self.source, "skip")

    def _has_predictions(self, dataset: str, model: str) -> bool:
        return self.artefacts.predictions(dataset, model).exists()

    def _metadata(self, dataset: str, model: str) -> dict:
        """Metadata, with the top-1 accuracy computed from the predictions where it is not known."""
        metadata = read_metadata(self.artefacts.metadata(dataset, model))
        if metadata["top1_val_acc"] is None and self._has_predictions(dataset, model):
            samples = self.samples if dataset == self.dataset else read_samples(self.artefacts, dataset)
            hits = read_top1(self.artefacts.predictions(dataset, model), samples) == samples.targets
            metadata["top1_val_acc"] = float(100 * hits.mean())
        return metadata
