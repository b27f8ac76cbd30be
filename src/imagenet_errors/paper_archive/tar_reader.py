"""Archives (tar.gz) that somebody else made: read in order, refused whole where anything in them is odd.

Python's tarfile reads the fields of a header and no more: it also follows forms (sparse files, links, headers of any
size) that no archive of results needs.
"""

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from imagenet_errors.errors import InputError
from imagenet_errors.files import atomic_write, check_room

BLOCK = tarfile.BLOCKSIZE
CHUNK = 1 << 20
LONG_NAME, OWN_HEADER, COMMON_HEADER = tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE
LARGEST_HEADER = 1 << 16  # bytes of the headers that hold long names
KINDS = {  # what is refused, by name
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.GNUTYPE_LONGLINK: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.CONTTYPE: "a contiguous file",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


@dataclass(frozen=True)
class Limits:
    """What an archive may hold at most; an archive that unpacks to more is refused as soon as it does.

    Attributes:
        member: Bytes of a file.
        total: Bytes of all, headers included.
        members: Files and folders.
        name: Characters of a name with its folders.
    """

    member: int = 32 << 30
    total: int = 256 << 30
    members: int = 100_000
    name: int = 1000


class Member(NamedTuple):
    """A file of an archive.

    Attributes:
        name: Its path, relative, without `.` and `..`.
        size: Bytes.
        file: Its content, to be read before the next member is asked for.
    """

    name: str
    size: int
    file: BinaryIO


@dataclass
class _Stream:
    """The unpacked bytes of an archive, counted as they come."""

    path: Path
    file: BinaryIO
    limits: Limits
    read_so_far: int = 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end alone."""
        try:
            data = self.file.read(size)
        except (EOFError, OSError, zlib.error) as error:
            raise self.damaged(error) from None
        self.read_so_far += len(data)
        if self.read_so_far > self.limits.total:
            raise InputError(f"{self.path} unpacks to more than {self.limits.total:,} bytes: not unpacked")
        return data

    def exactly(self, size: int) -> bytes:
        data = self.read(size)
        if len(data) != size:
            raise self.damaged("it ends too early")
        return data

    def damaged(self, why) -> InputError:
        return InputError(f"{self.path} is damaged or cut off after {self.read_so_far:,} bytes ({why}): fetch it again")


class _Content(io.RawIOBase):
    """The bytes of one member."""

    def __init__(self, stream: _Stream, size: int):
        self.stream, self.left = stream, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        wanted = min(len(buffer), self.left)
        data = self.stream.exactly(wanted)
        buffer[:wanted] = data
        self.left -= wanted
        return wanted

    def skip(self) -> None:
        """Go to the next header."""
        while self.left:
            self.left -= len(self.stream.exactly(min(self.left, CHUNK)))


@dataclass
class _Names:
    """The names seen so far, each checked."""

    path: Path
    limits: Limits
    files: set = field(default_factory=set)
    folders: set = field(default_factory=set)

    def add(self, name: str, is_folder: bool) -> str:
        """The name without `.`. Raises `InputError` for one that no well-meant archive has."""
        parts = PurePosixPath(name).parts
        if not name.isprintable():
            raise refusal(self.path, name, "has a name with control characters")
        if name.startswith("/"):
            raise refusal(self.path, name, "has an absolute path")
        if ".." in parts:
            raise refusal(self.path, name, "leads out of its folder")
        if len(name) > self.limits.name or any(len(part.encode()) > 255 for part in parts):
            raise refusal(self.path, name, "has an over-long name")
        if not is_folder and (not parts or name.endswith("/")):
            raise refusal(self.path, name, "has no name")
        clean = "/".join(parts)
        above = {str(folder) for folder in PurePosixPath(clean).parents}
        if clean in self.files or (not is_folder and clean in self.folders) or above & self.files:
            raise refusal(self.path, name, "is there twice")
        self.folders |= above
        (self.folders if is_folder else self.files).add(clean)
        if len(self.files) + len(self.folders) > self.limits.members:
            raise InputError(f"{self.path} holds more than {self.limits.members:,} files: not unpacked")
        return clean


def refusal(path: Path, name: str, why: str) -> InputError:
    shown = name if len(name) <= 200 else f"{name[:200]}..."
    return InputError(f"{path}: {shown!r} {why}: the archive is damaged or hostile, get it elsewhere")


def members(path: Path, limits: Limits = Limits(), description: str | None = None) -> Iterator[Member]:
    """The files of a tar.gz archive, in order, unpacked as they are read; folders go without saying.

    Args:
        path: The archive.
        limits: What it may hold at most.
        description: Of a progress bar; None for no bar.

    Raises:
        InputError: where it is missing or damaged; by name, at a member that is no plain file or folder, or whose name
            leads elsewhere, is there twice, or is odd. Members before it have been handed out by then.
    """
    with _opened(path, limits, description) as stream:
        names = _Names(path, limits)
        while header := _next_header(stream):
            name = names.add(header.name, header.isdir())
            content = _Content(stream, header.size)
            if not header.isdir():
                yield Member(name, header.size, io.BufferedReader(content))
            content.skip()
            stream.exactly(-header.size % BLOCK)
        while rest := stream.read(CHUNK):  # to its end, where gzip's checksum is
            if rest.strip(b"\0"):
                raise InputError(f"{path}: something follows the archive's end: not unpacked")


@contextmanager
def _opened(path: Path, limits: Limits, description: str | None) -> Iterator[_Stream]:
    from tqdm import tqdm

    if not path.is_file():
        raise InputError(f"{path} is missing, or no file")
    bar = {"total": path.stat().st_size, "desc": description, "disable": description is None}
    with open(path, "rb") as raw, tqdm.wrapattr(raw, "read", **bar) as counted, gzip.GzipFile(fileobj=counted) as file:
        yield _Stream(path, file, limits)


def _next_header(stream: _Stream) -> tarfile.TarInfo | None:
    """The header of the next file or folder, with the long name or size that headers of their own give it."""
    given = {}
    while True:
        try:
            header = tarfile.TarInfo.frombuf(stream.exactly(BLOCK), "utf-8", "surrogateescape")
        except tarfile.EOFHeaderError:
            if given:
                raise stream.damaged("a header without a file") from None
            return None
        except tarfile.HeaderError as error:
            raise stream.damaged(error) from None
        if header.type not in (LONG_NAME, OWN_HEADER, COMMON_HEADER):
            break
        if header.type in given:
            raise refusal(stream.path, header.name, "has two headers of a kind")
        given[header.type] = _said(stream, header)
    for said in given.values():
        header.name, header.size = said.get("path", header.name), int(said.get("size", header.size))
    if not (header.isdir() or header.type in (tarfile.REGTYPE, tarfile.AREGTYPE)):
        raise refusal(stream.path, header.name, f"is {KINDS.get(header.type, 'of an unknown kind')}, not a file")
    if not 0 <= header.size <= (0 if header.isdir() else stream.limits.member):
        raise refusal(stream.path, header.name, f"claims to have {header.size:,} bytes")
    return header


def _said(stream: _Stream, header: tarfile.TarInfo) -> dict[str, str]:
    """What a header of its own says of the next file: `path` and `size`, as far as it does."""
    if not 0 < header.size <= LARGEST_HEADER:
        raise refusal(stream.path, header.name, f"has a header of {header.size:,} bytes")
    data = stream.exactly(header.size + -header.size % BLOCK)[: header.size]
    if header.type == LONG_NAME:
        return {"path": data.removesuffix(b"\0").decode("utf-8", "surrogateescape")}
    try:
        said = dict(_records(data))
        misplaced = header.type == COMMON_HEADER and said.keys() & {"path", "size"}
        if misplaced or not said.get("size", "0").isdecimal():
            raise ValueError
    except ValueError:
        raise stream.damaged("a malformed header") from None
    if any(key == "linkpath" or key.startswith("GNU.sparse") for key in said):
        raise refusal(stream.path, header.name, "is of a link or a sparse file")
    return said


def _records(data: bytes) -> Iterator[tuple[str, str]]:
    """The `<length> <key>=<value>` lines of a pax header. Raises `ValueError` for anything else."""
    while data:
        digits = data.partition(b" ")[0]
        length = int(digits)
        line, data = data[:length], data[length:]
        if len(line) != length or not line.endswith(b"\n"):
            raise ValueError
        key, _, value = line[len(digits) + 1 : -1].decode("utf-8", "surrogateescape").partition("=")
        yield key, value


@dataclass(frozen=True)
class Unpacked:
    """What became of an archive's files.

    Attributes:
        written: How many were written.
        equal: How many were there already.
        kept: Files of the folder that differ from the archive's and were left as they are.
    """

    written: int
    equal: int
    kept: list[str]


def unpack(path: Path, folder: Path, overwrite: bool = False, limits: Limits = Limits()) -> Unpacked:
    """Unpack an archive, each file completely or not at all; a second run writes what is lacking.

    The whole archive is read and checked before the first file is written. Where all its files lie in `artefacts/`,
    they are unpacked without it.

    Args:
        path: The archive.
        folder: Where its files go.
        overwrite: Replace files that differ; else they are kept.
        limits: What the archive may hold at most.

    Raises:
        InputError: where the archive is damaged or odd, the disk has no room, or the way to a file leads out.
    """
    from tqdm import tqdm

    found = {member.name: (member.size, _sha256(member.file)) for member in members(path, limits, "check")}
    if not found:
        raise InputError(f"{path} holds no files")
    top = "artefacts/" if all(name.startswith("artefacts/") for name in found) else ""
    targets = {name: _target(folder, name.removeprefix(top)) for name in found}
    there = {name for name, target in targets.items() if os.path.lexists(target)}
    bar = tqdm(there, desc="compare", disable=len(there) < 2)
    equal = {name for name in bar if _is_equal(targets[name], *found[name])}
    kept = [] if overwrite else [name.removeprefix(top) for name in found if name in there - equal]
    wanted = found.keys() - (equal if overwrite else there)
    check_room(folder, sum(found[name][0] for name in wanted))
    for member in members(path, limits, "unpack") if wanted else ():
        if member.name in wanted:
            _write(member, targets[member.name], *found[member.name])
    return Unpacked(len(wanted), len(equal), kept)


def _target(folder: Path, name: str) -> Path:
    """Where a file goes. Raises `InputError` where a link or a file stands in the way."""
    target = folder / name
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{target.parent} is a link out of {folder}: remove it, or choose another --artefacts_dir")
    nearest = next(above for above in target.parents if above.exists())
    if not nearest.is_dir() or target.is_dir():
        wrong = f"{nearest} is no folder" if not nearest.is_dir() else f"{target} is a folder"
        raise InputError(f"{wrong}, and the archive has it otherwise: move it away")
    return target


def _is_equal(target: Path, size: int, sha256: str) -> bool:
    if not target.is_file() or target.stat().st_size != size:
        return False
    with open(target, "rb") as file:
        return _sha256(file) == sha256


def _write(member: Member, target: Path, size: int, sha256: str) -> None:
    check_room(target.parent, size)
    with atomic_write(target) as temporary, open(temporary, "wb") as file:
        digest = hashlib.sha256()
        while chunk := member.file.read(CHUNK):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        if digest.hexdigest() != sha256:
            raise InputError(f"{member.name} changed while its archive was being unpacked: run it again")


def _sha256(file: BinaryIO) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path) -> None:
    """Read all of an archive. Raises `InputError` if it is damaged or has anything odd in it."""
    for _ in members(path):
        pass
