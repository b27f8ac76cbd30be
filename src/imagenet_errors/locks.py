"""Locks between processes that share an artefacts folder.

A lock is named after what it protects, `<dataset>/<model>` or a file, and is a file in the folder's `.locks/` with the
name of its last holder. The operating system releases it when the process ends, in whatever way. The file stays;
`.locks/` may be removed while no process is running. Reading needs no lock, for every file is complete.

    with locks.locked(root, "imagenet/timm--resnet50"):             # waits, and soon logs for which process
        ...
    with locks.if_free(root, "imagenet/timm--resnet50") as is_held:    # does not wait
        if is_held:
            ...

A process must not take a lock that it holds already.
"""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

FOLDER = ".locks"
SECONDS_BEFORE_LOGGING = 2


@contextmanager
def locked(root: Path, name: str) -> Iterator[bool]:
    """Wait for a lock and hold it. Yields True, as `if_free` does for a free lock.

    Args:
        root: The artefacts folder.
        name: What the lock protects.

    Raises:
        OSError: if the folder cannot be written, or its file system has no locks.
    """
    lock = _lock(root, name)
    try:
        lock.acquire(timeout=SECONDS_BEFORE_LOGGING)
    except Timeout:
        log.info(f"waiting for {name}, locked by {read_holder(root, name)}")
        lock.acquire()
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def if_free(root: Path, name: str) -> Iterator[bool]:
    """Hold a lock if no other process does. Yields whether it is held; raises as `locked` does."""
    lock = _lock(root, name)
    with suppress(Timeout):
        lock.acquire(blocking=False)
    try:
        yield lock.is_locked
    finally:
        lock.release()


def read_holder(root: Path, name: str) -> str:
    """The process that took the lock last, e.g. `process 123 on myhost`."""
    return _path(root, name).read_text() or "another process"


def _path(root: Path, name: str) -> Path:
    return root / FOLDER / f"{name}.lock"


def _lock(root: Path, name: str) -> FileLock:
    path = _path(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path, on_acquired=_write_holder, fallback_to_soft=False)


def _write_holder(descriptor: int) -> None:
    """Write our name for those who wait; the lock holds without it, e.g. on a full disk."""
    with suppress(OSError):
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
