"""What goes wrong in a run: models that fail, memory that ends, images that cannot be read, caches half filled."""

import errno
import json
import os
import subprocess

import numpy as np
import pytest
import timm
from PIL import Image

from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.inference import predict
from imagenet_errors.inference.runner import Collector, Options
from imagenet_errors.models import own_models, saved_predictions
from imagenet_errors.paths import Artefacts
from tests.conftest import ROOT, refused
from tests.helpers import saved_models
from tests.helpers.saved_models import failures, probabilities, put_timm_on_hub, randomised, saved_probs

pytest_plugins = ("tests.helpers.saved_models", "tests.helpers.own_functions", "tests.helpers.processes")
pytestmark = pytest.mark.usefixtures("caches")


@pytest.fixture
def sample(call, tmp_path):
    """Collect on the sample; the artefacts folder is tmp_path."""

    def collect(*flags):
        flags = ("--dataset", "sample", "--artefacts_dir", tmp_path, "--device", "cpu", "--save_probs", *flags)
        return call("collect_predictions", "--workers", 0, *flags)

    return collect


def metadata(artefacts, model):
    return json.loads((artefacts / "sample" / model / "metadata.json").read_text())


class TestModels:
    """A model that fails is a row, and the others are run."""

    def test_failing_models_do_not_stop_the_others(self, sample, own, tmp_path):
        outcome = sample("--model", *own("nan", "broken", "short", "unbuildable", "good"))
        assert outcome.status == 1
        assert "Traceback" not in outcome.stderr
        assert f"4 of 5 models were not predicted, see {tmp_path / 'sample' / 'failures.csv'}" in outcome.stderr
        reasons = failures(tmp_path)
        assert reasons.keys() == {f"own/own.{name}" for name in ("nan", "broken", "short", "unbuildable")}
        assert reasons["own/own.nan"] == "it gives not-a-number: its weights or its preprocessing are wrong"
        assert reasons["own/own.broken"].startswith("it fails on an image (RuntimeError: ")
        assert reasons["own/own.short"] == "it gives (7, 999) for 7 images, not 1000 each"
        assert "fails (FileNotFoundError: no weights" in reasons["own/own.unbuildable"]
        for model, reason in reasons.items():
            assert f"{model}: not predicted, {reason}" in outcome.stderr
        assert [path.parent.name for path in tmp_path.rglob("preds.npz")] == ["own--own.good"]
        assert "own/own.good: top-1" in outcome.stdout

    def test_failure_ends_with_its_cause(self, sample, own, tmp_path):
        sample("--model", *own("nan", "short"))
        own.file.write_text(own.file.read_text().replace("999", "1000"))
        assert sample("--model", *own("short", "good")).status == 0
        assert failures(tmp_path).keys() == {"own/own.nan"}
        own.file.write_text(own.file.read_text().replace(".log()", ""))
        assert sample("--model", *own("nan")).status == 0
        assert failures(tmp_path) == {}

    def test_failure_is_listed_once(self, sample, own, tmp_path):
        for _ in range(2):
            sample("--model", *own("nan"))
        lines = (tmp_path / "sample" / "failures.csv").read_text().splitlines()
        assert lines[0] == "model_id,reason,time,conditions"
        assert len(lines) == 2

    def test_network_too_large_to_build_does_not_end_the_run(self, sample, own, tmp_path, monkeypatch):
        def too_large(*_, **__):
            raise MemoryError

        monkeypatch.setattr(timm, "create_model", too_large)
        assert sample("--model", "lite0", *own("good")).status == 1
        assert failures(tmp_path) == {"efficientnet_lite/lite0": "it runs out of memory while it is built"}

    @pytest.mark.parametrize(
        ("transform", "workers"),
        [
            ("{}['crop']", 0),
            ("{}['crop']", 2),
            ("(_ for _ in ()).throw(ValueError('bad'))", 0),
            ("torch.zeros(3) @ torch.zeros(4)", 0),
            ("image", 0),
            ("torch.zeros(image.size)", 0),
        ],
        ids=["KeyError", "KeyError in a worker", "ValueError", "RuntimeError", "no tensor", "other sizes"],
    )
    def test_failing_transform_is_a_failure_of_its_model(self, sample, own, tmp_path, transform, workers):
        """Whatever a user's transform raises or returns is a fault of this model alone."""
        arguments = own("good", "other")
        own.file.write_text(own.file.read_text() + f"\nother = lambda: (Linear(), lambda image: {transform})\n")
        outcome = sample("--model", *arguments[::-1], "--workers", workers)
        assert outcome.status == 1, outcome
        assert failures(tmp_path).keys() == {"own/own.other"}
        assert len(saved_probs(tmp_path, "own--own.good")) == 7

    @pytest.mark.parametrize("cache", [False, True])
    def test_unreadable_image_ends_the_run(self, call, own, tmp_path, monkeypatch, cache):
        folder = tmp_path / "images" / "val" / "n01440764"
        folder.mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(folder / "a.png")
        (folder / "b.JPEG").write_text("no image")
        monkeypatch.setenv("IMAGENET_DIR", str(tmp_path / "images"))
        (tmp_path / "cache").mkdir()
        flags = ("--pixel_cache", tmp_path / "cache") if cache else ()
        flags = ("--artefacts_dir", tmp_path / "a", "--model", *own("good"), "--batch_size", 1, *flags)
        assert refused(call("collect_predictions", *flags), "b.JPEG cannot be read", "replace it or remove it")
        assert not (tmp_path / "a" / "imagenet" / "failures.csv").exists()
        assert not list((tmp_path / "cache").iterdir())

    @pytest.mark.parametrize("when", ["predictions", "metadata", "rename of the metadata", "rename of the predictions"])
    def test_failing_disk_leaves_no_predictions_with_the_metadata_of_others(
        self, sample, own, tmp_path, monkeypatch, when
    ):
        """Old predictions and their metadata stay valid, unless the disk fails between the two renames."""
        sample("--model", *own("good"))
        before, replace = saved_probs(tmp_path, "own--own.good"), os.replace

        def fail(*_, **__):
            raise OSError(errno.EIO, "Input/output error", "preds.npz")

        def fail_to_rename(source, target, **_):
            if target.name == {"rename of the metadata": "metadata.json"}.get(when, "preds.npz"):
                fail()
            replace(source, target)

        with monkeypatch.context() as patch:
            patched = {"predictions": (np, "savez", fail), "metadata": (saved_predictions, "write_json", fail)}
            patch.setattr(*patched.get(when, (os, "replace", fail_to_rename)))
            assert refused(sample("--model", *own("good"), "--amp"), "the disk or the network fails")
        np.testing.assert_array_equal(saved_probs(tmp_path, "own--own.good"), before)
        if when != "rename of the predictions":
            assert "kept" in sample("--model", *own("good")).stderr
        assert "kept" not in sample("--model", *own("good"), "--amp").stderr
        assert not np.array_equal(saved_probs(tmp_path, "own--own.good"), before)

    def test_predictions_of_an_earlier_version_are_kept(self, sample, own, tmp_path):
        """Their metadata has no fingerprint of them; their failures no time."""
        sample("--model", *own("good"))
        path = tmp_path / "sample" / "own--own.good" / "metadata.json"
        known = json.loads(path.read_text())
        assert known.pop("predictions_fingerprint")
        path.write_text(json.dumps(known))
        (tmp_path / "sample" / "failures.csv").write_text("model_id,reason\nown/own.nan,old\nme/x,other\n")
        assert "kept" in sample("--model", *own("good")).stderr
        assert failures(tmp_path) == {"own/own.nan": "old", "me/x": "other"}
        sample("--model", *own("nan"))
        assert failures(tmp_path)["own/own.nan"] != "old"
        assert failures(tmp_path)["me/x"] == "other"


