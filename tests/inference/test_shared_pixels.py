"""Pixels that processes of one machine share: each image is decoded by one of them, and the files are removed."""

import os
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import timm
from PIL import Image

from imagenet_errors.inference.images import ImageFiles, Images
from imagenet_errors.inference.pixel_cache import GIGABYTE, CacheLimits
from imagenet_errors.inference.preprocessing import ResizeAndCrop
from imagenet_errors.inference.stored_images import StoredImage
from tests.conftest import run_script
from tests.helpers.dask_cluster import read_results
from tests.helpers.saved_models import environment, put_timm_on_hub, randomised

pytest_plugins = ("tests.helpers.saved_models",)
GEOMETRY = ResizeAndCrop(32, 24, "bilinear")
NUM_IMAGES = 40
NAMES = [f"test_{name}.r160_in1k" for name in ("efficientnet", "resnet", "vit")]


@pytest.fixture
def files(tmp_path):
    for number in range(NUM_IMAGES):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    return [StoredImage(str(tmp_path / f"{number}.png")) for number in range(NUM_IMAGES)]


def make_images(files, folder, owner, gigabytes=1.0):
    images = Images(files, workers=0, limits=CacheLimits(folder, gigabytes, owner))
    images.is_shared = True
    return images


def read(images, geometry=GEOMETRY):
    return np.concatenate([batch.numpy().copy() for batch in images.batches(geometry, 8)])


def test_each_image_is_decoded_by_one_of_the_sharing(files, tmp_path, monkeypatch):
    decoded, decode = [], ImageFiles.__getitem__
    monkeypatch.setattr(ImageFiles, "__getitem__", lambda self, row: decoded.append(row) or decode(self, row))
    first, second = (make_images(files, tmp_path, os.getpid()) for _ in range(2))
    batches = zip(*(images.batches(GEOMETRY, 8) for images in (first, second)), strict=True)
    for one, other in batches:
        np.testing.assert_array_equal(one, other)
    assert sorted(decoded) == sorted([*range(NUM_IMAGES), 0, 0])  # each takes the first image as an example
    assert len(list(tmp_path.glob(".pixels-*"))) == 1
    expected = np.stack([GEOMETRY.to_pixels()(file.decode()).numpy() for file in files])
    np.testing.assert_array_equal(read(first), expected)
    np.testing.assert_array_equal(read(second), expected)


def read_alone(files, folder, owner):
    return read(make_images(files, folder, owner))


def test_processes_that_decode_at_the_same_time_get_the_same_pixels(files, tmp_path):
    with ProcessPoolExecutor(3) as executor:
        found = list(executor.map(read_alone, *zip(*[(files, tmp_path, os.getpid())] * 6, strict=True)))
    expected = np.stack([GEOMETRY.to_pixels()(file.decode()).numpy() for file in files])
    for pixels in found:
        np.testing.assert_array_equal(pixels, expected)


def test_shared_files_are_never_larger_than_their_bound_together(files, tmp_path, caplog):
    caplog.set_level("INFO")
    num_bytes = NUM_IMAGES * (3 * 24 * 24 + 1)
    limits = CacheLimits(tmp_path, 1.5 * num_bytes / GIGABYTE, os.getpid())
    geometries = [ResizeAndCrop(size, 24, "bilinear") for size in (32, 33)]
    for geometry in (geometries[0], *geometries, geometries[0]):
        read(make_images(files, tmp_path, os.getpid(), limits.gigabytes), geometry)
        assert sum(path.stat().st_size for path in limits.list_shared()) == num_bytes
    assert caplog.text.count("images are decoded for every model") == 1
    limits.remove_shared(geometries[1])
    assert len(limits.list_shared()) == 1
    limits.remove_shared(geometries[0])
    assert not list(tmp_path.glob(".pixels-*"))


def test_files_of_a_killed_owner_are_removed(files, tmp_path):
    with ProcessPoolExecutor(1) as executor:
        killed = executor.submit(os.getpid).result()
    read(make_images(files, tmp_path, killed))
    read(make_images(files, tmp_path, os.getppid()))
    CacheLimits(tmp_path, 1.0, os.getpid()).remove_shared()
    (left,) = tmp_path.glob(".pixels-*")
    assert str(os.getppid()) in left.name


@pytest.mark.heavy
def test_devices_share_pixels_and_give_the_predictions_of_one_process(caches, tmp_path):
    for name in NAMES:
        put_timm_on_hub(tmp_path, name, randomised(timm.create_model(name)))
    for folder, flags in {"alone": ("--cache_gb", 0), "together": ("--devices", "cpu*2")}.items():
        flags = ("--dataset", "sample", "--artefacts_dir", tmp_path / folder, "--model", *NAMES, *flags)
        done = run_script("collect_predictions", *flags, "--workers", 1, OMP_NUM_THREADS=1, **environment(tmp_path))
        assert done.returncode == 0, done.stderr
        assert "decoded for every model" not in done.stderr
    assert len(read_results(tmp_path / "together")) == 3
    assert read_results(tmp_path / "together") == read_results(tmp_path / "alone")
    assert not list((tmp_path / "together").glob(".pixels-*"))
