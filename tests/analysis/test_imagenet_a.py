"""ImageNet-A all the way: 200 classes, from images to tables, lists and an explanation."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from imagenet_errors.formats.stats_tables import columns
from tests.conftest import ROOT, refused
from tests.helpers import tiny_clip
from tests.helpers.analyses import read_joined
from tests.helpers.plain_facts import plain_group_classes, plain_mla, read_class_ids
from tests.helpers.tiny_clip import arrays

pytest_plugins = "tests.helpers.tiny_clip"
pytestmark = pytest.mark.heavy
MODEL = "efficientnet_lite--lite0"
STEPS = ("perform_error_analysis", "collect_results", "count_spurious_correlation_pairs", "list_most_common_errors")
TYPES = ("collapsed_mappings", "ambiguous", "same_superclass", "common_co_occ", "non_prototypical")
TYPES += ("OOV_clip", "not_classified")
CLASSES_OF = {"all": 200, "organism": 77, "artifact": 104, "other": 19}
NUM_IMAGES = 250


def make_images(folder, shared):
    """A small image per class, of that class where there is one, and for every fourth a second, of another class."""
    ours = sorted((shared / "images" / "val").glob("*/*"))
    wnids = (ROOT / "artefacts" / "imagenet_a_synsets.txt").read_text().split()
    for number, wnid in enumerate(sorted(wnids)):
        (folder / wnid).mkdir(parents=True)
        right = [path for path in ours if path.parent.name == wnid]
        sources = [(right or ours[number:])[0], *([ours[-1 - number]] if number % 4 == 0 else [])]
        for name, path in zip(("0.jpg", "1.jpg"), sources, strict=False):
            with Image.open(path) as image:
                image.convert("RGB").resize((96, 96)).save(folder / wnid / name)
    (folder / "README.txt").write_text("as in the original")


@pytest.fixture(scope="module")
def made(shared, clip_weights, clip_world, tmp_path_factory):
    """A folder with `images/`, `artefacts/` and `results/` of all scripts; ImageNet's files are there as well."""
    folder = tmp_path_factory.mktemp("imagenet_a")
    make_images(folder / "images", shared)
    artefacts = shutil.copytree(clip_world, folder / "artefacts")
    flags = ("--dataset", "imagenet-a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMAGENET_DIR", str(shared / "images"))
        patch.setenv("IMAGENET_A_DIR", str(folder / "images"))
        predict = (*flags, "--artefacts_dir", artefacts, "--model", "lite0", "--save_probs", "--workers", 0)
        tiny_clip.run("collect_predictions", *predict)
        tiny_clip.run("compute_clip_embeddings", *tiny_clip.flags(clip_weights, artefacts, *flags))
        where = ("--artefacts_dir", artefacts, "--results_dir", folder / "results", "--open_world", "clip")
        tiny_clip.run("evaluation", *flags, *where, *(f"--{step}" for step in STEPS))
    return folder


@pytest.fixture(scope="module")
def rows(made):
    """{group: its one row}."""
    found = {}
    for group in CLASSES_OF:
        path = made / "results" / "stats-imagenet-a" / f"non_problematic_stats_{group}.csv"
        with open(path, newline="") as file:
            (found[group],) = csv.DictReader(file)
    return found


def test_groups_have_the_published_numbers_of_classes(made, rows):
    class_ids, group_classes = read_class_ids(), plain_group_classes()
    targets = [class_ids[path.parent.name] for path in (made / "images").glob("*/*.jpg")]
    for group, row in rows.items():
        assert len(group_classes[group].intersection(targets)) == CLASSES_OF[group]
        assert int(row["num_group_samples"]) == sum(target in group_classes[group] for target in targets)
        assert int(row["num_all_samples"]) == len(targets) == NUM_IMAGES


def test_accuracies_are_over_all_classes_and_over_the_200(made, rows):
    """One over all classes, one over the 200; from the stored probabilities."""
    predictions = arrays(made / "artefacts" / "imagenet-a" / MODEL / "preds.npz")
    targets = arrays(made / "artefacts" / "imagenet-a" / "samples_info.npz")["targets"]
    present = np.isin(np.arange(1000), targets)
    assert present.sum() == 200
    probs = predictions["probs"]
    whole, subset = probs.argmax(axis=1), np.where(present, probs, -1).argmax(axis=1)
    np.testing.assert_array_equal(whole, predictions["top1"])
    assert (whole != subset).any()
    for row in rows.values():
        assert float(row["top1_val_acc"]) == pytest.approx(100 * (whole == targets).mean(), abs=1e-3)
        assert float(row["top1_val_acc_subset_200"]) == pytest.approx(100 * (subset == targets).mean(), abs=1e-3)
        assert float(row["top1_val_acc_subset_200"]) > float(row["top1_val_acc"]) > 5


def test_counts_add_up(rows):
    for row in rows.values():
        assert row["num_ambiguous"] == row["num_non_prototypical"] == "0"
        count = {name: int(cell) for name, cell in row.items() if name.startswith("num_") and name != "num_params"}
        assert count["num_group_samples"] == count["num_group_correct"] + count["num_group_top1_errors"]
        assert count["num_group_top1_errors"] == sum(count[f"num_{name}"] for name in TYPES)
        for scope in ("all", "group"):
            correct, minor, explainable = (
                float(row[f"mla_{scope}{suffix}"]) for suffix in ("", "_minor_error", "_explainable_error")
            )
            assert 0 < correct <= minor <= explainable <= 100
    assert int(rows["all"]["num_all_top1_errors"]) == int(rows["all"]["num_group_top1_errors"])
    parts = [int(rows[group]["num_group_top1_errors"]) for group in ("organism", "artifact", "other")]
    assert sum(parts) == int(rows["all"]["num_group_top1_errors"])
    assert int(rows["all"]["num_OOV_clip"]) > 0
    assert int(rows["all"]["num_same_superclass"]) > 0


