"""Readers of generated files: they read something valid, or tell in one line what is wrong."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imagenet_errors.errors import InputError
from imagenet_errors.files import read_json, read_json_objects
from imagenet_errors.paths import Artefacts
from tests.conftest import ROOT
from tests.faults.test_damage import named
from tests.helpers.kinds_of_files import KINDS

pytest_plugins = "tests.helpers.one_of_each"
NUMBERS_OF_EXAMPLES = [15, pytest.param(200, marks=pytest.mark.heavy)]  # per reader
SECONDS = 15  # of coverage-guided fuzzing per reader
JSON = [
    *("metadata", "contents of the archive", "annotations", "annotations of the sample", "mistakes", "superclasses"),
    *("classes", "descriptions"),
]
TABLES = [
    *("failures", "list of weights", "list of downloads", "table of downloads", "hierarchy", "co-occurrences"),
    *("architectures", "models", "models beyond", "words of weights", "figures", "tables"),
]
HARNESSES = ("pickles", "archives", "annotations", "tables", "arrays", "parquet")
NUMBERS = st.integers() | st.floats() | st.sampled_from([2**63, -1, 10**400, 1e308, 0.5])
WORDS = st.sampled_from(
    ["n01440764", "correct", "wrong", "unclear", "models", "schema_version", "initial_annots", "\0"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(), inner, max_size=4),
    max_leaves=12,
)
CELLS = st.text(max_size=12) | NUMBERS.map(lambda number: f"{number:.20g}" if isinstance(number, float) else "9" * 30)
ODD_CELLS = ('"', "a\nb", "a\rb", "\0", "nan", "inf", "-1", "1e400", "١", "1_0", "", "[", "x" * 140_000, "\ufeff")
CELLS |= st.sampled_from(ODD_CELLS)
ODD_TEXTS = st.binary(max_size=60) | st.text('{}[]",:0e-. \n\u2028', max_size=40).map(str.encode)


@pytest.fixture(scope="module")
def world(one_of_each, tmp_path_factory) -> Path:
    """A copy in which readers find one spoilt file after the other."""
    folder = tmp_path_factory.mktemp("fuzzed") / "world"
    shutil.copytree(one_of_each, folder, copy_function=os.link)
    return folder


@pytest.fixture
def spoil(world):
    """`spoil(name, content)`: have the reader of this kind of file read that; whether it was read."""
    whole = {}

    def read(name: str, content: bytes) -> bool:
        kind = KINDS[name]
        path = (world / "artefacts" / kind.path).resolve()
        if path not in whole:
            whole[path] = path.read_bytes()
            path.unlink()
        path.write_bytes(content)
        try:
            kind.read(Artefacts(world / "artefacts"), path)
        except InputError as error:
            message = str(error)
        else:
            return True
        assert str(named(path)) in message
        return False

    yield read
    for path, content in whole.items():
        path.write_bytes(content)


def encoded(value) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def replaced(data, value):
    """A valid value with one thing in it replaced by anything, or gone."""
    if not isinstance(value, dict | list) or not value or data.draw(st.integers(0, 5)) == 0:
        return data.draw(VALUES)
    key = data.draw(st.sampled_from(sorted(value)[:8] if isinstance(value, dict) else range(min(8, len(value)))))
    changed = value.copy()
    changed[key] = replaced(data, value[key])
    return changed


class TestJson:
    @pytest.mark.parametrize("number", NUMBERS_OF_EXAMPLES)
    @pytest.mark.parametrize("name", JSON)
    def test_any_value_is_read_or_refused(self, world, spoil, name, number):
        valid = json.loads((world / "artefacts" / KINDS[name].path).read_bytes())

        @settings(max_examples=number)
        @given(st.data())
        def read(data):
            spoil(name, encoded(replaced(data, valid)))

        @settings(max_examples=number)
        @given(VALUES.map(encoded) | ODD_TEXTS)
        @example(b"[" * 100_000)
        @example(b'{"a": ' * 100_000)
        @example(b"9" * 5000)
        @example(b"\xef\xbb\xbf{}")
        @example(b'"\\ud800"')
        @example(b"{}\n{}")
        @example(b'{"\\ud800": 1}')
        def read_anything(content):
            spoil(name, content)

        read()
        read_anything()

    @given(VALUES)
    def test_json_is_read_as_python_reads_it(self, tmp_path_factory, value):
        path = tmp_path_factory.getbasetemp() / "value.json"
        path.write_bytes(encoded(value))
        try:
            read = read_json(path)
        except InputError as error:
            read = error
        if isinstance(read, InputError):
            assert re.search("NaN|Infinity|UTF-8|digits", str(read))
        else:
            assert repr(read) == repr(json.loads(path.read_bytes()))

    @given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.lists(st.lists(WORDS))))
    def test_one_object_per_line_is_read_as_one_object(self, tmp_path_factory, value):
        path = tmp_path_factory.getbasetemp() / "value.json"
        path.write_bytes(b"\n".join(json.dumps({key: lists}).encode() for key, lists in value.items()) or b"{}")
        assert read_json_objects(path) == value


def table(rows: list[list[str]], delimiter: str) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode("utf-8", "surrogatepass")


class TestTables:
    @pytest.mark.parametrize("number", NUMBERS_OF_EXAMPLES)
    @pytest.mark.parametrize("name", TABLES)
    def test_any_cell_is_read_or_refused(self, world, spoil, name, number):
        path = (world / "artefacts" / KINDS[name].path).resolve()
        delimiter = "\t" if path.suffix == ".tsv" else ","
        with open(path, newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file, delimiter=delimiter)

        @settings(max_examples=number)
        @given(st.data())
        def read(data):
            changed = [row.copy() for row in rows[:3]]
            for _ in range(data.draw(st.integers(1, 3))):
                row = data.draw(st.sampled_from(changed))
                row[data.draw(st.integers(0, len(row) - 1))] = data.draw(CELLS)
            spoil(name, table([header, *changed, *rows[3:]], delimiter))

        @settings(max_examples=number)
        @given(st.binary(max_size=60) | st.text('a,"\n\r\t\0', max_size=40).map(str.encode))
        @example(b"")
        @example(b"\n")
        @example(b'"')
        @example(b"\xef\xbb\xbf")
        @example(b"\0")
        def read_anything(content):
            spoil(name, content)
            spoil(name, delimiter.join(header).encode() + b"\n" + content)

        read()
        read_anything()


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory) -> Path:
    """The Python of an environment of its own, with atheris."""
    folder = tmp_path_factory.mktemp("fuzzer") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", ROOT / "requirements-fuzz.txt"], check=True)
    return python


@pytest.mark.heavy
@pytest.mark.parametrize("name", HARNESSES)
def test_fuzzer_finds_no_traceback(fuzzer, one_of_each, tmp_path, name):
    """Coverage-guided, from valid files: tests/helpers/fuzz.py."""
    command = [fuzzer, ROOT / "tests" / "helpers" / "fuzz.py", name, one_of_each / "artefacts", tmp_path, str(SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": "src:."})
    assert done.returncode == 0, done.stderr[-3000:]
    executions = int(re.search(r"Done (\d+) runs", done.stderr)[1])
    print(f"{name}: {executions:,} executions")
    assert executions > 50
