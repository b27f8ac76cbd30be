"""From error types to the rows of the stats tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from imagenet_errors.dataset.annotations import AnnotatedImages
from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.error_types import AFTER_OPEN_WORLD, CODES, ERROR_CODES, ERROR_TYPES
from imagenet_errors.errors import InputError
from imagenet_errors.formats.error_analyses import ErrorAnalysis
from imagenet_errors.formats.predictions import NO_PREDICTION
from imagenet_errors.formats.stats_tables import ACCURACIES, IMAGENET_M_COLUMNS

COLUMNS = 1 + len(ERROR_TYPES)  # of counts: one for NO_ERROR_TYPE = -1, then one for each error type
NEED_OPEN_WORLD = (
    *(ERROR_TYPES[code].column for code in (CODES["out_of_vocabulary"], *AFTER_OPEN_WORLD)),
    *(f"mla_{scope}{suffix}" for scope in ("all", "group") for suffix in ACCURACIES if suffix),
)


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
        """Raises `InputError` where every image is problematic."""
        counted = ~images.problematic
        if not counted.any():
            raise InputError(f"all {len(images):,} annotated images are problematic: there is nothing to count")
        return cls(
            images, counted, {group: counted & images.in_group(classes) for group, classes in class_groups.items()}
        )

    @cached_property
    def _cells(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By group: positions of the members, and for each the cell of its original class and the first error type."""
        rows = {group: np.flatnonzero(members) for group, members in self.groups.items()}
        return {group: (at, self.images.targets[at].astype(int) * COLUMNS + 1) for group, at in rows.items()}

    def count(self, error_types: np.ndarray) -> "ErrorCounts":
        """Count a model's error types ([n] int8): one `bincount` of class x error type per group.

        The cell before those is for images of the class that have no prediction (NO_ERROR_TYPE); it is dropped.
        """
        counts, accuracies = {}, {}
        for group, (at, cells) in self._cells.items():
            counted = np.bincount(cells + error_types[at], minlength=NUM_CLASSES * COLUMNS)
            by_class = counted.reshape(NUM_CLASSES, COLUMNS)[:, 1:]
            counts[group] = by_class.sum(axis=0)
            accuracies[group] = multi_label_accuracies(by_class[by_class.any(axis=1)])
        return ErrorCounts(counts, accuracies)

    @cached_property
    def imagenet_m(self) -> dict[str, np.ndarray] | None:
        """{group: positions of its unproblematic images in ImageNet-M}; None where no list of it is known."""
        listed = self.images.imagenet_m
        return None if listed is None else {group: np.flatnonzero(listed & of) for group, of in self.groups.items()}


@dataclass(frozen=True)
class ErrorCounts:
    """How many unproblematic images a model gave which error type, and what that makes of its accuracy.

    Attributes:
        by_group: {group: [len(ERROR_TYPES)] int}.
        accuracies: {group: `multi_label_accuracies`}.
    """

    by_group: dict[str, np.ndarray]
    accuracies: dict[str, dict[str, float | None]]


def multi_label_accuracies(by_class: np.ndarray) -> dict[str, float | None]:
    """MLA in percent: the mean over the original classes present of the share of their images that counts as correct.

    Args:
        by_class: [k, len(ERROR_TYPES)] int, how many images of each class present have which error type.

    Returns:
        {key of ACCURACIES, which names what counts as correct: MLA}; None without images.

    Source: Shankar et al. 2020.
    """
    if not len(by_class):
        return dict.fromkeys(ACCURACIES)
    totals = by_class.sum(axis=1)
    return {
        suffix: float(100 * (by_class[:, codes].sum(axis=1) / totals).mean()) for suffix, codes in ACCURACIES.items()
    }


