"""Mix-ups of the order of images or the numbering of classes are refused, with the flag that mends them."""

import numpy as np
import pandas as pd
import pytest

from imagenet_errors.dataset.class_numberings import NO_CLASS, list_numberings
from imagenet_errors.dataset.classes import load_classes, load_imagenet_a_wnids
from imagenet_errors.dataset.plausibility import find_fault
from imagenet_errors.dataset.samples import Samples, register_samples
from imagenet_errors.dataset.validation_labels import load_validation_samples
from imagenet_errors.formats import predictions
from imagenet_errors.paths import Artefacts
from tests.conftest import COMMITTED, refused

ALL = load_validation_samples(COMMITTED)
NUMBERINGS = list_numberings(COMMITTED)
TEXT_ORDER = np.argsort(sorted(range(1000), key=str))


def find(top1: np.ndarray, samples: Samples = ALL, dataset: str = "imagenet"):
    return find_fault(top1, samples, NUMBERINGS, dataset)


def by_file_number(top1: np.ndarray) -> np.ndarray:
    mixed = np.empty_like(top1)
    mixed[ALL.ranks_by_number] = top1
    return mixed


def in_subset(top1: np.ndarray) -> np.ndarray:
    """Ids 0 to 199 for images and predictions of ImageNet-A's classes, no prediction for others."""
    wnids, classes = sorted(load_imagenet_a_wnids(COMMITTED)), load_classes(COMMITTED)
    numbers = np.full(1000, NO_CLASS)
    numbers[[classes.ids[wnid] for wnid in wnids]] = np.arange(len(wnids))
    return np.where(numbers[ALL.targets] == NO_CLASS, NO_CLASS, numbers[top1])


MIX_UPS = {
    "--order file_number": by_file_number,
    "--label_offset -1": lambda top1: (top1 + 1) % 1000,
    "--label_offset 1": lambda top1: (top1 - 1) % 1000,
    "--classes text": lambda top1: TEXT_ORDER[top1],
    "--classes imagenet-a": in_subset,
}


@pytest.fixture(scope="module")
def top1_of(twelve) -> dict[str, np.ndarray]:
    """{model: class ids of all images} of the twelve sets."""
    paths = sorted((twelve / "imagenet").glob("*/preds.npz"))
    assert len(paths) == 12
    return {path.parent.name: predictions.read_top1(path, ALL).astype(int) for path in paths}


@pytest.mark.parametrize("flags", MIX_UPS)
def test_every_mix_up_of_the_twelve_sets_is_found_with_its_flag(top1_of, flags):
    for name, top1 in top1_of.items():
        fault = find(MIX_UPS[flags](top1))
        assert fault is not None, name
        assert fault.meant is not None
        assert flags in fault.meant.flags, name
        assert fault.meant.accuracy > 50, name


def test_twelve_sets_and_their_parts_raise_no_alarm(top1_of):
    random = np.random.default_rng(0)
    for top1 in top1_of.values():
        assert find(top1) is None
        part = np.full_like(top1, NO_CLASS)
        rows = random.choice(len(top1), 100, replace=False)
        part[rows] = top1[rows]
        assert find(part) is None


def test_low_accuracy_alone_is_an_alarm_on_imagenet_only():
    random = np.random.default_rng(0)
    assert find(random.integers(0, 1000, len(ALL.targets))).meant is None
    assert find(random.integers(0, 1000, 999), Samples(ALL.files[:999], ALL.targets[:999])) is None
    subset = np.flatnonzero(in_subset(ALL.targets) != NO_CLASS)[:7500]
    targets = ALL.targets[subset]
    top1 = np.where(random.random(len(subset)) < 0.004, targets, random.choice(targets, len(subset)))
    assert 0.2 < 100 * (top1 == targets).mean() < 1.5
    assert find(top1, Samples(ALL.files[subset], targets), "imagenet-a") is None


# --- the scripts -----------------------------------------------------------------------------------------------------


