"""In which order the jobs of a run are given to workers, so that all end at about the same time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from imagenet_errors.errors import InputError
from imagenet_errors.formats.metadata import read_metadata
from imagenet_errors.inference import zoo
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import Artefacts


@dataclass(frozen=True)
class Planned:
    """A model to run.

    Attributes:
        record: The model.
        sees: What it sees: models of one geometry have the same.
        shares_pixels: Whether others of the run see the same.
        length: Estimated, in a unit that is the same for all; infinite where nothing is known.
    """

    record: ModelRecord
    sees: zoo.GroupKey
    shares_pixels: bool
    length: float


def plan(
    artefacts: Artefacts, records: Sequence[ModelRecord], use_test_size: bool, seconds: Mapping[str, float]
) -> list[Planned]:
    """The longest model first, then the others that see the same pixels, then the longest of the rest, and so on.

    Of models that see the same pixels the longest comes first. Pixels that are kept for them are then needed for the
    shortest time, and what runs last is short.

    Args:
        artefacts: Where multiply-adds are.
        records: The models.
        use_test_size: As the flag.
        seconds: {model id: what it took before}, where that is known.
    """
    groups = zoo.group_in_order(artefacts, records, use_test_size)
    lengths = estimate_lengths([pair for group in groups.values() for pair in group], seconds)
    planned = [
        sorted(
            (Planned(record, key, len(group) > 1 and key != "", lengths[record.model_id]) for record, _ in group),
            key=lambda job: -job.length,
        )
        for key, group in groups.items()
    ]
    return [job for group in sorted(planned, key=lambda group: -group[0].length) for job in group]


def estimate_lengths(
    models: Sequence[tuple[ModelRecord, int | None]], seconds: Mapping[str, float]
) -> dict[str, float]:
    """{model id: seconds where they are known, else in proportion to the multiply-adds}.

    Where these are not known they are taken to be in proportion to the parameters; without these, infinite.

    Args:
        models: With their multiply-adds for an image, or None.
        seconds: {model id: what it took before}, of some of them.
    """
    density = find_median([work / record.num_params for record, work in models if work and record.num_params])
    works = {
        record.model_id: work or (record.num_params * density if record.num_params else math.inf)
        for record, work in models
    }
    rate = find_median([seconds[model] / work for model, work in works.items() if model in seconds and work < math.inf])
    return {model: seconds.get(model, work * rate) for model, work in works.items()}


def find_median(values: Sequence[float]) -> float:
    """1 where there is none: then only the order counts."""
    return median(values) if values else 1.0


def read_seconds(artefacts: Artefacts, dataset: str, records: Sequence[ModelRecord]) -> dict[str, float]:
    """{model id: seconds that its stored predictions took}, where there are any, be they valid or not."""
    found = {}
    for record in records:
        try:
            seconds = read_metadata(artefacts.metadata(dataset, record.dir_id))["preds_comp_time"]
        except InputError:  # the model is predicted again, which tells of it
            continue
        if seconds:
            found[record.model_id] = seconds
    return found