class TestProcesses:
    """A model that one process found failing is not tried by the others that began before and run alike."""

    @pytest.fixture
    def executed(self, own, tmp_path):
        """How often the failing model was built."""
        arguments = own("counted")
        code = f"def counted():\n    open({str(tmp_path / 'log')!r}, 'a').write('x')\n    return Nan(), resize\n"
        own.file.write_text(own.file.read_text() + code)
        return arguments, lambda: len((tmp_path / "log").read_text())

    @pytest.mark.parametrize(
        ("is_before", "flags", "is_tried"), [(False, {}, False), (False, {"batch_size": 1}, True), (True, {}, True)]
    )
    def test_failing_model_is_tried_once(self, sample, executed, tmp_path, caplog, is_before, flags, is_tried):
        """It is tried again by a run that began after the failure, or with other flags."""
        caplog.set_level("INFO")
        (arguments, count), artefacts = executed, Artefacts(tmp_path)
        sample("--model", "lite0")
        if is_before:
            sample("--model", *arguments)
        options = Options(device="cpu", workers=0, save_probs=True, **flags)
        other_process = Collector.prepare(artefacts, DATASETS["sample"], options)
        if not is_before:
            sample("--model", *arguments)
        assert count() == 1
        (record,) = (own_models.from_function(argument) for argument in arguments)
        assert list(other_process.run([record])) == []
        assert other_process.failures == failures(tmp_path)
        assert (count() == 2) is is_tried
        assert ("found by another process" in caplog.text) is not is_tried


