"""`--pixel_cache`: images are decoded once for all consecutive models of one geometry."""

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
from tests.helpers.saved_models import put_timm_on_hub, randomised, saved_probs
from tests.helpers.stored import stored

pytest_plugins = ("tests.helpers.saved_models", "tests.helpers.own_functions")
pytestmark = pytest.mark.usefixtures("caches")
GEOMETRY = ResizeAndCrop(32, 24, "bilinear")


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
    def cached(self, noise, tmp_path):
        (tmp_path / "cache").mkdir()
        return Images(noise, 0, tmp_path / "cache")

    @staticmethod
    def probs(model, images, how=None, batch_size=2):
        how = how or Preprocessing(GEOMETRY)
        cpu = torch.device("cpu")
        return predict(model, how, images, batch_size=batch_size, device=cpu, save_probs=True).probs

    @pytest.fixture
    def model(self):
        return randomised(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 24 * 24, 1000)))

    def test_images_are_decoded_once_per_geometry(self, sample, tmp_path, decoded):
        """Two of the models share a geometry, and the third, between them in the table, has its own."""
        names = [f"test_{name}.r160_in1k" for name in ("efficientnet", "resnet", "vit")]
        for name in names:
            put_timm_on_hub(tmp_path, name, randomised(timm.create_model(name)))
        (tmp_path / "cache").mkdir()
        assert sample("--model", *names, "--limit", 3).status == 0
        without = {name: saved_probs(tmp_path, f"timm--{name}") for name in names}
        assert len(decoded) == 9
        decoded.clear()
        for path in tmp_path.rglob("preds.npz"):
            path.unlink()
        assert sample("--model", *names, "--limit", 3, "--pixel_cache", tmp_path / "cache").status == 0
        assert len(decoded) == 6
        assert len(set(decoded)) == 3
        for name in names:
            np.testing.assert_array_equal(saved_probs(tmp_path, f"timm--{name}"), without[name])
        assert not list((tmp_path / "cache").iterdir())

    def test_functions_of_one_file_share_pixels(self, sample, own, tmp_path, decoded):
        """Their file is executed once, so that their transform is the same object."""
        arguments = own("good", "hungry", fits=9)
        own.file.write_text(own.file.read_text() + f"\nopen({str(tmp_path / 'log')!r}, 'a').write('x')\n")
        (tmp_path / "cache").mkdir()
        assert sample("--model", *arguments, "--pixel_cache", tmp_path / "cache").status == 0
        assert (tmp_path / "log").read_text() == "x"
        assert len(decoded) == len(set(decoded)) == 7
        np.testing.assert_array_equal(saved_probs(tmp_path, "own--own.good"), saved_probs(tmp_path, "own--own.hungry"))

    @pytest.mark.parametrize("workers", [0, 2])
    def test_cached_pixels_give_the_same_predictions(self, noise, cached, model, workers):
        cached.workers = workers
        expected = self.probs(model, Images(noise, 0))
        for batch_size in (2, 1, 5, 3, 64):
            saved_models.agree(self.probs(model, cached, batch_size=batch_size), expected)
        assert cached.cached[1].shape == (5, 3, 24, 24)

    def test_cached_pixels_are_of_one_geometry(self, noise, cached, model, decoded):
        other = Preprocessing(ResizeAndCrop(28, 24, "bilinear"))
        expected = self.probs(model, Images(noise, 0), other)
        decoded.clear()
        self.probs(model, cached)
        np.testing.assert_array_equal(self.probs(model, cached, other), expected)
        self.probs(model, cached, other)
        assert len(decoded) == 10
        normalised = Preprocessing(other.geometry, std=(1.0, 1.0, 1.0))
        assert not np.allclose(self.probs(model, cached, normalised), expected)
        assert len(decoded) == 10

    def test_incomplete_cache_is_not_used(self, noise, cached, model, decoded):
        class Fails(torch.nn.Module):
            left = 2

            def forward(self, pixels):
                self.left -= 1
                return model(pixels) if self.left else None

        expected = self.probs(model, Images(noise, 0))
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
        assert refused(sample("--model", "lite0", "--pixel_cache", tmp_path / "none"), "none is not a folder")
