"""What goes wrong in a run: models that fail, memory that ends, images that cannot be read, caches half filled."""

import errno
import json
import os

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision import transforms

from imagenet_errors.errors import ModelError
from imagenet_errors.inference.images import ImageFiles, Images
from imagenet_errors.inference.predict import predict
from imagenet_errors.inference.preprocessing import OwnTransform, Preprocessing, ResizeAndCrop
from tests.conftest import refused
from tests.helpers import saved_models
from tests.helpers.saved_models import failures, probabilities, put_timm_on_hub, randomised, stored

pytest_plugins = "tests.helpers.saved_models"
pytestmark = pytest.mark.usefixtures("caches")
OWN = """
import torch
from torchvision import transforms

class Linear(torch.nn.Module):
    def __init__(self, classes=1000):
        super().__init__()
        torch.manual_seed(0)
        self.head = torch.nn.Linear(192, classes)

    def forward(self, pixels):
        return self.head(pixels.flatten(1))

class Nan(Linear):
    def forward(self, pixels):
        return super().forward(pixels).log()

class Broken(Linear):
    def forward(self, pixels):
        return super().forward(pixels[:, :2])

class Hungry(Linear):
    calls = 0

    def forward(self, pixels):
        self.calls += 1
        if len(pixels) > {fits} and self.calls > {from_call}:
            raise {error}
        return super().forward(pixels)

resize = transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()])
good = lambda: (Linear(), resize)
nan = lambda: (Nan(), resize)
broken = lambda: (Broken(), resize)
short = lambda: (Linear(999), resize)
hungry = lambda: (Hungry(), resize)

def unbuildable():
    raise FileNotFoundError("no weights")
"""
GEOMETRY = ResizeAndCrop(32, 24, "bilinear")


@pytest.fixture
def own(tmp_path):
    """A file of models: `own("good", "nan")` gives what `--model` takes."""
    file = tmp_path / "own.py"

    def arguments(*functions, **hungry):
        if not file.exists():
            text = OWN
            for key, value in ({"fits": 3, "from_call": 0, "error": "MemoryError()"} | hungry).items():
                text = text.replace(f"{{{key}}}", str(value))
            file.write_text(text)
        return [f"{file}:{function}" for function in functions]

    arguments.file = file
    return arguments


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

    def test_one_bad_model_stops_the_others(self, sample, own, tmp_path):
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

    def test_a_failure_outlives_its_cause(self, sample, own, tmp_path):
        sample("--model", *own("nan", "short"))
        own.file.write_text(own.file.read_text().replace("999", "1000"))
        assert sample("--model", *own("short", "good")).status == 0
        assert failures(tmp_path).keys() == {"own/own.nan"}
        own.file.write_text(own.file.read_text().replace(".log()", ""))
        assert sample("--model", *own("nan")).status == 0
        assert failures(tmp_path) == {}

    def test_a_failure_is_listed_twice(self, sample, own, tmp_path):
        for _ in range(2):
            sample("--model", *own("nan"))
        lines = (tmp_path / "sample" / "failures.csv").read_text().splitlines()
        assert lines[0] == "model_id,reason"
        assert len(lines) == 2

    def test_a_network_too_large_to_build_ends_the_run(self, sample, own, tmp_path, monkeypatch):
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
    def test_a_bad_transform_is_blamed_on_the_images(self, sample, own, tmp_path, transform, workers):
        """Whatever a user's transform raises or returns is a fault of this model alone."""
        arguments = own("good", "other")
        own.file.write_text(own.file.read_text() + f"\nother = lambda: (Linear(), lambda image: {transform})\n")
        outcome = sample("--model", *arguments[::-1], "--workers", workers)
        assert outcome.status == 1, outcome
        assert failures(tmp_path).keys() == {"own/own.other"}
        assert len(stored(tmp_path, "own--own.good")) == 7

    @pytest.mark.parametrize("cache", [False, True])
    def test_an_unreadable_image_is_blamed_on_the_model(self, call, own, tmp_path, monkeypatch, cache):
        folder = tmp_path / "images" / "val" / "n01440764"
        folder.mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(folder / "a.png")
        (folder / "b.JPEG").write_text("no image")
        monkeypatch.setenv("IMAGENET_DIR", str(tmp_path / "images"))
        (tmp_path / "cache").mkdir()
        flags = ("--pixel_cache", tmp_path / "cache") if cache else ()
        flags = ("--artefacts_dir", tmp_path / "a", "--model", *own("good"), "--batch_size", 1, *flags)
        assert refused(call("collect_predictions", *flags), "b.JPEG cannot be read", "fetch it again or remove it")
        assert not (tmp_path / "a" / "imagenet" / "failures.csv").exists()
        assert not list((tmp_path / "cache").iterdir())

    @pytest.mark.parametrize("when", ["written", "renamed"])
    def test_a_full_disk_makes_old_predictions_pass_for_new(self, sample, own, tmp_path, monkeypatch, when):
        """Metadata of the new run must never stand beside predictions of the one before."""
        sample("--model", *own("good"))
        before, replace = stored(tmp_path, "own--own.good"), os.replace

        def full(source, target="", **_):
            if when == "written" or target.name == "preds.npz":
                raise OSError(errno.ENOSPC, "No space left on device", "preds.npz")
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(*((np, "savez", full) if when == "written" else (os, "replace", full)))
            assert refused(sample("--model", *own("good"), "--amp"), "make room")
        assert "kept" not in sample("--model", *own("good"), "--amp").stderr
        assert not np.array_equal(stored(tmp_path, "own--own.good"), before)


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
    def test_a_large_batch_loses_the_model_or_repeats_images(self, sample, own, tmp_path, error, from_call, cache):
        flags = ("--pixel_cache", tmp_path) if cache else ()
        arguments = own("hungry", "good", error=error, fits=2, from_call=from_call)
        outcome = sample("--model", *arguments, "--batch_size", 4, *flags)
        assert outcome.status == 0, outcome.stderr
        assert "own/own.hungry: out of memory, trying again with --batch_size 2" in outcome.stderr
        np.testing.assert_allclose(stored(tmp_path, "own--own.hungry"), stored(tmp_path, "own--own.good"), rtol=1e-5)
        assert metadata(tmp_path, "own--own.hungry")["eval_batch_size"] == 2
        assert metadata(tmp_path, "own--own.good")["eval_batch_size"] == 4
        assert not (tmp_path / "sample" / "failures.csv").exists()

    def test_a_batch_is_halved_below_one_image(self, sample, own, tmp_path):
        outcome = sample("--model", *own("hungry", "good", fits=0))
        assert outcome.status == 1
        assert failures(tmp_path) == {"own/own.hungry": "it runs out of memory with a single image on cpu"}
        sizes = [line.split()[-1] for line in outcome.stderr.splitlines() if "trying again with" in line]
        assert sizes == ["3", "1"]
        assert metadata(tmp_path, "own--own.good")["eval_batch_size"] == 7


