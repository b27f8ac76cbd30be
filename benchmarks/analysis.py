"""How fast errors are typed: against plain Python, and every step of a run by itself.

Made-up predictions for made-up annotations stand in for real ones, so that it runs everywhere; sizes are the real ones.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from tests.helpers.plain_decision import decide as decide_plainly

from imagenet_errors.analysis import decision
from imagenet_errors.analysis.open_world import OpenWorld
from imagenet_errors.analysis.proposals import Proposer
from imagenet_errors.dataset import annotations
from imagenet_errors.dataset.classes import NUM_CLASSES, load_classes
from imagenet_errors.dataset.cooccurrence import spurious_pairs
from imagenet_errors.dataset.superclasses import load_superclasses
from imagenet_errors.dataset.wordnet import load_wordnet
from imagenet_errors.formats import error_analyses, image_tables
from imagenet_errors.formats.embeddings import Embeddings, Neighbours
from imagenet_errors.paths import REPOSITORY, Artefacts

NUM_IMAGES, NUM_MODELS = 20_000, 12


def timed(what: str, function, repeats: int = 3) -> float:
    """The best of a few runs, in seconds; prints it."""
    best = min(once(function) for _ in range(repeats))
    print(f"{what:58} {1000 * best:9.1f} ms")
    return best


def once(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def made_up_images(generator: np.random.Generator) -> annotations.AnnotatedImages:
    targets = generator.integers(0, 1000, NUM_IMAGES, np.int16)
    labels = np.full((NUM_IMAGES, 12), annotations.NO_LABEL, np.int16)
    labels[:, 0] = targets
    several = generator.random(NUM_IMAGES) < 0.2
    labels[several, 1] = generator.integers(0, 1000, several.sum())
    none = np.zeros(NUM_IMAGES, bool)
    files = np.array([f"n{target:08d}/{row:08d}.JPEG" for row, target in enumerate(targets)])
    return annotations.AnnotatedImages(np.arange(NUM_IMAGES), files, targets, labels, labels[:, :1], none, none, None)


def made_up_world(proposer: Proposer, images: annotations.AnnotatedImages) -> OpenWorld:
    """Embeddings at random; every image has a neighbour of its own class."""
    generator = np.random.default_rng(1)

    def unit(count: int) -> np.ndarray:
        vectors = generator.normal(size=(count, 768)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    texts = np.array(proposer.all_prompts())
    near = generator.integers(0, 1000, (NUM_IMAGES, 50), np.int16)
    near[:, 0] = images.targets
    return OpenWorld.of(
        proposer,
        images,
        Embeddings(Path("images"), images.files, unit(NUM_IMAGES), None),
        Neighbours(Path("neighbours"), near.astype(np.int32), near, None),
        Embeddings(Path("texts"), texts, unit(len(texts)), None),
    )


def main() -> None:
    generator = np.random.default_rng(0)
    artefacts = Artefacts(REPOSITORY / "artefacts")
    classes = load_classes(artefacts)
    timed("read the WordNet closure", lambda: load_wordnet(artefacts, classes))
    synsets = load_wordnet(artefacts, classes)
    timed("define the superclasses", lambda: load_superclasses(artefacts, classes, synsets))
    grouped = load_superclasses(artefacts, classes, synsets)
    relations = decision.Relations(grouped.share, spurious_pairs(artefacts, grouped.share))
    images = made_up_images(generator)
    top1 = np.where(generator.random((NUM_MODELS, NUM_IMAGES)) < 0.75, images.targets, 0).astype(np.int16)
    top1[top1 == 0] = generator.integers(0, 1000, (top1 == 0).sum())

    pairs = {frozenset(map(int, pair)) for pair in np.argwhere(relations.spurious)}
    members = [set(grouped.names_of(class_id)) for class_id in range(1000)]

    def plainly() -> None:
        for target, labels, pred in zip(images.targets.tolist(), images.labels.tolist(), top1[0].tolist(), strict=True):
            accepted = [label for label in labels if label != annotations.NO_LABEL]
            decide_plainly(
                target, accepted, pred, superclasses_of=members, spurious_pairs=pairs, non_prototypical=False
            )

    slow = timed("decide one model, image by image in plain Python", plainly)
    fast = timed("decide one model, whole arrays", lambda: decision.decide(images, top1[0], relations))
    timed(f"decide {NUM_MODELS} models, whole arrays", lambda: decision.decide(images, top1, relations))
    print(f"{'whole arrays against plain Python':58} {slow / fast:9.0f} x")

    proposer = Proposer(classes, synsets, grouped)
    world = made_up_world(proposer, images)
    model, row = decision.decide(images, top1, relations).provisional.nonzero()
    keys = np.unique(row * NUM_CLASSES + top1[model, row])
    opened = world.gate(*np.divmod(keys, NUM_CLASSES)).sum()
    what = f"open-world test of {len(keys):,} pairs, {opened:,} of which pass the gate"
    timed(what, lambda: world.test(*np.divmod(keys, NUM_CLASSES)))

    decisions = decision.decide(images, top1[0], relations)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model" / "errors_analysis.parquet"
        table = image_tables.store(Path(folder), image_tables.build_columns(images))
        columns = error_analyses.type_columns(top1[0], decisions.error_types, decisions.notes, decisions.provisional)
        columns |= error_analyses.proposal_columns(*[np.empty(0, int)] * 3, ([], [], []), NUM_IMAGES)
        columns["matching"] = image_tables.lists_of(images.labels, decisions.matching)
        columns["superclasses"] = error_analyses.superclass_lists(grouped).take(top1[0])
        fingerprints = error_analyses.Inputs("", "").with_predictions(top1[0])
        arguments = (path, columns, decisions.error_types, fingerprints, "", table)
        written = timed("write one model's errors_analysis.parquet", lambda: error_analyses.write(*arguments))
        read = timed("read what tables need of it", lambda: error_analyses.read(path, "model"))
    print(f"{'deciding against writing and reading':58} {fast / (written + read):9.2f} x")


if __name__ == "__main__":
    main()
