"""Artefacts folders of made-up annotated images and models; some models have predictions for some images only."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagenet_errors.dataset.cooccurrence import spurious_pairs
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.formats.predictions import Predictions
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.models.saved_predictions import write_predictions
from imagenet_errors.paths import ANNOTATIONS, Artefacts
from tests.conftest import COMMITTED
from tests.helpers.plain_decision import OVERLAPPING
from tests.helpers.synthetic_clip import Made, gates, proposer

NUM_IMAGES = 240
COMPLETE, PART = ("me--first", "me--second"), "me--part"


@dataclass(frozen=True)
class PartWorld:
    """N images, of which some are annotated, and what models predict on all of them.

    Attributes:
        samples: The N images.
        annotations: The content of the official JSON file.
        top1: {model: [N] int16}.
        rows: [M] int32, the images that PART has predictions for.
    """

    samples: Samples
    annotations: dict
    top1: dict[str, np.ndarray]
    rows: np.ndarray

    @classmethod
    def make(cls) -> "PartWorld":
        """Random, with every error type."""
        rng, superclasses = np.random.default_rng(0), proposer().superclasses
        wnids = proposer().classes.wnids
        related = [superclasses.share, spurious_pairs(COMMITTED, superclasses.share)]
        pool = np.append(np.flatnonzero(related[1].any(axis=1)), list(OVERLAPPING))
        targets = np.sort(rng.choice(pool, NUM_IMAGES)).astype(np.int16)
        unlike = (COMMITTED.root / "non_prototypical_files.txt").read_text().split()
        names = [f"ILSVRC2012_val_{50_001 + row:08}.JPEG" for row in range(NUM_IMAGES)]
        names[::8] = unlike[: len(names[::8])]
        files = sorted(f"{wnids[target]}/{name}" for target, name in zip(targets, names, strict=True))
        other = rng.integers(0, 1000, (NUM_IMAGES, 2))

        def annotate(row: int) -> dict:
            correct = [] if row % 16 == 3 else [wnids[targets[row]], *([wnids[other[row, 0]]] if row % 3 == 0 else [])]
            return {"correct": correct, "unclear": [wnids[other[row, 1]]] if row % 7 == 0 and row % 16 != 3 else []}

        listed = {file.split("/")[1]: annotate(row) for row, file in enumerate(files) if row % 9}
        problematic = [file.split("/")[1] for row, file in enumerate(files) if row % 16 in (3, 5)]
        imagenet_m = [file.split("/")[1] for row, file in enumerate(files) if row % 4 == 1]
        annotations = {"initial_annots": listed, "problematic_images": problematic, "imagenet_m": imagenet_m}

        def predict() -> np.ndarray:
            drawn = [targets, other[:, 0], rng.integers(0, 1000, NUM_IMAGES)]
            near = [{target: np.flatnonzero(matrix[target]) for target in targets} for matrix in related]
            for classes in (*near, OVERLAPPING):
                drawn.append(np.array([rng.choice([target, *classes.get(target, ())]) for target in targets]))
            return np.choose(rng.choice(6, NUM_IMAGES, p=[0.3, 0.2, 0.1, 0.15, 0.15, 0.1]), drawn).astype(np.int16)

        rows = np.flatnonzero(rng.random(NUM_IMAGES) < 0.6).astype(np.int32)
        return cls(
            Samples(np.array(files), targets), annotations, {name: predict() for name in (*COMPLETE, PART)}, rows
        )

    def write(self, folder: Path, models: dict[str, np.ndarray | None], chosen: np.ndarray | None = None) -> Path:
        """Write an artefacts folder with CLIP files; returns it.

        Args:
            folder: Where.
            models: {model: the rows of all N images that it has predictions for; None for all of the folder's}.
            chosen: The images of the folder; None for all N.
        """
        chosen = np.arange(NUM_IMAGES) if chosen is None else chosen
        samples, artefacts = Samples(self.samples.files[chosen], self.samples.targets[chosen]), Artefacts(folder)
        (folder / ANNOTATIONS).parent.mkdir(parents=True)
        (folder / ANNOTATIONS).write_text(json.dumps(self.annotations))
        (folder / "imagenet").mkdir()
        Made.of(self.samples.files, gates(np.stack(list(self.top1.values()))))[chosen].write(folder)
        for name, rows in models.items():
            self.write_model(artefacts, name, samples, chosen if rows is None else rows, rows is not None)
        return folder

    def write_model(self, artefacts: Artefacts, name: str, samples: Samples, rows: np.ndarray, is_part: bool) -> None:
        model_id = name.replace("--", "/")
        record = ModelRecord(model_id, "own", "me", model_id, "", "resnet", "cnn", "ImageNet-1k (1.2M)", ())
        made = Predictions(self.top1[name][rows], rows=rows.astype(np.int32) if is_part else None)
        write_predictions(artefacts, "imagenet", record, samples, made)
