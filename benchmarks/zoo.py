"""962 varied models: what evaluation.py takes for them, next to a plain whole-array prototype.

The models are redrawn from the shared prediction sets: of each image's top five, 5 to 30 % of the predictions become
another one of the five. Needs the shared data of the tests.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tests.helpers.shared_predictions import SHARED, convert, predictions

from imagenet_errors.analysis.context import load_context
from imagenet_errors.analysis.decision import decide
from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.error_types import ERROR_TYPES
from imagenet_errors.formats.embeddings import (
    NUM_NEIGHBOURS,
    Embeddings,
    Neighbours,
    write_embeddings,
    write_neighbours,
)
from imagenet_errors.paths import TEXT_EMBEDDINGS, Artefacts

ROOT = Path(__file__).resolve().parents[1]
DIMENSIONS = 768  # of CLIP's ViT-L/14


def make_models(folder: Path, number: int) -> None:
    """An artefacts folder of so many models, each redrawn from one of the shared sets with a top five."""
    convert(folder)
    with np.load(folder / "imagenet" / "samples_info.npz") as samples:
        files = samples["sample_files"]
    names = sorted(path.stem for path in (SHARED / "predictions").glob("*.npz"))
    top5 = {name: predictions(name, files)["top5"] for name in names}
    metadata = {name: json.loads((folder / "imagenet" / name / "metadata.json").read_text()) for name in names}
    for path in (folder / "imagenet").glob("*/"):
        shutil.rmtree(path)
    generator = np.random.default_rng(0)
    for model in range(number):
        name = names[model % len(names)]
        redrawn = generator.random(len(files)) < generator.uniform(0.05, 0.3)
        place = np.where(redrawn, generator.integers(0, 5, len(files)), 0)
        made = folder / "imagenet" / f"{name}-{model}"
        made.mkdir()
        np.savez(made / "preds.npz", top1=top5[name][np.arange(len(files)), place])
        of_model = {key: value for key, value in metadata[name].items() if key != "top1_val_acc"}
        (made / "metadata.json").write_text(json.dumps(of_model | {"model_id": f"{name}-{model}"}))


def make_clip_files(folder: Path) -> None:
    """Random embeddings; of every image's neighbours two are of the classes that models predict most."""
    artefacts = Artefacts(folder)
    context = load_context(artefacts, "imagenet", open_world="skip")
    from imagenet_errors.analysis.proposals import Proposer
    from imagenet_errors.dataset.wordnet import load_wordnet

    generator = np.random.default_rng(1)

    def units(count: int) -> np.ndarray:
        vectors = generator.normal(size=(count, DIMENSIONS)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    files = context.samples.files
    texts = Proposer(context.classes, load_wordnet(artefacts, context.classes), context.superclasses).all_prompts()
    near = generator.integers(0, NUM_CLASSES, (len(files), NUM_NEIGHBOURS))
    near[:, 0] = context.samples.targets
    for place, path in enumerate(sorted((folder / "imagenet").glob("*/preds.npz"))[:3], start=1):
        with np.load(path) as archive:
            near[:, place] = archive["top1"]
    images, prompts = artefacts.image_embeddings("imagenet"), folder / TEXT_EMBEDDINGS
    write_embeddings(images, "sample_files", Embeddings(images, files, units(len(files)), "made up"))
    write_embeddings(prompts, "prompts", Embeddings(prompts, np.array(texts), units(len(texts)), "made up"))
    write_neighbours(
        Neighbours(artefacts.neighbours("imagenet"), near.astype(np.int32), near.astype(np.int16), "made up")
    )


def run_prototype(folder: Path, open_world: str) -> float:
    """Seconds of plain whole-array code for the same per-image decisions and counts; nothing is checked or written."""
    start = time.perf_counter()
    context = load_context(Artefacts(folder), "imagenet", open_world=open_world)
    images, counted = context.images, context.counted_images
    loaded = [np.load(path)["top1"] for path in sorted((folder / "imagenet").glob("*/preds.npz"))]
    top1 = np.stack([of_model[images.rows] for of_model in loaded]).astype(np.int16)
    codes = np.arange(len(images), dtype=np.int32) * NUM_CLASSES + top1
    keys, inverse = np.unique(codes, return_inverse=True)
    rows, pairs = np.divmod(keys, NUM_CLASSES)
    decisions = decide(images[rows], pairs, context.relations)
    if context.open_world is not None:
        asked = np.flatnonzero(decisions.provisional)
        said = np.zeros(len(keys), bool)
        said[asked] = context.open_world.test(rows[asked], pairs[asked]).is_out_of_vocabulary
        decisions = decide(images[rows], pairs, context.relations, said)
    error_types = decisions.error_types[inverse.reshape(codes.shape)]
    for members in counted.groups.values():
        cells = images.targets[members].astype(int) * len(ERROR_TYPES) + error_types[:, members]
        for of_model in cells:
            np.bincount(of_model, minlength=NUM_CLASSES * len(ERROR_TYPES))
    return time.perf_counter() - start


def run_evaluation(folder: Path, *steps: str) -> tuple[float, float]:
    """Seconds and GB of evaluation.py as a process."""
    command = [sys.executable, ROOT / "src" / "evaluation.py", "--artefacts_dir", folder, *steps]
    script = f"import resource, subprocess, sys; done = subprocess.run({[*map(str, command)]!r}, capture_output=True)"
    script += "; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(done.returncode)"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, int(done.stdout) / 1e6


def compare(folder: Path, open_world: str) -> None:
    """Print what a run takes, next to the prototype."""
    results = ("--results_dir", str(folder.parent / "results"), "--open_world", open_world)
    for path in (folder / "imagenet").glob("*/errors_analysis.parquet"):
        path.unlink()
    prototype = run_prototype(folder, open_world)
    written, memory = run_evaluation(folder, "--perform_error_analysis", "--collect_results", *results)
    size = sum(path.stat().st_size for path in (folder / "imagenet").rglob("*.parquet"))
    collected, _ = run_evaluation(folder, "--collect_results", *results)
    print(f"open-world test: {open_world}")
    print(f"plain whole-array prototype, nothing written  {prototype:6.1f} s")
    print(f"evaluation.py, {size / 1e6:4.0f} MB written              {written:6.1f} s  {written / prototype:5.1f} x")
    print(f"collecting finished analyses                  {collected:6.1f} s  {collected / prototype:5.1f} x")
    print(f"memory                                        {memory:6.2f} GB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=962)
    parser.add_argument("--folder", type=Path, help="keep the models here, and use those that are there")
    args = parser.parse_args()
    if not SHARED.is_dir():
        parser.error(f"the shared data of the tests are not at {SHARED} (or $SHARED_DATA)")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)) / "artefacts"
        if not folder.exists():
            make_models(folder, args.models)
        compare(folder, "skip")
        if not (folder / TEXT_EMBEDDINGS).exists():
            make_clip_files(folder)
        compare(folder, "clip")


if __name__ == "__main__":
    main()
