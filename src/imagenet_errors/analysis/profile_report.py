"""A profile as a report."""

from dataclasses import asdict
from typing import Any

from imagenet_errors.analysis.profile import Profile, ShareLine, to_rows
from imagenet_errors.analysis.reference import Place, Reference
from imagenet_errors.analysis.reports import (
    BOUND_NOTE,
    UNKNOWN,
    Report,
    Table,
    format_bound,
    format_count,
    format_interval,
    format_number,
)
from imagenet_errors.paths import PUBLISHED_TABLES, REPOSITORY

HEADINGS = ("error type", "count", "share", "95 %", "expected", "95 %", "percentile")


def report_profile(profile: Profile) -> Report:
    """What is printed of a profile."""
    rows = to_rows(profile)
    return Report(
        heading=(f"{profile.model}: {profile.dataset}, {profile.extent}", _describe_images(profile)),
        tables=(_tabulate_accuracies(profile), Table(HEADINGS, _parts(profile))),
        notes=(*profile.sentences, *_notes(profile)),
        rows=[{"model": profile.model} | row for row in rows],
        content={
            "model": profile.model,
            "dataset": profile.dataset,
            "images": profile.extent,
            "num_counted": profile.num_counted,
            "accuracies": [asdict(one) for one in profile.accuracies],
            "labels": profile.labels and asdict(profile.labels),
            "reference": _describe_reference(profile.reference),
            "open_world": profile.coverage and profile.coverage._asdict(),
            "error_types": rows,
            "sentences": profile.sentences,
        },
    )


def _describe_reference(reference: Reference | None) -> dict[str, Any] | None:
    if reference is None:
        return None
    folder = reference.folder
    return {  # the same on every machine, where the folder comes with the repository
        "folder": folder.relative_to(REPOSITORY).as_posix() if folder.is_relative_to(REPOSITORY) else str(folder),
        "num_models": len(reference.models),
        "fingerprint": reference.fingerprint,
    }


def _describe_images(profile: Profile) -> str:
    if profile.labels is not None:
        return f"error types by the labels {profile.labels.describe()}"
    return f"error types of {profile.num_counted:,} images, which are annotated and unproblematic"


def _tabulate_accuracies(profile: Profile) -> Table:
    rows = [
        [
            one.title,
            format_number(one.value, 2),
            format_interval(one.low, one.high, 2),
            format_count(one.num_images),
        ]
        for one in profile.accuracies
    ]
    return Table(("accuracy", "percent", "95 %", "images"), {"": rows})


def _parts(profile: Profile) -> dict[str, list[list[str]]]:
    """The rows of each group and denominator."""
    parts: dict[str, list[list[str]]] = {}
    for line in profile.lines:
        images = "all images" if line.group == "all" else f"group {line.group}"
        parts.setdefault(f"{images}, percent of {line.total:,} {line.denominator}", []).append(_cells(line))
    return parts


def _cells(line: ShareLine) -> list[str]:
    """What is printed of a line, in the order of HEADINGS."""
    place = line.place
    return [
        line.title.replace("fine-grained out", "out"),
        _format_count(line),
        format_share(line),
        UNKNOWN if line.is_bound else format_interval(line.low, line.high),
        UNKNOWN if place is None else format_number(place.expected),
        UNKNOWN if place is None else format_interval(place.low, place.high),
        UNKNOWN if place is None else _format_percentile(line, place),
    ]


def _format_count(line: ShareLine) -> str:
    """The count, or between what it is."""
    if line.is_between:
        return f"{format_count(line.low_count)}–{format_count(line.high_count)}"
    return format_bound(format_count(line.count), line.is_bound)


def format_share(line: ShareLine) -> str:
    """The share, or between what it is."""
    if line.is_between and line.shares is not None:
        return format_interval(*line.shares)
    return format_bound(format_number(line.share), line.is_bound)


def _format_percentile(line: ShareLine, place: Place) -> str:
    bound = "" if not line.is_between or place.is_outermost else "≥" if place.deviation > 0 else "≤"
    return f"{bound}{place.percentile:.0f}{'*' if line.stands_out else ''}"


def _notes(profile: Profile) -> list[str]:
    """What to know of the numbers."""
    notes = [f"{one.title} is unknown: {one.unknown}." for one in profile.accuracies if one.unknown]
    reasons = {line.no_place for line in profile.lines if line.no_place}
    notes += [f"No place ({UNKNOWN}): {'; '.join(sorted(reasons))}."] if reasons else []
    if profile.reference is not None and any(line.place for line in profile.lines):
        number, folder = len(profile.reference.models), profile.reference.folder
        models = f"the paper's {number} models" if folder == PUBLISHED_TABLES else f"the {number} models in {folder}"
        notes.append(
            f"Expected: what models of this MLA have, after {models}. Percentile: among the"
            " models nearest in MLA; * stands out (p <= 0.05 after Holm's correction)."
        )
    if any(line.is_bound for line in profile.lines):
        notes.append(BOUND_NOTE)
    if profile.coverage:
        notes.append(f"Open-world test, from archived analyses: {profile.coverage.describe()}.")
    return notes
