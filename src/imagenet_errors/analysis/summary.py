"""The printed table of models and error types."""

import numpy as np

from imagenet_errors.error_types import AFTER_OPEN_WORLD, CODES, ERROR_CODES, ERROR_TYPES


def summary(rows: list[dict], profiles: list[np.ndarray], skipped: list[bool]) -> list[str]:
    """The printed table: model, top-1, MLA, and count and share of every error type.

    Args:
        rows: Stats rows of the group `all`, one per model.
        profiles: [len(KINDS)] counts of each, from `counts`.
        skipped: Whether the open-world test was skipped for it; what could still change reads `≤`.
    """
    header = [
        "model",
        "top-1",
        "MLA",
        *(ERROR_TYPES[code].title.replace("fine-grained out", "out") for code in ERROR_CODES),
    ]
    body = [
        [row["model_dir_id"], _percent(row["top1_val_acc"]), _percent(row["mla_all"])]
        + [_cell(profile, code, is_skipped) for code in ERROR_CODES]
        for row, profile, is_skipped in zip(rows, profiles, skipped, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    lines = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in [header, *body]]
    return [lines[0], "─" * len(lines[0]), *lines[1:]]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _cell(profile: np.ndarray, code: int, skipped: bool) -> str:
    if skipped and code == CODES["out_of_vocabulary"]:
        return "skipped"
    share = 100 * profile[code] / max(1, profile[list(ERROR_CODES)].sum())
    return f"{'≤' if skipped and code in AFTER_OPEN_WORLD else ''}{profile[code]} ({share:.1f}%)"