def stats_row(
    counted: CountedImages, analysis: ErrorAnalysis, counts: ErrorCounts, described: dict[str, Any], group: str
) -> dict[str, Any]:
    """One row of a stats table.

    Cells that depend on a skipped open-world test, or on outcomes of it that are not known, are empty, never zero.

    Args:
        counted: The images.
        analysis: Of one model.
        counts: `counted.count` of its error types.
        described: The cells that are not counted, as `describe` gives them.
        group: Of images.
    """
    of_all, of_group = counts.by_group["all"], counts.by_group[group]
    correct = CODES["correct"]
    row = described | {
        "num_all_samples": int(of_all.sum()),
        "num_group_samples": int(of_group.sum()),
        "num_all_top1_errors": int(of_all.sum() - of_all[correct]),
        "num_group_top1_errors": int(of_group.sum() - of_group[correct]),
        **{ERROR_TYPES[code].column: int(of_group[code]) for code in (correct, *ERROR_CODES)},
        **_count_imagenet_m(counted, analysis, group),
    }
    for scope, name in (("all", "all"), ("group", group)):
        for suffix, accuracy in counts.accuracies[name].items():
            row[f"mla_{scope}{suffix}"] = accuracy
    return row | dict.fromkeys(NEED_OPEN_WORLD if analysis.open_world_skipped else _find_open(counted, analysis, group))


def count_provisional(analysis: ErrorAnalysis, images: np.ndarray) -> np.ndarray:
    """[len(ERROR_TYPES)] int, how many images of each type (`images` [n] bool) could still be out-of-vocabulary."""
    return np.bincount(analysis.error_types[analysis.provisional & images], minlength=len(ERROR_TYPES))


def depends_on(codes: Sequence[int], provisional: np.ndarray) -> bool:
    """Whether the number of images of these types would change if provisional ones became out-of-vocabulary.

    Args:
        codes: Positions in ERROR_TYPES.
        provisional: As `count_provisional` gives it.
    """
    changed = np.full(len(ERROR_TYPES), CODES["out_of_vocabulary"] in codes)
    changed[list(codes)] ^= True
    return bool(provisional[changed].any())


def _find_open(counted: CountedImages, analysis: ErrorAnalysis, group: str) -> list[str]:
    """The columns of a row that depend on outcomes of the open-world test that are not known."""
    if not analysis.provisional.any():
        return []
    scopes = {"all": counted.counted, "group": counted.groups[group]}
    provisional = {scope: count_provisional(analysis, images) for scope, images in scopes.items()}
    of_types = {ERROR_TYPES[code].column: ("group", [code]) for code in ERROR_CODES}
    accuracies = {f"mla_{scope}{suffix}": (scope, codes) for scope in scopes for suffix, codes in ACCURACIES.items()}
    columns = of_types | accuracies
    return [name for name, (scope, codes) in columns.items() if depends_on(codes, provisional[scope])]


def _count_imagenet_m(counted: CountedImages, analysis: ErrorAnalysis, group: str) -> dict[str, int | None]:
    """ImageNet-M (Vasudevan et al. 2022): an error is a prediction that is no accepted label; empty without a list."""
    if counted.imagenet_m is None:
        return dict.fromkeys(IMAGENET_M_COLUMNS)
    predicted = {name: at[analysis.top1[at] != NO_PREDICTION] for name, at in counted.imagenet_m.items()}
    listed = predicted[group]
    accepted = (counted.images.labels[listed] == analysis.top1[listed, None]).any(axis=1)
    numbers = (len(predicted["all"]), len(listed), int((~accepted).sum()))
    return dict(zip(IMAGENET_M_COLUMNS, numbers, strict=True))


def describe(
    model: str, metadata: dict[str, Any], on_imagenet: dict[str, Any], arch_groups: dict[str, str]
) -> dict[str, Any]:
    """The cells of a model's row that are not counted: who it is, and its accuracies.

    Args:
        model: Its `model_dir_id`.
        metadata: Those of the model on the table's dataset.
        on_imagenet: Its metadata on ImageNet; accuracies that are not known may be None.
        arch_groups: {architecture: group}; one outside it has the group `unknown`.
    """
    known = ("num_params", "training_data", "arch", "arch_family", "extra_annotations")
    accuracies = ("top1_val_acc", "top1_val_acc_subset_200")
    return (
        {"model_dir_id": model}
        | {key: metadata[key] for key in (*known, *accuracies)}
        | {
            "arch_group": arch_groups.get(metadata["arch"], "unknown"),
            "imagenet_top1_val_acc": on_imagenet["top1_val_acc"],
            "imagenet_mla_val_acc": on_imagenet["multi_label_val_acc"],
        }
    )
