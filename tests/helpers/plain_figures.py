"""Shared by the tests of figures: made-up stats tables, and the points of any figure in plain Python."""

import csv
import random
from pathlib import Path

GROUPS = ("all", "organism", "artifact", "other")
CORPORA = {  # training_data: (size, group, marker, models, position, shades of organism, artifact, other, all)
    "ImageNet-1k (1.2M)": (1.2e6, "small (< 5M)", "o", 757, 0, "#a5cd90", "#edb081", "#6699dd", "#fa8072"),
    "ImageNet-21k (14M)": (14e6, "medium (< 50M)", "s", 131, 0.307, "#55a290", "#e1635c", "#5276a6", "#bc645a"),
    "Merged (30M)": (30e6, "medium (< 50M)", "p", 2, 0.402, "#44948f", "#d64f5f", "#4c6b95", "#a95b52"),
    "Merged (38M)": (38e6, "medium (< 50M)", "8", 2, 0.432, "#3f8f8e", "#d04962", "#4a6790", "#a25850"),
    "Flickr YFCC (90M)": (90e6, "large (< 500M)", "*", 6, 0.539, "#2d7f8c", "#b83e6b", "#425b7c", "#8c4e47"),
    "JFT (300M)": (300e6, "large (< 500M)", "D", 10, 0.690, "#1c6889", "#943470", "#384961", "#6d403b"),
    "WIT (400M)": (400e6, "large (< 500M)", "<", 9, 0.726, "#1d6288", "#8c3271", "#36455b", "#663d38"),
    "LAION-400M (400M)": (400e6, "large (< 500M)", ">", 2, 0.726, "#1d6288", "#8c3271", "#36455b", "#663d38"),
    "Instagram (940M)": (940e6, "xlarge (> 500M)", "X", 10, 0.832, "#234f81", "#722c6e", "#2f3947", "#50322f"),
    "RandomInternetImages (2B)": (2e9, "xlarge (> 500M)", "v", 4, 0.927, "#2a3e78", "#5b2867", "#292e36", "#3d2a28"),
    "LAION-2B (2.3B)": (2.3e9, "xlarge (> 500M)", "^", 23, 0.944, "#2a3b76", "#582766", "#282c33", "#392827"),
    "Instagram (3.6B)": (3.6e9, "xlarge (> 500M)", "P", 6, 1, "#2c3172", "#4b2362", "#242629", "#2e2322"),
}
SHADES = {"organism": 5, "artifact": 6, "other": 7, "all": 8}  # places in the rows above
ARCHS = (
    ("resnet", "cnn", "ResNet"),
    ("vit", "transformer", "ViT"),
    ("gmlp", "mlp", "MLP"),
    ("pvt", "hybrid", "Hybrid"),
)
METHODS = ("[]", "['Distillation']", "[]", "['Self-Supervised Learning', 'CLIP Training']", "['Adversarial Training']")
SEVEN = (
    *("num_collapsed_mappings", "num_ambiguous", "num_same_superclass", "num_common_co_occ"),
    *("num_non_prototypical", "num_OOV_clip", "num_not_classified"),
)
SAMPLES = {"organism": 4778, "artifact": 2240, "other": 482}


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def read_tables(folder: Path, dataset: str) -> dict[str, list[dict[str, str]]]:
    return {group: read(folder / f"stats-{dataset}/non_problematic_stats_{group}.csv") for group in GROUPS}


def write_tables(folder: Path, tables: dict[str, list[dict]], dataset: str = "imagenet") -> None:
    (folder / f"stats-{dataset}").mkdir(parents=True, exist_ok=True)
    for group, rows in tables.items():
        with open(folder / f"stats-{dataset}/non_problematic_stats_{group}.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


def made_tables(count: int = 48, dataset: str = "imagenet") -> dict[str, list[dict]]:
    """Tables of `count` models of all corpora in turn that add up."""
    chance, tables = random.Random(7), {group: [] for group in GROUPS}
    for number in range(count):
        corpus, (arch, family, arch_group) = list(CORPORA)[number % 12], ARCHS[number // 12 % 4]
        accuracy = 60 + 35 * (number + 1) / (count + 1)
        about = {
            "model_dir_id": f"made--model{number}",
            "num_params": int(10 ** chance.uniform(6.2, 9)),
            **{"training_data": corpus, "arch": arch, "arch_family": family, "arch_group": arch_group},
            "extra_annotations": METHODS[number % len(METHODS)],
            **{name: round(accuracy - 5, 3) for name in ("top1_val_acc", "imagenet_top1_val_acc")},
            **dict.fromkeys(("imagenet_mla_val_acc", "mla_all"), accuracy),
        }
        counts = {}
        for group, samples in SAMPLES.items():
            wrong = round(samples * (1 - accuracy / 100 + chance.uniform(0, 0.05)))
            weights = [chance.uniform(0.5, 1.5) for _ in SEVEN]
            if dataset == "imagenet-a":
                weights[1] = weights[4] = 0
            types = [int(wrong * weight / sum(weights)) for weight in weights]
            types[-1] += wrong - sum(types)
            counts[group] = (samples, samples - wrong, wrong, *types)
        counts["all"] = tuple(sum(column) for column in zip(*counts.values(), strict=True))
        names = ("num_group_samples", "num_group_correct", "num_group_top1_errors", *SEVEN)
        for group in GROUPS:
            tables[group].append(about | dict(zip(names, counts[group], strict=True)))
    return tables


def plain_points(figure: dict[str, str], tables: dict[str, list[dict]], x: str | None = None) -> list[tuple]:
    """(group, model, x, y) of a row of figures.csv, one model after another."""
    points = []
    for group in figure["groups"].split():
        for model, everything in zip(tables[group], tables["all"], strict=True):
            denominator = {
                "abs": lambda model, _: 1,
                "relative_to_group_mle": lambda model, _: multi_label_errors(model),
                "relative_to_group_top1_err": lambda model, _: int(model["num_group_top1_errors"]),
                "relative_to_all_mle": lambda _, everything: multi_label_errors(everything),
                "relative_to_all_top1_err": lambda _, everything: int(everything["num_group_top1_errors"]),
                "relative_to_num_group_samples": lambda model, _: int(model["num_group_samples"]),
            }[figure["y_computation"]](model, everything)
            if denominator:
                y = value(model, everything, figure["y"]) / denominator * (100 if figure["y_unit"] == "percent" else 1)
                points.append((group, model["model_dir_id"], value(model, everything, x or figure["x"]), y))
    return points


def value(model: dict, everything: dict, column: str) -> float:
    if column == "imagenet_a_top1_val_acc":
        return 100 * int(everything["num_group_correct"]) / 7500
    return float(model[column])


def multi_label_errors(model: dict) -> int:
    return int(model["num_group_top1_errors"]) - int(model["num_collapsed_mappings"]) - int(model["num_ambiguous"])
