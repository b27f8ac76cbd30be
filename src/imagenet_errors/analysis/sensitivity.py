"""How much the shares of a model's error types depend on choices: whose labels, and how many neighbours of the gate."""

from dataclasses import dataclass
from functools import partial

from imagenet_errors.analysis.analysed_models import AnalysedModel, analyse_again
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.counting import CountedImages
from imagenet_errors.analysis.open_world import NUM_GATE_NEIGHBOURS
from imagenet_errors.analysis.profile import ShareLine, count_lines
from imagenet_errors.analysis.relabelling import Labels, relabel
from imagenet_errors.dataset.label_sets import STANDARD, load_label_sets
from imagenet_errors.errors import InputError
from imagenet_errors.formats.error_analyses import ErrorAnalysis


@dataclass(frozen=True)
class Variation:
    """The shares of a model by one choice.

    Attributes:
        varied: `labels` or `neighbours`.
        choice: Name of the label set, or number of neighbours.
        is_standard: Whether it is the choice that profiles make.
        lines: By group and error type.
        moves: As many: how many points each share is above that by the standard choice on the same images; None where
            either is unknown or a bound.
    """

    varied: str
    choice: str
    is_standard: bool
    lines: tuple[ShareLine, ...]
    moves: tuple[float | None, ...]


@dataclass(frozen=True)
class Sensitivity:
    """How much the shares of a model depend on choices.

    Attributes:
        model: Its `model_dir_id`.
        dataset: Of the images.
        extent: How much of the dataset the predictions cover.
        labels: The label sets, and how many images each leaves out.
        variations: By label set, then by number of neighbours; of these none where the open-world test is skipped.
    """

    model: str
    dataset: str
    extent: str
    labels: tuple[Labels, ...]
    variations: tuple[Variation, ...]


def vary_choices(context: DatasetContext, model: AnalysedModel) -> Sensitivity:
    """Type a model's errors by each label set and with each size of the open-world test's gate; nothing is written.

    Args:
        context: Of the dataset, with the multi-labels. Label sets are of ImageNet alone.
        model: With its errors by these.

    Raises:
        InputError: as `relabel`, or where there is nothing to vary.
    """
    vary = partial(_vary, standard=model.analysis)
    label_sets = load_label_sets(context.artefacts) if context.dataset == "imagenet" else {}
    relabelled = [relabel(context, model, label_set) for label_set in label_sets.values()]
    variations = [
        vary("labels", one.labels.name, one.labels.name == STANDARD, one.context.counted_images, one.model.analysis)
        for one in relabelled
    ]
    for size in () if context.open_world is None else context.open_world.gate_sizes:
        is_standard = size == NUM_GATE_NEIGHBOURS
        varied = model if is_standard else analyse_again(context, model, size)
        variations.append(vary("neighbours", str(size), is_standard, context.counted_images, varied.analysis))
    if not variations:
        raise InputError(
            f"{context.dataset} has no other label sets, and the open-world test is skipped: there is nothing to vary"
        )
    labels = tuple(one.labels for one in relabelled)
    return Sensitivity(model.name, context.dataset, model.extent, labels, tuple(variations))


def _vary(
    varied: str,
    choice: str,
    is_standard: bool,
    counted: CountedImages,
    analysis: ErrorAnalysis,
    standard: ErrorAnalysis,
) -> Variation:
    """The shares by one choice, and how far they are from those of the standard analysis on the same images."""
    lines, before = (count_lines(counted, counted.count(one.error_types), one) for one in (analysis, standard))
    moves = tuple(_subtract(*of_both) for of_both in zip(lines, before, strict=True))
    return Variation(varied, choice, is_standard, tuple(lines), moves)


def _subtract(line: ShareLine, other: ShareLine) -> float | None:
    if line.share is None or other.share is None or line.is_bound or other.is_bound:
        return None
    return line.share - other.share
