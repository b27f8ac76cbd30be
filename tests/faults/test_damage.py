"""Every kind of file, cut short or with a byte changed: noticed, made again, or without any effect on the results.

A format without checksums (`checked=False`) cannot tell another valid content from the right one: a changed digit of a
JSON file is read. Then `--verify` says what it can (test_verify.py).
"""

import dataclasses
import io
import json
import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_errors.errors import InputError
from imagenet_errors.paths import Artefacts
from imagenet_errors.plots import error_bars
from tests.conftest import Outcome
from tests.helpers import one_of_each as made
from tests.helpers.kinds_of_files import (
    COLLECT,
    CONVERT,
    KINDS,
    LIST,
    LOGITS,
    MODULES,
    OUTSIDE_THE_TABLES,
    PLAN,
    TRENDS,
    Kind,
)

pytest_plugins = "tests.helpers.one_of_each"
BYTES = 40  # positions at which a byte is changed, per kind of file, for the readers
MORE_BYTES = 200  # the same in the heavy checks
SCRIPT_BYTES = 8  # ... and for the scripts
SAME, AGAIN, REFUSED, OTHER = "without effect", "made again", "refused", "other content"


def flags(command: tuple, folder: Path) -> tuple:
    """What the command needs beside its artefacts folder."""
    own = (f"{folder / 'own.py'}:build", "--workers", 0, "--limit", 3, "--device", "cpu")
    more = {
        COLLECT: ("--model", *own),
        LOGITS: ("--logits", folder / "artefacts" / "imagenet" / "vit3b.npz"),
        TRENDS: ("--stats_dir", folder / "results", "--results_dir", folder / "out"),
        CONVERT: ("--jobs", 1),
        LIST: (),
        MODULES: (),
        PLAN: (),
        OUTSIDE_THE_TABLES: (),
    }
    return more.get(command, ("--results_dir", folder / "out"))


TIMES = {"preds_comp_time", "mtime_ns", "fingerprint"}  # archive.json has one of all of it, its time included


def plain(name: str, content: bytes):
    """What of a file is the same in every run: times aside."""
    if name.endswith("checked_images.npz"):  # hashes of paths and times
        return None
    if name.endswith(
        "open_world_outcomes.parquet"
    ):  # its metadata have a hash of the archive's bytes, which may differ
        with suppress(pa.ArrowException):  # damaged
            return pq.read_table(io.BytesIO(content)).to_pydict()
    if not name.endswith(("metadata.json", "archive.json")):
        return content
    try:
        return {key: value for key, value in json.loads(content).items() if key not in TIMES}
    except (ValueError, AttributeError):  # damaged
        return content


