"""Running a user's function that builds a model, `path/to/file.py:function`."""

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.nn import Module

from imagenet_errors.errors import ModelError, describe_exception
from imagenet_errors.files import fingerprint
from imagenet_errors.inference.preprocessing import OwnTransform
from imagenet_errors.models.model_table import ModelRecord

_import_folders: list[str] = []  # the folder of the file whose function was called last


def call_function(builder: str) -> tuple[Module, OwnTransform]:
    """Call `path/to/file.py:function`, which returns (model, transform); it may import what lies beside it.

    The file is executed once for all models that follow each other, so that they can return the same transform.

    Raises:
        ModelError: where it fails, or returns something else.
    """
    file, _, name = builder.rpartition(":")
    try:
        result = getattr(_load_module(Path(file).resolve()), name)()
    except (Exception, SystemExit) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise ModelError(
            f"{builder} fails ({describe_exception(error)}, {where.filename} line {where.lineno})"
        ) from error
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Module) and callable(result[1])):
        raise ModelError(f"{builder} returns {type(result).__name__}, not (torch.nn.Module, transform)")
    return result[0], OwnTransform(result[1])


def _load_module(file: Path) -> ModuleType:
    """The file as a module, executed unless that was done since the file or the folder changed."""
    _set_import_folder(str(file.parent))
    name = f"own_{file.stem}_{fingerprint(str(file), file.read_bytes())}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ModelError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where its dataclasses look for it
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _set_import_folder(folder: str) -> None:
    """Let imports find the modules in `folder`, and no longer those in the folder that was set before."""
    if _import_folders == [folder] and folder in sys.path:
        return
    while _import_folders:
        before = _import_folders.pop()
        if before in sys.path:
            sys.path.remove(before)
        for name, module in list(sys.modules.items()):
            file = Path(getattr(module, "__file__", None) or "/")
            if Path(before) in (file.parent, file.parent.parent if file.name == "__init__.py" else None):
                del sys.modules[name]
    sys.path.insert(0, folder)
    _import_folders.append(folder)


def fingerprint_of(record: ModelRecord, model: Module) -> str:
    """A hash of all weights and buffers, and of the function's file: equal only for this very model."""
    state = model.state_dict()
    file = Path(record.builder.rpartition(":")[0])
    code = file.read_bytes() if record.source == "function" else record.builder
    return fingerprint(code, list(state), *map(_to_hashable, state.values()))


def _to_hashable(value: Any) -> Any:
    """A value of a state dict, as `fingerprint` takes it: the bytes of a tensor."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().cpu().flatten().view(torch.uint8).numpy()
