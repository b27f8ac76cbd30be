"""Shares, kappas and their differences by loops, and random outcomes of two models."""

import numpy as np

from imagenet_errors.analysis.outcomes import OUTCOMES
from imagenet_errors.error_types import CODES, ERROR_CODES, ERROR_TYPES
from tests.helpers.plain_facts import plain_mla

OF_TOP1_ERRORS = ("class_overlap", "missing_multi_label")  # their share is one of top-1 errors
RIGHT_BY = {"top1": (CODES["correct"],), "multi_label": tuple(map(CODES.get, ("correct", *OF_TOP1_ERRORS)))}


def make_outcomes(n: int, seed: int, num_classes: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Classes [n], and outcomes of two models that often agree [2, n]."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, num_classes, n).astype(np.int16)
    first = generator.choice(8, n, p=[0.5, 0.06, 0.1, 0.12, 0.06, 0.06, 0.04, 0.06])
    second = np.where(generator.random(n) < 0.5, first, generator.choice(8, n, p=[0.6, 0.05, *[0.35 / 6] * 6]))
    return targets, np.stack([first, second]).astype(np.int8)


def plain_shares(targets, outcomes) -> list[float]:
    """SHARES of one model, by loops; not-a-number without errors."""
    targets, codes = np.asarray(targets).tolist(), [OUTCOMES[one] for one in outcomes]
    errors = sum(code != CODES["correct"] for code in codes)
    multi_label_errors = sum(code not in RIGHT_BY["multi_label"] for code in codes)
    shares = [
        100 * codes.count(CODES["correct"]) / len(codes),
        plain_mla([(target, code in RIGHT_BY["multi_label"]) for target, code in zip(targets, codes, strict=True)]),
    ]
    for code in ERROR_CODES:
        total = errors if ERROR_TYPES[code].name in OF_TOP1_ERRORS else multi_label_errors
        shares.append(100 * codes.count(code) / total if total else np.nan)
    return shares


def plain_differences(targets, first, second) -> np.ndarray:
    return np.subtract(plain_shares(targets, second), plain_shares(targets, first))


def plain_kappa(first: list[bool], second: list[bool]) -> float | None:
    """Cohen's kappa; None where chance alone makes all agree."""
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) * n
    chance = sum(first) * sum(second) + (n - sum(first)) * (n - sum(second))
    return None if chance == n * n else (observed - chance) / (n * n - chance)
