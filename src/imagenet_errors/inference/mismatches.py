"""Why a state dict does not fit a network, and which of timm's architectures it is likely of."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import timm
import torch

from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.errors import escape_name
from imagenet_errors.models.model_table import load_records
from imagenet_errors.paths import REPOSITORY, Artefacts

NUM_CANDIDATES = 12  # architectures that are built, without memory, to be compared
MIN_SIMILARITY = 0.5  # share of equal tensors among those of both
SHOWN = 3  # names, and architectures
BUFFERS = ("running_mean", "running_var")  # tensors that are no parameters

Shapes = dict[str, tuple[int, ...]]


def describe_mismatch(state: Mapping[str, torch.Tensor], architecture: str) -> str | None:
    """What does not fit, in one line; None where all names and shapes do.

    Args:
        state: {name: tensor}.
        architecture: A name that timm knows, with or without a tag.
    """
    ours, theirs = _shapes_of(state), _build_shapes(architecture)
    unexpected = [name for name in ours if name not in theirs]
    missing = [name for name in theirs if name not in ours]
    other = [name for name in ours if name in theirs and ours[name] != theirs[name]]
    classes = _count_classes(ours)
    if not unexpected and not missing and other and set(other) <= set(_find_classifier(ours)) and classes:
        return f"its classifier has {classes:,} classes, not ImageNet's {NUM_CLASSES}: fine-tune it on these"
    parts = [f"{word} {_some(names)}" for word, names in (("unexpected", unexpected), ("missing", missing)) if names]
    if other:
        parts.append(f"other shapes {_some(f'{name} {ours[name]} instead of {theirs[name]}' for name in other)}")
    if not parts:
        return None
    likely = find_likely_architectures(state)
    advice = f"it is likely of timm/{' or timm/'.join(likely)}" if likely else "no architecture of timm is like it"
    return f"it does not fit timm's {architecture}: {'; '.join(parts)}; {advice}"


def find_likely_architectures(state: Mapping[str, torch.Tensor]) -> list[str]:
    """Up to three architectures of timm whose tensors are most like these, best first.

    Of the architectures in our tables, those with the nearest numbers of parameters are built and compared, by names
    and shapes, or by shapes alone where more of these agree (other libraries have other names).
    """
    shapes = _shapes_of(state)
    counted = _count_parameters(state)
    counts = {
        record.builder.partition(".")[0]: record.num_params
        for record in load_records(Artefacts(REPOSITORY / "artefacts"))
        if record.source == "timm" and record.num_params
    }
    nearest = sorted(counts, key=lambda name: abs(counts[name] - counted))[:NUM_CANDIDATES]
    similarities = {name: _compare(shapes, _build_shapes(name)) for name in nearest}
    likely = [name for name in nearest if similarities[name] >= MIN_SIMILARITY]
    best = max(similarities.values())
    alike = [name for name in likely if similarities[name] >= (best if best == 1 else best - 0.05)]
    return sorted(alike, key=lambda name: -similarities[name])[:SHOWN]


def _build_shapes(architecture: str) -> Shapes:
    """The shapes of a network for 1000 classes, which takes no memory."""
    with torch.device("meta"):
        return _shapes_of(timm.create_model(architecture, num_classes=NUM_CLASSES).state_dict())


def _shapes_of(state: Mapping[str, torch.Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _find_classifier(shapes: Shapes) -> list[str]:
    """The names of the last linear layer's weight and bias; none where there is no such layer."""
    weights = [name for name, shape in shapes.items() if name.endswith("weight") and len(shape) == 2]
    return [name for weight in weights[-1:] for name in (weight, weight[: -len("weight")] + "bias") if name in shapes]


def _count_classes(shapes: Shapes) -> int | None:
    return next((shapes[name][0] for name in _find_classifier(shapes)), None)


def _count_parameters(state: Mapping[str, torch.Tensor]) -> int:
    """How many there would be with a classifier of 1000 classes."""
    shapes = _shapes_of(state)
    sizes = {
        name: math.prod(shapes[name])
        for name, tensor in state.items()
        if tensor.is_floating_point() and not name.endswith(BUFFERS)
    }
    classifier, classes = _find_classifier(shapes), _count_classes(shapes)
    return sum(sizes.values()) + sum(sizes[name] // classes * (NUM_CLASSES - classes) for name in classifier if classes)


def _compare(ours: Shapes, theirs: Shapes) -> float:
    """The share of tensors that both have, by name and shape or by shape alone, among those that either has."""
    shares = []
    for first, second in ((ours.items(), theirs.items()), (ours.values(), theirs.values())):
        left, right = Counter(first), Counter(second)
        shares.append((left & right).total() / max(1, (left | right).total()))
    return max(shares)


def _some(names: Iterable[str]) -> str:
    """The first of the names, and how many others there are."""
    names = list(map(escape_name, names))
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")
