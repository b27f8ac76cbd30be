"""Progress bars, and log lines that do not tear them."""

import logging
import sys
from collections.abc import Iterable, Sized
from typing import Any


class TqdmHandler(logging.Handler):
    """Writes each record as one line to standard error, above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(" ".join(record.getMessage().split()), file=sys.stderr)


def show_progress(items: Sized, description: str) -> Iterable[Any]:
    """A progress bar over `items` on standard error; none for a single item."""
    from tqdm import tqdm

    return tqdm(items, desc=description, disable=len(items) < 2, dynamic_ncols=True)
