"""Mistakes of users, told in one line."""

import difflib
import errno
from collections.abc import Iterable

ADVICE = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "your quota is used up, make room",
    errno.EROFS: "it cannot be written, choose another folder",
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


class InputError(Exception):
    """Bad input, told in one line: what is wrong, where, and what to do. Scripts print it and exit with status 2."""


class ProtectedFileError(InputError):
    """A file that cannot be used although nothing is wrong with it: it must not be overwritten."""


class NewerSchemaError(ProtectedFileError):
    """A file that a newer version of this repository wrote: it must be neither read nor overwritten."""


class UnreadableFileError(ProtectedFileError):
    """A file that the machine does not let us read, for want of a permission or for a failing disk."""


class ModelError(Exception):
    """A model that cannot be downloaded, built or run, told in one line: a row of failures.csv, and the run goes on."""


def describe_os_error(error: OSError, path="") -> str:
    """What the operating system refused, where, and what to do."""
    where = [str(place) for place in (path or error.filename,) if place]
    return ": ".join([*where, error.strerror or str(error), ADVICE.get(error.errno, "choose another folder")])


def describe_unknown(kind: str, name: str, names: Iterable[str]) -> str:
    """`unknown model 'resnet5', did you mean 'resnet50'?`, or the names there are where none is close."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"unknown {kind} {name!r}, did you mean {close[0]!r}?"
    return f"unknown {kind} {name!r}, there are {', '.join(names[:20])}{' ...' if len(names) > 20 else ''}"


def describe_exception(error: BaseException) -> str:
    """What a library's exception says, in one line of at most 300 characters, with its kind."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def escape_name(name: str) -> str:
    """A file's name as a part of one line: what is no printable character is escaped as Python does it."""
    return "".join(part if part.isprintable() else part.encode("unicode_escape").decode() for part in name)
