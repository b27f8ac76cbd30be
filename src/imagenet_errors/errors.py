"""Errors that the user can mend, each told in one line."""

import difflib
import errno
from collections.abc import Iterable
from pathlib import Path

ADVICE = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "your quota is used up, make room",
    errno.EROFS: "it is read-only, choose another folder",
    errno.EACCES: "get the permission, or choose another folder",
    errno.EPERM: "get the permission, or choose another folder",
    errno.EIO: "the disk or the network fails, check it",
    errno.EMFILE: "try fewer --workers, or raise the limit (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "move this folder away",
    errno.ENOSYS: "its file system has no locks, choose another folder",
    errno.ENOLCK: "its file system has no locks, choose another folder",
}
LONGEST_LIST = 700  # characters of names that a message lists


class InputError(Exception):
    """Bad input, told in one line: what is wrong, where, and what to do. Scripts print it and exit with status 2."""


class ProtectedFileError(InputError):
    """A file that cannot be used and must not be overwritten, because its content may be valid."""


class NewerSchemaError(ProtectedFileError):
    """A file written by a newer version of this repository."""


class UnreadableFileError(ProtectedFileError):
    """A file that the operating system does not let us read, for lack of a permission or because of a failing disk."""


class ModelError(Exception):
    """A model that cannot be downloaded, built or run, told in one line: a row of failures.csv; the run continues."""


def describe_os_error(error: OSError, path: Path | str = "") -> str:
    """What the operating system refused, where, and what to do; `path` replaces the path that the error names."""
    where = [str(place) for place in (path or error.filename,) if place]
    advice = ADVICE.get(error.errno or 0, "choose another folder")
    return ": ".join([*where, error.strerror or str(error), advice])


def describe_unknown(what: str, name: str, names: Iterable[str]) -> str:
    """`unknown model 'resnet5', did you mean 'resnet50'?`, or the first of `names` where none is similar."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"unknown {what} {name!r}, did you mean {close[0]!r}?"
    listed = ", ".join(names[:20])
    shown = listed if len(listed) <= LONGEST_LIST else listed[:LONGEST_LIST].rpartition(", ")[0]
    return f"unknown {what} {name!r}, choose one of {shown}{' ...' if len(shown) < len(', '.join(names)) else ''}"


def describe_exception(error: BaseException) -> str:
    """A library's exception in one line of at most 300 characters, with its type, less advice to unpickle unsafely."""
    text = " ".join(str(error).split())
    if "weights_only" in text or "allow_pickle" in text:
        text = "a file is damaged, or holds objects that are not loaded"
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def escape_name(name: str) -> str:
    """A file's name as part of one line: unprintable characters are escaped as Python does it."""
    return "".join(part if part.isprintable() else part.encode("unicode_escape").decode() for part in name)