class TestMemory:
    """A batch that does not fit is halved."""

    @pytest.mark.parametrize(
        ("error", "from_call", "cache"),
        [
            ("torch.OutOfMemoryError('CUDA out of memory')", 0, False),
            ("torch.OutOfMemoryError('CUDA out of memory')", 1, False),
            ("torch.OutOfMemoryError('CUDA out of memory')", 1, True),
            ("RuntimeError('DefaultCPUAllocator: can\\'t allocate memory: you tried to allocate 9 bytes')", 0, False),
            ("MemoryError()", 0, False),
        ],
    )
    def test_batch_is_halved_where_memory_ends(self, sample, own, tmp_path, error, from_call, cache):
        flags = ("--pixel_cache", tmp_path) if cache else ()
        arguments = own("hungry", "good", error=error, fits=2, from_call=from_call)
        outcome = sample("--model", *arguments, "--batch_size", 4, *flags)
        assert outcome.status == 0, outcome.stderr
        assert "own/own.hungry: out of memory, trying again with --batch_size 2" in outcome.stderr
        np.testing.assert_allclose(
            saved_probs(tmp_path, "own--own.hungry"), saved_probs(tmp_path, "own--own.good"), rtol=1e-5
        )
        assert metadata(tmp_path, "own--own.hungry")["eval_batch_size"] == 2
        assert metadata(tmp_path, "own--own.good")["eval_batch_size"] == 4
        assert not (tmp_path / "sample" / "failures.csv").exists()

    def test_single_image_that_does_not_fit_is_a_failure(self, sample, own, tmp_path):
        outcome = sample("--model", *own("hungry", "good", fits=0))
        assert outcome.status == 1
        assert failures(tmp_path) == {"own/own.hungry": "it runs out of memory with a single image on cpu"}
        sizes = [line.split()[-1] for line in outcome.stderr.splitlines() if "trying again with" in line]
        assert sizes == ["3", "1"]
        assert metadata(tmp_path, "own--own.good")["eval_batch_size"] == 7


