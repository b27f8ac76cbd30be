"""Running twelve tiny models of one geometry, compared with what cannot be saved, and with decoding for every model.

    PYTHONPATH=. python benchmarks/many_models.py [NUMBER OF IMAGES]

The models are timm's `test_*` with random weights; the images are made, 500 x 375 pixels, or the tests' shared ones.
Seconds are those after the start of Python and the imports.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
from PIL import Image
from tests.helpers.saved_models import environment, put_timm_on_hub, randomised
from tests.helpers.shared_predictions import SHARED

from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.models import own_models
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import REPOSITORY, Artefacts

EFFICIENTNETS = ["efficientnet", "efficientnet_evos", "efficientnet_gn", "efficientnet_ln"]
NAMES = ["byobnet", "convnext", "convnext2", "convnext3", *EFFICIENTNETS, "nfnet", "vit", "vit2", "vit3"]
LARGEST = ["nfnet", "vit3", "efficientnet_evos"]
NUM_DISTINCT, NUM_AT_START = 500, 50_000
BATCH_SIZE, TIMM_WORKERS = 32, 4  # TIMM_WORKERS is what timm's validate.py takes by default
STOP = """
import sys, time, torch
from torchvision import transforms
def stop(pixels):
    sys.modules["__main__"].FIRST_BATCH.append(time.perf_counter())
    raise ValueError("only the first batch was to be seen")
first = lambda: (stop, transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()]))
"""
FIRST_BATCH: list[float] = []


def make_images(folder: Path, count: int) -> None:
    """Images like photographs in size (80 kB) and time to decode; each of 500 has count / 500 names."""
    (folder / "val" / "n01440764").mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(count):
        path = folder / "val" / "n01440764" / f"made_{number:05}.JPEG"
        if number >= NUM_DISTINCT:
            os.link(path.with_name(f"made_{number % NUM_DISTINCT:05}.JPEG"), path)
            continue
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8)).resize((500, 375))
        noisy = np.asarray(coarse) + random.normal(0, 10, (375, 500, 1))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def measure(run: Callable) -> tuple[np.ndarray, Any]:
    """[2] seconds, and those of the processor in all cores and processes, which other programs change less; the result.

    The processes that it starts count when they have ended.
    """
    start, before = time.perf_counter(), sum(os.times()[:4])
    result = run()
    return np.array([time.perf_counter() - start, sum(os.times()[:4]) - before]), result


def find_records() -> list[ModelRecord]:
    return [ModelRecord(f"timm/test_{name}.r160_in1k", "timm_new", "timm", f"test_{name}.r160_in1k") for name in NAMES]


def run_ours(artefacts: Artefacts, records: Iterable[ModelRecord], **options: Any) -> list[np.ndarray]:
    """Collect predictions as the script does; returns the top-1 of every model."""
    from imagenet_errors.inference.runner import Collector, Options

    collector = Collector.prepare(artefacts, DATASETS["imagenet"], Options(batch_size=BATCH_SIZE, **options))
    list(collector.run(list(records)))
    paths = [artefacts.predictions("imagenet", record.dir_id) for record in records]
    return [np.load(path)["top1"] for path in paths if path.exists()]


def run_as_timm(record: ModelRecord, files: list[Path]) -> np.ndarray:
    """One model as timm's validate.py runs it: its own transform, in four processes; returns top-1."""
    import timm
    import torch

    from imagenet_errors.inference import zoo

    model, _ = zoo.build(record)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    dataset = timm.data.ImageDataset(str(files[0].parents[1]), transform=transform)
    loader = torch.utils.data.DataLoader(dataset, BATCH_SIZE, num_workers=TIMM_WORKERS)
    with torch.inference_mode():
        return torch.cat([model(pixels).argmax(dim=1) for pixels, _ in loader]).numpy()


