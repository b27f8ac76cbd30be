"""Accuracies in tables are those of the predictions, whatever metadata.json says."""

import csv
import json
import shutil

import numpy as np
import pytest

from tests.conftest import FILES

MODEL = "me--mine"


@pytest.fixture
def put(small):
    """Write the metadata of the model; its predictions are right on one of two images."""

    def run(dataset="imagenet", **metadata):
        (small / dataset / MODEL / "metadata.json").write_text(json.dumps({"arch": "resnet"} | metadata))

    return run


def read_cells(folder, dataset="imagenet") -> dict[str, str]:
    """The model's row."""
    with open(folder / "results" / f"stats-{dataset}" / "non_problematic_stats_all.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    return row


@pytest.mark.parametrize("stored", [50, 50.009, 49.991])
def test_stored_accuracy_that_is_only_rounded_is_not_named(analyse, small, put, stored):
    put(top1_val_acc=stored, multi_label_val_acc=stored)
    assert "that of the predictions is used" not in analyse().stderr
    assert read_cells(small)["top1_val_acc"] == "50.0"


def test_wrong_accuracies_are_named_once_and_not_used(analyse, small, put):
    put(top1_val_acc=99.5, multi_label_val_acc=12)
    done = analyse("--perform_error_analysis", "--collect_results", "--list_most_common_errors")
    path = small / "imagenet" / MODEL / "metadata.json"
    assert [line for line in done.stderr.splitlines() if "that of the predictions is used" in line] == [
        f"{path} has {key} {stored}, and the predictions have 50.000; that of the predictions is used"
        for key, stored in (("top1_val_acc", 99.5), ("multi_label_val_acc", 12))
    ]
    names = ("top1_val_acc", "imagenet_top1_val_acc", "imagenet_mla_val_acc", "mla_all")
    assert {name: read_cells(small)[name] for name in names} == dict.fromkeys(names, "50.0")


def test_accuracies_of_twelve_models_print_as_in_their_metadata(twelve, analysed):
    assert "that of the predictions is used" not in (analysed / "stderr.txt").read_text()
    with open(analysed / "results/stats-imagenet/non_problematic_stats_all.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    for row in rows:
        metadata = json.loads((twelve / "imagenet" / row["model_dir_id"] / "metadata.json").read_text())
        assert row["top1_val_acc"] == row["imagenet_top1_val_acc"] == str(metadata["top1_val_acc"])


class TestImageNetA:
    @pytest.fixture
    def collect(self, analyse, small, put):
        """Collect the table of ImageNet-A, of the same images and predictions; metadata on ImageNet are wrong."""
        shutil.copytree(small / "imagenet", small / "imagenet-a")
        np.savez(small / "imagenet-a" / "samples_info.npz", sample_files=FILES, targets=[0, 1])
        put("imagenet-a", top1_val_acc=50, top1_val_acc_subset_200=70.25)
        put(top1_val_acc=12.5, multi_label_val_acc=34.5)

        def run():
            done = analyse("--dataset", "imagenet-a", "--perform_error_analysis", "--collect_results")
            cells = read_cells(small, "imagenet-a")
            return done, cells["imagenet_top1_val_acc"], cells["imagenet_mla_val_acc"]

        return run

    def test_accuracies_on_imagenet_are_those_of_its_predictions(self, collect, small):
        done, *found = collect()
        assert found == ["50.0", "50.0"]
        assert done.stderr.count("that of the predictions is used") == 2
        assert read_cells(small, "imagenet-a")["top1_val_acc_subset_200"] == "70.25"

    def test_damaged_predictions_on_imagenet_leave_those_of_the_metadata(self, collect, small):
        path = small / "imagenet" / MODEL / "preds.npz"
        path.write_bytes(b"damaged")
        done, *found = collect()
        assert found == ["12.5", "34.5"]
        assert f"{MODEL}: its accuracies on ImageNet are not computed because {path} is not" in done.stderr

    def test_damaged_annotations_leave_those_of_the_metadata(self, collect, small):
        (small / "annotations/human_accuracy_v3.0.0.json").write_text("{}")
        done, *found = collect()
        assert found == ["12.5", "34.5"]
        assert "accuracies on ImageNet are those in metadata.json, where it has them, because" in done.stderr
