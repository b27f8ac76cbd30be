"""What signals do to a run, and what becomes of its worker processes. For POSIX systems.

SIGTERM and SIGHUP interrupt like Ctrl-C, so that every `finally` tidies up. Workers do not see Ctrl-C and SIGHUP, which
the terminal sends to all: they end when the process that started them lets them go, and with it when it is killed.
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

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1  # of Linux's prctl.h


class Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP came; libraries take it for Ctrl-C.

    Attributes:
        number: Of the signal.
    """

    def __init__(self, number: int, *_):
        super().__init__(number)
        self.number = number


def stop_on_signals() -> None:
    """Have SIGTERM and SIGHUP raise `Stopped`; one that is ignored, as SIGHUP under nohup, stays so.

    From then on the deaths of workers, which may have got the signal as well, are no news: torch would raise for them.
    """

    def stop(*received):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        raise Stopped(*received)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


def ignore_signals() -> None:
    """Leave undisturbed: a second Ctrl-C would end in a traceback."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Put signals off. Processes that are started meanwhile inherit that; they call `follow_parent`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def follow_parent(*_) -> None:
    """Have this worker killed when the process that started it ends; Linux alone can do that.

    SIGTERM works again, for it is what multiprocessing ends workers with.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it ended before we asked
        os._exit(1)


@contextmanager
def pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes. When it is left early, tasks that have begun are finished and the others dropped.

    Raises:
        InputError: where somebody kills one of the processes.
    """
    executor = ProcessPoolExecutor(jobs, initializer=_start_worker)
    try:
        with signals_blocked():
            executor.submit(int)  # starts the processes
        yield executor
    except BrokenProcessPool:
        raise InputError("a worker process was killed, perhaps for want of memory: try fewer --jobs") from None
    finally:
        executor.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    follow_parent()


def is_alive(pid: int) -> bool:
    """Whether there is a process of this number on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"  # killed, and nobody has asked how it ended
    except OSError:
        return True
