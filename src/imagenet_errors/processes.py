"""Worker processes and their end, on POSIX systems.

Workers block Ctrl-C and SIGHUP, which a terminal sends to a whole group: they end when their parent shuts them down or,
on Linux, when it is killed.
"""

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from imagenet_errors.errors import InputError
from imagenet_errors.signals import SIGNALS

BACKGROUND = "background"  # the name of threads that the end of a script does not wait for
PR_SET_PDEATHSIG = 1  # from Linux's prctl.h


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Delay signals. Processes started meanwhile inherit the blocked signals; they call `follow_parent`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def follow_parent(*_: object) -> None:
    """Have this worker killed when its parent ends; only Linux can do that.

    SIGTERM is unblocked, because multiprocessing terminates workers with it.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # the parent ended before the call of prctl
        os._exit(1)


@contextmanager
def pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes. When the block is left early, running tasks are finished and waiting tasks dropped.

    Raises:
        InputError: where one of the processes is killed.
    """
    executor = ProcessPoolExecutor(jobs, initializer=_start_worker)
    try:
        with signals_blocked():
            executor.submit(int)  # starts the processes
        yield executor
    except BrokenProcessPool:
        raise InputError("a worker process was killed, perhaps for lack of memory: try fewer --jobs") from None
    finally:
        executor.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    follow_parent()


def is_alive(pid: int) -> bool:
    """Whether a process of this number runs on this machine; a zombie does not."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's process
        return True
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True
