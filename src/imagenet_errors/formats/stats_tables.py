"""The stats tables: non_problematic_stats_<group>.csv."""

from imagenet_errors.error_types import CODES, ERROR_COLUMNS

COUNTS_AS_CORRECT = [CODES[name] for name in ("correct", "class_overlap", "missing_multi_label")]
MINOR = [*COUNTS_AS_CORRECT, CODES["fine_grained"], CODES["out_of_vocabulary"]]
EXPLAINABLE = [*MINOR, CODES["spurious_correlation"], CODES["non_prototypical"]]
ACCURACIES = {"": COUNTS_AS_CORRECT, "_minor_error": MINOR, "_explainable_error": EXPLAINABLE}


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