class TestPixelCache:
    """Pixels that are kept are those that would be decoded."""

    @pytest.fixture
    def decoded(self, monkeypatch):
        """The files that were decoded, in order."""
        files, decode = [], ImageFiles.__getitem__

        def spy(images, index):
            files.append(str(images.files[index]))
            return decode(images, index)

        monkeypatch.setattr(ImageFiles, "__getitem__", spy)
        return files

    @pytest.fixture
    def noise(self, tmp_path):
        """A folder of five images, and their names."""
        names = np.array([f"{number}.png" for number in range(5)])
        for number, name in enumerate(names):
            pixels = np.random.default_rng(number).integers(0, 256, (40, 32 + number, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name)
        return tmp_path, names

    @pytest.fixture
    def cached(self, noise, tmp_path):
        (tmp_path / "cache").mkdir()
        return Images(*noise, 0, tmp_path / "cache")

    @staticmethod
    def probs(model, images, how=None, batch_size=2):
        how = how or Preprocessing(GEOMETRY)
        cpu = torch.device("cpu")
        return predict(model, how, images, batch_size=batch_size, device=cpu, save_probs=True).probs

    @pytest.fixture
    def model(self):
        return randomised(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 24 * 24, 1000)))

    def test_images_are_decoded_for_every_model(self, sample, tmp_path, decoded):
        """Two of the models share a geometry, and the third, between them in the table, has its own."""
        names = [f"test_{name}.r160_in1k" for name in ("efficientnet", "resnet", "vit")]
        for name in names:
            put_timm_on_hub(tmp_path, name, randomised(timm.create_model(name)))
        (tmp_path / "cache").mkdir()
        assert sample("--model", *names, "--limit", 3).status == 0
        without = {name: stored(tmp_path, f"timm--{name}") for name in names}
        assert len(decoded) == 9
        decoded.clear()
        for path in tmp_path.rglob("preds.npz"):
            path.unlink()
        assert sample("--model", *names, "--limit", 3, "--pixel_cache", tmp_path / "cache").status == 0
        assert len(decoded) == 6
        assert len(set(decoded)) == 3
        for name in names:
            np.testing.assert_array_equal(stored(tmp_path, f"timm--{name}"), without[name])
        assert not list((tmp_path / "cache").iterdir())

    @pytest.mark.parametrize("workers", [0, 2])
    def test_kept_pixels_are_others(self, noise, cached, model, workers):
        cached.workers = workers
        expected = self.probs(model, Images(*noise, 0))
        for batch_size in (2, 1, 5, 3, 64):
            saved_models.agree(self.probs(model, cached, batch_size=batch_size), expected)
        assert cached.cached[1].shape == (5, 3, 24, 24)

    def test_kept_pixels_are_those_of_another_geometry(self, noise, cached, model, decoded):
        other = Preprocessing(ResizeAndCrop(28, 24, "bilinear"))
        expected = self.probs(model, Images(*noise, 0), other)
        decoded.clear()
        self.probs(model, cached)
        np.testing.assert_array_equal(self.probs(model, cached, other), expected)
        self.probs(model, cached, other)
        assert len(decoded) == 10
        normalised = Preprocessing(other.geometry, std=(1.0, 1.0, 1.0))
        assert not np.allclose(self.probs(model, cached, normalised), expected)
        assert len(decoded) == 10

    def test_a_half_filled_cache_is_used(self, noise, cached, model, decoded):
        class Fails(torch.nn.Module):
            left = 2

            def forward(self, pixels):
                self.left -= 1
                return model(pixels) if self.left else None

        expected = self.probs(model, Images(*noise, 0))
        with pytest.raises(ModelError):
            self.probs(Fails(), cached)
        assert cached.cached is None
        decoded.clear()
        np.testing.assert_array_equal(self.probs(model, cached), expected)
        assert len(decoded) == 5
        with pytest.raises(ModelError):
            self.probs(Fails(), cached)
        np.testing.assert_array_equal(self.probs(model, cached), expected)
        assert len(decoded) == 5
        assert not list(cached.cache_dir.iterdir())

    def test_a_model_that_writes_into_its_input_changes_the_kept_pixels(self, noise, cached, model):
        class Normalises(torch.nn.Module):
            def forward(self, pixels):
                return model(pixels.sub_(0.5))

        resize = transforms.Compose([transforms.Resize((24, 24)), transforms.ToTensor()])
        how = OwnTransform(resize)
        expected = self.probs(model, Images(*noise, 0), how)
        for _ in range(2):
            assert not np.allclose(self.probs(Normalises(), cached, how), expected)
            saved_models.agree(self.probs(model, cached, how), expected)

    def test_a_cache_on_no_folder_is_found_out_late(self, sample, tmp_path):
        assert refused(sample("--model", "lite0", "--pixel_cache", tmp_path / "none"), "none is no folder")


