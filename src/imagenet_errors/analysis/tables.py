"""From decisions to the rows of the stats tables and of the printed summary."""

from dataclasses import dataclass

import numpy as np

from imagenet_errors.analysis.records import Analysis
from imagenet_errors.analysis.taxonomy import CODES, ERRORS, KINDS, UNTIL_OPEN_WORLD
from imagenet_errors.errors import InputError
from imagenet_errors.knowledge.annotations import AnnotatedImages
from imagenet_errors.storage import ERROR_COLUMNS, NUM_CLASSES, Arch

COUNTS_AS_CORRECT = [CODES[name] for name in ("correct", "class_overlap", "missing_multi_label")]
MINOR = [*COUNTS_AS_CORRECT, CODES["fine_grained"], CODES["out_of_vocabulary"]]
EXPLAINABLE = [*MINOR, CODES["spurious_correlation"], CODES["non_prototypical"]]
ACCURACIES = {"": COUNTS_AS_CORRECT, "_minor_error": MINOR, "_explainable_error": EXPLAINABLE}

NEED_OPEN_WORLD = (
    *(KINDS[code].column for code in (CODES["out_of_vocabulary"], *UNTIL_OPEN_WORLD)),
    *(f"mla_{scope}{kind}" for scope in ("all", "group") for kind in ACCURACIES if kind),
)


def columns(dataset: str) -> list[str]:
    """The columns of a dataset's stats tables, in the published order."""
    is_a = dataset == "imagenet-a"
    return [
        "model_dir_id",
        "num_params",
        "training_data",
        "arch",
        "arch_family",
        "arch_group",
        "extra_annotations",
        "top1_val_acc",
        *(["top1_val_acc_subset_200"] if is_a else []),
        "imagenet_top1_val_acc",
        "imagenet_mla_val_acc",
        "num_all_samples",
        "num_group_samples",
        "num_group_correct",
        "num_all_top1_errors",
        "num_group_top1_errors",
        *(f"mla_{scope}{kind}" for scope in ("all", "group") for kind in ACCURACIES),
        *ERROR_COLUMNS,
        *([] if is_a else ["num_all_imagenet-m_samples", "num_group_imagenet-m_samples", "num_imagenet-m_errors"]),
    ]


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
class Population:
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
    def of(cls, images: AnnotatedImages, class_groups: dict[str, np.ndarray]) -> "Population":
        counted = ~images.problematic
        if not counted.any():
            raise InputError(f"all {len(images):,} annotated images are problematic: there is nothing to count")
        return cls(
            images, counted, {group: counted & images.in_group(classes) for group, classes in class_groups.items()}
        )


def counts(population: Population, analysis: Analysis, group: str) -> np.ndarray:
    """[len(KINDS)] how many unproblematic images of the group have which type."""
    return np.bincount(analysis.kinds[population.groups[group]], minlength=len(KINDS))


def stats_row(population: Population, analysis: Analysis, described: dict, group: str) -> dict:
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
        **{KINDS[code].column: int(of_group[code]) for code in (correct, *ERRORS)},
        **_imagenet_m(population, analysis, group),
    }
    for scope, members in (("all", population.groups["all"]), ("group", population.groups[group])):
        for suffix, kinds in ACCURACIES.items():
            row[f"mla_{scope}{suffix}"] = multi_label_accuracy(
                population.images.targets[members], np.isin(analysis.kinds[members], kinds)
            )
    if analysis.open_world_skipped:
        row |= dict.fromkeys(NEED_OPEN_WORLD)
    return row


def _imagenet_m(population: Population, analysis: Analysis, group: str) -> dict:
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


def describe(metadata: dict, on_imagenet: dict, archs: dict[str, Arch]) -> dict:
    """The cells of a model's row that are not counted: who it is, and its accuracies.

    Args:
        metadata: Those of the model on the table's dataset, with `model_dir_id`.
        on_imagenet: Its metadata on ImageNet; accuracies that are not known may be None.
        archs: What is known of architectures; one outside it has the group `unknown`.
    """
    known = ("model_dir_id", "num_params", "training_data", "arch", "arch_family", "extra_annotations")
    return {key: metadata[key] for key in (*known, "top1_val_acc", "top1_val_acc_subset_200")} | {
        "arch_group": archs.get(metadata["arch"], Arch()).group,
        "imagenet_top1_val_acc": on_imagenet["top1_val_acc"],
        "imagenet_mla_val_acc": on_imagenet["multi_label_val_acc"],
    }


def summary(rows: list[dict], profiles: list[np.ndarray], skipped: list[bool]) -> list[str]:
    """The printed table: model, top-1, MLA, and count and share of every error type.

    Args:
        rows: Stats rows of the group `all`, one per model.
        profiles: [len(KINDS)] counts of each, from `counts`.
        skipped: Whether the open-world test was skipped for it; what could still change reads `≤`.
    """
    header = ["model", "top-1", "MLA", *(KINDS[code].title.replace("fine-grained out", "out") for code in ERRORS)]
    body = [
        [row["model_dir_id"], _percent(row["top1_val_acc"]), _percent(row["mla_all"])]
        + [_cell(profile, code, is_skipped) for code in ERRORS]
        for row, profile, is_skipped in zip(rows, profiles, skipped, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    lines = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in [header, *body]]
    return [lines[0], "─" * len(lines[0]), *lines[1:]]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _cell(profile: np.ndarray, code: int, skipped: bool) -> str:
    if skipped and code == CODES["out_of_vocabulary"]:
        return "skipped"
    share = 100 * profile[code] / max(1, profile[list(ERRORS)].sum())
    return f"{'≤' if skipped and code in UNTIL_OPEN_WORLD else ''}{profile[code]} ({share:.1f}%)"
