"""Turn the shared prediction sets of twelve public models into an artefacts folder: `shared_predictions.py FOLDER`."""

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np

SHARED = Path(os.environ.get("SHARED_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")

SETS = (
    *("imagenetx--ResNet50", "imagenetx--ViT", "keras--nasnetlarge", "keras--xception", "pytorch--alexnet"),
    *("pytorch--densenet121", "pytorch--resnet152", "pytorch--resnet18", "pytorch--resnet50"),
    *("pytorch--squeezenet1_1", "pytorch--vgg16", "pytorch--vgg19_bn"),
)


def convert(folder: Path) -> None:
    """Write annotations, samples_info.npz and, per model, preds.npz and metadata.json to `folder`."""
    shutil.copytree(SHARED / "annotations", folder / "annotations", copy_function=shutil.copyfile)
    with open(SHARED / "predictions" / "samples.csv", newline="") as file:
        samples = list(csv.DictReader(file))
    files = np.array([row["file"] for row in samples])
    targets = np.array([int(row["target"]) for row in samples], dtype=np.int16)
    (folder / "imagenet").mkdir()
    np.savez(folder / "imagenet" / "samples_info.npz", sample_files=files, targets=targets)
    with open(SHARED / "predictions" / "metadata.csv", newline="") as file:
        for row in csv.DictReader(file):
            arrays = predictions(row["name"], files)
            model = folder / "imagenet" / row["name"]
            model.mkdir()
            np.savez(model / "preds.npz", **arrays)
            metadata = {
                "arch_family": row["arch_family"],
                "arch": row["arch"],
                "model_id": row["name"].replace("--", "/"),
                "training_data": row["training_data"],
                "source": row["name"].split("--")[0],
                "num_params": int(row["num_params"]) if row["num_params"] else None,
                "extra_annotations": row["extra_annotations"].split("|") if row["extra_annotations"] else [],
                "top1_val_acc": round(float(100 * (arrays["top1"] == targets).mean()), 3),
            }
            (model / "metadata.json").write_text(json.dumps(metadata))


def predictions(name: str, files: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of preds.npz, in the order of `files`."""
    path = SHARED / "predictions" / f"{name}.npz"
    if path.exists():
        with np.load(path) as archive:
            top5 = archive["top5"].astype(np.int16)
            return {"top1": top5[:, 0], "top5": top5, "top5_probs": archive["top5_probs"].astype(np.float32)}
    with open(path.with_suffix(".csv"), newline="") as file:
        by_name = {row["file_name"]: int(row["predicted_class"]) for row in csv.DictReader(file)}
    return {"top1": np.array([by_name[file.split("/")[1]] for file in files], dtype=np.int16)}


if __name__ == "__main__":
    convert(Path(sys.argv[1]))
