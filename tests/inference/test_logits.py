"""Logits of the reference models: how they are read, and where the models count."""

import io
import json

import numpy as np
import pandas as pd
import pytest

from tests.conftest import FILES, annotate, left_out, refused

ROWS = [292, 235]  # of the two images, by number of the validation file


def logits_of(predictions: dict[int, int], number: int = 300) -> np.ndarray:
    """[number, 1000] where the row of a file has its largest logit at the prediction, all others at class 999."""
    logits = np.random.default_rng(0).normal(size=(number, 1000)).astype(np.float32)
    logits[:, 999] = 50
    for row, prediction in predictions.items():
        logits[row, prediction] = 100
    return logits


def bare(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.fixture
def store(call, small, tmp_path):
    def run(content, *flags, name="logits.npz", model="vit3b"):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        return path, call(
            *("collect_predictions", "--logits", path, "--artefacts_dir", small, "--model_name", model, *flags)
        )

    return run


def archive(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


RIGHT = logits_of({ROWS[0]: 7, ROWS[1]: 1})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vit3b.npz", bare(RIGHT)),
        ("vit3b.npy", bare(RIGHT)),
        ("vit3b.NPZ", archive(anything=RIGHT)),
        ("vit3b.npz", archive(anything=RIGHT.astype(np.float16))),
        ("vit3b.npz", bare(RIGHT.astype(np.float64))),
    ],
)
def test_rows_belong_to_images_by_file_number(store, small, name, content):
    _, done = store(content, name=name)
    assert done.status == 0, done.stderr
    assert done.stdout.startswith("vit3b: top-1 50.00 % on 2 of 50,000 images, from ")
    with np.load(small / "imagenet/vit3b/preds.npz") as stored:
        assert stored["top1"].tolist() == [7, 1]
        assert stored["top5"][:, :2].tolist() == [[7, 999], [1, 999]]
        assert np.allclose(stored["top5_probs"][:, 0], 1)
        assert "probs" not in stored
    metadata = json.loads((small / "imagenet/vit3b/metadata.json").read_text())
    assert (metadata["model_id"], metadata["top1_val_acc"]) == ("vit3b", 50)


def test_probabilities_are_saved_on_request(store, small):
    store(bare(RIGHT), "--save_probs", "--arch", "vit", "--training_data", "JFT-3B")
    with np.load(small / "imagenet/vit3b/preds.npz") as stored:
        exact = np.exp(RIGHT[ROWS].astype(float) - 100)
        assert np.allclose(stored["probs"], exact / exact.sum(axis=1, keepdims=True), rtol=1e-5)
    metadata = json.loads((small / "imagenet/vit3b/metadata.json").read_text())
    assert (metadata["arch"], metadata["training_data"]) == ("vit", "JFT-3B")


def test_ties_go_to_the_lower_class(store, small):
    store(bare(np.zeros((300, 1000), np.float32)))
    with np.load(small / "imagenet/vit3b/preds.npz") as stored:
        assert stored["top5"].tolist() == [[0, 1, 2, 3, 4]] * 2


def changed(row, value) -> np.ndarray:
    logits = RIGHT.copy()
    logits[row, 3] = value
    return logits


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (archive(a=RIGHT, b=RIGHT), ["a [300, 1000]", "b [300, 1000]"]),
        (bare(changed(ROWS[1], np.nan)), ["row 236", "nan", "not finite"]),
        (bare(changed(ROWS[0], np.inf)), ["row 293", "inf", "not finite"]),
        (bare(RIGHT[:292]), ["292 rows", "ILSVRC2012_val_00000293.JPEG"]),
        (bare(RIGHT[:, :999]), ["999 columns"]),
        (bare(RIGHT[0]), ["row 1", "not a class id"]),
        (bare(RIGHT[..., None]), ["[300, 1000, 1]"]),
        (bare(RIGHT.argsort().astype(np.int64)), ["no logits"]),
        (bare(np.array([[None] * 1000] * 300)), ["Python objects"]),
        (bare(RIGHT)[:-5], ["not a readable npz file"]),
        (archive(a=RIGHT)[:-5], ["not a readable npz file"]),
        (archive(), ["no predictions"]),
        (b"", ["not a readable npz file"]),
        (None, ["is missing"]),
    ],
)
def test_files_that_are_not_logits_are_refused(store, small, content, words):
    path, done = store(content)
    assert refused(done, path, *words)
    assert not (small / "imagenet/vit3b").exists()


def test_flags_that_contradict_logits_are_refused(store, call, tmp_path):
    for flags in (("--dataset", "imagenet-a"), ("--model", "timm/resnet50"), ("--checkpoint", "a.pth")):
        assert refused(store(bare(RIGHT), *flags)[1], "--logits goes with --dataset imagenet and --model_name")
    done = call("collect_predictions", "--logits", tmp_path / "logits.npz", "--artefacts_dir", tmp_path)
    assert refused(done, "--logits goes with --dataset imagenet and --model_name")
    assert refused(store(bare(RIGHT), model="timm/resnet50.a1_in1k")[1], "is another model's name")


