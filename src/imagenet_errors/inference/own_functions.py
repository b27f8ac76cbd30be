"""Running a user's function that builds a model, `path/to/file.py:function`."""

import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import Module

from imagenet_errors.errors import ModelError, describe_exception
from imagenet_errors.files import fingerprint
from imagenet_errors.inference.predict import model_errors, probabilities, seed
from imagenet_errors.inference.preprocessing import OwnTransform, Preprocessing
from imagenet_errors.models.model_table import ModelRecord

_import_folders: list[str] = []  # the folder of the file whose function was called last


class CallableModel(Module):
    """A model that is no `Module`, e.g. a function that calls another library; its weights are not known."""

    def __init__(self, call: Callable[[torch.Tensor], Any]):
        super().__init__()
        self.call = call

    def forward(self, pixels: torch.Tensor) -> Any:
        return self.call(pixels)


def call_function(builder: str) -> tuple[Module, OwnTransform]:
    """Call `path/to/file.py:function`, which returns (model, transform); it may import what lies beside it.

    The file is executed once for all models that follow each other, so that they can return the same transform.

    Raises:
        ModelError: where it fails, or returns something else.
    """
    file, _, name = builder.rpartition(":")
    try:
        seed()
        module = _load_module(Path(file).resolve())
        if not hasattr(module, name):
            raise ModelError(f"{file} has no function {name}")
        seed()  # so that the same weights are drawn in every run
        result = getattr(module, name)()
    except ModelError:
        raise
    except (Exception, SystemExit) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise ModelError(
            f"{builder} fails ({describe_exception(error)}, {where.filename} line {where.lineno})"
        ) from error
    is_pair = isinstance(result, tuple) and len(result) == 2 and all(map(callable, result))
    if not is_pair or isinstance(result[0], type):
        raise ModelError(f"{builder} returns {type(result).__name__}, not (model, transform), both of them callable")
    model, transform = result
    return model if isinstance(model, Module) else CallableModel(model), OwnTransform(transform)


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


def fingerprint_of(
    record: ModelRecord, model: Module, preprocessing: Preprocessing | OwnTransform, device: torch.device
) -> str:
    """A hash of the function's file and of all weights and buffers: equal only for this very model.

    Where the weights are not known, it is of what the model says of an image of noise.
    """
    file = Path(record.builder.rpartition(":")[0])
    code = file.read_bytes() if record.source == "function" else record.builder
    state = model.state_dict()
    if isinstance(model, CallableModel):
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8))
        with model_errors():
            pixels = preprocessing.geometry.to_pixels()(noise)[None]
        (state["probabilities"],) = probabilities(model, preprocessing, [pixels], device)
    return fingerprint(code, list(state), *map(_to_hashable, state.values()))


def _to_hashable(value: Any) -> Any:
    """A value of a state dict, as `fingerprint` takes it: the bytes of a tensor."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().cpu().flatten().view(torch.uint8).numpy()
