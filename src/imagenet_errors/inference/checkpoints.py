"""The weights in a user's file, in whatever way a training script saved them.

Only tensors and plain values are unpickled (torch's `weights_only`). Objects of other classes beside the weights, such
as the arguments of the training, become stand-ins that hold nothing and do nothing.
"""

import json
import pickle
import pickletools
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from imagenet_errors.errors import ModelError, describe_exception, escape_name

RAW_KEYS = ("state_dict", "model", "net", "model_state_dict")
EMA_KEYS = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
# of distributed training and torchvision's EMA, of torch.compile, of Lightning
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
NUM_AVERAGED = "n_averaged"  # torch's AveragedModel counts its updates beside the weights
LFS_POINTER = b"version https://git-lfs"
WRITE = "write the state dict alone: torch.save(model.state_dict(), ...)"


@dataclass(frozen=True)
class Checkpoint:
    """The weights that were chosen from a file.

    Attributes:
        state: {name: tensor}.
        chosen: Under which key of the file they are, where it has raw weights and their EMA; else empty.
    """

    state: dict[str, torch.Tensor]
    chosen: str = ""


class StandIn:
    """In the place of an object that is not needed."""

    def __init__(self, *_: Any, **__: Any):
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def read_checkpoint(path: Path, use_ema: bool = False) -> Checkpoint:
    """The state dict in a file of PyTorch or safetensors, or in the shards that an index names.

    As timm's `validate.py` does, the weights themselves are chosen, and with `use_ema` their moving average (EMA).

    Args:
        path: The file, whatever its suffix.
        use_ema: Choose their EMA.

    Raises:
        ModelError: where the file is damaged, holds no state dict, or not the weights that were asked for.
    """
    content = _read_content(path)
    key = _choose_key(content, use_ema, path)
    others = [other for other in (*RAW_KEYS, *EMA_KEYS) if other != key and _is_state(content.get(other))]
    has_both = any((other in EMA_KEYS) is not (key in EMA_KEYS) for other in others)
    state = _strip_prefixes(content[key] if key else content)
    return Checkpoint(state, key if has_both else "")


def _read_content(path: Path) -> Any:
    try:
        with open(path, "rb") as file:
            head = file.read(1 << 10)
        if head.startswith(LFS_POINTER):
            raise ModelError(f"{path} is a pointer of git-lfs, not the weights: get them with git lfs pull")
        if head.lstrip().startswith(b"{"):
            return _read_shards(path)
        is_safetensors = head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size
        return load_file(path) if is_safetensors else _load_pickle(path)
    except ModelError:
        raise
    except Exception as error:  # torch, safetensors, zipfile and pickle raise a dozen types for damaged bytes
        text = escape_name(describe_exception(error))
        raise ModelError(f"{path} is damaged, or no file of PyTorch or safetensors ({text}): write it again") from None


def _read_shards(path: Path) -> dict[str, Any]:
    """The tensors of all shards that an index, `model.safetensors.index.json`, names."""
    try:
        shards = sorted(set(json.loads(path.read_text())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{path} is JSON without a 'weight_map' of shards: name a file of weights") from None
    missing = [shard for shard in shards if not (path.parent / shard).is_file()]
    if missing:
        raise ModelError(f"{path} names {missing[0]}, which is not beside it: put all {len(shards)} shards there")
    content: dict[str, Any] = {}
    for shard in shards:
        content |= _read_content(path.parent / shard)
    return content


def _load_pickle(path: Path) -> Any:
    """What `torch.save` wrote, its tensors mapped from the file where its form allows."""
    is_zip = zipfile.is_zipfile(path)
    if is_zip and any(name.endswith("/constants.pkl") for name in zipfile.ZipFile(path).namelist()):
        raise ModelError(f"{path} is a TorchScript program: load it in a function (--model path/to/file.py:function)")
    names = get_unsafe_globals_in_checkpoint(path) if is_zip else _list_globals(path)
    try:
        with safe_globals([(StandIn, name) for name in names]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError:  # its text advises to unpickle whatever is in the file
        held = f" ({escape_name(', '.join(sorted(names)[:3]))})" if names else ""
        raise ModelError(f"{path} is damaged, or holds objects that are never loaded{held}: {WRITE}") from None


def _list_globals(path: Path) -> list[str]:
    """What a file in the form before torch 1.6 names, classes and functions; the last of its pickles is the content."""
    with open(path, "rb") as file:
        opcodes = [(opcode.name, argument) for _ in range(4) for opcode, argument, _ in pickletools.genops(file)]
    return [str(argument).replace(" ", ".") for name, argument in opcodes if name == "GLOBAL"]


def _is_state(value: Any) -> bool:
    """Whether a value is a state dict: it maps names to tensors, among other values perhaps."""
    return isinstance(value, Mapping) and any(isinstance(item, torch.Tensor) for item in value.values())


def _choose_key(content: Any, use_ema: bool, path: Path) -> str:
    """The key of the chosen weights; empty where the content is itself a state dict."""
    if not isinstance(content, Mapping):
        what = "a pickled model" if isinstance(content, StandIn) else f"a {type(content).__name__}"
        raise ModelError(f"{path} holds {what}, not a state dict: {WRITE}")
    raw, ema = (next((key for key in keys if _is_state(content.get(key))), "") for keys in (RAW_KEYS, EMA_KEYS))
    if use_ema and not (ema or NUM_AVERAGED in content):
        raise ModelError(f"{path} has no EMA weights ({', '.join(EMA_KEYS)}): leave out --use_ema")
    if ema and not raw and not use_ema:
        raise ModelError(f"{path} has EMA weights only ({ema}): add --use_ema")
    if not (raw or ema or _is_state(content)):
        keys = escape_name(", ".join(map(str, list(content)[:8])))
        raise ModelError(f"{path} holds no state dict under {', '.join(RAW_KEYS)}, but {keys or 'nothing'}: {WRITE}")
    return ema if use_ema else raw


def _strip_prefixes(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors without the prefixes that wrappers put before their names, and without what lies beside these."""
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in state.items():
        rest = str(name)
        while prefix := next((prefix for prefix in PREFIXES if rest.startswith(prefix)), ""):
            rest = rest.removeprefix(prefix)
        if isinstance(value, torch.Tensor):
            groups.setdefault(str(name).removesuffix(rest), {})[rest] = value
    return max(groups.items(), key=lambda group: (len(group[1]), group[0] != ""))[1]
