"""Locks: one holder at a time, gone with a killed one, and nothing written where nothing is locked."""

import signal
import socket
import subprocess
import sys

import pytest

from imagenet_errors import locks
from tests.conftest import ROOT

NAME = "imagenet/me--mine"
HOLD = """
import os, sys, time
from pathlib import Path
from imagenet_errors import locks
with locks.locked(Path(sys.argv[1]), sys.argv[2]):
    if sys.argv[3] == "fork" and os.fork() == 0:
        time.sleep(20)
    print("held", flush=True)
    time.sleep(float(sys.argv[4]))
"""


@pytest.fixture
def hold(tmp_path):
    """Have another process hold a lock: `hold(how, seconds)`."""
    running = []

    def start(how="", seconds=60.0, name=NAME):
        command = [sys.executable, "-c", HOLD, str(tmp_path), name, how, str(seconds)]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT / "src"))
        assert running[-1].stdout.readline() == "held\n"
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def is_free(folder, name=NAME) -> bool:
    with locks.if_free(folder, name) as mine:
        return mine


def test_two_processes_hold_one_lock(hold, tmp_path):
    hold()
    assert not is_free(tmp_path)
    assert is_free(tmp_path, "imagenet/me--other")
    assert is_free(tmp_path, "imagenet-a/me--mine")


@pytest.mark.parametrize("how", ["", "fork"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_outlives_its_holder(hold, tmp_path, how, number):
    """Also one whose workers are still there."""
    process = hold(how)
    process.send_signal(number)
    process.wait()
    assert is_free(tmp_path)


def test_a_lock_is_kept_after_an_error(tmp_path):
    for lock in (lambda: locks.if_free(tmp_path, NAME), lambda: locks.locked(tmp_path, NAME)):
        with pytest.raises(ZeroDivisionError), lock():
            raise ZeroDivisionError
        assert is_free(tmp_path)


def test_who_is_waited_for_is_logged(hold, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(locks, "SECONDS_BEFORE_SAYING", 0.1)
    process = hold("", 0.6)
    with locks.locked(tmp_path, NAME) as mine:
        assert mine
    assert caplog.messages == [f"waiting for {NAME}, at which process {process.pid} on {socket.gethostname()} works"]


def test_a_free_lock_is_not_waited_for(tmp_path, caplog):
    caplog.set_level("INFO")
    with locks.locked(tmp_path, NAME), locks.locked(tmp_path, "weights.csv"):
        pass
    assert caplog.messages == []


def test_a_lock_lies_among_the_models(tmp_path):
    assert is_free(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [locks.FOLDER]


def test_a_lock_that_cannot_be_made_is_taken_for_held(tmp_path):
    (tmp_path / locks.FOLDER).write_text("a file where the folder should be")
    for lock in (lambda: locks.if_free(tmp_path, NAME), lambda: locks.locked(tmp_path, NAME)):
        with pytest.raises(OSError, match=locks.FOLDER), lock():
            pass
