"""Mistakes of users, told in one line."""

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Bad input, told in one line: what is wrong, where, and what to do. Scripts print it and exit with status 2."""


class NewerSchemaError(InputError):
    """A file that a newer version of this repository wrote: it must be neither read nor overwritten."""


class ModelError(Exception):
    """A model that cannot be downloaded, built or run, told in one line: a row of failures.csv, and the run goes on."""


def unknown(kind: str, name: str, names: Iterable[str]) -> str:
    """`unknown model 'resnet5', did you mean 'resnet50'?`, or the names there are where none is close."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"unknown {kind} {name!r}, did you mean {close[0]!r}?"
    return f"unknown {kind} {name!r}, there are {', '.join(names[:20])}{' ...' if len(names) > 20 else ''}"


def one_line(error: BaseException) -> str:
    """What a library's exception says, in one line of at most 300 characters, with its kind."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