def measure_floor(records: list[ModelRecord], files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of the networks alone, on numbers in memory, and of one pass of preprocessing, by all cores."""
    import torch

    from imagenet_errors.inference import predict, zoo

    _, preprocessing = zoo.build(records[0])
    to_pixels = preprocessing.geometry.to_pixels()
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        decode = lambda file: to_pixels(Image.open(file).convert("RGB"))  # noqa: E731
        preprocessing_seconds, pixels = measure(lambda: list(executor.map(decode, files)))
    batches = [torch.stack(pixels[at : at + BATCH_SIZE]) for at in range(0, len(pixels), BATCH_SIZE)]
    batches = [preprocessing.normalise(batch) for batch in batches]
    predict.keep_freed_memory()
    forward_seconds = np.zeros(2)
    for record in records:
        model, _ = zoo.build(record)
        model = model.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            model(batches[0])
            forward_seconds += measure(lambda: [model(batch) for batch in batches])[0]  # noqa: B023
    return forward_seconds, preprocessing_seconds


def compare(folder: Path, images: Path) -> None:
    """Print the seconds of all ways, and their ratios."""
    import torch

    os.environ["IMAGENET_DIR"] = str(images)
    files = sorted(path for path in (images / "val").rglob("*") if path.is_file())
    records = find_records()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        ours, top1 = measure(lambda: run_ours(Artefacts(Path(name)), records))
    forward, preprocessing = measure_floor(records, files)
    each, per_model = measure(lambda: [run_as_timm(record, files) for record in records])
    agree = sum(np.array_equal(*pair) for pair in zip(top1, per_model, strict=True))
    print(f"{len(records)} models, {len(files):,} images, {torch.get_num_threads()} threads: seconds, and of all cores")
    for name, seconds in (
        ("collect_predictions.py", ours),
        ("networks alone, on numbers in memory", forward),
        ("one pass of preprocessing", preprocessing),
        ("decoding for every model", each),
    ):
        print(f"  {name:38} {seconds[0]:7.1f} {seconds[1]:7.1f}")
    for name, ratio in (
        ("ours / (networks + preprocessing)", ours / (forward + preprocessing)),
        ("decoding for every model / ours", each / ours),
    ):
        print(f"  {name:38} {ratio[0]:7.2f} {ratio[1]:7.2f}")
    print(f"  top-1 are equal for {agree} models", flush=True)


def measure_memory(folder: Path, names: list[str]) -> int:
    """The most megabytes that a run of these models takes."""
    script = REPOSITORY / "src" / "collect_predictions.py"
    models = [f"timm/test_{name}.r160_in1k" for name in names]
    with tempfile.TemporaryDirectory(dir=folder) as name:
        command = [sys.executable, script, "--artefacts_dir", name, "--limit", "1000", "--model", *models]
        child = (
            f"import resource, subprocess; subprocess.run({[*map(str, command)]!r}, check=True, capture_output=True)"
        )
        code = f"{child}; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(done.stdout) // 1024


def measure_start(folder: Path) -> float:
    """Seconds until the first batch of a run over 50,000 images that were checked before."""
    images = [path for path in (SHARED / "images" / "val").rglob("*") if path.is_file()]
    copies = [folder / "few" / f"{number}.JPEG" for number in range(len(images))]
    copies[0].parent.mkdir()
    for image, copy in zip(images, copies, strict=True):
        copy.write_bytes(image.read_bytes())
    target = folder / "many" / "val" / "n01440764"
    target.mkdir(parents=True)
    for number in range(NUM_AT_START):
        os.link(copies[number % len(copies)], target / f"made_{number:05}.JPEG")
    os.environ["IMAGENET_DIR"] = str(folder / "many")
    (folder / "own.py").write_text(STOP)
    record = own_models.from_function(f"{folder / 'own.py'}:first")
    for name in ("own/first", "own/again"):
        start = time.perf_counter()
        run_ours(Artefacts(folder / "start"), [replace(record, model_id=name)])
    return FIRST_BATCH[-1] - start


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {key: str(value) for key, value in environment(folder).items()}
        huggingface_hub.constants.HF_HUB_CACHE = str(folder / "huggingface" / "hub")
        os.environ["HF_HUB_OFFLINE"] = "1"
        import timm

        from imagenet_errors.inference import runner  # noqa: F401 - so that no import is timed

        for record in find_records():
            put_timm_on_hub(folder, record.builder, randomised(timm.create_model(record.builder)))
        make_images(folder / "made", count)
        compare(folder, folder / "made")
        if (SHARED / "images" / "val").is_dir():
            compare(folder, SHARED / "images")
        os.environ["IMAGENET_DIR"] = str(folder / "made")
        few, many = (measure_memory(folder, names) for names in (LARGEST, NAMES))
        print(
            f"most memory on 1,000 images: {few} MB with the {len(LARGEST)} largest models, {many} MB with {len(NAMES)}"
        )
        if (SHARED / "images" / "val").is_dir():
            print(f"{measure_start(folder):.2f} s until the first batch of {NUM_AT_START:,} images, checked before")


if __name__ == "__main__":
    main()
