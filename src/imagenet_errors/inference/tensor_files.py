"""Predictions in PyTorch's files: a tensor, or a dictionary of tensors and lists, as NumPy arrays."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from imagenet_errors.errors import InputError, describe_exception, escape_name
from imagenet_errors.files import refuse_unreadable
from imagenet_errors.formats import prediction_arrays

CONTENT = (
    "save a tensor of class ids or scores, or a dictionary of tensors and lists (torch.save), or npz (numpy.savez)"
)


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
            f"{path} is damaged, or holds other objects than tensors, which are never loaded: {CONTENT}"
        ) from None
    except Exception as error:  # torch, zipfile and pickle raise a dozen different types for damaged bytes
        refuse_unreadable(error, path)
        raise InputError(f"{path} is damaged, or not a file that torch.save wrote: {CONTENT}") from None
    named = content if isinstance(content, dict) else {"": content}
    for value in named.values():
        if isinstance(value, dict):  # e.g. a state dict beside the number of epochs
            prediction_arrays.refuse_weights(value, path)
    arrays = {str(name): _to_array(value, str(name), path) for name, value in named.items()}
    if not any(array.ndim for array in arrays.values()):
        raise InputError(f"{path} holds no tensor with a row for each image: {CONTENT}")
    return arrays


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
        label = escape_name(name) or "its content"
        raise InputError(f"{path}: {label} cannot be read as numbers or texts ({text}): {CONTENT}") from None
