"""One model's errors by another label set: the same predictions, typed in memory with other accepted labels."""

from dataclasses import dataclass, replace

from imagenet_errors.analysis.analysed_models import AnalysedModel, analyse_again
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.dataset.annotations import NO_LABEL
from imagenet_errors.dataset.label_sets import LabelSet, apply_label_set
from imagenet_errors.formats.predictions import NO_PREDICTION


@dataclass(frozen=True)
class Labels:
    """Which labels a model's errors have their types by.

    Attributes:
        name: Of the label set.
        source: Who made the labels.
        num_unproblematic: Annotated images with a prediction that are unproblematic by the multi-labels ...
        num_empty: ... those of them that are left out because they have no label in this set ...
        num_without_original: ... or because the original label is not among those that they have.
        fingerprint: Of the images and their labels.
    """

    name: str
    source: str
    num_unproblematic: int
    num_empty: int
    num_without_original: int
    fingerprint: str

    @property
    def num_counted(self) -> int:
        return self.num_unproblematic - self.num_empty - self.num_without_original

    def describe(self) -> str:
        """In a few words for the user."""
        left_out = ""
        if self.num_counted < self.num_unproblematic:
            left_out = (
                f"; left out of {self.num_unproblematic:,}: {self.num_empty:,} that have no label,"
                f" {self.num_without_original:,} whose labels lack the original one"
            )
        return f"{self.name} ({self.source}): {self.num_counted:,} images{left_out}"


@dataclass(frozen=True)
class Relabelled:
    """A model by a label set.

    Attributes:
        labels: The set, and how many images it leaves out.
        context: Of the dataset, with the labels of the set.
        model: With its errors by these labels.
    """

    labels: Labels
    context: DatasetContext
    model: AnalysedModel


def relabel(context: DatasetContext, model: AnalysedModel, label_set: LabelSet) -> Relabelled:
    """Type a model's errors by a label set; nothing is written.

    Args:
        context: Of the dataset, with the multi-labels.
        model: With its errors by these; it stays as it is where the set is that of the multi-labels.
        label_set: The set.

    Raises:
        InputError: as `apply_label_set` and `analyse_again`.
    """
    images = apply_label_set(context.artefacts, label_set, context.images)
    if images is context.images:
        relabelled, retyped = context, model
    else:
        relabelled = replace(context, images=images)
        retyped = analyse_again(relabelled, model)
    unproblematic = ~context.images.problematic & (model.analysis.top1 != NO_PREDICTION)
    left_out, is_empty = unproblematic & images.problematic, (images.labels == NO_LABEL).all(axis=1)
    labels = Labels(
        name=label_set.name,
        source=label_set.source,
        num_unproblematic=int(unproblematic.sum()),
        num_empty=int((left_out & is_empty).sum()),
        num_without_original=int((left_out & ~is_empty).sum()),
        fingerprint=relabelled.inputs.images,
    )
    return Relabelled(labels, relabelled, retyped)