@dataclasses.dataclass
class World:
    """A copy of a folder that holds one of each.

    Its files are links to the original's: a writer that does not replace them whole changes these as well.
    """

    original: Path
    folder: Path
    call: Callable
    known: ClassVar[dict] = {}

    @property
    def artefacts(self) -> Artefacts:
        return Artefacts(self.folder / "artefacts")

    def path(self, kind: Kind) -> Path:
        return (self.artefacts.root / kind.path).resolve()

    def run(self, kind: Kind, damaged: bytes | None = None) -> tuple[Outcome, dict]:
        """Run the script that reads it; returns its outcome, and all files there are then."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.original, self.folder, copy_function=os.link)
        for name in kind.without:
            (self.artefacts.root / name).unlink()
        if damaged is not None:
            self.path(kind).unlink()
            self.path(kind).write_bytes(damaged)
        done = self.call(*kind.command, "--artefacts_dir", self.artefacts.root, *flags(kind.command, self.folder))
        return done._replace(stdout=done.stdout.replace(str(self.folder), "")), made.files_of(self.folder)

    def sound(self, kind: Kind) -> tuple[Outcome, dict]:
        """`run` of the undamaged file."""
        key = kind.command, kind.without
        if key not in self.known:
            self.known[key] = self.run(kind)
            assert self.known[key][0].status == 0, self.known[key][0]
        return self.known[key]

    def suffers(self, kind: Kind, damaged: bytes, sound: tuple[Outcome, dict]) -> str:
        """Damage a file and run the script that reads it; returns what came of it, once that is found to be in order.

        Args:
            kind: Of the file.
            damaged: What it holds.
            sound: `run` of the undamaged one.
        """
        (before, whole), (done, now) = sound, self.run(kind, damaged)
        name = self.path(kind).relative_to(self.folder.resolve()).as_posix()
        assert "Traceback" not in done.stderr, done.stderr
        assert not [one for one in now if one.endswith(".tmp")]
        if done.status:
            self._check_refusal(kind, done, damaged, now, whole)
            return REFUSED
        rest = [one for one in whole if one != name]
        if now.keys() != whole.keys() or any(plain(one, now[one]) != plain(one, whole[one]) for one in rest):
            return OTHER
        if now[name] == damaged:
            return SAME if done.stdout == before.stdout else OTHER
        if not kind.checked and plain(name, now[name]) != plain(name, whole[name]):
            return OTHER
        assert plain(name, now[name]) == plain(name, whole[name])
        assert re.search("again(, for| because) ", done.stderr), done.stderr
        return AGAIN

    def _check_refusal(self, kind: Kind, done: Outcome, damaged: bytes, now: dict, whole: dict) -> None:
        """One line names the file, nothing else is lost or changed, and the file stays for its owner to look at."""
        line = done.stderr.splitlines()[-1]
        assert (done.status == 2 and ": error: " in line) or done.status == 1, done
        if kind.checked:  # or it may hold something valid, which does not fit another file
            assert str(named(self.path(kind))) in done.stderr, done.stderr
        assert str(self.folder) in line or self.path(kind).name in line
        assert self.path(kind).read_bytes() == damaged
        for one in whole.keys() & now.keys():
            made_again = not kind.checked and one.endswith("errors_analysis.parquet")  # from what is valid
            if not made_again and not one.startswith(
                ("out/", self.path(kind).relative_to(self.folder.resolve()).as_posix())
            ):
                assert plain(one, now[one]) == plain(one, whole[one])


@pytest.fixture
def world(one_of_each, tmp_path, call, monkeypatch) -> World:
    monkeypatch.setattr(error_bars, "draw", lambda *_: None)
    return World(one_of_each, tmp_path / "world", call)


def content(one_of_each: Path, kind: Kind) -> bytes:
    return (one_of_each / "artefacts" / kind.path).read_bytes()


def changed(whole: bytes, seed: str, count: int) -> list[bytes]:
    """`whole` with one byte changed, so often: at its beginning, at its end, and anywhere."""
    rng = random.Random(seed)
    ends = [*range(8), *range(len(whole) - 8, len(whole))][:: max(1, 32 // count)]
    positions = [*ends, *rng.choices(range(len(whole)), k=count - len(ends))]
    return [
        whole[:position] + bytes([whole[position] ^ rng.randrange(1, 256)]) + whole[position + 1 :]
        for position in positions
    ]


def named(path: Path) -> Path:
    """What a message about a file names: of two tables that do not fit, which is the wrong one is not known."""
    return path.parent if path.parent.name.startswith("stats-") else path


def canonical(value):
    """Something that compares."""
    match value:
        case np.ndarray():
            return value.dtype.str, value.shape, value.tobytes()
        case dict():
            return [(key, canonical(each)) for key, each in value.items()]
        case list() | tuple():
            return [canonical(each) for each in value]
        case pd.DataFrame():
            return value.to_csv()
    return canonical(vars(value)) if dataclasses.is_dataclass(value) else value


def cut(whole: bytes) -> list[bytes]:
    return [whole[: quarter * len(whole) // 4] for quarter in range(4)]


def may_be_whole(kind: Kind, damaged: bytes) -> bool:
    """Whether nothing in the file can tell: a table or a list that ends with a row."""
    return not kind.checked and damaged.endswith(b"\n") and kind.path.endswith((".csv", ".tsv", ".txt"))


def check_scripts(world: World, kind: Kind, contents: list[bytes], allowed: Callable[[bytes], bool]) -> Counter:
    sound = world.sound(kind)
    found = Counter()
    for damaged in contents:
        came = world.suffers(kind, damaged, sound)
        assert came != OTHER or allowed(damaged), damaged[-100:]
        found[came] += 1
    return found


def check_readers(one_of_each: Path, folder: Path, kind: Kind, contents: list[bytes], allowed) -> Counter:
    """As `check_scripts`, of what reads the file alone."""
    shutil.copytree(one_of_each, folder, copy_function=os.link)
    artefacts = Artefacts(folder / "artefacts")
    path = (artefacts.root / kind.path).resolve()
    right, found = canonical(kind.read(artefacts, path)), Counter()
    path.unlink()
    for damaged in contents:
        path.write_bytes(damaged)
        try:
            came, message = SAME if canonical(kind.read(artefacts, path)) == right else OTHER, ""
        except InputError as error:
            came, message = REFUSED, str(error)
        assert came != REFUSED or str(named(path)) in message
        assert came != OTHER or allowed(damaged), damaged[-100:]
        assert path.read_bytes() == damaged
        found[came] += 1
    return found


READ_BY_SCRIPTS = [name for name, kind in KINDS.items() if kind.command]


class TestTruncation:
    @pytest.mark.parametrize("name", KINDS)
    def test_truncated_file_is_noticed(self, one_of_each, tmp_path, name):
        kind = KINDS[name]
        whole = content(one_of_each, kind)
        shorter = [*cut(whole), whole[:-2]]  # without the last character of the last cell
        check_readers(one_of_each, tmp_path / "world", kind, shorter, partial(may_be_whole, kind))

    @pytest.mark.heavy
    @pytest.mark.parametrize("name", READ_BY_SCRIPTS)
    def test_truncated_file_makes_no_other_results(self, world, one_of_each, name):
        kind = KINDS[name]
        check_scripts(world, kind, cut(content(one_of_each, kind)), partial(may_be_whole, kind))


class TestChangedByte:
    """Where there are checksums, other content is never read; elsewhere, what is read is valid or refused."""

    @pytest.mark.parametrize("count", [BYTES, pytest.param(MORE_BYTES, marks=pytest.mark.heavy)])
    @pytest.mark.parametrize("name", KINDS)
    def test_changed_byte_is_noticed_by_checksums(self, one_of_each, tmp_path, name, count):
        kind = KINDS[name]
        contents = changed(content(one_of_each, kind), f"{count} {name}", count)
        check_readers(one_of_each, tmp_path / "world", kind, contents, lambda _: not kind.checked)

    @pytest.mark.heavy
    @pytest.mark.parametrize("name", READ_BY_SCRIPTS)
    def test_changed_byte_makes_no_other_results(self, world, one_of_each, name):
        kind = KINDS[name]
        contents = changed(content(one_of_each, kind), name, SCRIPT_BYTES)
        check_scripts(world, kind, contents, lambda _: not kind.checked)
