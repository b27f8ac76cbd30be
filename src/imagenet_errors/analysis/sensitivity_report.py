"""The sensitivity of a model's shares as a report."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from imagenet_errors.analysis.open_world import NUM_GATE_NEIGHBOURS
from imagenet_errors.analysis.profile import share_to_row
from imagenet_errors.analysis.profile_report import format_share
from imagenet_errors.analysis.reports import (
    BOUND_NOTE,
    Report,
    Table,
    format_number,
)
from imagenet_errors.analysis.sensitivity import Sensitivity, Variation
from imagenet_errors.dataset.label_sets import STANDARD

TITLES = {"labels": "by labels", "neighbours": "by neighbours"}  # of what is varied
CHOICES = {"labels": "By the labels {}", "neighbours": "With {} neighbours of the gate"}
MOVED = {
    "labels": f"points above the share by the labels {STANDARD} on the same images, those that are not left out",
    "neighbours": f"points above the share with {NUM_GATE_NEIGHBOURS} neighbours of the open-world test's gate",
}


def report_sensitivity(sensitivity: Sensitivity) -> Report:
    """What is printed of a sensitivity."""
    by_choice = {varied: [one for one in sensitivity.variations if one.varied == varied] for varied in TITLES}
    rows = [row for one in sensitivity.variations for row in _to_rows(one)]
    return Report(
        heading=(
            f"{sensitivity.model}: {sensitivity.dataset}, {sensitivity.extent}",
            *(labels.describe() for labels in sensitivity.labels),
        ),
        tables=tuple(_tabulate(TITLES[varied], of) for varied, of in by_choice.items() if of),
        notes=_notes(by_choice),
        rows=[{"model": sensitivity.model} | row for row in rows],
        content={
            "model": sensitivity.model,
            "dataset": sensitivity.dataset,
            "images": sensitivity.extent,
            "label_sets": [asdict(labels) for labels in sensitivity.labels],
            "neighbours": [int(one.choice) for one in by_choice["neighbours"]],
            "shares": rows,
        },
    )


def _tabulate(title: str, variations: Sequence[Variation]) -> Table:
    headings, parts = [title], dict[str, list[list[str]]]()
    for one in variations:
        headings += [one.choice] if one.is_standard else [one.choice, "moved"]
    for number, line in enumerate(variations[0].lines):
        cells = [line.title.replace("fine-grained out", "out")]
        for one in variations:
            cells.append(format_share(one.lines[number]))
            cells += [] if one.is_standard else [format_number(one.moves[number], sign=True)]
        images = "all images" if line.group == "all" else f"group {line.group}"
        parts.setdefault(f"{images}, percent of {line.denominator}", []).append(cells)
    return Table(tuple(headings), parts)


def _to_rows(variation: Variation) -> list[dict[str, Any]]:
    """One choice as rows of a table; what is unknown is None."""
    return [
        {"varied": variation.varied, "choice": variation.choice, **share_to_row(line), "moved": moved}
        for line, moved in zip(variation.lines, variation.moves, strict=True)
    ]


def _notes(by_choice: dict[str, list[Variation]]) -> tuple[str, ...]:
    """What to know of the numbers."""
    others = [one for of in by_choice.values() for one in of if not one.is_standard]
    notes = [note for one in others if (note := _describe_largest(one))]
    notes += [f"moved: {MOVED[varied]}." for varied, of in by_choice.items() if of]
    if not by_choice["neighbours"]:
        notes.append("The neighbours of the open-world test's gate are not varied, as the test was skipped.")
    if any(line.is_bound for one in others for line in one.lines):
        notes.append(BOUND_NOTE)
    return tuple(notes)


def _describe_largest(variation: Variation) -> str:
    """One sentence on the share on all images that moves most; nothing where no move is known."""
    known = [
        (abs(moved), moved, line.title)
        for line, moved in zip(variation.lines, variation.moves, strict=True)
        if moved is not None and line.group == "all"
    ]
    if not known:
        return ""
    _, moved, title = max(known)
    return (
        f"{CHOICES[variation.varied].format(variation.choice)}, {title} moves most on all images: {moved:+.1f} points."
    )
