"""Distinct (image, prediction) pairs of many models, each decided once and tested against CLIP once."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from imagenet_errors.analysis.archived_open_world import ArchivedOpenWorld, Coverage
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.decision import Decisions, apply_open_world, decide
from imagenet_errors.analysis.open_world import NUM_GATE_NEIGHBOURS, OpenWorld
from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.error_types import NO_ERROR_TYPE
from imagenet_errors.formats.error_analyses import proposal_type
from imagenet_errors.formats.image_tables import lists_of
from imagenet_errors.formats.open_world_outcomes import Verdicts
from imagenet_errors.formats.predictions import NO_PREDICTION


@dataclass(frozen=True)
class DecidedPairs:
    """What was decided of p distinct pairs.

    Attributes:
        keys: [p] int64, position of the image x 1000 + prediction, ascending.
        decisions: Those of the pairs.
        labels: [p, L] int16, the accepted labels of their images.
        open_world: The open-world test, or what an archive tells of it; None where it was skipped.
        tested: [q] positions of the pairs whose error type depends on the test, ascending.
        verdicts: What the test said of these; None where it was skipped.
    """

    keys: np.ndarray
    decisions: Decisions
    labels: np.ndarray
    open_world: OpenWorld | ArchivedOpenWorld | None
    tested: np.ndarray
    verdicts: Verdicts | None

    def find(self, top1: np.ndarray) -> np.ndarray:
        """Where the pairs of a model's top-1 [n] are among these, which hold them: [n] int64, -1 without prediction."""
        positions = np.searchsorted(self.keys, np.arange(len(top1)) * NUM_CLASSES + top1)
        positions[top1 == NO_PREDICTION] = -1
        return positions

    def error_types_at(self, positions: np.ndarray) -> np.ndarray:
        """[n] int8 error types at the positions that `find` gives; NO_ERROR_TYPE at -1."""
        error_types = self.decisions.error_types[positions]
        error_types[positions == -1] = NO_ERROR_TYPE
        return error_types

    @cached_property
    def matching(self) -> Any:
        """Of every pair the accepted labels that explain it, as an Arrow array of lists."""
        return lists_of(self.labels, self.decisions.matching)

    @cached_property
    def proposals(self) -> dict[str, Any]:
        """Of every pair `num_prompts` and `top5`, as Arrow arrays; null where the test was not asked or tells none."""
        import pyarrow as pa

        p = len(self.keys)
        if self.open_world is None or self.verdicts is None:
            return {"num_prompts": pa.nulls(p, pa.int32()), "top5": pa.nulls(p, pa.list_(proposal_type()))}
        return self.verdicts.columns(self.open_world.names, self.tested, p)

    def coverage(self, chosen: np.ndarray | None = None) -> Coverage | None:
        """How many of the pairs, or those at `chosen`, an archive decides; None where the test was run or skipped."""
        if not isinstance(self.open_world, ArchivedOpenWorld) or self.verdicts is None:
            return None
        verdicts = self.verdicts if chosen is None else self.verdicts[np.isin(self.tested, chosen)]
        closed, unknown = int((verdicts.num_prompts == 0).sum()), int((~verdicts.is_known).sum())
        return Coverage(closed, len(verdicts) - closed - unknown, unknown)


def find_distinct(top1: Iterable[np.ndarray], num_images: int) -> np.ndarray:
    """The distinct pairs of many models' top-1 [n], as ascending keys: position of the image x 1000 + prediction.

    An image without prediction (NO_PREDICTION) makes no pair.
    """
    seen = np.zeros(num_images * NUM_CLASSES, bool)
    starts = np.arange(num_images) * NUM_CLASSES
    for of_model in top1:
        seen[(starts + of_model)[of_model != NO_PREDICTION]] = True
    return np.flatnonzero(seen)


def decide_pairs(context: DatasetContext, keys: np.ndarray, num_neighbours: int = NUM_GATE_NEIGHBOURS) -> DecidedPairs:
    """Decide distinct pairs, with the open-world test where the context has it.

    Args:
        context: Of the dataset.
        keys: [p] int64, ascending, as `find_distinct` gives them.
        num_neighbours: Nearest training images that may open the gate of that test.
    """
    rows, predictions = np.divmod(keys, NUM_CLASSES)
    images = context.images[rows]
    decisions = decide(images, predictions, context.relations)
    tested = np.flatnonzero(decisions.provisional)
    verdicts = None
    if context.open_world is not None:
        verdicts = context.open_world.test(rows[tested], predictions[tested], num_neighbours)
        decisions = apply_open_world(decisions, tested, verdicts)
    return DecidedPairs(keys, decisions, images.labels, context.open_world, tested, verdicts)
