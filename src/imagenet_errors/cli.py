"""What all scripts share: flags, errors as one line, the log."""

import argparse
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from imagenet_errors import processes
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.errors import InputError, describe_os_error, describe_unknown
from imagenet_errors.paths import REPOSITORY
from imagenet_errors.progress import TqdmHandler

log = logging.getLogger("imagenet_errors")


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that states a default where there is one."""

    def _get_help_string(self, action):
        return super()._get_help_string(action) if action.default else action.help


class Parser(argparse.ArgumentParser):
    """An argument parser whose flags answer to hyphens and underscores alike, and whose errors are one line."""

    def __init__(self, description: str):
        super().__init__(description=description, formatter_class=Help)
        self.add_argument(
            "--artefacts_dir", type=Path, default=REPOSITORY / "artefacts", help="where predictions and analyses lie"
        )

    def add_dataset(self) -> None:
        self.add_argument("--dataset", default="imagenet", type=one_of("dataset", DATASETS), help=" | ".join(DATASETS))

    def parse_args(self, args=None, namespace=None):
        return super().parse_args([underscored(arg) for arg in (sys.argv[1:] if args is None else args)], namespace)

    def error(self, message: str):
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def underscored(argument: str) -> str:
    """`--batch-size=8` as `--batch_size=8`; anything that is no flag as it is."""
    if not argument.startswith("--"):
        return argument
    flag, equals, value = argument[2:].partition("=")
    return "--" + flag.replace("-", "_") + equals + value


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


def natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def one_of(kind: str, names: Iterable[str]) -> Callable[[str], str]:
    """An argument type that takes one of `names` and says which one may have been meant."""

    def check(name: str) -> str:
        if name not in names:
            raise argparse.ArgumentTypeError(describe_unknown(kind, name, names))
        return name

    return check


def run(main: Callable[[], None]) -> None:
    """Run a script's main function and leave.

    Exit statuses:
        0: all is done.
        1: the run went to its end, and left out something that it named: a model, a figure.
        2: bad input, wrong flags, or a file that cannot be read or written: one line says which, and what to do.
        129, 130, 143: SIGHUP, Ctrl-C, SIGTERM came. What is finished is kept, nothing is half-written.
        141: the reader of our output left, e.g. `| head`.
    """
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="replace")  # a terminal that cannot show ≤ shows ?
    log.handlers = [TqdmHandler()]
    log.setLevel(logging.INFO)
    processes.stop_on_signals()
    try:
        main()
        print(end="", flush=True)
        processes.ignore_signals()  # all is done
    except InputError as error:
        sys.exit(_complain(error, 2))
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, processes.Stopped) else signal.SIGINT
        what = signal.strsignal(number).lower()
        sys.exit(_complain(f"{what}: what is finished is kept, the same command goes on from there", 128 + number))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        sys.exit(_complain(describe_os_error(error), 2))


def _complain(message, status: int) -> int:
    processes.ignore_signals()
    traceback.clear_frames(sys.exception().__traceback__)  # ends progress bars and workers: the line is the last one
    print(f"{Path(sys.argv[0]).name}: error: {' '.join(str(message).split())}", file=sys.stderr)
    return status
