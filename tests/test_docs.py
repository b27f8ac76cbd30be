"""README and docs name only files, scripts, flags, make targets and rooms that exist."""

import re
from functools import cache

import pytest

from imagenet_errors.error_types import ERROR_TYPES, NOTES
from tests.conftest import ROOT, run_script
from tests.test_house import LAYERS, PACKAGE, SCRIPTS

DOCUMENTS = sorted(path for pattern in ("*.md", "docs/*.md", "[!.]*/README.md") for path in ROOT.glob(pattern))
FLAG = re.compile(r"--[a-z][a-z_]+")


@cache
def find_flags(script: str) -> set[str]:
    """The flags that the `--help` of a script names."""
    return set(FLAG.findall(run_script(script, "--help").stdout))


def find_code(text: str) -> list[str]:
    """The lines of the indented blocks and of those that are marked sh."""
    fenced = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    indented = re.findall(r"^    (.*)$", text, re.MULTILINE)
    return [line for block in fenced for line in block.splitlines()] + indented


def find_commands(text: str) -> list[tuple[str, str]]:
    """(script, what follows it) of every line of a code block that runs a script; continued lines are joined."""
    lines = find_code(text.replace("\\\n", ""))
    return [found for line in lines for found in re.findall(r"python src/(\w+)\.py([^#]*)", line)]


def find_tables(text: str) -> list[tuple[str, str]]:
    """(script, rows) of every table of a script's flags."""
    return re.findall(r"^\| `(\w+)\.py` \| \|\n((?:\|.*\n)+)", text, re.MULTILINE)


def find_anchors(text: str) -> set[str]:
    """What a link names a heading by: in small letters, without punctuation, with hyphens for spaces."""
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.M)
    }


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_point_to_files_and_headings(path):
    links = [link for link in re.findall(r"\]\(([^)]+)\)", path.read_text()) if not link.startswith("http")]
    for file, _, heading in (link.partition("#") for link in links):
        target = path.parent / file if file else path
        assert target.exists(), file
        assert not heading or heading in find_anchors(target.read_text()), (file, heading)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_and_tables_name_existing_flags(path):
    text = path.read_text()
    named = [(script, set(FLAG.findall(part))) for script, part in (*find_commands(text), *find_tables(text))]
    assert {script for script, _ in named} <= {script.stem for script in SCRIPTS}
    assert not [(script, flags - find_flags(script)) for script, flags in named if flags - find_flags(script)]


def test_commands_list_every_flag():
    text = (ROOT / "docs" / "commands.md").read_text()
    shared, tables = set(FLAG.findall(text.split("\n|")[0])), dict(find_tables(text))
    assert not {
        flag for path in SCRIPTS for flag in find_flags(path.stem) - shared - set(FLAG.findall(tables[path.stem]))
    }


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    texts = [path.read_text() for path in DOCUMENTS]
    lines = [line for text in texts for line in find_code(text)]
    named = {name for line in lines for name in re.findall(r"^make ([a-z-]+)", line)}
    named |= {name for text in texts for name in re.findall(r"`make ([a-z-]+)", text)}
    assert {"analysis", "reproduce", "demo", "bench"} <= named
    assert named <= targets


def test_architecture_lists_every_room_and_script():
    text = (ROOT / "docs" / "architecture.md").read_text()
    rooms = [f"`{room}/`" if (PACKAGE / room).is_dir() else f"`{room}.py`" for room in LAYERS]
    assert not [name for name in (*rooms, *(f"`{path.name}`" for path in SCRIPTS)) if name not in text]


def test_page_of_error_types_has_every_name():
    text = (ROOT / "docs" / "error_types.md").read_text()
    rows = [[cell.strip(" `") for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("| ")]
    assert not [
        row
        for one in ERROR_TYPES
        for row in ([one.title, one.heading, one.flag, one.name, one.column], [one.name, one.archived])
        if row not in rows
    ]
    assert not [row for one in NOTES for row in ([one.name, one.title], [one.name, one.archived]) if row not in rows]