# --- where the reference models count --------------------------------------------------------------------------------


def listed(done) -> str:
    return done.stdout[: done.stdout.index("\nimagenet: ")]


def test_reference_models_are_counted_on_request(store, analyse, small):
    np.savez(small / "imagenet/me--mine/preds.npz", top1=[0, 843])
    for model in ("vit3b", "greedysoups"):
        store(bare(logits_of({ROWS[0]: 900, ROWS[1]: 843})), model=model)
    steps = ("--perform_error_analysis", "--collect_results", "--list_most_common_errors", "--print")
    table = small / "results/stats-imagenet/non_problematic_stats_all.csv"
    done = analyse(*steps)
    assert done.status == 0, done.stderr
    assert "3 analysed" in done.stderr
    assert "left out greedysoups, vit3b: give --with_reference_models to count them" in done.stderr
    assert pd.read_csv(table).model_dir_id.tolist() == ["me--mine"]
    assert "pred = 900" not in listed(done)
    assert "1) cnt mistakes = 1, file = " + FILES[1] in listed(done)
    assert "vit3b" not in done.stdout
    for model in ("vit3b", "greedysoups"):
        assert f"{FILES[0]}, {model}: model failure" in analyse("--explain", FILES[0], "--model", model).stdout
    done = analyse(*steps, "--with_reference_models")
    assert pd.read_csv(table).model_dir_id.tolist() == ["greedysoups", "me--mine", "vit3b"]
    assert "1) cnt mistakes = 3, file = " + FILES[1] in listed(done)
    assert "pred = 900" in listed(done)
    assert "left out" not in done.stderr


def test_reference_models_alone_are_refused_with_the_flag_to_use(store, analyse, small):
    for path in (small / "imagenet/me--mine").iterdir():
        path.unlink()
    store(bare(RIGHT))
    assert refused(analyse(), "--with_reference_models")


# --- ImageNet-M ------------------------------------------------------------------------------------------------------

NUMBERS = range(1, 71)
NAMES = [f"n01440764/ILSVRC2012_val_{number:08d}.JPEG" for number in NUMBERS]


@pytest.fixture
def imagenet_m(small):
    """70 tenches, 68 of them in ImageNet-M; goldfish (1) are accepted as well; writes the predictions of a model."""

    def write(top1, model="greedysoups", number=68):
        annotate(small, {name: {"correct": ["n01440764"], "unclear": ["n01443537"]} for name in NAMES})
        path = small / "annotations/human_accuracy_v3.0.0.json"
        names = [name.split("/")[1] for name in NAMES[:number]]
        path.write_text(json.dumps(json.loads(path.read_text()) | {"imagenet_m": names}))
        np.savez(small / "imagenet/samples_info.npz", sample_files=NAMES, targets=[0] * 70)
        for name in ("me--mine", model):
            (small / "imagenet" / name).mkdir(exist_ok=True)
            np.savez(small / "imagenet" / name / "preds.npz", top1=top1)

    return write


@pytest.mark.parametrize(
    ("right", "verdict"),
    [
        (19, "greedysoups gets 19 of ImageNet-M's 68 right, as published"),
        (
            20,
            "greedysoups gets 20 of ImageNet-M's 68 right, not the published 19: its logits are not the published ones",
        ),
    ],
)
def test_logits_other_than_the_published_are_reported(imagenet_m, analyse, right, verdict):
    """The last two images are none of ImageNet-M, and an accepted label beside the original counts as right."""
    imagenet_m([0] * (right - 5) + [1] * 5 + [5] * (68 - right) + [0, 0])
    done = analyse("--perform_error_analysis")
    assert verdict in done.stderr.splitlines()


@pytest.mark.parametrize("change", [{"number": 67}, {"number": 0}, {"model": "vit3b"}])
def test_only_the_published_case_is_checked(imagenet_m, analyse, change):
    imagenet_m([0] * 19 + [5] * 51, **change)
    done = analyse("--perform_error_analysis")
    assert done.status == 0
    assert "ImageNet-M" not in done.stderr


def test_damaged_reference_model_does_not_stop_the_others(imagenet_m, analyse, small):
    imagenet_m([0] * 70)
    (small / "imagenet/greedysoups/preds.npz").write_bytes(b"PK")
    flags = ("--perform_error_analysis", "--collect_results", "--with_reference_models")
    assert left_out(analyse(*flags), "1 of 2 models")
    assert pd.read_csv(small / "results/stats-imagenet/non_problematic_stats_all.csv").model_dir_id.tolist() == [
        "me--mine"
    ]
