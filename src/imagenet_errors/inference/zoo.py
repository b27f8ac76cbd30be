"""From a record to a network with its preprocessing."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from torch.nn import Module

from imagenet_errors.errors import ModelError, describe_exception, describe_unknown
from imagenet_errors.inference import own_functions, weights
from imagenet_errors.inference.loaders import LOADERS, CheckpointLoader, Loader
from imagenet_errors.inference.preprocessing import ConvNextGeometry, OwnTransform, Preprocessing, ResizeAndCrop
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.models.multiply_adds import read_multiply_adds
from imagenet_errors.models.weight_files import missing
from imagenet_errors.paths import Artefacts

Built = tuple[Module, Preprocessing | OwnTransform]
GroupKey = ResizeAndCrop | ConvNextGeometry | str  # of models that see the same pixels


def get_loader(record: ModelRecord) -> Loader:
    """The loader of the record's source. Raises `ModelError` for an unknown one."""
    if record.source not in LOADERS:
        raise ModelError(f"{record.model_id} has the {describe_unknown('source', record.source, LOADERS)}")
    return LOADERS[record.source]


def build(record: ModelRecord, use_test_size: bool = False) -> Built:
    """The network with its weights, in eval mode on the CPU, and its preprocessing; downloads what is missing.

    Raises:
        ModelError: where that fails, for whatever reason.
    """
    try:
        if record.source == "function":
            model, transform = own_functions.call_function(record.builder)
            return model.eval(), transform
        loader = get_loader(record)
        return loader.load_model(record, fetch(record)).eval(), loader.get_preprocessing(record, use_test_size)
    except ModelError:
        raise
    except MemoryError as error:
        raise ModelError("it runs out of memory while it is built") from error
    except Exception as error:  # libraries raise everything for weights that are damaged or do not fit
        raise ModelError(f"it cannot be built ({describe_exception(error)})") from error


def fetch(record: ModelRecord) -> list[Path]:
    """The files that building it needs, downloaded where they were missing. Raises `ModelError` where that fails."""
    return [] if record.source == "function" else weights.fetch(get_loader(record).list_files(record))


def is_cached(record: ModelRecord) -> bool:
    """Whether building it needs no download, according to its library."""
    try:
        return not missing(get_loader(record).list_files(record))
    except ModelError:
        return False


def group_by_geometry(records: Iterable[ModelRecord], use_test_size: bool) -> dict[GroupKey, list[ModelRecord]]:
    """Models that see the same pixels, by their geometry.

    Where that is not known before they are built, by the file of their functions, which can share a transform; by an
    empty text where even that is not known.
    """
    groups: dict[GroupKey, list[ModelRecord]] = {}
    for record in records:
        key: GroupKey = ""
        try:
            if record.source == "function":
                key = record.builder.rpartition(":")[0]
            else:
                key = get_loader(record).get_preprocessing(record, use_test_size).geometry
        except Exception:  # the reason is reported when the model is built
            pass
        groups.setdefault(key, []).append(record)
    return groups


def group_in_order(
    artefacts: Artefacts, records: Iterable[ModelRecord], use_test_size: bool
) -> dict[GroupKey, list[tuple[ModelRecord, int | None]]]:
    """Models with their multiply-adds, by what they see, in the order in which they run.

    Those of most multiply-adds come first; of those that are not known, those of most parameters.
    """
    known = read_multiply_adds(artefacts)
    groups = {}
    for key, group in group_by_geometry(records, use_test_size).items():
        side = None if isinstance(key, str) else key.side
        counted = [(record, known.get((record.model_id, side or 0))) for record in group]
        groups[key] = sorted(counted, key=lambda pair: (pair[1] or 0, pair[0].num_params or 0), reverse=True)
    return groups


def describe_geometries(records: Iterable[ModelRecord], use_test_size: bool, num_images: int) -> Iterator[str]:
    """A line per geometry, that of the most models first: how many models have it, and the size of the pixels."""
    groups = group_by_geometry(records, use_test_size)
    unknown = sum(len(group) for geometry, group in groups.items() if isinstance(geometry, str))
    for geometry, group in sorted(groups.items(), key=lambda item: -len(item[1])):
        if not isinstance(geometry, str):
            yield f"{geometry}: {len(group)} models, {geometry.num_bytes * num_images / 1e9:.1f} GB of pixels"
    if unknown:
        yield f"not known before they are built: {unknown} models"


def find_choice(record: ModelRecord) -> str:
    """The key of the weights in a checkpoint that has raw ones and their EMA; else empty."""
    loader = LOADERS.get(record.source)
    return loader.find_choice(record) if isinstance(loader, CheckpointLoader) else ""


def count_parameters(model: Module) -> int:
    """How many parameters require gradients; all where none do."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, is_trained in sizes if is_trained) or sum(size for size, _ in sizes)
