"""What SIGINT (Ctrl-C), SIGTERM and SIGHUP do to a script, on POSIX systems."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal stopped the run, so every `finally` runs; libraries treat it as Ctrl-C.

    Attributes:
        number: The signal's number.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def describe_signal(number: int) -> str:
    """The line with which a script ends on a signal; its exit status is 128 + `number`."""
    name = (signal.strsignal(number) or f"signal {number}").lower()
    return f"{os.path.basename(sys.argv[0])}: error: {name}: finished work is kept, repeat the command to continue"


def exit_on_signals() -> None:
    """Have signals end one of our scripts at once while its imports run, when there is nothing to tidy up."""
    main = getattr(sys.modules["__main__"], "__file__", None) or ""
    if os.path.dirname(os.path.realpath(main)) == os.path.dirname(os.path.dirname(os.path.realpath(__file__))):
        _handle_signals(_exit)


def stop_on_signals() -> None:
    """Have signals raise `Stopped`."""
    _handle_signals(_stop)


def ignore_signals() -> None:
    """Let the process exit undisturbed: a second Ctrl-C would end in a traceback."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _handle_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # e.g. SIGHUP under nohup, which stays ignored
            signal.signal(number, handler)


def _exit(number: int, _: FrameType | None) -> None:
    os.write(2, f"{describe_signal(number)}\n".encode())
    os._exit(128 + number)


def _stop(number: int, _: FrameType | None) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would raise for workers that the same signal ended
    raise Stopped(number)
