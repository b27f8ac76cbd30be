"""Which files a piece of code opens for reading."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_counters: list[tuple[str, Counter[Path]]] = []


def _count(event: str, arguments: tuple) -> None:
    if event != "open" or not _counters:
        return
    path, _, flags = arguments
    if isinstance(path, (str, os.PathLike)) and flags & os.O_ACCMODE == os.O_RDONLY:
        for folder, counter in _counters:
            if os.fspath(path).startswith(folder):
                counter[Path(path)] += 1


sys.addaudithook(_count)  # it cannot be taken off again


@contextmanager
def count_reads(folder: Path) -> Iterator[Counter[Path]]:
    """Count how often Python code in this process opens each file below a folder for reading."""
    entry = f"{folder}{os.sep}", Counter()
    _counters.append(entry)
    try:
        yield entry[1]
    finally:
        _counters.remove(entry)