def simulated() -> np.ndarray:
    random = np.random.default_rng(0)
    return np.where(random.random(len(ALL.targets)) < 0.7, ALL.targets, random.integers(0, 1000, len(ALL.targets)))


@pytest.mark.parametrize("flags", MIX_UPS)
def test_evaluation_writes_no_table_of_a_mix_up(call, tmp_path, flags):
    top1 = MIX_UPS[flags](simulated())
    register_samples(Artefacts(tmp_path), "imagenet", ALL)
    path = tmp_path / "imagenet/me--mine/preds.npz"
    path.parent.mkdir()
    rows = np.flatnonzero(top1 != NO_CLASS).astype(np.int32)
    some = None if len(rows) == len(top1) else rows
    predictions.write(path, predictions.Predictions(top1[rows].astype(np.int16), rows=some), ALL)
    steps = ("--perform_error_analysis", "--collect_results", "--list_most_common_errors")
    done = call("evaluation", "--artefacts_dir", tmp_path, "--results_dir", tmp_path / "results", *steps)
    assert refused(done, path, f"import_predictions.py {flags}")
    assert not (tmp_path / "results").exists()
    assert not list(tmp_path.rglob("*.parquet"))


def import_table(call, tmp_path, top1, *flags, **columns):
    rows = np.flatnonzero(top1 != NO_CLASS)
    table = pd.DataFrame({"file": ALL.files[rows], "pred": top1[rows]} | columns)
    table.to_csv(tmp_path / "model.csv", index=False)
    return call("import_predictions", tmp_path / "model.csv", "--artefacts_dir", tmp_path, *flags)


@pytest.mark.parametrize("flags", list(MIX_UPS)[1:])
def test_import_refuses_other_numberings_until_the_flag_is_given(call, tmp_path, flags):
    top1 = MIX_UPS[flags](simulated())
    assert refused(import_table(call, tmp_path, top1), tmp_path / "model.csv", f"give {flags}")
    assert not (tmp_path / "imagenet").exists()
    if "%" not in flags and top1[top1 != NO_CLASS].max() < 999:
        assert import_table(call, tmp_path, top1, *flags.split()).status == 0


def test_import_refuses_the_other_order(call, tmp_path):
    np.save(tmp_path / "model.npy", simulated())
    found = call("import_predictions", tmp_path / "model.npy", "--artefacts_dir", tmp_path)
    assert "is read with --order class_folder" in found.stderr
    wrong = ("--artefacts_dir", tmp_path, "--order", "file_number", "--model_name", "other")
    assert refused(call("import_predictions", tmp_path / "model.npy", *wrong), "give --order class_folder")


def test_arrays_without_a_plausible_order_list_what_was_tried(call, tmp_path):
    np.save(tmp_path / "model.npy", np.random.default_rng(0).integers(0, 1000, 50_000))
    done = call("import_predictions", tmp_path / "model.npy", "--artefacts_dir", tmp_path)
    assert refused(done, "--order class_folder: 0.1", "--order file_number --classes text: 0.", "give --order")


def test_chance_accuracy_needs_force(call, tmp_path):
    top1 = np.random.default_rng(0).integers(0, 1000, 50_000)
    assert refused(import_table(call, tmp_path, top1), "0.1", "chance", "--force")
    assert import_table(call, tmp_path, top1, "--force").status == 0
    flags = ("--artefacts_dir", tmp_path, "--results_dir", tmp_path / "results", "--perform_error_analysis")
    assert refused(call("evaluation", *flags), "chance", "--force")
    assert call("evaluation", *flags, "--force").status == 0


def test_original_labels_are_not_taken_for_predictions(call, tmp_path):
    assert refused(import_table(call, tmp_path, ALL.targets.astype(int)), "these are the labels", "--class_column")


def test_truth_beside_predictions_needs_a_choice(call, tmp_path):
    done = import_table(call, tmp_path, simulated(), label=ALL.targets)
    assert refused(done, "the column pred and the column label differ", "--class_column")
    assert import_table(call, tmp_path, simulated(), "--class_column", "pred", label=ALL.targets).status == 0
