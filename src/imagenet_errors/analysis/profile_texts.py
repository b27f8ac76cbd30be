"""Profiles as texts: for the terminal, as tables in CSV, Markdown and LaTeX, and as JSON."""

import csv
import io
import json
import textwrap
from collections.abc import Callable
from typing import Any

from imagenet_errors.analysis.profile import Profile, ShareLine, to_rows
from imagenet_errors.latex import escape

SCHEMA_VERSION = 1  # of the JSON
WIDTH = 80  # columns of a terminal
UNKNOWN = "–"
HEADINGS = ("error type", "count", "share", "95 %", "expected", "95 %", "percentile")


def format_percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.1f}"


def _cells(line: ShareLine) -> list[str]:
    """What is printed of a line, in the order of HEADINGS."""
    bound, place = "≤" if line.is_bound else "", line.place
    return [
        line.title.replace("fine-grained out", "out"),
        UNKNOWN if line.count is None else f"{bound}{line.count:,}",
        UNKNOWN if line.share is None else f"{bound}{format_percent(line.share)}",
        UNKNOWN if line.share is None or line.is_bound else f"{line.low:.1f} to {line.high:.1f}",
        UNKNOWN if place is None else format_percent(place.expected),
        UNKNOWN if place is None else f"{place.low:.1f} to {place.high:.1f}",
        UNKNOWN if place is None else f"{place.percentile:.0f}{'*' if line.stands_out else ''}",
    ]


def _parts(profile: Profile) -> list[tuple[str, list[ShareLine]]]:
    """Headings and lines of each group and denominator."""
    parts: dict[str, list[ShareLine]] = {}
    for line in profile.lines:
        images = "all images" if line.group == "all" else f"images of the group {line.group}"
        parts.setdefault(f"{images}: shares of {line.total:,} {line.denominator}", []).append(line)
    return list(parts.items())


def _accuracies(profile: Profile) -> str:
    top1, mla = (
        UNKNOWN if value is None else f"{value:.2f} %"
        for value in (profile.top1_accuracy, profile.multi_label_accuracy)
    )
    return f"top-1 {top1}, MLA {mla}; {profile.num_counted:,} images are annotated and unproblematic"


def to_text(profile: Profile) -> str:
    """For a terminal of 80 columns."""
    table = [list(HEADINGS), *(_cells(line) for line in profile.lines)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]

    def row(cells: list[str]) -> str:
        return " ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]).rstrip()

    lines = [f"{profile.model}: {profile.dataset}, {profile.extent}", _accuracies(profile), "", row(list(HEADINGS))]
    for heading, part in _parts(profile):
        lines += [heading, *(row(_cells(line)) for line in part)]
    for paragraph in (*profile.sentences, *_notes(profile)):
        lines += ["", *textwrap.wrap(paragraph, WIDTH)]
    return "\n".join(lines) + "\n"


def _notes(profile: Profile) -> list[str]:
    """What to know of the numbers."""
    reasons = {line.no_place for line in profile.lines if line.no_place}
    notes = [f"No place ({UNKNOWN}): {reason}." for reason in sorted(reasons)]
    if profile.reference is not None and any(line.place for line in profile.lines):
        folder, number = profile.reference
        notes.append(
            f"Expected: what models of this MLA have, after the {number} models in {folder}. Percentile: among the"
            " models nearest in MLA; * stands out (p <= 0.05 after Holm's correction)."
        )
    if any(line.is_bound for line in profile.lines):
        notes.append("≤: an upper bound, as the open-world test was skipped.")
    return notes


def to_markdown(profile: Profile) -> str:
    rows = [
        f"| {' | '.join(HEADINGS)} |",
        f"| --- |{' ---: |' * (len(HEADINGS) - 1)}",
        *(
            f"| {' | '.join(cells)} |"
            for heading, part in _parts(profile)
            for cells in ([f"*{heading}*"] + [""] * (len(HEADINGS) - 1), *map(_cells, part))
        ),
    ]
    return "\n".join(
        [f"**{profile.model}**: {profile.dataset}, {profile.extent}; {_accuracies(profile)}", "", *rows, ""]
    )


def to_latex(profile: Profile) -> str:
    lines = [f"\\begin{{tabular}}{{l{'r' * (len(HEADINGS) - 1)}}}", " & ".join(map(escape, HEADINGS)) + r" \\ \hline"]
    for heading, part in _parts(profile):
        lines.append(f"\\multicolumn{{{len(HEADINGS)}}}{{l}}{{{escape(heading)}}} \\\\")
        lines += [" & ".join(escape(cell).replace("≤", r"$\le$") for cell in _cells(line)) + r" \\" for line in part]
    return "\n".join([*lines, r"\end{tabular}", ""])


def to_csv(profile: Profile) -> str:
    """All digits; empty cells are unknown."""
    rows, text = to_rows(profile), io.StringIO()
    writer = csv.DictWriter(text, ["model", *rows[0]], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"model": profile.model} | row for row in rows)
    return text.getvalue()


def to_json(profile: Profile) -> str:
    """All digits; null is unknown. The schema is in docs/file_formats.md."""
    reference = profile.reference and dict(zip(("folder", "num_models"), profile.reference, strict=True))
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "model": profile.model,
        "dataset": profile.dataset,
        "images": profile.extent,
        "num_counted": profile.num_counted,
        "top1_accuracy": profile.top1_accuracy,
        "multi_label_accuracy": profile.multi_label_accuracy,
        "reference": reference,
        "error_types": to_rows(profile),
        "sentences": profile.sentences,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[Profile], str]] = {
    "text": to_text,
    "json": to_json,
    "csv": to_csv,
    "markdown": to_markdown,
    "latex": to_latex,
}
