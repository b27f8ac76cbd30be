"""Archives (tar.gz) from others: read by tarfile, and refused as a whole if anything in them is odd.

tarfile alone follows forms that no archive of results needs (links, sparse files, headers of any size), ignores
malformed pax records, and takes damage for the end. So headers and pax records are checked before tarfile uses them.
"""

import gzip
import hashlib
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, NamedTuple, cast

from imagenet_errors.errors import InputError
from imagenet_errors.files import atomic_write, check_room
from imagenet_errors.progress import open_progress, show_progress

CHUNK = 1 << 20
EXTENSIONS = (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE)  # headers for the file after them
MAX_EXTENSION_BYTES = 1 << 16
ANOTHER = "download or copy it again"
REFUSED_TYPES = {
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
    """What an archive may hold at most; it is refused as soon as it exceeds one of these.

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
    file: IO[bytes]


@dataclass
class _Stream:
    """The unpacked bytes of an archive, counted, for tarfile to read in order; `extensions` precede the next file."""

    path: Path
    file: gzip.GzipFile
    limits: Limits
    position: int = 0
    extensions: list[tarfile.TarInfo] = field(default_factory=list)
    is_in_extension: bool = False

    def read_some(self, size: int) -> bytes:
        """At most `size` bytes; none at the end alone."""
        try:
            data = self.file.read(size)
        except (EOFError, OSError, zlib.error) as error:
            raise self.damaged(error) from None
        self.position += len(data)
        if self.position > self.limits.total:
            raise InputError(f"{self.path} unpacks to more than {self.limits.total:,} bytes, not unpacked: {ANOTHER}")
        return data

    def read(self, size: int) -> bytes:
        data = self.read_some(size)
        if len(data) != size:
            raise self.damaged("it ends too early")
        if self.is_in_extension:
            self.is_in_extension = False
            self._check_extension(self.extensions[-1], data)
        return data

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> None:
        while self.position < position:
            self.read(min(position - self.position, CHUNK))

    def damaged(self, why: object) -> InputError:
        return InputError(f"{self.path} is damaged or cut off after {self.position:,} bytes ({why}): {ANOTHER}")

    def check_header(self, header: tarfile.TarInfo) -> None:
        if header.type in EXTENSIONS:
            if header.type in (other.type for other in self.extensions):
                raise refuse(self.path, header.name, "has two headers of the same type")
            if not 0 < header.size <= MAX_EXTENSION_BYTES:
                raise refuse(self.path, header.name, f"has a header of {header.size:,} bytes")
            self.extensions.append(header)
            self.is_in_extension = True
            return
        self.extensions = []
        if not (header.isdir() or header.type in (tarfile.REGTYPE, tarfile.AREGTYPE)):
            what = REFUSED_TYPES.get(header.type, "of an unknown type")
            raise refuse(self.path, header.name, f"is {what}, not a file")
        self._check_size(header.name, header.size, 0 if header.isdir() else self.limits.member)

    def _check_size(self, name: str, size: int, largest: int) -> None:
        if not 0 <= size <= largest:
            raise refuse(self.path, name, f"claims to have {size:,} bytes")

    def _check_extension(self, header: tarfile.TarInfo, data: bytes) -> None:
        """Check pax records, `<length> <key>=<value>` lines, in a header with its padding."""
        if header.type == tarfile.GNUTYPE_LONGNAME:
            return
        records, rest = {}, data[: header.size]
        try:
            if re.search(rb"\d{256}", rest):  # in no file name, and tarfile takes quadratic time to search it
                raise ValueError
            while rest:
                length = int(rest.partition(b" ")[0])
                record, rest = rest[:length], rest[length:]
                if len(record) != length or not record.endswith(b"\n"):
                    raise ValueError
                key, _, value = record.partition(b" ")[2][:-1].partition(b"=")
                records[key] = value
            size = records.get(b"size", b"0")
            if not size.isdigit() or (header.type == tarfile.XGLTYPE and records.keys() & {b"path", b"size"}):
                raise ValueError
        except ValueError:
            raise self.damaged("a malformed header") from None
        if any(key == b"linkpath" or key.startswith(b"GNU.sparse") for key in records):
            raise refuse(self.path, header.name, "is of a link or a sparse file")
        self._check_size(header.name, int(size), self.limits.member)


class _CheckedHeader(tarfile.TarInfo):
    """A header that is checked before tarfile acts on it; a subclass for each archive has its stream."""

    stream: _Stream

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_CheckedHeader":
        is_end = not buf.strip(b"\0")
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if is_end and not cls.stream.extensions:
                raise
            raise cls.stream.damaged("a header without a file" if is_end else error) from None
        cls.stream.check_header(header)
        return header


@dataclass
class _Names:
    """The names seen so far, each checked."""

    path: Path
    limits: Limits
    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)

    def add(self, name: str, is_folder: bool) -> str:
        """The name without `.`. Raises `InputError` for a name that no proper archive has."""
        parts = PurePosixPath(name).parts
        if not name.isprintable():
            raise refuse(self.path, name, "has a name with control characters")
        if name.startswith("/"):
            raise refuse(self.path, name, "has an absolute path")
        if ".." in parts:
            raise refuse(self.path, name, "leads out of its folder")
        if len(name) > self.limits.name or any(len(part.encode()) > 255 for part in parts):
            raise refuse(self.path, name, "has an over-long name")
        if not is_folder and (not parts or name.endswith("/")):
            raise refuse(self.path, name, "has no name")
        clean = "/".join(parts)
        above = {str(folder) for folder in PurePosixPath(clean).parents}
        if clean in self.files or (not is_folder and clean in self.folders) or above & self.files:
            raise refuse(self.path, name, "occurs twice")
        self.folders |= above
        (self.folders if is_folder else self.files).add(clean)
        if len(self.files) + len(self.folders) > self.limits.members:
            raise InputError(f"{self.path} holds more than {self.limits.members:,} files, not unpacked: {ANOTHER}")
        return clean


def refuse(path: Path, name: str, why: str) -> InputError:
    shown = name if len(name) <= 200 else f"{name[:200]}..."
    return InputError(
        f"{path}: {shown!r} {why}: not unpacked: {ANOTHER}, from a source that you trust; or make it of"
        " plain files alone"
    )


def read_members(path: Path, limits: Limits = Limits(), description: str | None = None) -> Iterator[Member]:
    """The files of a tar.gz archive, in order, unpacked as they are read; folders are left out.

    Args:
        path: The archive.
        limits: What it may hold at most.
        description: Of a progress bar; None for no bar.

    Raises:
        InputError: if it is missing or damaged; by name, at a member that is not a plain file or folder, or whose name
            leads elsewhere, occurs twice, or is odd. Members before it have been handed out by then.
    """
    with _open(path, limits, description) as stream:
        names, header_type = _Names(path, limits), type("Header", (_CheckedHeader,), {"stream": stream})
        archive: Any = tarfile.TarFile(fileobj=cast(BinaryIO, stream), tarinfo=header_type, encoding="utf-8")
        while header := archive.next():
            name, content = names.add(header.name, header.isdir()), archive.extractfile(header)
            if content is not None:
                yield Member(name, header.size, content)
            archive.members, archive.pax_headers = [], {}  # or they pile up
        while rest := stream.read_some(CHUNK):  # to its end, where gzip's checksum is
            if rest.strip(b"\0"):
                raise InputError(f"{path}: something follows the archive's end, not unpacked: {ANOTHER}")


@contextmanager
def _open(path: Path, limits: Limits, description: str | None) -> Iterator[_Stream]:
    from tqdm.utils import CallbackIOWrapper

    if not path.is_file():
        raise InputError(f"{path} is missing or not a file: give the archive's file")
    size = path.stat().st_size
    progress = open_progress(description, size, in_bytes=True) if description else nullcontext(lambda _: None)
    with open(path, "rb") as raw, progress as advance, gzip.open(CallbackIOWrapper(advance, raw, "read")) as file:
        yield _Stream(path, file, limits)


def check(path: Path) -> None:
    """Read all of an archive. Raises `InputError` if it is damaged or anything in it is odd."""
    for _ in read_members(path):
        pass


@dataclass(frozen=True)
class Unpacked:
    """What unpacking an archive did.

    Attributes:
        written: Number of files written.
        equal: Number of files that existed already.
        kept: Existing files that differ from the archive's and were not replaced.
        hashes: {path below the folder: sha256} of all others.
    """

    written: int
    equal: int
    kept: list[str]
    hashes: dict[str, str] = field(default_factory=dict, compare=False)


def unpack(path: Path, folder: Path, overwrite: bool = False, limits: Limits = Limits()) -> Unpacked:
    """Unpack an archive, each file completely or not at all; a second run writes what is missing.

    The whole archive is read and checked before the first file is written. If all its files are in `artefacts/`, they
    are unpacked without that folder.

    Args:
        path: The archive.
        folder: The target.
        overwrite: Replace existing files that differ; else they are kept.
        limits: What the archive may hold at most.

    Raises:
        InputError: if the archive is damaged or odd, the disk has no room, or a file's path leads out of the folder.
    """
    found = {member.name: (member.size, _sha256(member.file)) for member in read_members(path, limits, "check")}
    if not found:
        raise InputError(f"{path} holds no files: {ANOTHER}")
    top = "artefacts/" if all(name.startswith("artefacts/") for name in found) else ""
    targets = {name: _target(folder, name.removeprefix(top)) for name in found}
    existing = {name for name, target in targets.items() if os.path.lexists(target)}
    equal = {name for name in show_progress(existing, "compare") if _is_equal(targets[name], *found[name])}
    kept = [] if overwrite else [name.removeprefix(top) for name in found if name in existing - equal]
    wanted = found.keys() - (equal if overwrite else existing)
    check_room(folder, sum(found[name][0] for name in wanted))
    for member in read_members(path, limits, "unpack") if wanted else ():
        if member.name in wanted:
            _write(member, targets[member.name], *found[member.name])
    hashes = {name.removeprefix(top): found[name][1] for name in wanted | equal}
    return Unpacked(len(wanted), len(equal), kept, hashes)


def _target(folder: Path, name: str) -> Path:
    """The path of a file. Raises `InputError` if a link or a file is in its place or above it."""
    target = folder / name
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{target.parent} is a link out of {folder}: remove it, or choose another --artefacts_dir")
    nearest = next(above for above in target.parents if above.exists())
    if not nearest.is_dir() or target.is_dir():
        wrong = f"{nearest} is not a folder" if not nearest.is_dir() else f"{target} is a folder"
        raise InputError(f"{wrong}, unlike in the archive: move it away")
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


def _sha256(file: Any) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()
