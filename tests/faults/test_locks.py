"""Locks: one holder at a time, released when the holder ends, and nothing written if nothing is locked."""

import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import pytest

from imagenet_errors import locks
from tests.conftest import ROOT

NAME = "imagenet/me--mine"
HOLD = """
import os, signal, sys
from pathlib import Path
from imagenet_errors import locks
with locks.locked(Path(sys.argv[1]), sys.argv[2]):
    if sys.argv[3] == "with a worker" and os.fork():
        signal.pause()
    print("held", flush=True)
    signal.pause()
"""


@pytest.fixture
def hold(tmp_path):
    """Have another process hold a lock; a worker of it, where it has one, runs by then."""
    running = []

    def start(how="alone"):
        command = [sys.executable, "-c", HOLD, str(tmp_path), NAME, how]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT / "src", start_new_session=True)
        running.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in running:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its workers too
        process.wait()
        process.stdout.close()


def is_free(folder, name=NAME) -> bool:
    with locks.if_free(folder, name) as is_held:
        return is_held


def test_only_one_process_holds_a_lock(hold, tmp_path):
    hold()
    assert not is_free(tmp_path)
    assert is_free(tmp_path, "imagenet/me--other")
    assert is_free(tmp_path, "imagenet-a/me--mine")


@pytest.mark.parametrize("how", ["alone", "with a worker"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_lock_is_released_when_its_holder_is_killed(hold, tmp_path, how, number):
    """Also while the holder's workers are still running."""
    process = hold(how)
    process.send_signal(number)
    process.wait()
    assert is_free(tmp_path)


def test_lock_is_released_after_an_error(tmp_path):
    for lock in (lambda: locks.if_free(tmp_path, NAME), lambda: locks.locked(tmp_path, NAME)):
        with pytest.raises(ZeroDivisionError), lock():
            raise ZeroDivisionError
        assert is_free(tmp_path)


def test_waiting_is_logged_with_the_holder(hold, tmp_path, monkeypatch, caplog):
    """The holder is killed once the message is there."""
    process = hold()

    class Release(logging.Handler):
        def emit(self, record):
            process.kill()

    handler = Release()
    monkeypatch.setattr(locks, "SECONDS_BEFORE_LOGGING", 0.01)
    caplog.set_level("INFO")
    locks.log.addHandler(handler)
    try:
        with locks.locked(tmp_path, NAME) as is_held:
            assert is_held
    finally:
        locks.log.removeHandler(handler)
    assert caplog.messages == [f"waiting for {NAME}, locked by process {process.pid} on {socket.gethostname()}"]


def test_free_lock_is_taken_without_a_message(tmp_path, caplog):
    caplog.set_level("INFO")
    with locks.locked(tmp_path, NAME), locks.locked(tmp_path, "weights.csv"):
        pass
    assert caplog.messages == []


def test_locks_are_in_a_folder_of_their_own(tmp_path):
    assert is_free(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [locks.FOLDER]


def test_lock_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / locks.FOLDER).write_text("a file in the place of the folder")
    for lock in (lambda: locks.if_free(tmp_path, NAME), lambda: locks.locked(tmp_path, NAME)):
        with pytest.raises(OSError, match=locks.FOLDER), lock():
            pass
