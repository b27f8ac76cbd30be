"""From decisions to the rows of the stats tables and of the printed summary."""

from dataclasses import dataclass

import numpy as np

from imagenet_errors.dataset.annotations import AnnotatedImages
from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.error_types import AFTER_OPEN_WORLD, CODES, ERROR_CODES, ERROR_TYPES
from imagenet_errors.errors import InputError
from imagenet_errors.formats.error_analyses import Analysis
from imagenet_errors.formats.stats_tables import ACCURACIES

NEED_OPEN_WORLD = (
    *(ERROR_TYPES[code].column for code in (CODES["out_of_vocabulary"], *AFTER_OPEN_WORLD)),
    *(f"mla_{scope}{kind}" for scope in ("all", "group") for kind in ACCURACIES if kind),
)


def multi_label_accuracy(targets: np.ndarray, counts_as_correct: np.ndarray) -> float | None:
    """MLA in percent: the mean over the original classes present of the share of their images that is correct.

    Args:
        targets: [n] int class ids.
        counts_as_correct: [n] bool.

    Source: Shankar et al. 2020. Returns None without images.
    """
    totals = np.bincount(targets, minlength=NUM_CLASSES)
    correct = np.bincount(targets[counts_as_correct], minlength=NUM_CLASSES)
    present = totals > 0
    return float(100 * (correct[present] / totals[present]).mean()) if present.any() else None


@dataclass(frozen=True)
class CountedImages:
    """The unproblematic images of a dataset, which tables and lists count, and who among them is in which group.

    Attributes:
        images: The annotated images.
        counted: [n] bool: unproblematic.
        groups: {group: [n] bool}, unproblematic members.
    """

    images: AnnotatedImages
    counted: np.ndarray
    groups: dict[str, np.ndarray]

    @classmethod
    def of(cls, images: AnnotatedImages, class_groups: dict[str, np.ndarray]) -> "CountedImages":
        counted = ~images.problematic
        if not counted.any():
            raise InputError(f"all {len(images):,} annotated images are problematic: there is nothing to count")
        return cls(
            images, counted, {group: counted & images.in_group(classes) for group, classes in class_groups.items()}
        )


def counts(population: CountedImages, analysis: Analysis, group: str) -> np.ndarray:
    """[len(KINDS)] how many unproblematic images of the group have which type."""
    return np.bincount(analysis.kinds[population.groups[group]], minlength=len(ERROR_TYPES))


def stats_row(population: CountedImages, analysis: Analysis, described: dict, group: str) -> dict:
    """One row of a stats table: `described` (see `describe`) and everything counted.

    Cells that depend on a skipped open-world test are empty, never zero.
    """
    of_all, of_group = counts(population, analysis, "all"), counts(population, analysis, group)
    correct = CODES["correct"]
    row = described | {
        "num_all_samples": int(of_all.sum()),
        "num_group_samples": int(of_group.sum()),
        "num_all_top1_errors": int(of_all.sum() - of_all[correct]),
        "num_group_top1_errors": int(of_group.sum() - of_group[correct]),
        **{ERROR_TYPES[code].column: int(of_group[code]) for code in (correct, *ERROR_CODES)},
        **_count_imagenet_m(population, analysis, group),
    }
    for scope, members in (("all", population.groups["all"]), ("group", population.groups[group])):
        for suffix, kinds in ACCURACIES.items():
            row[f"mla_{scope}{suffix}"] = multi_label_accuracy(
                population.images.targets[members], np.isin(analysis.kinds[members], kinds)
            )
    if analysis.open_world_skipped:
        row |= dict.fromkeys(NEED_OPEN_WORLD)
    return row


def _count_imagenet_m(population: CountedImages, analysis: Analysis, group: str) -> dict:
    """ImageNet-M (Vasudevan et al. 2022): an error is a prediction that is no accepted label; empty without a list."""
    images = population.images
    if images.imagenet_m is None:
        return dict.fromkeys(("num_all_imagenet-m_samples", "num_group_imagenet-m_samples", "num_imagenet-m_errors"))
    listed = images.imagenet_m & population.groups[group]
    accepted = (images.labels == analysis.top1[:, None]).any(axis=1)
    return {
        "num_all_imagenet-m_samples": int((images.imagenet_m & population.counted).sum()),
        "num_group_imagenet-m_samples": int(listed.sum()),
        "num_imagenet-m_errors": int((listed & ~accepted).sum()),
    }


def describe(metadata: dict, on_imagenet: dict, arch_groups: dict[str, str]) -> dict:
    """The cells of a model's row that are not counted: who it is, and its accuracies.

    Args:
        metadata: Those of the model on the table's dataset, with `model_dir_id`.
        on_imagenet: Its metadata on ImageNet; accuracies that are not known may be None.
        arch_groups: {architecture: group}; one outside it has the group `unknown`.
    """
    known = ("model_dir_id", "num_params", "training_data", "arch", "arch_family", "extra_annotations")
    return {key: metadata[key] for key in (*known, "top1_val_acc", "top1_val_acc_subset_200")} | {
        "arch_group": arch_groups.get(metadata["arch"], "unknown"),
        "imagenet_top1_val_acc": on_imagenet["top1_val_acc"],
        "imagenet_mla_val_acc": on_imagenet["multi_label_val_acc"],
    }
