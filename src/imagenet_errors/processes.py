"""What signals do to a run, and what becomes of its worker processes. For POSIX systems.

SIGTERM and SIGHUP interrupt like Ctrl-C, so that every `finally` tidies up. Workers never see a signal: they end when
the process that started them lets them go, and with it when it is killed.
"""

import ctypes
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

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
    """Have SIGTERM and SIGHUP raise `Stopped`; one that is ignored, as SIGHUP under nohup, stays so."""

    def stop(*received):
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
    """Put signals off; processes that are started meanwhile never get any but SIGKILL."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def follow_parent(*_) -> None:
    """Have this worker killed when the process that started it ends; Linux alone can do that."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes. When it is left early, tasks that have begun are finished and the others dropped."""
    executor = ProcessPoolExecutor(jobs, initializer=follow_parent)
    try:
        with signals_blocked():
            executor.submit(int)  # starts the processes
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def is_alive(pid: int) -> bool:
    """Whether there is a process of this number on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True
