"""Writing files completely or not at all, and reading them with every error told in one line.

Every writer writes a temporary file beside the target and renames it, so a file that exists is complete. Every reader
raises `InputError` for a file that is missing, damaged or malformed, and its subclass `UnreadableFileError` for a file
that the operating system does not let us read.
"""

import csv
import errno
import glob
import hashlib
import io
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from imagenet_errors import processes
from imagenet_errors.errors import InputError, NewerSchemaError, UnreadableFileError, describe_os_error

RESERVE = 256 << 20  # bytes of a disk that large files leave free
DIRECTORY_ENTRY = b"PK\1\2"  # first bytes of each entry of a zip archive's directory
Value = TypeVar("Value")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` and rename it to `path` once it is completely written.

    The temporary name contains host and process. Temporary files of the same target that killed processes of this host
    left are removed; those of other hosts stay, because their processes may be running. A device or a pipe is yielded
    itself: renaming a file to `/dev/null` would replace it for all programs.

    Raises:
        OSError: where `path` cannot be written; it names `path`.
    """
    if path.parent == Path("/dev") or (path.exists() and not path.is_file() and not path.is_dir()):
        yield path
        return
    temporary = temporary_path(path, os.getpid())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        named = {str(name) for name in (error.filename, error.filename2) if name is not None}
        if error.errno is None or (named and str(temporary) not in named):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def temporary_path(path: Path, pid: int) -> Path:
    """The temporary file of `path` that this process of this host writes, or whose end makes it a leftover."""
    return path.with_name(f"{_temporary_prefix(path)}{pid}.tmp")


def _temporary_prefix(path: Path) -> str:
    return f".{path.name}.{socket.gethostname()}."


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of `path` that killed processes of this host left."""
    prefix = _temporary_prefix(path)
    for leftover in path.parent.glob(f"{glob.escape(prefix)}*.tmp"):
        pid = leftover.name[len(prefix) : -len(".tmp")]
        if pid.isdecimal() and not processes.is_alive(int(pid)):
            leftover.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power failure, on file systems that support it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(text)


def write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def format_json_for_html(value: object) -> str:
    """JSON for a script element of HTML, which no text in it can end; not-a-number raises `ValueError`."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", r"\u003c")


def write_csv(
    path: Path, columns: list[str], rows: list[dict], delimiter: str = ",", lineterminator: str = "\n"
) -> None:
    """Write the named columns of a table: floats with all their digits, None as empty, lists as Python prints them."""
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=lineterminator)
        writer.writerow(columns)
        writer.writerows([row[column] for column in columns] for row in rows)


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # mypy takes an array for `allow_pickle`


def refuse_unreadable(error: Exception, path: Path) -> None:
    """Raise `UnreadableFileError` for an error that does not concern the file's bytes, e.g. a missing permission."""
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: a negative offset in the file
        raise UnreadableFileError(describe_os_error(error, path)) from None


def check_schema(path: Path, version: object, newest: int, advice: str) -> None:
    """Raise `NewerSchemaError` for a version above `newest`, `InputError` for anything but a positive integer."""
    if type(version) is not int or version < 1:
        raise InputError(f"{path} has the schema version {version!r}, which is not a positive integer: {advice}")
    if version > newest:
        raise NewerSchemaError(f"{path} has schema {version}, newer than {newest}: update this repository")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def unique_keys(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    """A JSON object of pairs. Raises `ValueError` for a key that occurs twice."""
    unique = dict(pairs)
    if len(unique) < len(pairs):
        keys = [key for key, _ in pairs]
        duplicate = next(key for key in unique if keys.count(key) > 1)
        raise ValueError(f"the key {duplicate!r} occurs twice")
    return unique


def read_text(path: Path) -> str:
    """Read a UTF-8 text."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except OSError as error:
        raise UnreadableFileError(describe_os_error(error, path)) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8, or replace it"
        ) from None


def read_whole_text(path: Path) -> str:
    """Read a text whose last line ends with a line break; without one it may be truncated: `InputError`."""
    text = read_text(path)
    if not text.endswith("\n"):
        raise InputError(
            f"{path} may be truncated, its last line has no end: restore it from the repository, or end it"
        )
    return text


def read_json(path: Path) -> Any:
    """Read a JSON file; a key that occurs twice in an object is an error."""
    try:
        return json.loads(read_text(path), object_pairs_hook=unique_keys, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is malformed JSON ({error}): correct or replace it") from None


def read_json_objects(path: Path) -> dict:
    """Read one JSON object, or one object per line, as one dictionary; a key that occurs twice is an error."""
    text = read_text(path)
    try:
        try:
            parts = [json.loads(text, object_pairs_hook=list)]
        except json.JSONDecodeError as error:
            if not error.msg.startswith("Extra data"):
                raise
            parts = [json.loads(line, object_pairs_hook=list) for line in text.splitlines() if line.strip()]
        if not all(isinstance(part, list) and all(isinstance(pair, tuple) for pair in part) for part in parts):
            raise ValueError("not an object")
        return unique_keys([pair for part in parts for pair in part])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is malformed JSON ({error}): correct or replace it") from None


def read_csv(path: Path, columns: list[str], delimiter: str = ",") -> list[dict[str, str]]:
    """Read a table whose header must be exactly `columns`."""
    reader = csv.DictReader(io.StringIO(read_whole_text(path), newline=""), delimiter=delimiter)
    try:
        found, rows = reader.fieldnames, list(reader)
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV table ({error}): restore it from the repository") from None
    if found != columns:
        raise InputError(f"{path} has the columns {found}, not {columns}: restore it from the repository")
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise InputError(f"{path} line {line} does not have {len(columns)} cells: restore it from the repository")
    return rows


def check_table(path: Path) -> None:
    """Raises `InputError` for a file that is incomplete, or not a CSV table with rows of one length."""
    try:
        rows = list(csv.reader(io.StringIO(read_whole_text(path), newline="")))
    except csv.Error as error:
        raise InputError(f"{path} is not a table ({error})") from None
    if not rows or {len(row) for row in rows} != {len(rows[0])}:
        raise InputError(f"{path} is not a table: its rows differ in length")


def read_npz(
    path: Path, *names: str, optional: tuple[str, ...] = (), advice: str = "predict or import again"
) -> dict[str, np.ndarray]:
    """Read arrays of an npz archive, none of them pickled.

    Args:
        path: The archive.
        *names: Arrays that must be there.
        optional: Arrays that are read where they are there.
        advice: For the error, how the file is made.

    Raises:
        InputError: where the file is missing, damaged in any way, or lacks one of `names`.
        UnreadableFileError: where the operating system does not let us read it.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in names if name not in archive]
            if missing:
                raise InputError(f"{path} lacks the array {missing[0]!r}: {advice}")
            arrays = {name: archive[name] for name in (*names, *optional) if name in archive}
            for member in archive.zip.infolist():  # a damaged directory can rename members, or hide them in others
                archive.zip.open(member).close()
                if DIRECTORY_ENTRY in member.comment + member.extra:
                    raise ValueError(f"damaged directory at {member.filename}")
    except FileNotFoundError:
        raise InputError(f"{path} is missing: {advice.removesuffix(' again')}") from None
    except InputError:
        raise
    except Exception as error:  # NumPy, zipfile and zlib raise a dozen different types for damaged bytes
        refuse_unreadable(error, path)
        what = "it holds Python objects" if "pickle" in str(error) else error
        raise InputError(f"{path} is not a readable npz archive ({what}): {advice}") from None
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise InputError(f"{path} has a member that is not an array: {advice}")
    return arrays


def as_texts(names: np.ndarray, path: Path, advice: str) -> np.ndarray:
    """Names from an npz archive as str; bytes are decoded. Raises `InputError` where they are not UTF-8."""
    try:
        return np.char.decode(names, "utf-8") if names.dtype.kind == "S" else names.astype(str)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} holds names that are not UTF-8 ({error}): {advice}") from None


def fingerprint(*parts: object) -> str:
    """A short hash of arrays and texts: equal for equal contents, on every machine."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()[:16]


def check_room(folder: Path, num_bytes: int) -> None:
    """Raise `InputError` where `num_bytes` more would leave less than RESERVE bytes free on `folder`'s disk."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if num_bytes > free - RESERVE:
        raise InputError(
            f"{folder} has {free:,} bytes free, {num_bytes:,} are needed and {RESERVE:,} must stay free:"
            " make room, or choose another folder"
        )
