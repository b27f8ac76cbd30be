"""Progress: a bar in a terminal, lines elsewhere."""

import os
import pty
import subprocess
import sys
import termios
from types import SimpleNamespace

import pytest

from imagenet_errors import cli, progress
from tests.conftest import ROOT

RUN = """
from imagenet_errors import cli
from imagenet_errors.progress import open_progress, print_line, show_progress
cli.start_log()
with open_progress("models", 2) as advance:
    for model in "ab":
        list(show_progress(range(5), model))
        print_line(f"{model}: done")
        cli.log.info(f"{model}: told")
        advance(1)
list(show_progress(["one"], "single"))
list(show_progress(iter("xyz"), "uncounted"))
"""


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves, and a log on standard error."""
    cli.start_log()
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(progress, "time", clock)
    return clock


def run_in_terminal(code: str) -> str:
    """What a terminal gets from a program that writes both streams to it."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, 80))
    run = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs, cwd=ROOT / "src")
    os.close(theirs)
    found = b""
    try:
        while part := os.read(ours, 1 << 16):
            found += part
    except OSError:  # Linux's way of telling the end
        pass
    os.close(ours)
    assert run.wait() == 0
    return found.decode()


def test_terminal_shows_bars_with_totals_and_whole_lines_above_them():
    found = run_in_terminal(RUN)
    for bar in ("models:   0%", "0/2", "a:   0%", "0/5", "2/2", "uncounted: 3it"):
        assert bar in found
    assert "single" not in found
    lines = [line.rpartition("\r")[2] for line in found.replace("\r\n", "\n").split("\n")]
    assert [line for line in lines if "done" in line or "told" in line] == ["a: done", "a: told", "b: done", "b: told"]


def test_short_work_is_silent_where_there_is_no_terminal():
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, cwd=ROOT / "src", check=True)
    assert (done.stdout, done.stderr) == ("a: done\nb: done\n", "a: told\nb: told\n")


def test_long_work_is_a_line_a_minute_where_there_is_no_terminal(clock, capsys):
    for _ in progress.show_progress(range(962), "models"):
        clock.now += 20
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        "models: 3 of 962 in 01:00, about 5:19:40 left",
        "models: 6 of 962 in 02:00, about 5:18:40 left",
    ]
    assert lines[-1] == "models: 960 of 962 in 5:20:00, about 00:40 left"
    assert len(lines) == 320


def test_bytes_and_unknown_totals_are_told_in_lines(clock, capsys):
    with progress.open_progress("archive", 4 << 30, 1 << 30, in_bytes=True) as advance:
        clock.now += 90
        advance(1 << 30)
    for _ in progress.show_progress(iter("ab"), "pages"):
        clock.now += 61
    assert capsys.readouterr().err.splitlines() == [
        "archive: 2.00GB of 4.00GB in 01:30, about 03:00 left",
        "pages: 1 in 01:01",
        "pages: 2 in 02:02",
    ]
