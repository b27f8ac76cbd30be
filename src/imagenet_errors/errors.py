"""Mistakes of users, told in one line."""

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Bad input, told in one line: what is wrong, where, and what to do. Scripts print it and exit with status 2."""


def unknown(kind: str, name: str, names: Iterable[str]) -> str:
    """`unknown model 'resnet5', did you mean 'resnet50'?`, or all there are where nothing is close."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    advice = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}"
    return f"unknown {kind} {name!r}, {advice}"
