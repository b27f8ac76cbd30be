"""import_predictions.py: which rows and values it takes, what it keeps, what it says of a model."""

import json

import numpy as np
import pandas as pd
import pytest

from imagenet_errors.dataset.samples import Samples, register_samples
from imagenet_errors.dataset.validation_labels import load_validation_samples
from imagenet_errors.formats.predictions import read_top1
from imagenet_errors.paths import Artefacts
from tests.conftest import COMMITTED, left_out, refused

ALL = load_validation_samples(COMMITTED)
SUFFIXES = ("csv", "json", "parquet")
FOUR = ALL.files[[0, 1, 60, 49_999]]  # of classes 0, 0, 1, 999


@pytest.fixture
def store(call, tmp_path):
    """Write a table of `rows` (file, prediction) and import it."""

    def run(rows, *flags, name="model.csv"):
        pd.DataFrame(rows, columns=["file", "pred"]).to_csv(tmp_path / name, index=False)
        return call("import_predictions", tmp_path / name, "--artefacts_dir", tmp_path / "A", *flags)

    return run


def rows(*values):
    return list(zip(FOUR, values, strict=False))


def test_part_of_the_images_is_stored_as_it_is(store, tmp_path):
    done = store(rows(0, 5, 1, 7), "--arch", "vit", "--training_data", "JFT-3B", "--num_params", 86_000_000)
    assert done.status == 0, done.stderr
    assert done.stdout == f"model: top-1 50.00 % on 4 of 50,000 images, from {tmp_path}/model.csv (the column pred)\n"
    top1 = read_top1(tmp_path / "A/imagenet/model/preds.npz", ALL)
    assert top1[[0, 1, 60, 49_999]].tolist() == [0, 5, 1, 7]
    assert (top1 >= 0).sum() == 4
    metadata = json.loads((tmp_path / "A/imagenet/model/metadata.json").read_text())
    told = {"model_id": "model", "arch": "vit", "training_data": "JFT-3B", "num_params": 86_000_000, "num_images": 4}
    assert metadata | told == metadata


def test_complete_and_partial_models_stand_in_one_folder(store, call, tmp_path):
    store(rows(0, 5, 1, 7), name="part.csv")
    predicted = np.where(np.arange(50_000) % 3, ALL.targets, (ALL.targets + 7) % 1000)
    assert store(list(zip(ALL.files, predicted, strict=True)), name="complete.csv").status == 0
    flags = ("--artefacts_dir", tmp_path / "A", "--results_dir", tmp_path, "--open_world", "skip")
    done = call("evaluation", "--perform_error_analysis", "--collect_results", *flags)
    assert "part (4 of 50,000 images)" in done.stdout or "none of its 4 images" in done.stderr
    assert "complete" in done.stdout


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            [*rows(0, 1), ("ILSVRC2012_val_00050001.JPEG", 1)],
            ["row 3", "ILSVRC2012_val_00050001.JPEG", "--file_column"],
        ),
        ([*rows(0), ("n01440764_1.JPEG", 0)], ["row 2", "none of the dataset's 50,000 images"]),
        (rows(0, 1000), ["row 2", "1000", "0 to 999", "--label_offset"]),
        (rows(0, -1), ["row 2", "-1", "0 to 999"]),
        ([*rows(0, 1), (FOUR[0], 3)], [FOUR[0], "class 0 and as 3", "keep one row"]),
        (rows("n01440764", "n00000000"), ["row 2", "n00000000", "no ImageNet class", "class ids or WordNet ids"]),
        (rows("tench, Tinca tinca", "crane"), ["row 2", "134, 517", "class ids or WordNet ids"]),
        (rows("maillot", "tench"), ["row 1", "638, 639"]),
        (rows(0, 1.5), ["row 2", "1.5"]),
    ],
)
def test_rows_that_cannot_be_right_are_named(store, tmp_path, values, words):
    assert refused(store(values), tmp_path / "model.csv", *words)
    assert not (tmp_path / "A").exists()


def test_texts_that_name_one_class_are_taken(store, tmp_path):
    assert store(rows("tench, Tinca tinca", "tench", "n01443537", "toilet tissue")).status == 0
    assert read_top1(tmp_path / "A/imagenet/model/preds.npz", ALL)[[0, 1, 60, 49_999]].tolist() == [0, 0, 1, 999]


def test_repeated_rows_that_agree_are_counted_once(store):
    done = store([*rows(0, 5), *rows(0, 5)])
    assert "on 2 of 50,000 images" in done.stdout
    assert "2 repeated rows that agree are counted once" in done.stderr


def test_same_predictions_are_kept_and_others_need_overwrite(store, tmp_path):
    store(rows(0, 5))
    path = tmp_path / "A/imagenet/model/preds.npz"
    written = path.stat().st_mtime_ns
    done = store(rows(0, 5), "--arch", "resnet")
    assert done.stdout.startswith("model: kept, top-1 50.00 %")
    assert path.stat().st_mtime_ns == written
    assert json.loads(path.with_name("metadata.json").read_text())["arch"] == "resnet"
    assert refused(store(rows(0, 6)), path, "--overwrite", "--model_name")
    assert path.stat().st_mtime_ns == written
    assert store(rows(0, 6), "--overwrite").status == 0
    assert read_top1(path, ALL)[1] == 6


