"""How fast images are predicted, compared with the bare network and with decoding alone."""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from imagenet_errors.inference import zoo
from imagenet_errors.inference.images import ImageFiles, Images
from imagenet_errors.inference.pixel_cache import CacheLimits
from imagenet_errors.inference.predict import choose_device, default_workers, keep_freed_memory, predict
from imagenet_errors.inference.stored_images import StoredImage
from imagenet_errors.models.model_table import load_records
from imagenet_errors.paths import MODELS_BEYOND, REPOSITORY, Artefacts

NUM_IMAGES = 256


def write_images(folder: Path) -> list[StoredImage]:
    """Synthetic JPEG files of ImageNet's typical size."""
    coarse = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, 12, 16, 3), np.uint8)
    for number, pixels in enumerate(coarse):
        Image.fromarray(pixels).resize((500, 375)).save(folder / f"{number}.JPEG", quality=90)
    return [StoredImage(f"{folder}/{number}.JPEG") for number in range(NUM_IMAGES)]


@torch.inference_mode()
def measure_network(model, crop: int, batch_size: int, device: torch.device) -> float:
    """Images per second of the network alone, in the memory format that the loop uses."""
    model, pixels = model.to(device), torch.rand(batch_size, 3, crop, crop, device=device)
    if device.type == "cpu":
        keep_freed_memory()
        model = model.to(memory_format=torch.channels_last)
    model(pixels)
    start = time.perf_counter()
    for _ in range(NUM_IMAGES // batch_size):
        model(pixels).sum().item()
    return NUM_IMAGES / (time.perf_counter() - start)


def measure_seconds(batches) -> float:
    """Seconds until all batches are in memory."""
    start = time.perf_counter()
    for batch in batches:
        batch.clone()
    return time.perf_counter() - start


def main() -> None:
    device = choose_device(None)
    workers = default_workers(device)
    record = load_records(Artefacts(REPOSITORY / "artefacts"), MODELS_BEYOND)[0]
    model, preprocessing = zoo.build(record)
    print(f"{record.model_id} on {device}, {workers} workers, {NUM_IMAGES} images")
    with tempfile.TemporaryDirectory() as folder:
        files = write_images(Path(folder))
        images = ImageFiles(files, preprocessing.geometry.to_pixels())
        start = time.perf_counter()
        for index in range(NUM_IMAGES):
            images[index]
        print(f"decode and resize, one process     {NUM_IMAGES / (time.perf_counter() - start):7.0f} images/s")
        cached = Images(files, 0, CacheLimits(Path(folder), 1))
        with cached.shared_by(2):
            first, second = (measure_seconds(cached.batches(preprocessing.geometry, 32)) for _ in range(2))
        print(f"the same, kept in the pixel cache  {NUM_IMAGES / first:7.0f} images/s")
        print(f"taken from the pixel cache         {NUM_IMAGES / second:7.0f} images/s: {first / second:.0f} times")
        for batch_size in (1, 8, 32, 64, 128):
            bare = measure_network(model, preprocessing.geometry.crop, batch_size, device)
            done = predict(
                model,
                preprocessing,
                Images(files, workers),
                batch_size=batch_size,
                device=device,
            )
            loop = NUM_IMAGES / done.seconds
            print(
                f"batches of {batch_size:3}: network {bare:7.0f}, loop {loop:7.0f} images/s: {loop / bare:4.0%} of it"
            )


if __name__ == "__main__":
    main()
