"""Our decoding, resizing, cropping and normalising equals that of the libraries, pixel for pixel."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config, resolve_model_data_config
from torchvision.models import get_weight

from imagenet_errors.inference import zoo
from imagenet_errors.inference.images import ImageFiles
from imagenet_errors.inference.preprocessing import ConvNextGeometry, Preprocessing, ResizeAndCrop
from imagenet_errors.models.model_table import load_records
from imagenet_errors.paths import MODELS, MODELS_BEYOND
from tests.conftest import COMMITTED
from tests.helpers.stored import stored

NUM_IMAGES = 20
RECORDS = load_records(COMMITTED, MODELS, MODELS_BEYOND)
TIMM = [record for record in RECORDS if record.source == "timm"]
PAPER = [record for record in TIMM if record.module != "timm_new"]
TORCHVISION = [record for record in RECORDS if record.source == "torchvision.models"]


def own(record):
    return zoo.get_loader(record).get_preprocessing(record)


def timm_transform(record, **options):
    config = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(record.builder).to_dict(), **options)
    return create_transform(**config, is_training=False)


@pytest.fixture(scope="session")
def photographs(shared):
    """Twenty real images: ten training images of many shapes, ten validation images of 227 x 227."""
    files = [sorted((shared / "images" / part).rglob("*.JPEG"))[: NUM_IMAGES // 2] for part in ("train", "val")]
    paths = [path for part in files for path in part]
    assert len({Image.open(path).size for path in paths}) > 5
    return paths


def differing(preprocessing, transform, paths) -> list:
    """The images on which the library's transform gives another tensor, in any bit."""
    ours = ImageFiles(stored(Path("/"), *paths), preprocessing.geometry.to_pixels())
    return [
        path
        for pixels, path in zip(ours, paths, strict=False)
        if not torch.equal(preprocessing.normalise(pixels[None])[0], transform(Image.open(path).convert("RGB")))
    ]


def one_of_each(records) -> list:
    """One model of every geometry, whatever its mean and standard deviation."""
    return [group[0] for group in zoo.group_by_geometry(records, use_test_size=False).values()]


def smallest_first(records, key) -> list:
    """The models as test parameters; all but the smallest crop of every `key` are heavy."""
    ordered = sorted(records, key=lambda record: own(record).geometry.crop)
    quick = {key(own(record).geometry): record for record in reversed(ordered)}.values()
    return [pytest.param(record, marks=() if record in quick else pytest.mark.heavy) for record in ordered]


def test_paper_has_83_geometries():
    """The paper's timm rows have 83 combinations of size, crop ratio, interpolation and crop mode (models.md)."""
    configs = [resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(r.builder).to_dict()) for r in PAPER]
    keys = ("input_size", "crop_pct", "interpolation", "crop_mode")
    distinct = Counter(tuple(config[key] for key in keys) for config in configs)
    assert len(distinct) == 83
    assert distinct.most_common(1) == [(((3, 224, 224), 0.875, "bicubic", "center"), 168)]
    # 256 / 0.887 and 256 / 0.888 are 288 pixels both
    assert len(one_of_each(PAPER)) == 82
    assert (len(one_of_each(TIMM)), len(one_of_each(TORCHVISION))) == (97, 14)


def test_input_size_is_that_of_training():
    """The published top-1 of the paper's models is that of timm's train size (models.md)."""
    (record,) = (record for record in PAPER if record.name == "resnet50.a1_in1k")
    assert own(record).geometry == ResizeAndCrop(235, 224, "bicubic")
    assert zoo.get_loader(record).get_preprocessing(record, use_test_size=True).geometry == ResizeAndCrop(
        288, 288, "bicubic"
    )


@pytest.mark.parametrize("record", PAPER[::200], ids=lambda record: record.model_id)
def test_built_model_has_the_configuration_of_its_name(record):
    with torch.device("meta"):
        model = timm.create_model(record.builder)
    config = resolve_model_data_config(model)
    preprocessing = own(record)
    size = config["input_size"][-1]
    assert preprocessing.geometry.crop == size
    assert preprocessing.geometry.resize == math.floor(size / config["crop_pct"])
    assert (preprocessing.mean, preprocessing.std) == (config["mean"], config["std"])


@pytest.mark.parametrize(
    "record",
    smallest_first(one_of_each(TIMM), lambda how: (how.interpolation, how.mode, how.resize == how.crop)),
    ids=lambda record: str(own(record).geometry),
)
def test_pixels_equal_those_of_timm(record, photographs):
    assert not differing(own(record), timm_transform(record), photographs)


@pytest.mark.parametrize(
    "record", smallest_first(one_of_each(TORCHVISION), lambda how: how.interpolation), ids=lambda record: record.name
)
def test_pixels_equal_those_of_torchvision(record, photographs):
    assert not differing(own(record), get_weight(record.weights).transforms(), photographs)


def test_borders_equal_those_of_timm(photographs):
    """No row has this mode, but any timm model may."""
    config = {"input_size": (3, 96, 96), "crop_pct": 0.9, "interpolation": "bilinear", "crop_mode": "border"}
    mean, std = (0.2, 0.5, 0.7), (0.3, 0.4, 0.5)
    fill = tuple(round(255 * value) for value in mean)
    preprocessing = Preprocessing(ResizeAndCrop(106, 96, "bilinear", "border", fill), mean, std)
    assert not differing(preprocessing, create_transform(**config, mean=mean, std=std), photographs)


@pytest.mark.parametrize("size", [224, 384])
def test_pixels_equal_those_of_hugging_face(size, photographs):
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

    processor = ConvNextImageProcessorPil(size={"shortest_edge": size}, crop_pct=0.875)
    preprocessing = Preprocessing(ConvNextGeometry(size, 0.875, 3), processor.image_mean, processor.image_std)
    pixels = preprocessing.geometry.to_pixels()
    for path in photographs:
        image = Image.open(path).convert("RGB")
        theirs = processor(image, return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(preprocessing.normalise(pixels(image)[None]), theirs, rtol=0, atol=1e-6)


def test_exif_orientation_is_not_applied(tmp_path):
    """Images are taken as they are stored, as in the paper."""
    upright = Image.fromarray(np.arange(64 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(64, 32, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.save(tmp_path / "turned.png", exif=exif)
    pixels = ImageFiles(stored(tmp_path, "turned.png"), ResizeAndCrop(32, 32, "bilinear").to_pixels())[0]
    assert torch.equal(pixels, torch.from_numpy(np.asarray(upright)[16:48].transpose(2, 0, 1).copy()))
