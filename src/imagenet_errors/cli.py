"""What all scripts share: flags, errors in one line, the log."""

import argparse
import logging
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from imagenet_errors import processes, signals
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.errors import InputError, describe_os_error, describe_unknown
from imagenet_errors.paths import DEFAULT_RESULTS_DIR, REPOSITORY
from imagenet_errors.progress import TqdmHandler

log = logging.getLogger("imagenet_errors")


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that states a default where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default else action.help


class Parser(argparse.ArgumentParser):
    """An argument parser that takes hyphens for underscores in flags and reports errors in one line."""

    def __init__(self, description: str | None):
        super().__init__(description=description, formatter_class=Help)
        self.add_argument(
            "--artefacts_dir",
            type=Path,
            default=REPOSITORY / "artefacts",
            help="folder of the predictions and error analyses",
        )

    def add_dataset(self) -> None:
        self.add_argument("--dataset", default="imagenet", type=one_of("dataset", DATASETS), help=" | ".join(DATASETS))

    def add_datasets(self) -> None:
        """The same for one dataset or several: a list."""
        names = f"one or more of {', '.join(DATASETS)}"
        self.add_argument("--dataset", nargs="+", default=["imagenet"], type=one_of("dataset", DATASETS), help=names)

    def add_results_dir(self) -> None:
        self.add_argument("--results_dir", type=Path, default=DEFAULT_RESULTS_DIR, help="folder for the results")

    def add_open_world(self) -> None:
        self.add_argument(
            "--open_world",
            choices=["auto", "clip", "archive", "skip"],
            default="auto",
            help="the open-world test: clip runs it on the files of compute_clip_embeddings.py; archive takes what"
            " archived analyses tell of it; auto is clip where its files are, else archive where that is the official"
            " one, else skip",
        )

    def add_own_model(self) -> None:
        """Where the weights or the predictions of a user's own model are, and what is known of it."""
        own = self.add_argument_group("a model of your own")
        own.add_argument("--checkpoint", type=Path, help="weights for the timm architecture that --model names")
        own.add_argument("--use_ema", action="store_true", help="of a checkpoint, the moving average of the weights")
        own.add_argument(
            "--logits", type=Path, help="take these logits, by number of the validation file; no model is run"
        )
        own.add_argument("--model_name", help="its name; default: that of its file")
        own.add_argument("--arch", help="its architecture, e.g. resnet")
        own.add_argument("--training_data", help="its corpus, e.g. 'ImageNet-21k (14M)'")

    def add_cluster(self) -> None:
        """Where jobs run: the fields of `ClusterOptions`."""
        group = self.add_argument_group("on several devices or machines (pip install -r requirements-dask.txt)")
        group.add_argument("--devices", help="a process each: all (GPUs), or e.g. cuda:0,cuda:1 or cpu*2")
        group.add_argument("--scheduler", help="of a Dask cluster that runs the jobs: tcp://HOST:PORT, or its file")
        group.add_argument(
            "--resources", nargs="+", default=(), metavar="NAME=AMOUNT", help="what a job takes, e.g. GPU=1"
        )
        group.add_argument(
            "--no_shared_files", action="store_true", help="workers have own images and send results back"
        )
        group.add_argument(
            "--wait_for_workers", type=positive, default=60, metavar="SECONDS", help="until one connects"
        )

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        return super().parse_args([underscored(arg) for arg in (sys.argv[1:] if args is None else args)], namespace)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def underscored(argument: str) -> str:
    """`--batch-size=8` as `--batch_size=8`; an argument that is not a flag is returned as it is."""
    if not argument.startswith("--"):
        return argument
    flag, equals, value = argument[2:].partition("=")
    return "--" + flag.replace("-", "_") + equals + value


def positive(text: str) -> int:
    """An argument type: an integer of 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


def positive_or_auto(text: str) -> int | None:
    """An argument type: an integer of 1 or more, or `auto`, which is None."""
    return None if text == "auto" else positive(text)


def natural(text: str) -> int:
    """An argument type: an integer of 0 or more."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def amount(text: str) -> float:
    """An argument type: a finite number of 0 or more."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of 0 or more")
    return value


def one_of(what: str, names: Iterable[str]) -> Callable[[str], str]:
    """An argument type: one of `names`; for another name the error suggests the closest."""

    def check(name: str) -> str:
        if name not in names:
            raise argparse.ArgumentTypeError(describe_unknown(what, name, names))
        return name

    return check


def split_datasets(args: argparse.Namespace) -> Iterator[argparse.Namespace]:
    """The same arguments for each of the datasets of `add_datasets`, given once or several times."""
    for dataset in dict.fromkeys(args.dataset):
        yield argparse.Namespace(**vars(args) | {"dataset": dataset})


def start_log() -> None:
    """Have the library's log lines written to standard error, above progress bars."""
    log.handlers = [TqdmHandler()]
    log.setLevel(logging.INFO)


def run(main: Callable[[], None]) -> None:
    """Run a script's main function and exit.

    Exit statuses:
        0: everything is done.
        1: the run reached its end but left out something that it named: a model, a figure.
        2: bad input, wrong flags, or a file that cannot be read or written: one line says which, and what to do.
        129, 130, 143: stopped by SIGHUP, Ctrl-C, SIGTERM. Finished work is kept, no file is half-written.
        141: the reader of the output closed it, e.g. `| head`.
    """
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="replace")  # a terminal that cannot show ≤ shows ?
    start_log()
    try:
        signals.stop_on_signals()
        main()
        print(end="", flush=True)
        signals.ignore_signals()  # everything is done
    except InputError as error:
        sys.exit(_report(_one_line(error), 2))
    except KeyboardInterrupt as error:
        number = getattr(error, "number", signal.SIGINT)
        sys.exit(_report(signals.describe_signal(number), 128 + number))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        sys.exit(_report(_one_line(describe_os_error(error)), 2))
    finally:
        _leave_threads()


def _leave_threads() -> None:
    """Exit at once where a thread still works in the background; ended within a library, it could abort the process."""
    error = sys.exception()
    is_busy = any(thread.name == processes.BACKGROUND for thread in threading.enumerate())
    if is_busy and (error is None or isinstance(error, SystemExit)):
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        os._exit(int(error.code or 0) if error else 0)


def _one_line(error: InputError | str) -> str:
    return f"{Path(sys.argv[0]).name}: error: {' '.join(str(error).split())}"


def _report(line: str, status: int) -> int:
    """Print the last line of a run that is given up; returns `status`."""
    signals.ignore_signals()
    error = sys.exception()
    if error is not None:
        traceback.clear_frames(error.__traceback__)  # ends progress bars and workers, so that the line is the last one
    print(line, file=sys.stderr)
    return status
