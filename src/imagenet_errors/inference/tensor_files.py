"""Predictions in PyTorch's files: a tensor, or a dictionary of tensors and lists, as NumPy arrays."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from imagenet_errors.errors import InputError, describe_exception, escape_name
from imagenet_errors.files import refuse_unreadable

CONTENT = "save a tensor, or a dictionary of tensors and lists (torch.save), or npz (numpy.savez)"


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors and lists of a .pt or .pth file by name; a single tensor is ''.

    Half precision and bfloat16 become float32. Only tensors and plain values are unpickled (`weights_only`).

    Raises:
        ImportError: without torch.
        InputError: where the file is missing, damaged, or holds anything else.
        UnreadableFileError: where the operating system does not let us read it.
    """
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # about the protocol of the pickle
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: name a file of predictions") from None
    except pickle.UnpicklingError:  # its message advises to unpickle what others pickled
        raise InputError(
            f"{path} is damaged, or holds more than tensors, which is never unpickled: {CONTENT}"
        ) from None
    except Exception as error:  # torch, zipfile and pickle raise a dozen different types for damaged bytes
        refuse_unreadable(error, path)
        text = escape_name(describe_exception(error))
        raise InputError(f"{path} is not a readable file of PyTorch ({text}): write it again") from None
    named = content if isinstance(content, dict) else {"": content}
    return {str(name): _to_array(value, str(name), path) for name, value in named.items()}


def _to_array(value: Any, name: str, path: Path) -> np.ndarray:
    import torch

    try:
        if isinstance(value, list) and value and all(isinstance(item, torch.Tensor) for item in value):
            value = torch.stack(value)
        if isinstance(value, torch.Tensor):
            value = value.detach().float() if value.dtype in (torch.bfloat16, torch.float16) else value.detach()
            return value.numpy()
        return np.array(value)
    except (ValueError, TypeError, RuntimeError) as error:
        text = escape_name(describe_exception(error))
        raise InputError(f"{path}: {escape_name(name) or 'its value'} is not an array ({text}): {CONTENT}") from None
