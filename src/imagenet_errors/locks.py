"""Locks between processes that work on one artefacts folder, so that they share the work.

A lock is named after what is worked on, `<dataset>/<model>` or a file, and is a file below the folder's `.locks/`. The
operating system holds it and lets it go with the process, however that ends. The file stays, with the name of its last
holder in it; while nobody works, `.locks/` may be removed. Nothing is locked to read: every file is complete.

    with locks.locked(root, "imagenet/timm--resnet50"):             # waits, and soon logs for whom
        ...
    with locks.if_free(root, "imagenet/timm--resnet50") as mine:    # does not wait
        if mine:
            ...

A lock is not taken twice: code that holds one calls nothing that takes it again.
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
SECONDS_BEFORE_SAYING = 2


@contextmanager
def locked(root: Path, name: str) -> Iterator[bool]:
    """Hold the lock; yields True, as `if_free` does with a free one.

    Args:
        root: The artefacts folder.
        name: What the lock is for.

    Raises:
        OSError: where the folder cannot be written, or its file system has no locks.
    """
    lock = _lock(root, name)
    try:
        lock.acquire(timeout=SECONDS_BEFORE_SAYING)
    except Timeout:
        log.info(f"waiting for {name}, at which {holder(root, name)} works")
        lock.acquire()
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def if_free(root: Path, name: str) -> Iterator[bool]:
    """Hold the lock if nobody else does; yields whether it is held. Raises as `locked` does."""
    lock = _lock(root, name)
    with suppress(Timeout):
        lock.acquire(blocking=False)
    try:
        yield lock.is_locked
    finally:
        lock.release()


def holder(root: Path, name: str) -> str:
    """Who took the lock last, e.g. `process 123 on myhost`."""
    return _path(root, name).read_text() or "another process"


def _path(root: Path, name: str) -> Path:
    return root / FOLDER / f"{name}.lock"


def _lock(root: Path, name: str) -> FileLock:
    path = _path(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path, on_acquired=_sign, fallback_to_soft=False)


def _sign(descriptor: int) -> None:
    """Leave our name for those who wait; a full disk, which has no room for it, takes nothing from the lock."""
    with suppress(OSError):
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
