"""How fast this machine is: multiply-adds of a network, and images decoded, per second."""

import itertools
import tempfile
import time
from dataclasses import dataclass

import numpy as np
import timm
import torch
from PIL import Image
from torch.nn import Module

from imagenet_errors.inference import predict
from imagenet_errors.inference.images import Images
from imagenet_errors.inference.preprocessing import OwnTransform, Preprocessing, ResizeAndCrop
from imagenet_errors.inference.stored_images import StoredImage

NETWORK, MULTIPLY_ADDS = "resnet50", 4_089_184_256  # for an image of 224 x 224, as multiply_adds.csv counts
PREPROCESSING = Preprocessing(ResizeAndCrop(256, 224, "bicubic"))
SECONDS, MOST_IMAGES = 5, 100_000  # for each of the two rates
IMAGE_SIZE = (500, 375)  # the most frequent of ImageNet's


@dataclass(frozen=True)
class Rates:
    """What was measured.

    Attributes:
        multiply_adds: Of the network, per second.
        images: Decoded, resized and cropped per second.
    """

    multiply_adds: float
    images: float


def measure_rates(batch_size: int, device: torch.device, workers: int, amp: bool) -> Rates:
    """Run a network with random weights, and decode a made image, for a few seconds each."""
    model = timm.create_model(NETWORK).eval()
    images = measure_speed(model, PREPROCESSING, batch_size, device, amp, SECONDS)
    return Rates(images * MULTIPLY_ADDS, _measure_decoding(batch_size, workers))


def measure_speed(
    model: Module,
    preprocessing: Preprocessing | OwnTransform,
    batch_size: int,
    device: torch.device,
    amp: bool,
    seconds: float,
) -> float:
    """Run a network on batches of a made image, for so many seconds after the first; returns images per second.

    Raises:
        OutOfMemoryError: where a batch does not fit.
        ModelError: where the model fails, or its transform.
    """
    predict.configure_arithmetic(amp)
    with predict.model_errors():
        pixels = torch.stack([preprocessing.geometry.to_pixels()(make_image())] * batch_size)
    batches = predict.probabilities(model, preprocessing, itertools.repeat(pixels), device, amp)
    next(batches)  # prepares the device
    number, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(batches).sum().item()  # waits for the device
        number += batch_size
    return number / (time.perf_counter() - start)


def make_image() -> Image.Image:
    """Smooth noise, of the most frequent size."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    return Image.fromarray(noise).resize(IMAGE_SIZE)


def _measure_decoding(batch_size: int, workers: int) -> float:
    with tempfile.NamedTemporaryFile(suffix=".JPEG") as file:
        make_image().save(file.name, quality=90)
        images = Images([StoredImage(file.name)] * MOST_IMAGES, workers)
        batches = iter(images.batches(PREPROCESSING.geometry, batch_size))
        next(batches)  # starts the workers
        number, start = 0, time.perf_counter()
        while time.perf_counter() - start < SECONDS and next(batches, None) is not None:
            number += batch_size
    return number / (time.perf_counter() - start)
