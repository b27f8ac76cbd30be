"""A model's predictions on the images whose mistakes experts gave a category (Vasudevan et al. 2022)."""

from dataclasses import dataclass

import numpy as np

from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.experts import Mistakes, read_mistakes
from imagenet_errors.error_types import ERROR_TYPES
from imagenet_errors.errors import InputError
from imagenet_errors.formats.error_analyses import ErrorAnalysis
from imagenet_errors.formats.predictions import NO_PREDICTION
from imagenet_errors.formats.stats_tables import COUNTS_AS_CORRECT

NO_ERROR, SAME, OTHER = "no error", "the same mistake", "another mistake"


@dataclass(frozen=True)
class BesideExperts:
    """A model beside the experts' mistakes, for images that it has predictions for.

    Attributes:
        mistakes: The k mistakes.
        predictions: [k] int16, class ids that the model predicts for their images.
        ours: [k] int8, positions in ERROR_TYPES: the type of the model's prediction.
        meetings: [k] str, NO_ERROR, SAME or OTHER: how the model's prediction compares with the mistake.
    """

    mistakes: Mistakes
    predictions: np.ndarray
    ours: np.ndarray
    meetings: np.ndarray

    def count(self) -> dict[str, dict[str, int]]:
        """{list: {`images` and each meeting: number of mistakes}}."""
        lists = self.mistakes.lists
        return {
            name: {"images": int((lists == name).sum())}
            | {one: int(((lists == name) & (self.meetings == one)).sum()) for one in (NO_ERROR, SAME, OTHER)}
            for name in dict.fromkeys(lists.tolist())
        }

    def count_types(self) -> dict[str, dict[str, int]]:
        """{the experts' category: {our type: number}} of the mistakes that the model makes as well."""
        counts: dict[str, dict[str, int]] = {}
        same = self.meetings == SAME
        for human, ours in zip(self.mistakes.human[same].tolist(), self.ours[same].tolist(), strict=True):
            of_category = counts.setdefault(ERROR_TYPES[human].title, {})
            of_category[ERROR_TYPES[ours].title] = of_category.get(ERROR_TYPES[ours].title, 0) + 1
        return counts

    def list_mistakes(self, context: DatasetContext) -> list[dict[str, str]]:
        """The model's mistakes, each beside the experts' one, in the order of the lists."""
        describe, images, mistakes = context.classes.describe, context.images, self.mistakes
        return [
            {
                "list": str(mistakes.lists[i]),
                "file": str(images.files[mistakes.rows[i]]),
                "target": describe(images.targets[mistakes.rows[i]]),
                "their prediction": describe(mistakes.predictions[i]),
                "experts' category": ERROR_TYPES[mistakes.human[i]].title,
                "prediction": describe(self.predictions[i]),
                "our type": ERROR_TYPES[self.ours[i]].title,
            }
            for i in np.flatnonzero(self.meetings != NO_ERROR)
        ]


def place_beside_experts(context: DatasetContext, analysis: ErrorAnalysis) -> BesideExperts:
    """Look up a model's predictions on the experts' images.

    Args:
        context: Of ImageNet.
        analysis: Of the model, on its annotated images.

    Raises:
        InputError: where a list is missing or damaged, or the model has predictions for none of its images.
    """
    mistakes = read_mistakes(context)
    mistakes = mistakes[analysis.top1[mistakes.rows] != NO_PREDICTION]
    if not len(mistakes.rows):
        raise InputError(f"{analysis.model} has no prediction for the images on the experts' lists: predict these")
    predictions, ours = analysis.top1[mistakes.rows], analysis.error_types[mistakes.rows]
    is_right = np.isin(ours, COUNTS_AS_CORRECT)
    meetings = np.where(is_right, NO_ERROR, np.where(predictions == mistakes.predictions, SAME, OTHER))
    return BesideExperts(mistakes, predictions, ours, meetings)
