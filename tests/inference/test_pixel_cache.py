"""The pixel cache: images are decoded once for all models of one geometry."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision import transforms

from imagenet_errors.errors import ModelError
from imagenet_errors.inference import pixel_cache
from imagenet_errors.inference.images import ImageFiles, Images
from imagenet_errors.inference.pixel_cache import CacheLimits
from imagenet_errors.inference.predict import predict
from imagenet_errors.inference.preprocessing import OwnTransform, Preprocessing, ResizeAndCrop
from tests.conftest import refused
from tests.helpers import saved_models
from tests.helpers.processes import wait_for
from tests.helpers.saved_models import put_timm_on_hub, randomised, saved_probs
from tests.helpers.stored import stored

pytest_plugins = tuple(
    f"tests.helpers.{name}" for name in ("saved_models", "own_functions", "processes", "slow_models")
)
pytestmark = pytest.mark.usefixtures("caches")
GEOMETRY = ResizeAndCrop(32, 24, "bilinear")
NAMES = [f"test_{name}.r160_in1k" for name in ("efficientnet", "resnet", "vit")]
BYTES = 5 * 3 * 24 * 24  # of the five images of the tests in that geometry


@pytest.fixture
def sample(call, tmp_path):
    """Collect on the sample; the artefacts folder is tmp_path."""

    def collect(*flags):
        flags = ("--dataset", "sample", "--artefacts_dir", tmp_path, "--device", "cpu", "--save_probs", *flags)
        return call("collect_predictions", "--workers", 0, *flags)

    return collect


class TestPixelCache:
    """Pixels that are kept are those that would be decoded."""

    @pytest.fixture
    def decoded(self, monkeypatch):
        """The files that were decoded, in order."""
        files, decode = [], ImageFiles.__getitem__

        def spy(images, index):
            files.append(images.images[index].path)
            return decode(images, index)

        monkeypatch.setattr(ImageFiles, "__getitem__", spy)
        return files

    @pytest.fixture
    def noise(self, tmp_path):
        """Five images."""
        names = [f"{number}.png" for number in range(5)]
        for number, name in enumerate(names):
            pixels = np.random.default_rng(number).integers(0, 256, (40, 32 + number, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name)
        return stored(tmp_path, *names)

    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "cache").mkdir()
        return tmp_path / "cache"

    @pytest.fixture
    def cached(self, noise, folder):
        images = Images(noise, 0, CacheLimits(folder, 1))
        with images.shared_by(2):
            yield images

    @pytest.fixture
    def made(self, monkeypatch):
        """The files that pixels are kept in, as they are made: (their size in bytes, whether they have a name)."""
        files, make = [], pixel_cache.make_cache

        def spy(limits, *facts):
            cache = make(limits, *facts)
            if cache is not None:
                files.append((cache.pixels.nbytes, bool(list(limits.folder.iterdir()))))
            return cache

        monkeypatch.setattr("imagenet_errors.inference.images.make_cache", spy)
        return files

    @staticmethod
    def probs(model, images, how=None, batch_size=2):
        how = how or Preprocessing(GEOMETRY)
        cpu = torch.device("cpu")
        return predict(model, how, images, batch_size=batch_size, device=cpu, save_probs=True).probs

    @pytest.fixture
    def model(self):
        return randomised(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 24 * 24, 1000)))

    @pytest.fixture
    def three(self, tmp_path):
        """Two of the models share a geometry, and the third, between them in the table, has its own."""
        for name in NAMES:
            put_timm_on_hub(tmp_path, name, randomised(timm.create_model(name)))
        return "--model", *NAMES, "--limit", 3

    def test_images_are_decoded_once_per_geometry(self, sample, three, tmp_path, folder, decoded, made):
        """One more is decoded to know the shape of the pixels. A single model of a geometry keeps none."""
        assert sample(*three, "--cache_gb", 0).status == 0
        without = {name: saved_probs(tmp_path, f"timm--{name}") for name in NAMES}
        assert len(decoded) == 9
        for flags in ((), ("--pixel_cache", folder), ("--cache_dir", folder), ("--workers", 2)):
            decoded.clear()
            made.clear()
            for path in tmp_path.rglob("preds.npz"):
                path.unlink()
            assert sample(*three, *flags).status == 0
            assert len(set(decoded)) == 3 or "--workers" in flags  # workers decode where the test does not see it
            assert len(decoded) == 1 + 6 or "--workers" in flags
            assert [size for size, _ in made] == [3 * 3 * 160**2]
            for name in NAMES:
                np.testing.assert_array_equal(saved_probs(tmp_path, f"timm--{name}"), without[name])
            assert not list(folder.iterdir())

    def test_models_that_are_finished_are_not_counted(self, sample, three, tmp_path, made):
        assert sample(*three).status == 0
        made.clear()
        (tmp_path / "sample" / f"timm--{NAMES[2]}" / "preds.npz").unlink()
        outcome = sample(*three)
        assert outcome.stderr.count("kept") == 2
        assert made == []

    @pytest.mark.parametrize(("gigabytes", "free", "is_made"), [
        (BYTES / 1e9, 2 * BYTES, True),
        (0.99 * BYTES / 1e9, 2 * BYTES, False),
        (1, 2 * BYTES - 2, False),
    ])  # fmt: skip
    def test_cache_is_never_above_its_bound(
        self, noise, folder, model, decoded, made, monkeypatch, caplog, gigabytes, free, is_made
    ):
        """Its bound is --cache_gb, and half of the free space; without it, images are decoded for every model."""
        caplog.set_level("INFO")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, free))
        expected = self.probs(model, Images(noise, 0))
        decoded.clear()
        images = Images(noise, 0, CacheLimits(folder, gigabytes))
        with images.shared_by(2):
            for _ in range(2):
                saved_models.agree(self.probs(model, images), expected)
        assert made == [(BYTES, False)] * is_made
        assert len(decoded) == 1 + 5 * (1 if is_made else 2)
        assert caplog.text.count("images are decoded for every model: their pixels take") == (not is_made)

    def test_full_disk_leaves_no_cache(self, noise, folder, model, monkeypatch, caplog):
        """Its space is taken when it is made: a write to memory that finds the disk full would kill the process."""
        caplog.set_level("INFO")

        def fail(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", fail)
        images = Images(noise, 0, CacheLimits(folder, 1))
        with images.shared_by(2):
            np.testing.assert_array_equal(self.probs(model, images), self.probs(model, Images(noise, 0)))
        assert "cannot keep their pixels (No space left on device)" in caplog.text

    def test_space_is_free_again_after_the_last_model(self, noise, model, monkeypatch, tmp_path):
        """The file has no name, is as large as its pixels while models share it, and is closed after them."""
        files, create = [], tempfile.TemporaryFile

        def spy(**where):
            files.append(create(**where))
            return files[-1]

        monkeypatch.setattr(tempfile, "TemporaryFile", spy)
        images = Images(noise, 0, CacheLimits(tmp_path, 1))

        def mapped() -> int:
            return sum(str(tmp_path) in line for line in open("/proc/self/maps"))

        with images.shared_by(2):
            self.probs(model, images)
            assert mapped() == 1
        assert mapped() == 0
        assert [file.closed for file in files] == [True]

    def test_functions_of_one_file_share_pixels(self, sample, own, tmp_path, decoded):
        """Their file is executed once, so that their transform is the same object."""
        arguments = own("good", "hungry", fits=9)
        own.file.write_text(own.file.read_text() + f"\nopen({str(tmp_path / 'log')!r}, 'a').write('x')\n")
        assert sample("--model", *arguments).status == 0
        assert (tmp_path / "log").read_text() == "x"
        assert (len(decoded), len(set(decoded))) == (1 + 7, 7)
        np.testing.assert_array_equal(saved_probs(tmp_path, "own--own.good"), saved_probs(tmp_path, "own--own.hungry"))

    @pytest.mark.parametrize("workers", [0, 2])
    def test_cached_pixels_give_the_same_predictions(self, noise, cached, model, workers):
        cached.workers = workers
        expected = self.probs(model, Images(noise, 0))
        for batch_size in (2, 1, 5, 3, 64):
            saved_models.agree(self.probs(model, cached, batch_size=batch_size), expected)
        assert cached.cache.pixels.shape == (5, 3, 24, 24)
        assert cached.cache.is_written.all()

    def test_cached_pixels_are_of_one_geometry(self, noise, cached, model, decoded):
        other = Preprocessing(ResizeAndCrop(28, 24, "bilinear"))
        expected = self.probs(model, Images(noise, 0), other)
        decoded.clear()
        self.probs(model, cached)
        np.testing.assert_array_equal(self.probs(model, cached, other), expected)
        self.probs(model, cached, other)
        assert len(decoded) == 2 * (1 + 5)
        normalised = Preprocessing(other.geometry, std=(1.0, 1.0, 1.0))
        assert not np.allclose(self.probs(model, cached, normalised), expected)
        assert len(decoded) == 2 * (1 + 5)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_what_a_failing_model_left_undone_is_decoded(self, noise, cached, model, decoded, workers):
        class Fails(torch.nn.Module):
            left = 2

            def forward(self, pixels):
                self.left -= 1
                return model(pixels) if self.left else None

        cached.workers = workers
        expected = self.probs(model, Images(noise, 0))
        with pytest.raises(ModelError):
            self.probs(Fails(), cached)
        assert cached.cache.is_written[:4].all()
        assert workers or not cached.cache.is_written[4]  # others may have decoded it ahead
        decoded.clear()
        np.testing.assert_array_equal(self.probs(model, cached), expected)
        assert len(decoded) == (0 if workers else 1)
        with pytest.raises(ModelError):
            self.probs(Fails(), cached)
        np.testing.assert_array_equal(self.probs(model, cached), expected)

    def test_cached_pixels_survive_a_model_that_writes_into_its_input(self, noise, cached, model):
        class Normalises(torch.nn.Module):
            def forward(self, pixels):
                return model(pixels.sub_(0.5))

        resize = transforms.Compose([transforms.Resize((24, 24)), transforms.ToTensor()])
        how = OwnTransform(resize)
        expected = self.probs(model, Images(noise, 0), how)
        for _ in range(2):
            assert not np.allclose(self.probs(Normalises(), cached, how), expected)
            saved_models.agree(self.probs(model, cached, how), expected)

    def test_missing_cache_folder_is_refused(self, sample, tmp_path):
        for flag in ("--pixel_cache", "--cache_dir"):
            assert refused(sample("--model", "lite0", flag, tmp_path / "none"), "none is not a folder")


@pytest.mark.heavy
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_run_leaves_no_pixels_and_resumes(models, signal_number):
    """Two models share pixels: the first one is done, and the second is running, when the run is stopped."""
    models.hold("b")
    run = models("a", "b")
    wait_for(lambda: [name for name, _ in models.log()] == ["a", "b"])
    folder = models.artefacts
    maps = Path(f"/proc/{run.pid}/maps").read_text().splitlines()
    assert [line for line in maps if str(folder) in line and line.endswith("(deleted)")]
    assert not [path for path in folder.iterdir() if path.is_file()]
    run.send_signal(signal_number)
    run.communicate()
    models.release("b")
    assert not [path for path in folder.iterdir() if path.is_file()]
    again = models("a", "b")
    again.communicate()
    assert again.returncode == 0
    assert [name for name, _ in models.log()] == ["a", "b", "b"]
    assert sorted(path.parent.name for path in folder.rglob("preds.npz")) == ["own--own.a", "own--own.b"]
