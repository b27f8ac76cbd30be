"""Progress on standard error: bars in a terminal, elsewhere a log line a minute; log lines above bars."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Advance = Callable[[int], object]
SECONDS_BETWEEN_LINES = 60
BYTES_PER_KIB = 1024

log = logging.getLogger(__name__)
_hidden: list[bool] = []  # an entry for each block of `hidden`


class TqdmHandler(logging.Handler):
    """Writes each record as one line to standard error, above progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(" ".join(record.getMessage().split()), file=sys.stderr)


def print_line(text: str) -> None:
    """Print a line to standard output, above progress bars."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def show_progress(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yields `items`, and shows how many are done; nothing for a single one.

    Args:
        items: To go through.
        description: What is done with them.
        total: How many there are, where `items` has no length.
    """
    with open_progress(description, len(items) if isinstance(items, Sized) else total) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def open_progress(
    description: str, total: int | None, done: int = 0, *, in_bytes: bool = False, delay: float = 0
) -> Iterator[Advance]:
    """Shows how much is done, and yields the function that is told of more.

    In a terminal that is a bar, which stays on the screen unless it is inside another one.

    Args:
        description: What is done, or to what.
        total: How much there is; None where that is not known. Nothing is shown for 1.
        done: How much was done before.
        in_bytes: Whether it is bytes.
        delay: Seconds before the bar appears.
    """
    if _hidden:
        yield lambda number: None
        return
    if not (sys.stderr and sys.stderr.isatty()):
        yield Lines(description, total, done, in_bytes).advance
        return
    from tqdm import tqdm

    with tqdm(
        desc=description,
        total=total,
        initial=done,
        disable=total is not None and total < 2,
        leave=None,
        dynamic_ncols=True,
        unit="B" if in_bytes else "it",
        unit_scale=in_bytes,
        unit_divisor=BYTES_PER_KIB,
        delay=delay,
    ) as bar:
        yield bar.update


@contextmanager
def hidden() -> Iterator[None]:
    """Show no progress meanwhile: in a process beside others, whose bars would mix."""
    _hidden.append(True)
    try:
        yield
    finally:
        _hidden.pop()


class Lines:
    """Progress as lines of a log: `models: 3 of 962 in 01:30, about 7:59:30 left`; none in the first minute."""

    def __init__(self, description: str, total: int | None, done: int, in_bytes: bool):
        self.description, self.total, self.done, self.in_bytes = description, total, done, in_bytes
        self.first, self.start = done, time.monotonic()
        self.last_line = self.start

    def advance(self, number: int) -> None:
        """Counts `number` more as done."""
        self.done += number
        now = time.monotonic()
        if now - self.last_line >= SECONDS_BETWEEN_LINES and self.done != self.total:
            self.last_line = now
            log.info(self._describe(now - self.start))

    def _describe(self, seconds: float) -> str:
        from tqdm import tqdm

        text = f"{self.description}: {self._show(self.done)}"
        if self.total is not None:
            text += f" of {self._show(self.total)}"
        text += f" in {tqdm.format_interval(seconds)}"
        if self.total is not None and self.done > self.first:
            left = seconds * (self.total - self.done) / (self.done - self.first)
            text += f", about {tqdm.format_interval(left)} left"
        return text

    def _show(self, number: int) -> str:
        from tqdm import tqdm

        return tqdm.format_sizeof(number, "B", BYTES_PER_KIB) if self.in_bytes else f"{number:,}"
