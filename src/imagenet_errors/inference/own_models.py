"""Models of the user's own: a timm architecture with a checkpoint, or a function in a Python file."""

import importlib.util
import re
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import Module

from imagenet_errors.errors import InputError, ModelError, describe_exception
from imagenet_errors.files import fingerprint
from imagenet_errors.inference.preprocessing import OwnTransform
from imagenet_errors.models.architectures import Architecture
from imagenet_errors.models.model_table import ModelRecord

MODULE = "own"
_entered: list[str] = []  # the folder whose files imports find
FUNCTION = re.compile(r"(?P<file>.+\.py):(?P<name>\w+)")


def from_function(argument: str) -> ModelRecord | None:
    """The record of `path/to/file.py:function`; None for an argument that has not this form.

    Raises:
        InputError: where there is no such file.
    """
    match = FUNCTION.fullmatch(argument)
    if match is None:
        return None
    file = Path(match["file"])
    if not file.is_file():
        raise InputError(f"{file} is missing: --model takes path/to/file.py:function")
    return ModelRecord(f"own/{file.stem}.{match['name']}", MODULE, "function", f"{file}:{match['name']}")


def describe(
    records: list[ModelRecord],
    archs: dict[str, Architecture],
    taken: set[str],
    *,
    checkpoint: Path | None = None,
    model_name: str | None,
    arch: str | None,
    training_data: str | None,
) -> list[ModelRecord]:
    """The chosen records with what the user's flags say of the one that is the user's own.

    Args:
        records: What was chosen.
        archs: What is known of architectures.
        taken: `dir_id` of the models in our tables.
        checkpoint: Weights for the timm architecture that was chosen.
        model_name: What to call it.
        arch: Its architecture.
        training_data: Its corpus.

    Raises:
        InputError: where flags are given and not one model, or one that is not the user's own, is chosen; for texts
            that would not fit a line, a name that is taken or no name of a folder, or a checkpoint that does not exist.
    """
    flags = {"--model_name": model_name, "--arch": arch, "--training_data": training_data}
    if checkpoint is None and not any(value is not None for value in flags.values()):
        return records
    if len(records) != 1:
        raise InputError(f"--checkpoint, {', '.join(flags)} are for one model, and --model names {len(records)}")
    for flag, text in flags.items():
        if text is not None and not (text.strip() and text.isprintable()):
            raise InputError(f"{flag} {text!r} is no line of text: give another")
    record = with_checkpoint(records[0], checkpoint) if checkpoint else records[0]
    if record.module != MODULE:
        raise InputError(f"{record.model_id} is no model of your own, which {', '.join(flags)} are for")
    arch = arch or record.arch
    family = archs.get(arch, Architecture()).family
    record = replace(record, arch=arch, arch_family=family, training_data=training_data or record.training_data)
    record = replace(record, model_id=model_name or record.model_id)
    if record.dir_id in taken:
        raise InputError(f"{record.model_id} is another model's name: give one of your own with --model_name")
    return [record]


def from_logits(file: Path) -> ModelRecord:
    """A model of which only logits are known."""
    return ModelRecord(f"{MODULE}/{file.stem}", MODULE, "logits", str(file))


def with_checkpoint(record: ModelRecord, checkpoint: Path) -> ModelRecord:
    """A timm model with other weights, whose training nobody told us."""
    if record.source != "timm":
        raise InputError(f"--checkpoint is for a timm architecture, e.g. --model timm/resnet50, not {record.model_id}")
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint} is missing: --checkpoint takes a file that torch.load or safetensors reads")
    return replace(
        record,
        model_id=f"{MODULE}/{checkpoint.stem}",
        module=MODULE,
        source="checkpoint",
        weights=str(checkpoint),
        training_data="unknown",
        extra_annotations=(),
        num_params=None,
    )


def call_function(builder: str) -> tuple[Module, OwnTransform]:
    """Run `path/to/file.py:function`, which returns (model, transform); it may import what lies beside it.

    Raises:
        ModelError: where it fails, or returns something else.
    """
    match = FUNCTION.fullmatch(builder)
    file = Path(match["file"]).resolve()
    spec = importlib.util.spec_from_file_location(f"own_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    _enter(str(file.parent))
    sys.modules[spec.name] = module  # where its dataclasses look for it
    try:
        spec.loader.exec_module(module)
        result = getattr(module, match["name"])()
    except (Exception, SystemExit) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise ModelError(
            f"{builder} fails ({describe_exception(error)}, {where.filename} line {where.lineno})"
        ) from error
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Module) and callable(result[1])):
        raise ModelError(f"{builder} returns {type(result).__name__}, not (torch.nn.Module, transform)")
    return result[0], OwnTransform(result[1])


def _enter(folder: str) -> None:
    """Let imports find what lies in `folder` (until another is entered), and not what lay in the folder before."""
    while _entered:
        before = _entered.pop()
        if before in sys.path:
            sys.path.remove(before)
        for name, module in list(sys.modules.items()):
            file = Path(getattr(module, "__file__", None) or "/")
            if Path(before) in (file.parent, file.parent.parent if file.name == "__init__.py" else None):
                del sys.modules[name]
    sys.path.insert(0, folder)
    _entered.append(folder)


def fingerprint_of(record: ModelRecord, model: Module) -> str:
    """A hash of all weights and buffers, and of the function's file: are stored predictions of this very model?"""
    state = model.state_dict()
    match = FUNCTION.fullmatch(record.builder)
    code = Path(match["file"]).read_bytes() if match else record.builder
    return fingerprint(code, list(state), *map(_content, state.values()))


def _content(value):
    """What a state dict holds, as what `fingerprint` takes."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().cpu().flatten().view(torch.uint8).numpy()
