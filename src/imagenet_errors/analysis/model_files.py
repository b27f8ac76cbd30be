"""What is known of a model before it is analysed: its predictions and metadata. Each file is read once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.errors import InputError
from imagenet_errors.formats.metadata import read_metadata
from imagenet_errors.formats.predictions import read_top1


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
    def _predictions(self) -> tuple[np.ndarray, float]:
        """Top-1 on the annotated images, and the accuracy in percent on all."""
        samples = self.context.samples
        top1 = read_top1(self.context.artefacts.predictions(self.context.dataset, self.model), samples)
        return top1[self.context.images.rows], float(100 * (top1 == samples.targets).mean())

    @cached_property
    def top1(self) -> np.ndarray:
        """[n] int16, on the annotated images; those of an archive's analysis where there are no others.

        Raises:
            InputError: where there are none, they are damaged, or the archive's are of other images or labels.
        """
        context = self.context
        if self.has_predictions or not (self.has_analysis and context.analyses.read(self.model).is_archived):
            return self._predictions[0]
        analysis = context.analyses.read(self.model)
        if analysis.fingerprints["images"] != context.inputs.images:
            path = context.artefacts.analysis(context.dataset, self.model)
            raise InputError(f"{path} is an archive's analysis of other images or labels: use another folder for it")
        return analysis.top1

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Of all that the analysis of this model depends on."""
        return self.context.inputs.with_predictions(self.top1)

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Metadata, with the top-1 accuracy computed from the predictions where it is not known."""
        metadata = read_metadata(self.context.artefacts.metadata(self.context.dataset, self.model))
        if metadata["top1_val_acc"] is None and self.has_predictions:
            metadata["top1_val_acc"] = self._predictions[1]
        return metadata
