"""How long each form of ImageNet's validation images takes to start on, with 50,000 images made of the shared ones."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.image_forms import FORMS, ValidationImage, find_validation_images
from tests.helpers.shared_predictions import SHARED

from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.dataset.validation_labels import read_validation_labels
from imagenet_errors.inference.image_checks import check_images
from imagenet_errors.inference.image_sources import find_source
from imagenet_errors.paths import REPOSITORY, VALIDATION_LABELS, Artefacts


def make_images(folder: Path) -> list[ValidationImage]:
    """50,000 images: each shared one, copied to this disk, is about 130 of them."""
    files = []
    for image in find_validation_images(SHARED / "images" / "val"):
        files.append(folder / image.name)
        shutil.copyfile(image.file, files[-1])
    labels = read_validation_labels(REPOSITORY / "artefacts" / VALIDATION_LABELS).tolist()
    return [ValidationImage(row + 1, label, files[row % len(files)]) for row, label in enumerate(labels)]


def measure(run: Callable) -> tuple[str, Any]:
    """Seconds, those of all cores in brackets, and what it returns."""
    start, busy = time.perf_counter(), time.process_time()
    result = run()
    return f"{time.perf_counter() - start:.1f} ({time.process_time() - busy:.1f})", result


def main() -> None:
    dataset = DATASETS["imagenet"]
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        folder = Path(name)
        (folder / "images").mkdir()
        images = make_images(folder / "images")
        print(
            f"{len(images):,} images of {sum(image.file.stat().st_size for image in images) / 1e6:.0f} MB; seconds to"
        )
        print(f"{'':35} {'find them':>13} {'again':>13} {'check them':>13} {'again':>13}")
        for form, make in FORMS.items():
            place, artefacts = make(images, folder / "form"), Artefacts(folder / "artefacts")
            os.environ["IMAGENET_DIR"] = str(place)
            first, _ = measure(lambda: find_source(artefacts, dataset))  # noqa: B023
            again, source = measure(lambda: find_source(artefacts, dataset))  # noqa: B023
            checks = [measure(lambda: check_images(artefacts, "imagenet", source.stored))[0] for _ in range(2)]  # noqa: B023
            print(f"{form:35} {first:>13} {again:>13} {checks[0]:>13} {checks[1]:>13}", flush=True)
            shutil.rmtree(folder / "form")
            shutil.rmtree(folder / "artefacts")


if __name__ == "__main__":
    main()
