"""From a record to a network with its preprocessing."""

from pathlib import Path

from torch.nn import Module

from imagenet_errors.errors import ModelError, describe_exception, describe_unknown
from imagenet_errors.inference import own_models, weights
from imagenet_errors.inference.loaders import SOURCES, Source
from imagenet_errors.inference.preprocessing import Geometry, OwnTransform, Preprocessing
from imagenet_errors.models.model_table import ModelRecord


def source(record: ModelRecord) -> Source:
    """Raises `ModelError` for one that there is not."""
    if record.source not in SOURCES:
        raise ModelError(f"{record.model_id} has the {describe_unknown('source', record.source, SOURCES)}")
    return SOURCES[record.source]


def build(record: ModelRecord, use_test_size: bool = False) -> tuple[Module, Preprocessing | OwnTransform]:
    """The network with its weights, in eval mode on the CPU, and its preprocessing; downloads what is missing.

    Raises:
        ModelError: where that fails, for whatever reason.
    """
    try:
        if record.source == "function":
            model, transform = own_models.call_function(record.builder)
            return model.eval(), transform
        return source(record).load(record, fetch(record)).eval(), source(record).preprocessing(record, use_test_size)
    except ModelError:
        raise
    except MemoryError as error:
        raise ModelError("it runs out of memory while it is built") from error
    except Exception as error:  # libraries raise everything for weights that are damaged or do not fit
        raise ModelError(f"it cannot be built ({describe_exception(error)})") from error


def fetch(record: ModelRecord) -> list[Path]:
    """The files that building it needs, downloaded where they were missing. Raises `ModelError` where that fails."""
    return [] if record.source == "function" else weights.fetch(source(record).files(record))


def is_cached(record: ModelRecord) -> bool:
    """Whether building it needs no download."""
    if record.module == own_models.MODULE:
        return True
    try:
        return not weights.missing(source(record).files(record))
    except ModelError:
        return False


def by_geometry(records: list[ModelRecord], use_test_size: bool) -> dict[Geometry | None, list[ModelRecord]]:
    """Models that see the same pixels; under None those whose geometry is not known before they are built."""
    groups = {}
    for record in records:
        try:
            geometry = source(record).preprocessing(record, use_test_size).geometry
        except Exception:  # will be said when it is built
            geometry = None
        groups.setdefault(geometry, []).append(record)
    return groups


def count_parameters(model: Module) -> int:
    """How many parameters require gradients."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