class TestHowItWasMade:
    """Flags that change predictions are noted, and their change makes new ones."""

    VIT = "test_vit.r160_in1k"

    @pytest.fixture
    def saved(self, tmp_path):
        saved = randomised(timm.create_model(self.VIT))
        put_timm_on_hub(tmp_path, self.VIT, saved)
        return saved

    def test_half_precision_passes_for_single(self, sample, saved, tmp_path):
        model = f"timm--{self.VIT}"
        sample("--limit", 2, "--model", self.VIT)
        exact = stored(tmp_path, model)
        saved_models.agree(exact, probabilities(tmp_path, saved, saved_models.timm_transform(saved)))
        assert "amp" not in metadata(tmp_path, model)
        assert "predicted again, for" in sample("--limit", 2, "--model", self.VIT, "--amp").stderr
        assert metadata(tmp_path, model)["amp"] is True
        rounded = stored(tmp_path, model)
        assert not np.array_equal(rounded, exact)
        np.testing.assert_allclose(rounded, exact, rtol=0.3)
        assert "kept" in sample("--limit", 2, "--model", self.VIT, "--amp").stderr
        assert "predicted again, for" in sample("--limit", 2, "--model", self.VIT).stderr
        assert "amp" not in metadata(tmp_path, model)
        np.testing.assert_array_equal(stored(tmp_path, model), exact)

    def test_the_test_size_passes_for_the_train_size(self, sample, tmp_path):
        name = "edgenext_xx_small.in1k"
        saved, model = randomised(timm.create_model(name)), f"timm--{name}"
        put_timm_on_hub(tmp_path, name, saved)
        for flags, test_size in (((), False), (("--use_test_size",), True)):
            outcome = sample("--model", name, "--limit", 2, *flags)
            assert ("predicted again, for" in outcome.stderr) is test_size
            config = timm.data.resolve_model_data_config(saved, use_test_size=test_size)
            expected = probabilities(tmp_path, saved, timm.data.create_transform(**config))
            saved_models.agree(stored(tmp_path, model), expected)
            assert metadata(tmp_path, model).get("use_test_size", False) is test_size
        assert "kept" in sample("--model", name, "--limit", 2, "--use_test_size").stderr