def test_names_that_share_a_folder_are_refused(store):
    assert store(rows(0, 5), "--model_name", "a/b").status == 0
    assert refused(store(rows(0, 5), "--model_name", "a--b"), "holds a/b, not a--b", "--model_name")
    assert refused(store(rows(0, 5), "--model_name", "timm/resnet50.a1_in1k"), "another model's name")
    assert refused(store(rows(0, 5), name="timm--resnet50.a1_in1k.csv"), "another model's name")


def test_files_are_models_or_with_one_name_parts(call, store, tmp_path):
    store(rows(0, 5), name="one.csv")
    pd.DataFrame(rows(0, 5, 1)[1:], columns=["image", "pred"]).to_json(tmp_path / "two.json", orient="records")
    files = (tmp_path / "one.csv", tmp_path / "two.json", "--artefacts_dir", tmp_path / "B")
    done = call("import_predictions", *files)
    assert [line.partition(",")[0] for line in done.stdout.splitlines()] == [
        "one: top-1 50.00 % on 2 of 50",
        "two: top-1 50.00 % on 2 of 50",
    ]
    done = call("import_predictions", *files, "--model_name", "joined")
    assert done.stdout.startswith("joined: top-1 66.67 % on 3 of 50,000 images")


def test_one_bad_file_does_not_stop_the_others(call, store, tmp_path):
    store(rows(0, 5), name="good.csv")
    (tmp_path / "bad.csv").write_text("file,pred\nn01440764/nothing.jpg,1\n")
    files = (tmp_path / "bad.csv", tmp_path / "good.csv", "--artefacts_dir", tmp_path / "B")
    done = call("import_predictions", *files)
    assert left_out(done, "1 of 2 models are not imported")
    assert "nothing.jpg" in done.stderr
    assert done.stdout.startswith("good: top-1")


def test_images_of_other_datasets_are_found_by_folder_and_name(call, tmp_path):
    files = np.array(["n01498041/a.jpg", "n01498041/b.jpg", "n01531178/a.jpg"])
    register_samples(Artefacts(tmp_path), "imagenet-a", Samples(files, np.array([6, 6, 11], np.int16)))
    flags = ("--artefacts_dir", tmp_path, "--dataset", "imagenet-a")
    pd.DataFrame({"path": ["/data/n01531178/a.jpg", "b.jpg"], "pred": [11, 6]}).to_csv(tmp_path / "m.csv", index=False)
    assert "top-1 100.00 % on 2 of 7,500 images" in call("import_predictions", tmp_path / "m.csv", *flags).stdout
    pd.DataFrame({"path": ["a.jpg"], "pred": [11]}).to_csv(tmp_path / "m.csv", index=False)
    assert refused(call("import_predictions", tmp_path / "m.csv", *flags), "row 1", "several images", "class folder")


def test_imagenet_a_needs_its_list_of_images(call, store, tmp_path):
    done = store(rows(0), "--dataset", "imagenet-a")
    assert refused(done, "imagenet-a/samples_info.npz is missing", "run collect_predictions.py --dataset imagenet-a")


def test_torch_files_are_read(call, tmp_path):
    import torch

    register_samples(Artefacts(tmp_path), "imagenet", Samples(ALL.files[:3], ALL.targets[:3]))
    torch.save({"logits": torch.eye(1000)[[0, 7, 8]].to(torch.bfloat16)}, tmp_path / "model.pt")
    done = call("import_predictions", tmp_path / "model.pt", "--artefacts_dir", tmp_path, "--order", "class_folder")
    assert "top-1 33.33 % on 3 of 50,000 images" in done.stdout, done.stderr


@pytest.mark.parametrize("name", ["top1_index.csv", "top1_index.json", *(f"top5_index_fullname.{s}" for s in SUFFIXES)])
def test_files_of_timm_say_what_running_the_model_says(call, shared, lite0, tmp_path, name):
    ours = np.load(lite0 / "imagenet/efficientnet_lite--lite0/preds.npz")["top1"]
    with np.load(lite0 / "imagenet/samples_info.npz") as images:
        samples = Samples(images["sample_files"], images["targets"])
    register_samples(Artefacts(tmp_path), "imagenet", samples)
    file = shared / "prediction_files" / f"timm-{name}"
    done = call("import_predictions", file, "--artefacts_dir", tmp_path, "--model_name", "timm")
    assert done.status == 0, done.stderr
    assert np.array_equal(read_top1(tmp_path / "imagenet/timm/preds.npz", samples), ours)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("errors_analysis.pkl", "an archive's analysis, put it into a folder imagenet/MODEL/"),
        ("models-imagenet.tar.gz", "download_artefacts.py --from_file reads it"),
        ("model.pkl", "save it as .csv"),
    ],
)
def test_archived_analyses_given_as_predictions_are_told_where_they_belong(call, tmp_path, name, advice):
    (tmp_path / name).write_bytes(b"anything")
    assert refused(call("import_predictions", tmp_path / name, "--artefacts_dir", tmp_path), name, advice)
