"""Tables and paragraphs as wide as the terminal."""

import shutil
import textwrap
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

WIDEST_PARAGRAPH = 120  # columns
NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        headings: [c] of the columns; the first column is aligned left, the others right.
        parts: {title of a part, or nothing: its rows, [c] each}.
    """

    headings: tuple[str, ...]
    parts: dict[str, list[list[str]]]

    @property
    def lines(self) -> list[str | list[str]]:
        """Titles of parts, where they have one, and rows."""
        return [line for title, rows in self.parts.items() for line in ([title] if title else []) + rows]


def get_width() -> int | None:
    """The columns of the terminal, or $COLUMNS where it is set; None where the output goes to a pipe or a file."""
    return shutil.get_terminal_size((0, 0)).columns or None


def fill(text: str, width: int | None) -> str:
    """A paragraph, at most 120 columns wide and broken at spaces; a no-break space becomes a space that is kept."""
    limit = min(width or WIDEST_PARAGRAPH, WIDEST_PARAGRAPH)
    filled = textwrap.fill(text, limit, break_long_words=False, break_on_hyphens=False)
    return filled.replace(NO_BREAK_SPACE, " ")


def fits(table: Table, width: int | None) -> bool:
    """Whether a table has room in `width` columns, with two spaces between its columns."""
    widths = _measure_columns(table)
    return width is None or sum(widths) + 2 * (len(widths) - 1) <= width


def align(table: Table, width: int | None = None) -> str:
    """The text of a table, within `width` columns where that is possible; an empty line before each part with a title.

    Two spaces separate the columns, or one where the table is too wide. Where it still is, names in the first column
    that are too long stand above the rest of their row.
    """
    first, *others = _measure_columns(table)
    gap = "  " if fits(table, width) else " "
    room = first if width is None else width - sum(others) - len(gap) * len(others)
    if room >= count_columns(table.headings[0]):
        first = min(first, room)
    lines = []
    for line in (list(table.headings), *table.lines):
        if isinstance(line, str):
            lines += ["", line]
            continue
        name, *cells = line
        if count_columns(name) > first:
            lines.append(name)
            name = ""
        lines.append(gap.join([_pad(name, -first), *map(_pad, cells, others)]).rstrip())
    return "\n".join(lines)


def explain(headings: Iterable[str], titles: Iterable[str]) -> str:
    """`OOV = out-of-vocabulary, fail = model failure`: what headings mean that are not the titles; for `fill`."""
    pairs = [f"{heading} = {title}" for heading, title in zip(headings, titles, strict=True) if heading != title]
    return ", ".join(pair.replace(" ", NO_BREAK_SPACE) for pair in pairs)


def count_columns(text: str) -> int:
    """How many columns of the terminal a text takes: Chinese and Japanese characters take two, accents none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def _measure_columns(table: Table) -> list[int]:
    rows = [table.headings, *(row for rows in table.parts.values() for row in rows)]
    return [max(map(count_columns, column)) for column in zip(*rows, strict=True)]


def _pad(text: str, width: int) -> str:
    """The text aligned right, or left where `width` is negative."""
    spaces = " " * (abs(width) - count_columns(text))
    return spaces + text if width > 0 else text + spaces
