"""Processes that tests start, watch and end.

Test modules get the fixture through `pytest_plugins`. PYTEST_DONT_REWRITE: they import it as well.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from imagenet_errors import signals
from tests.conftest import ROOT


def wait_for(condition: Callable[[], object], seconds: float = 300) -> None:
    """Wait until the condition holds; `seconds` is only a bound, so that a test that fails ends."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happens"
        time.sleep(0.01)


def processes_of(group: int) -> list[str]:
    """The processes of a group; zombies aside."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if its_group == str(group) and state != "Z":
                found.append(path.parent.name)
    return found


@contextmanager
def children_watched() -> Iterator[list[int]]:
    """Meanwhile lists the resident bytes of all processes below this one, every 0.2 s (shared pages once: PSS)."""
    stop, found = threading.Event(), []

    def watch():
        while not stop.wait(0.2):
            found.append(sum(map(resident, below(os.getpid()))))

    thread = threading.Thread(target=watch)
    thread.start()
    yield found
    stop.set()
    thread.join()


def below(process: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            found += [child for one in path.read_text().split() for child in (int(one), *below(int(one)))]
    return found


def resident(process: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return 0


class Runs:
    """Processes of a test, each the leader of a group."""

    def __init__(self):
        self.running = []

    def start(self, *command, prefix: tuple[str, ...] = (), **environment) -> subprocess.Popen:
        """`prefix python command`, where signals do what they do in a terminal, even if this test runs under nohup."""
        paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
        run = subprocess.Popen(
            [*prefix, sys.executable, *map(str, command)],
            env=os.environ | paths | environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in signals.SIGNALS],
        )
        self.running.append(run)
        return run

    def stop(self) -> None:
        for run in self.running:
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
            run.communicate()


@pytest.fixture
def runs():
    """Starts processes that end with the test."""
    started = Runs()
    yield started
    started.stop()
