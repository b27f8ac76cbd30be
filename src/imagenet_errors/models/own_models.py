"""Records of models of the user's own: a timm architecture with a checkpoint, a function, predictions."""

import os
import re
from dataclasses import replace
from pathlib import Path

from imagenet_errors.errors import InputError
from imagenet_errors.models.architectures import Architecture, read_architectures
from imagenet_errors.models.model_table import ModelRecord, load_records
from imagenet_errors.paths import Artefacts

MODULE = "own"
FUNCTION = re.compile(r"(?P<file>.+\.py):(?P<name>\w+)")


def from_function(argument: str) -> ModelRecord | None:
    """The record of `path/to/file.py:function`; None for an argument of another form.

    Raises:
        InputError: where there is no such file.
    """
    match = FUNCTION.fullmatch(argument)
    if match is None:
        return None
    file = Path(match["file"])
    if not file.is_file():
        raise InputError(f"{file} is missing: --model takes path/to/file.py:function")
    return ModelRecord(f"{MODULE}/{file.stem}.{match['name']}", MODULE, "function", argument)


def from_predictions(file: Path) -> ModelRecord:
    """A model of which only predictions are known, named for their file without `.csv`, `.json.gz` and the like."""
    name = re.sub(r"(\.[A-Za-z]\w*)(\.gz)?$", "", file.name) or file.name
    return ModelRecord(name, MODULE, "predictions", str(file))


def describe_predictions(
    artefacts: Artefacts,
    file: Path,
    model_name: str | None = None,
    arch: str | None = None,
    training_data: str | None = None,
) -> ModelRecord:
    """The record of a model of which only predictions are known, with what flags say of it.

    Raises:
        InputError: as `describe`, also where the name of the file is that of a model in our tables.
    """
    record = from_predictions(file)
    used_names = {known.dir_id for known in load_records(artefacts)}
    archs, name = read_architectures(artefacts), model_name or record.model_id
    return describe([record], archs, used_names, model_name=name, arch=arch, training_data=training_data)[0]


def with_absolute_paths(record: ModelRecord) -> ModelRecord:
    """The same model for a process that runs in another folder."""
    if record.source == "function":
        return replace(record, builder=os.path.abspath(record.builder))
    if record.module == MODULE and record.weights:
        return replace(record, weights=os.path.abspath(record.weights))
    return record


def with_checkpoint(record: ModelRecord, checkpoint: Path, use_ema: bool = False) -> ModelRecord:
    """A timm model with the weights of a file, or their moving average; how these were trained is unknown.

    Raises:
        InputError: where the model is not one of timm's, or the file is missing.
    """
    if record.source != "timm":
        raise InputError(f"--checkpoint is for a timm architecture, e.g. --model timm/resnet50, not {record.model_id}")
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint} is missing: --checkpoint takes a file that torch.load or safetensors reads")
    return replace(
        record,
        model_id=f"{MODULE}/{checkpoint.stem}",
        module=MODULE,
        source="checkpoint_ema" if use_ema else "checkpoint",
        weights=str(checkpoint),
        training_data="unknown",
        extra_annotations=(),
        num_params=None,
        is_published=False,
    )


def describe(
    records: list[ModelRecord],
    archs: dict[str, Architecture],
    used_names: set[str],
    *,
    checkpoint: Path | None = None,
    use_ema: bool = False,
    model_name: str | None,
    arch: str | None,
    training_data: str | None,
) -> list[ModelRecord]:
    """The chosen records, the user's own one with what the flags say of it.

    Args:
        records: What was chosen.
        archs: What is known of architectures.
        used_names: `dir_id` of the models in our tables.
        checkpoint: Weights for the timm architecture that was chosen.
        use_ema: Take their moving average.
        model_name: The model's id.
        arch: Its architecture.
        training_data: Its corpus.

    Raises:
        InputError: where flags are given and not one model, or one that is not the user's own, is chosen; for a text
            that is not one printable line, a name that is used or cannot name a folder, or a missing checkpoint.
    """
    flags = {"--model_name": model_name, "--arch": arch, "--training_data": training_data}
    if use_ema and checkpoint is None:
        raise InputError("--use_ema is for the weights of a --checkpoint")
    if checkpoint is None and not any(value is not None for value in flags.values()):
        return records
    if len(records) != 1:
        raise InputError(f"--checkpoint, {', '.join(flags)} are for one model, and --model names {len(records)}")
    for flag, text in flags.items():
        if text is not None and not (text.strip() and text.isprintable()):
            raise InputError(f"{flag} {text!r} is not one line of printable text: give another")
    record = with_checkpoint(records[0], checkpoint, use_ema) if checkpoint else records[0]
    if record.module != MODULE:
        raise InputError(f"{record.model_id} is not a model of your own, which {', '.join(flags)} are for")
    arch = arch or record.arch
    family = archs.get(arch, Architecture()).family
    record = replace(record, arch=arch, arch_family=family, training_data=training_data or record.training_data)
    record = replace(record, model_id=model_name or record.model_id)
    if record.dir_id in used_names:
        raise InputError(f"{record.model_id} is another model's name: give one of your own with --model_name")
    return [record]
