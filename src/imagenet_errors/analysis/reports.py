"""Reports in every format: text, Markdown and LaTeX with rounded numbers, CSV and JSON with all digits."""

import csv
import io
import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from imagenet_errors.latex import escape
from imagenet_errors.terminal import WIDEST_PARAGRAPH, Table, align, get_width

SCHEMA_VERSION = 1  # of the JSON
NARROWEST = 80  # columns, where the output goes to a file or the terminal has fewer
UNKNOWN = "–"
BOUND_NOTE = f"≤: an upper bound, and {UNKNOWN} unknown, as not all outcomes of the open-world test are known."


@dataclass(frozen=True)
class Report:
    """What report.py says.

    Attributes:
        heading: Lines that stand above the tables.
        tables: Of rounded numbers.
        notes: Paragraphs that stand below.
        rows: What a CSV file has: a number with its names a row, None where unknown; at least one.
        content: What JSON has.
    """

    heading: tuple[str, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    rows: list[dict[str, Any]]
    content: dict[str, Any]

    def with_content(self, **more: Any) -> "Report":
        """This report with more entries in JSON."""
        return replace(self, content=self.content | more)


def format_number(value: float | None, digits: int = 1, sign: bool = False) -> str:
    """A rounded number; UNKNOWN for None."""
    return UNKNOWN if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def format_count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def format_bound(text: str, is_bound: bool) -> str:
    """A formatted number, marked where it is an upper bound."""
    return f"≤{text}" if is_bound and text != UNKNOWN else text


def format_interval(low: float | None, high: float | None, digits: int = 1, sign: bool = False) -> str:
    if low is None or high is None:
        return UNKNOWN
    return f"{format_number(low, digits, sign)}{' to ' if sign else UNKNOWN}{format_number(high, digits, sign)}"


def to_text(report: Report) -> str:
    """For a terminal: paragraphs and tables fit it."""
    width = max(get_width() or NARROWEST, NARROWEST)
    fill = partial(textwrap.fill, width=min(width, WIDEST_PARAGRAPH))
    blocks = ["\n".join(map(fill, report.heading))]
    blocks += [align(table, width) for table in report.tables]
    blocks.append("\n".join(fill(note, subsequent_indent="  ") for note in _bullets(report)))
    return "\n\n".join(blocks) + "\n"


def _bullets(report: Report) -> list[str]:
    return [f"- {note}" for note in report.notes]


def to_markdown(report: Report) -> str:
    blocks = ["  \n".join([f"**{report.heading[0]}**", *report.heading[1:]])]
    for table in report.tables:
        empty = [""] * (len(table.headings) - 1)
        rows = [[f"*{line}*", *empty] if isinstance(line, str) else line for line in table.lines]
        head = [f"| {' | '.join(table.headings)} |", f"| --- |{' ---: |' * len(empty)}"]
        blocks.append("\n".join([*head, *(f"| {' | '.join(_escape_markdown(row))} |" for row in rows)]))
    return "\n\n".join([*blocks, "\n".join(_bullets(report))]) + "\n"


def _escape_markdown(row: list[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in row]


def to_latex(report: Report) -> str:
    """The tables, each a `tabular`."""
    return "\n".join(map(_tabular, report.tables))


def _tabular(table: Table) -> str:
    num_columns = len(table.headings)
    lines = [f"\\begin{{tabular}}{{l{'r' * (num_columns - 1)}}}", _latex_row(table.headings) + r" \hline"]
    for line in table.lines:
        if isinstance(line, str):
            lines.append(f"\\multicolumn{{{num_columns}}}{{l}}{{{escape(line)}}} \\\\")
        else:
            lines.append(_latex_row(line))
    return "\n".join([*lines, r"\end{tabular}", ""])


def _latex_row(cells: tuple[str, ...] | list[str]) -> str:
    return " & ".join(escape(cell).replace("≤", r"$\le$").replace("≥", r"$\ge$") for cell in cells) + r" \\"


def to_csv(report: Report) -> str:
    """Empty cells are unknown."""
    text = io.StringIO()
    writer = csv.DictWriter(text, report.rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(report.rows)
    return text.getvalue()


def to_json(report: Report) -> str:
    """Null is unknown. The schema is in docs/file_formats.md."""
    content = {"schema_version": SCHEMA_VERSION, **report.content}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Report], str]] = {
    "text": to_text,
    "json": to_json,
    "csv": to_csv,
    "markdown": to_markdown,
    "latex": to_latex,
}