def test_table_has_no_empty_cell_and_no_column_of_imagenet_m(rows):
    for row in rows.values():
        assert list(row) == columns("imagenet-a")
        assert "top1_val_acc_subset_200" in row
        assert not [name for name in row if "imagenet-m" in name]
        assert not [name for name, cell in row.items() if cell == ""]


def test_multi_label_accuracy_is_the_mean_over_classes(made, rows):
    """Some classes have one image, others two."""
    stored = read_joined(made / "artefacts" / "imagenet-a" / MODEL / "errors_analysis.parquet").to_pydict()
    as_correct = ("correct", "class_overlap")
    images = [(t, name in as_correct) for t, name in zip(stored["target"], stored["error_type"], strict=True)]
    for group, classes in plain_group_classes().items():
        expected = plain_mla([image for image in images if image[0] in classes])
        assert float(rows[group]["mla_group"]) == pytest.approx(expected, abs=1e-9)


def test_table_repeats_the_accuracies_on_imagenet(made, rows):
    metadata = json.loads((made / "artefacts" / "imagenet" / MODEL / "metadata.json").read_text())
    for row in rows.values():
        assert float(row["imagenet_top1_val_acc"]) == metadata["top1_val_acc"] > 80
        assert 80 < float(row["imagenet_mla_val_acc"]) != float(row["mla_all"])


def test_neighbours_are_training_images_of_imagenet(made):
    """They are training images of ImageNet, with its classes, most of which ImageNet-A lacks."""
    near = arrays(made / "artefacts" / "imagenet-a" / "valid_clip_knn.npz")
    train = arrays(made / "artefacts" / "train_clip_embeddings.npz")
    images = arrays(made / "artefacts" / "imagenet-a" / "clip_image_embeddings.npz")
    assert near["topk_train_indices"].shape == (NUM_IMAGES, 50)
    np.testing.assert_array_equal(near["topk_train_targets"], train["targets"][near["topk_train_indices"]])
    first = (images["embeddings"].astype(np.float64) @ train["embeddings"].T.astype(np.float64)).argmax(axis=1)
    assert (first == near["topk_train_indices"][:, 0]).mean() > 0.99


def test_images_have_the_label_of_their_class(made):
    stored = read_joined(made / "artefacts" / "imagenet-a" / MODEL / "errors_analysis.parquet").to_pydict()
    assert len(stored["target"]) == NUM_IMAGES
    assert stored["multi_label"] == [[target] for target in stored["target"]]
    assert not any(stored["is_problematic"])
    assert not any(stored["provisional"])


def test_lists_of_imagenet_a_have_their_own_folder(made, rows):
    folder = made / "results" / "common_error_samples-imagenet-a"
    assert not (made / "results" / "common_error_samples").exists()
    listed = {path.stem.removeprefix("most_common_"): path.read_text() for path in folder.glob("*.txt")}
    assert len(listed) == 7
    assert listed["fg"].strip()
    assert listed["fg-OOV"].count("Top-5 alternative proposals") == int(rows["all"]["num_OOV_clip"])
    assert not listed["multi_label"].strip()
    assert not listed["non-proto"].strip()


def test_explanation_gives_the_stored_error_type(made, call):
    stored = read_joined(made / "artefacts" / "imagenet-a" / MODEL / "errors_analysis.parquet").to_pydict()
    where = ("--dataset", "imagenet-a", "--artefacts_dir", made / "artefacts")
    examples = {name: file for file, name in zip(stored["img_rel_path"], stored["error_type"], strict=True)}
    titles = {"fine_grained": "fine-grained", "out_of_vocabulary": "out-of-vocabulary", "correct": "correct"}
    for name, title in titles.items():
        done = call("evaluation", *where, "--explain", examples[name], "--model", "efficientnet_lite/lite0")
        assert done.status == 0, done.stderr
        assert done.stdout.startswith(f"{examples[name]}, efficientnet_lite/lite0: ")
        assert title in done.stdout.splitlines()[0]
    ambiguous = call("evaluation", *where, "--explain", "0.jpg", "--model", "efficientnet_lite/lite0")
    assert refused(ambiguous, "0.jpg")


def test_page_of_all_models_has_the_main_figures_of_imagenet_a(made, call, tmp_path):
    path = tmp_path / "zoo.html"
    done = call("report", "--dataset", "imagenet-a", "--artefacts_dir", made / "artefacts", "--page", path)
    assert done.status == 0, done.stderr
    data = json.loads(path.read_text().partition('id="data">')[2].partition("</script>")[0])
    assert (data["title"], data["models"]["name"]) == ("ImageNet-A", [MODEL])
    assert data["models"]["accuracies"].keys() == {"top1", "multi_label"}
    assert (len(data["figures"]["figures"]), data["figures"]["missing"]) == (8, 0)


def test_class_beyond_the_200_is_refused(made, call, clip_weights, monkeypatch, tmp_path):
    images = tmp_path / "images"
    (images / "n01440764").mkdir(parents=True)
    shutil.copyfile(next((made / "images").glob("*/0.jpg")), images / "n01440764" / "0.jpg")
    monkeypatch.setenv("IMAGENET_A_DIR", str(images))
    flags = tiny_clip.flags(clip_weights, tmp_path / "artefacts", "--dataset", "imagenet-a", "--what", "images")
    assert refused(call("compute_clip_embeddings", *flags), "n01440764 is not a class of ImageNet-A")
    assert not (tmp_path / "artefacts").exists()
