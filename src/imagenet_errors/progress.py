"""Progress bars, and log lines that are printed above them."""

import logging
import sys
from collections.abc import Iterable, Sized
from typing import TypeVar

Item = TypeVar("Item")


class TqdmHandler(logging.Handler):
    """Writes each record as one line to standard error, above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(" ".join(record.getMessage().split()), file=sys.stderr)


def show_progress(items: Iterable[Item], description: str, total: int | None = None) -> Iterable[Item]:
    """A progress bar over `items` on standard error; none for a single item.

    Args:
        items: To go through.
        description: What is done with them.
        total: How many there are, where `items` has no length.
    """
    from tqdm import tqdm

    total = len(items) if isinstance(items, Sized) else total
    return tqdm(items, desc=description, total=total, disable=total is not None and total < 2, dynamic_ncols=True)