class TestHowItWasMade:
    """Flags that change predictions are noted, and their change makes new ones."""

    VIT = "test_vit.r160_in1k"

    @pytest.fixture
    def saved(self, tmp_path):
        saved = randomised(timm.create_model(self.VIT))
        put_timm_on_hub(tmp_path, self.VIT, saved)
        return saved

    def test_half_precision_is_in_the_metadata(self, sample, saved, tmp_path):
        model = f"timm--{self.VIT}"
        sample("--limit", 2, "--model", self.VIT)
        exact = saved_probs(tmp_path, model)
        saved_models.agree(exact, probabilities(tmp_path, saved, saved_models.timm_transform(saved)))
        assert "amp" not in metadata(tmp_path, model)
        assert "predicted again because" in sample("--limit", 2, "--model", self.VIT, "--amp").stderr
        assert metadata(tmp_path, model)["amp"] is True
        rounded = saved_probs(tmp_path, model)
        assert not np.array_equal(rounded, exact)
        np.testing.assert_allclose(rounded, exact, rtol=0.3)
        assert "kept" in sample("--limit", 2, "--model", self.VIT, "--amp").stderr
        assert "predicted again because" in sample("--limit", 2, "--model", self.VIT).stderr
        assert "amp" not in metadata(tmp_path, model)
        np.testing.assert_array_equal(saved_probs(tmp_path, model), exact)

    def test_agreement_with_float32_is_in_the_metadata(self, sample, saved, tmp_path, monkeypatch):
        """The share is that of equal top-1; here plain float32 is said to differ on one of two images."""
        model, predict_as_it_is = f"timm--{self.VIT}", predict.predict

        def predict_otherwise(*what, **how):
            predictions = predict_as_it_is(*what, **how)
            if not how.get("amp"):
                predictions.top1[1] = (predictions.top1[1] + 1) % 1000
            return predictions

        flags = ("--limit", 2, "--model", self.VIT, "--amp", "--agreement")
        assert sample(*flags).status == 0
        assert metadata(tmp_path, model)["float32_agreement"] == 100
        monkeypatch.setattr(predict, "predict", predict_otherwise)
        (tmp_path / "sample" / model / "preds.npz").unlink()
        assert "50.00 % of top-1 are those of float32, on 2 images" in sample(*flags).stderr
        assert metadata(tmp_path, model)["float32_agreement"] == 50
        assert metadata(tmp_path, model)["float32_agreement_images"] == 2
        assert refused(sample("--limit", 2, "--model", self.VIT, "--agreement"), "--amp or --compile")

    @pytest.mark.heavy
    def test_compiled_networks_agree(self, sample, saved, tmp_path):
        model = f"timm--{self.VIT}"
        sample("--limit", 2, "--model", self.VIT)
        exact = saved_probs(tmp_path, model)
        outcome = sample("--limit", 2, "--model", self.VIT, "--compile", "--agreement")
        assert outcome.status == 0, outcome.stderr
        assert metadata(tmp_path, model)["compile"] is True
        saved_models.agree(saved_probs(tmp_path, model), exact)

    def test_test_size_is_in_the_metadata(self, sample, tmp_path):
        name = "edgenext_xx_small.in1k"
        saved, model = randomised(timm.create_model(name)), f"timm--{name}"
        put_timm_on_hub(tmp_path, name, saved)
        for flags, test_size in (((), False), (("--use_test_size",), True)):
            outcome = sample("--model", name, "--limit", 2, *flags)
            assert ("predicted again because" in outcome.stderr) is test_size
            config = timm.data.resolve_model_data_config(saved, use_test_size=test_size)
            expected = probabilities(tmp_path, saved, timm.data.create_transform(**config))
            saved_models.agree(saved_probs(tmp_path, model), expected)
            assert metadata(tmp_path, model).get("use_test_size", False) is test_size
        assert "kept" in sample("--model", name, "--limit", 2, "--use_test_size").stderr


@pytest.mark.heavy
def test_too_little_shared_memory_ends_a_run_in_one_line(runs, tmp_path):
    """As in a container, whose /dev/shm has 64 MB; here it has 256 kB, and the seven images need 1 MB."""
    small = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=256k none /dev/shm && exec "$@"', "sh")
    if subprocess.run([*small, "true"], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    flags = ("--dataset", "sample", "--artefacts_dir", tmp_path, "--model", "lite0", "--device", "cpu", "--workers", 1)
    run = runs.start(ROOT / "src" / "collect_predictions.py", *flags, prefix=small)
    _, stderr = run.communicate(timeout=120)
    assert run.returncode == 2, stderr
    assert "No space left on device" in stderr.splitlines()[-1]
    assert "give /dev/shm more memory" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr
