"""From image files to predictions: pixels, weights, the loop."""

import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from imagenet_errors.errors import InputError, ModelError
from imagenet_errors.inference import zoo
from imagenet_errors.inference.image_sources import read_folder
from imagenet_errors.inference.images import ImageFiles, Images
from imagenet_errors.inference.predict import predict, take_top_predictions
from imagenet_errors.inference.preprocessing import Preprocessing, ResizeAndCrop
from imagenet_errors.models.model_table import ModelRecord, load_records, select
from imagenet_errors.paths import MODELS_BEYOND
from tests.conftest import COMMITTED
from tests.helpers.stored import stored

PLAIN = Preprocessing(ResizeAndCrop(40, 32, "bilinear"), (0.5,) * 3, (0.25,) * 3)
LITE = load_records(COMMITTED, MODELS_BEYOND)[:3]


class Constant(torch.nn.Module):
    """A model that says the same of every image."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.as_tensor(logits, dtype=torch.float32)

    def forward(self, pixels):
        return self.logits.expand(len(pixels), -1)


@pytest.fixture
def photograph(tmp_path):
    """A folder with one image in it."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    return tmp_path


def say(model, folder, workers=0, **options):
    images = Images(stored(folder, "a.png"), workers)
    return predict(model, PLAIN, images, **{"batch_size": 2, "device": torch.device("cpu")} | options)


@pytest.mark.parametrize("record", LITE, ids=lambda record: record.model_id)
def test_weights_of_the_package_are_in_their_layers(record):
    """Every tensor of the package is in the network, in its order, and the parameters are as many as the table says."""
    model, _ = zoo.build(record)
    (file,) = Path(find_spec(record.weights).submodule_search_locations[0]).rglob("*.pth")
    weights = torch.load(file, weights_only=True)
    for ours, theirs in zip(model.state_dict(), weights, strict=True):
        assert ours.rpartition(".")[2] == theirs.rpartition(".")[2]
        assert torch.equal(model.state_dict()[ours], weights[theirs])
    assert zoo.count_parameters(model) == record.num_params
    assert not model.training


def test_weights_of_another_size_are_refused():
    record = replace(LITE[0], builder="tf_efficientnet_lite1")
    with pytest.raises(ModelError, match="does not fit timm's tf_efficientnet_lite1"):
        zoo.build(record)


def test_preprocessing_equals_plain_pil(shared):
    """Ours equals a resize of the shorter side and a centre crop written out with PIL, then (x - 127) / 128."""
    _, preprocessing = zoo.build(LITE[0])
    for path in sorted((shared / "images" / "train").rglob("*.JPEG"))[:20]:
        image = Image.open(path).convert("RGB")
        short = min(image.size)
        size = [256 if side == short else int(256 * side / short) for side in image.size]
        resized = image.resize(size, Image.Resampling.BICUBIC)
        left, top = (round((side - 224) / 2) for side in size)
        expected = np.asarray(resized.crop((left, top, left + 224, top + 224)))
        pixels = preprocessing.geometry.to_pixels()(image)
        np.testing.assert_array_equal(pixels.numpy().transpose(1, 2, 0), expected)
        normal = preprocessing.normalise(pixels[None])[0].numpy().transpose(1, 2, 0)
        np.testing.assert_allclose(normal, (expected.astype(np.float32) - 127) / 128, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "LA", "RGBA"])
def test_images_are_converted_to_rgb(tmp_path, mode):
    suffix = {"CMYK": "jpg"}.get(mode, "png")
    Image.new("RGB", (50, 50), (10, 200, 30)).convert(mode).save(tmp_path / f"a.{suffix}")
    pixels = ImageFiles(stored(tmp_path, f"a.{suffix}"), PLAIN.geometry.to_pixels())[0]
    assert pixels.shape == (3, 32, 32)
    assert pixels.dtype == torch.uint8


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_images_of_more_than_8_bits_are_refused(tmp_path, mode):
    Image.fromarray(np.full((50, 50), 30_000, np.uint16)).convert("I").convert(mode).save(tmp_path / "a.tiff")
    error = ImageFiles(stored(tmp_path, "a.tiff"), PLAIN.geometry.to_pixels())[0]
    assert isinstance(error, InputError)
    assert "not 8-bit" in str(error)


def test_png_with_a_jpeg_name_is_read(tmp_path):
    Image.new("RGB", (50, 50)).save(tmp_path / "a.JPEG", format="png")
    assert isinstance(ImageFiles(stored(tmp_path, "a.JPEG"), PLAIN.geometry.to_pixels())[0], torch.Tensor)


@pytest.mark.parametrize("workers", [0, 2])
def test_truncated_image_is_reported(photograph, workers):
    whole = (photograph / "a.png").read_bytes()
    (photograph / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a\.png cannot be read .*: replace it or remove it"):
        say(Constant(np.zeros(1000)), photograph, workers=workers)


def test_equal_probabilities_are_ordered_by_class(photograph):
    logits = np.zeros(1000)
    logits[[700, 300]] = 1
    predictions = say(Constant(logits), photograph)
    assert predictions.top5.tolist() == [[300, 700, 0, 1, 2]]
    assert predictions.top1.tolist() == [300]


@pytest.mark.parametrize("values", [2, 1000])
def test_top_five_are_those_of_a_stable_sort(values):
    """With many equal probabilities, zeros among them, and with hardly any."""
    logits = torch.randint(0, values, (200, 1000), generator=torch.Generator().manual_seed(0)).float()
    probs = torch.cat([logits.softmax(dim=1), (100 * logits).softmax(dim=1), torch.eye(1000)[:50]])
    sorted_probs, classes = probs.sort(dim=1, descending=True, stable=True)
    top = take_top_predictions(probs)
    assert torch.equal(top["top1"], classes[:, 0].short())
    assert torch.equal(top["top5"], classes[:, :5].short())
    assert torch.equal(top["top5_probs"], sorted_probs[:, :5])


def test_probabilities_are_the_softmax_over_all_classes(photograph):
    logits = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    predictions = say(Constant(logits), photograph, save_probs=True)
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(predictions.probs[0], expected, rtol=1e-5)
    np.testing.assert_allclose(predictions.top5_probs[0], np.sort(expected)[::-1][:5], rtol=1e-5)


def test_subset_prediction_is_among_the_subset(photograph):
    logits = np.zeros(1000)
    logits[[1, 999]] = [2, 5]
    assert say(Constant(logits), photograph, subset=[0, 1, 7]).top1_of_subset.tolist() == [1]


def test_not_a_number_is_a_failure(photograph):
    with pytest.raises(ModelError, match="not-a-number"):
        say(Constant(np.full(1000, np.nan)), photograph)


def test_name_that_is_not_utf8_is_refused(tmp_path):
    folder = tmp_path / "n01440764"
    folder.mkdir()
    (folder / os.fsdecode(b"\xff.png")).touch()
    with pytest.raises(InputError, match="not UTF-8: rename it"):
        read_folder(COMMITTED, tmp_path)


def test_images_are_sorted_by_code_point(tmp_path):
    for name in ("n01440764/b10.png", "n01440764/B2.png", "n01440764/b9.png", "n01443537/a.JPEG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "README.txt").touch()
    (tmp_path / ".cache").mkdir()
    samples = read_folder(COMMITTED, tmp_path).samples
    assert samples.files.tolist() == ["n01440764/B2.png", "n01440764/b10.png", "n01440764/b9.png", "n01443537/a.JPEG"]
    assert samples.targets.tolist() == [0, 0, 0, 1]


class TestSelection:
    """Names, wildcards and modules."""

    @pytest.fixture
    def records(self):
        def record(model_id, module, is_published):
            return ModelRecord(model_id, module, "package", "", is_published=is_published)

        return [record("a/x1", "first", True), record("a/x2", "first", False), record("b/x3", "second", True)]

    @pytest.mark.parametrize(
        ("modules", "names", "expected"),
        [
            (["first"], None, ["a/x1", "a/x2"]),
            (["all"], None, ["a/x1", "b/x3"]),
            (["all", "first"], None, ["a/x1", "a/x2", "b/x3"]),
            (["everything"], None, ["a/x1", "a/x2", "b/x3"]),
            (["all"], ["*x*"], ["a/x1", "b/x3"]),
            (["all"], ["x2"], ["a/x2"]),
            (["first"], ["*x*"], ["a/x1", "a/x2"]),
            (["first"], ["x?"], ["a/x1", "a/x2"]),
            (["first"], ["x3"], ["b/x3"]),
            (["first"], ["b/x3", "b--x3", "a/x2"], ["a/x2", "b/x3"]),
        ],
    )
    def test_modules_bound_wildcards_but_not_exact_names(self, records, modules, names, expected):
        assert [record.model_id for record in select(records, modules, names)] == expected

    @pytest.mark.parametrize(
        ("modules", "names", "message"),
        [
            (["frist"], None, "unknown module 'frist', did you mean 'first'"),
            (["all"], ["a/x"], "unknown model 'a/x', did you mean 'a/x"),
            (["first"], ["b/*"], "no model of --modules first matches 'b/\\*', but some of second"),
        ],
    )
    def test_unknown_names_are_refused(self, records, modules, names, message):
        with pytest.raises(InputError, match=message):
            select(records, modules, names)
