"""Tables and paragraphs for terminals of any width."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_errors import terminal
from imagenet_errors.terminal import Table, align, count_columns, explain, fill, fits, get_width

TABLE = Table(("model", "top-1", "MLA"), {"": [["a", "80.83", "9"], ["timm--resnet50", "7.1", "–"]]})


def test_width_is_that_of_the_variable_and_unlimited_in_a_pipe(monkeypatch):
    monkeypatch.setattr(terminal.shutil.os, "get_terminal_size", lambda _: os.terminal_size((0, 0)))
    for columns, expected in (("80", 80), ("160", 160), ("0", None), ("wide", None), ("", None)):
        monkeypatch.setenv("COLUMNS", columns)
        assert get_width() == expected
    monkeypatch.delenv("COLUMNS")
    assert get_width() is None
    monkeypatch.setattr(terminal.shutil.os, "get_terminal_size", lambda _: os.terminal_size((133, 50)))
    assert get_width() == 133


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (None, ["model           top-1  MLA", "a               80.83    9", "timm--resnet50    7.1    –"]),
        (26, ["model           top-1  MLA", "a               80.83    9", "timm--resnet50    7.1    –"]),
        (25, ["model          top-1 MLA", "a              80.83   9", "timm--resnet50   7.1   –"]),
        (20, ["model      top-1 MLA", "a          80.83   9", "timm--resnet50", "             7.1   –"]),
        (9, ["model          top-1 MLA", "a              80.83   9", "timm--resnet50   7.1   –"]),
    ],
)
def test_tables_fit_the_width_where_that_is_possible(width, lines):
    assert align(TABLE, width).splitlines() == lines


def test_titles_of_parts_stand_between_their_rows():
    assert align(Table(("a", "b"), {"first": [["x", "1"]], "second": [["y", "10"]]})).splitlines() == [
        "a   b",
        "",
        "first",
        "x   1",
        "",
        "second",
        "y  10",
    ]


def test_wide_characters_take_two_columns_and_accents_none():
    assert [count_columns(text) for text in ("模型", "ａ", "é", "e\u0301", "≤–", "")] == [4, 2, 1, 1, 2, 0]
    assert align(Table(("model", "n"), {"": [["模型模", "1"]]})).splitlines() == ["model   n", "模型模  1"]


names = st.text("a-模", min_size=1, max_size=40)


@given(st.lists(st.tuples(names, st.integers(0, 99999).map(str)), min_size=1), st.integers(20, 60))
def test_every_cell_stands_whole_in_its_row(rows, width):
    table = Table(("model", "errors"), {"": [list(row) for row in rows]})
    lines = align(table, width).splitlines()
    assert " ".join(lines).split() == ["model", "errors", *(cell for row in rows for cell in row)]
    room = width - len("errors") - 1
    assert all(count_columns(line) <= width for line in lines if line not in {name for name, _ in rows})
    assert len(lines) == 1 + len(rows) + (
        0 if fits(table, width) else sum(count_columns(row[0]) > room for row in rows)
    )


def test_paragraphs_are_broken_at_spaces_only():
    text = f"Explained: {explain(['OOV', 'top-1'], ['out of vocabulary', 'top-1'])} /a/very-long/path --top 3"
    assert fill(text, 20).splitlines() == ["Explained:", "OOV = out of vocabulary", "/a/very-long/path", "--top 3"]
    assert max(map(len, fill("word " * 100, None).splitlines())) == 119
    assert fill("word " * 100, 500) == fill("word " * 100, None)
