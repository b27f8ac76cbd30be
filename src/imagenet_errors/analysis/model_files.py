"""What is known of a model before it is analysed: its predictions and metadata. Each file is read once."""

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.errors import InputError
from imagenet_errors.formats.error_analyses import ErrorAnalysis
from imagenet_errors.formats.metadata import read_metadata
from imagenet_errors.formats.predictions import NO_PREDICTION, compute_accuracy, read_top1

TOLERANCE = 0.01  # percentage points between an accuracy in metadata.json and that of the predictions

log = logging.getLogger(__name__)


class _Predictions(NamedTuple):
    """What is kept of a model's predictions for the N images.

    Attributes:
        top1: [n] int16, on the annotated images, with NO_PREDICTION.
        num_images: How many of the N have a prediction.
        accuracy: Percent of these that are right.
    """

    top1: np.ndarray
    num_images: int
    accuracy: float


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model, read when they are first asked for.

    Attributes:
        context: Of the dataset.
        model: Its `model_dir_id`.
    """

    context: DatasetContext
    model: str

    @cached_property
    def has_predictions(self) -> bool:
        return self.context.artefacts.predictions(self.context.dataset, self.model).exists()

    @property
    def has_analysis(self) -> bool:
        return self.context.artefacts.analysis(self.context.dataset, self.model).exists()

    @cached_property
    def _predictions(self) -> _Predictions:
        samples = self.context.samples
        path = self.context.artefacts.predictions(self.context.dataset, self.model)
        top1 = read_top1(path, samples)
        self.context.check_plausible(top1, path)
        num_images = int(np.count_nonzero(top1 != NO_PREDICTION))
        return _Predictions(top1[self.context.images.rows], num_images, compute_accuracy(top1, samples.targets))

    @property
    def is_partial(self) -> bool:
        """Whether some of the N images have no prediction."""
        return self.has_predictions and self._predictions.num_images < len(self.context.samples.files)

    @property
    def extent(self) -> str:
        """How much of the dataset the predictions cover, e.g. `383 of 50,000 images`."""
        return DATASETS[self.context.dataset].extent(self._predictions.num_images)

    @property
    def title(self) -> str:
        """The model, with the extent of its predictions where it is partial: `me--part (383 of 50,000 images)`."""
        return f"{self.model} ({self.extent})" if self.is_partial else self.model

    @cached_property
    def top1(self) -> np.ndarray:
        """[n] int16, on the annotated images; those of an archive's analysis where there are no others.

        NO_PREDICTION where a partial model has none.

        Raises:
            InputError: where there are none, they are damaged, none is on an image that counts, or the archive's are of
                other images or labels.
        """
        context = self.context
        if self.has_predictions or not (self.has_analysis and context.analyses.read(self.model).is_archived):
            top1 = self._predictions.top1
            if self.is_partial and (top1[~context.images.problematic] == NO_PREDICTION).all():
                raise InputError(
                    f"{context.artefacts.predictions(context.dataset, self.model)}: none of its"
                    f" {self._predictions.num_images:,} images is annotated and unproblematic: predict or import others"
                )
            return top1
        analysis = context.analyses.read(self.model)
        if analysis.fingerprints["images"] != context.inputs.images:
            path = context.artefacts.analysis(context.dataset, self.model)
            raise InputError(
                f"{path} is an archive's analysis of other images or labels than the {len(context.images):,} annotated"
                f" images of {context.artefacts.dataset_dir(context.dataset)}: to have both, use another"
                " --artefacts_dir for the archive or for your own predictions"
            )
        return analysis.top1

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Of all that the analysis of this model depends on."""
        return self.context.inputs.with_predictions(self.top1)

    def is_current(self, analysis: ErrorAnalysis) -> bool:
        """Whether an analysis of this model was made from what is here; outcomes of a test that was run stand."""
        return analysis.is_current(self.fingerprints, bool(self.context.missing_clip_files))

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Metadata; the top-1 accuracy is that of the predictions where there are some."""
        metadata = read_metadata(self.context.artefacts.metadata(self.context.dataset, self.model))
        if not self.has_predictions:
            return metadata
        return self.with_accuracy(metadata, "top1_val_acc", self._predictions.accuracy)

    def with_accuracy(self, metadata: dict[str, Any], key: str, accuracy: float | None) -> dict[str, Any]:
        """Metadata with an accuracy computed from the predictions; that another one is stored is logged."""
        stored = metadata[key]
        if stored is not None and accuracy is not None and abs(stored - accuracy) > TOLERANCE:
            path = self.context.artefacts.metadata(self.context.dataset, self.model)
            log.info(
                f"{path} has {key} {stored}, and the predictions have {accuracy:.3f}; that of the predictions is used"
            )
        return metadata | {key: accuracy}
