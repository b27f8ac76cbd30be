"""The public files that the analysis stands on: where they are from, which are here, and whether they are sound."""

import csv
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from imagenet_errors import locks
from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.download import RetryPolicy, download, file_sha256, part_of, verify
from imagenet_errors.error_types import ERROR_COLUMNS
from imagenet_errors.errors import InputError, describe_unknown
from imagenet_errors.files import atomic_write, check_room, read_csv, read_json, read_text, write_csv
from imagenet_errors.paths import DOWNLOAD_COLUMNS, DOWNLOADS, Artefacts

CHUNK = 1 << 20
DONE_COLUMNS = ["file", "url", "sha256", "bytes"]
PRESENT, MISSING, DAMAGED, INCOMPLETE = "present", "missing", "damaged", "incomplete"


class FileGroup(NamedTuple):
    """What the files of a group must be: a check that raises `InputError`, and how long they are at most."""

    check: Callable[[Path], None]
    max_bytes: int


def check_archive(path: Path) -> None:
    """Its beginning alone: unpacking checks all of it."""
    with open(path, "rb") as file:
        if file.read(2) != b"\x1f\x8b":
            raise InputError(f"{path} is no gzip archive")


def check_annotations(path: Path) -> None:
    content = read_json(path)
    if not isinstance(content, dict) or not (content.get("initial_annots") and "problematic_images" in content):
        raise InputError(f"{path} has no annotations ('initial_annots' and 'problematic_images')")


def check_mistakes(path: Path) -> None:
    content = read_json(path)
    if not (content and isinstance(content, dict) and all(isinstance(one, dict) for one in content.values())):
        raise InputError(f"{path} is no list of mistakes by file name")


def check_logits(path: Path) -> None:
    """The form of an array, bare or alone in an archive; the numbers of a bare one stay on the disk."""
    try:
        if zipfile.is_zipfile(path):
            shape, dtype = _check_only_array(path)
        else:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            shape, dtype = array.shape, array.dtype
            if path.stat().st_size != array.offset + array.nbytes:
                raise ValueError("something follows the array")
    except Exception as error:  # NumPy, zipfile and zlib raise a dozen different kinds for damaged bytes
        raise InputError(f"{path} holds no array ({error})") from None
    if len(shape) != 2 or shape[1] != NUM_CLASSES or not shape[0] or dtype.kind != "f":
        raise InputError(f"{path} holds {dtype} of the shape {shape}, not [N, {NUM_CLASSES}] logits")


def _check_only_array(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    with zipfile.ZipFile(path) as archive:
        if len(archive.namelist()) != 1 or archive.testzip():
            raise ValueError(f"{len(archive.namelist())} arrays, or a wrong checksum")
        with archive.open(archive.namelist()[0]) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            return shape, dtype


def check_table(path: Path) -> None:
    text = read_text(path)
    try:
        header, *rows = list(csv.reader(text.splitlines())) or [[]]
    except csv.Error as error:
        raise InputError(f"{path} is no table ({error})") from None
    missing = [column for column in ("model_dir_id", "training_data", *ERROR_COLUMNS) if column not in header]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]!r}")
    if not text.endswith("\n") or {len(row) for row in rows} != {len(header)}:
        raise InputError(f"{path} breaks off")


FILE_GROUPS = {
    "archive": FileGroup(check_archive, 64 << 30),
    "annotations": FileGroup(check_annotations, 1 << 28),
    "mistakes": FileGroup(check_mistakes, 1 << 26),
    "logits": FileGroup(check_logits, 1 << 30),
    "tables": FileGroup(check_table, 1 << 26),
}


@dataclass(frozen=True)
class PublicFile:
    """A row of downloads.csv.

    Attributes:
        name: What `--what` calls it.
        what: Its group, a key of KINDS.
        url: Where it is from.
        path: Where it belongs, below the artefacts folder.
        sha256: Of its content, where it is published; else empty.
        description: For people.
    """

    name: str
    what: str
    url: str
    path: str
    sha256: str
    description: str

    @property
    def kind(self) -> FileGroup:
        return FILE_GROUPS[self.what]


class Status(NamedTuple):
    """PRESENT, MISSING, DAMAGED or INCOMPLETE; how many bytes are here; what there is to say."""

    state: str
    size: int
    note: str


def load(artefacts: Artefacts) -> list[PublicFile]:
    """The rows of downloads.csv. Raises `InputError` for one that is malformed or leads out of the artefacts folder."""
    path = artefacts.find(DOWNLOADS)
    found = [PublicFile(**row) for row in read_csv(path, DOWNLOAD_COLUMNS)]
    for file in found:
        place = PurePosixPath(file.path)
        if place.is_absolute() or ".." in place.parts or not place.parts or not file.path.isprintable():
            raise InputError(f"{path}: {file.path!r} is no path below the artefacts folder: correct it")
        if not file.url.startswith(("http://", "https://")):
            raise InputError(f"{path}: {file.url!r} does not begin with http:// or https://: correct it")
        if file.what not in FILE_GROUPS:
            raise InputError(f"{path}: {describe_unknown('group', file.what, FILE_GROUPS)}: correct it")
    return found


def choose(files: list[PublicFile], names: list[str]) -> list[PublicFile]:
    """The files of these names or groups, in the order of the table; `all` for all."""
    known = ["all", *FILE_GROUPS, *(file.name for file in files)]
    for name in names:
        if name not in known:
            raise InputError(describe_unknown("download", name, known))
    return [file for file in files if {"all", file.what, file.name} & set(names)]


def of_file(files: list[PublicFile], source: Path) -> PublicFile:
    """The one of `files` that was fetched as `source`: the only one there is, or else the only one of its file name."""
    fitting = files if len(files) == 1 else [file for file in files if PurePosixPath(file.path).name == source.name]
    if len(fitting) != 1:
        names = ", ".join(file.name for file in fitting or files)
        raise InputError(f"{source} may be any of {names}: say which with --what")
    return fitting[0]


def status(artefacts: Artefacts, file: PublicFile) -> Status:
    """Whether a file is here and sound, by its published hash, else by that of its download, else by its form."""
    path, part = artefacts.root / file.path, part_of(artefacts.root / file.path)
    if not path.exists():
        if part.is_file():
            return Status(INCOMPLETE, part.stat().st_size, "the same command goes on")
        return Status(MISSING, 0, file.description)
    size, noted = path.stat().st_size, _noted(artefacts).get(file.path)
    try:
        if file.sha256:
            sound = file_sha256(path) == file.sha256
            note = "has the published sha256" if sound else "has not the published sha256"
        elif noted:
            sound = file_sha256(path) == noted["sha256"]
            note = "is as it was downloaded" if sound else "was changed after its download"
        else:
            file.kind.check(path)
            sound, note = True, "looks right; its hash is not known"
    except (InputError, OSError) as error:
        return Status(DAMAGED, size, str(error))
    return Status(PRESENT if sound else DAMAGED, size, note)


def fetch(artefacts: Artefacts, file: PublicFile, overwrite: bool, retries: RetryPolicy) -> str:
    """Download a file, unless it is here. Returns what was done.

    Raises:
        InputError: where it does not come, or a damaged one stands in its place and is not to be overwritten.
    """
    path = artefacts.root / file.path
    if _is_here(artefacts, file, overwrite):
        _note_again(artefacts, file, file_sha256(path))
        return f"{path} is there, kept"
    sha256 = download(file.url, path, file.sha256, file.kind.check, file.kind.max_bytes, retries)
    _note(artefacts, file, sha256)
    return f"wrote {path}: {path.stat().st_size:,} bytes"


def take(artefacts: Artefacts, file: PublicFile, source: Path, overwrite: bool) -> str:
    """Copy a file that was fetched by other means, once it is verified. Returns what was done.

    Raises:
        InputError: where it is not what it should be, or another one is in its place and is not to be overwritten.
    """
    path = artefacts.root / file.path
    sha256 = verify_source(file, source)
    if path.is_file() and file_sha256(path) == sha256:
        _note_again(artefacts, file, sha256)
        return f"{path} is there, kept"
    if path.exists() and not overwrite:
        raise InputError(f"{path} is there and differs from {source}: --overwrite replaces it")
    path.parent.mkdir(parents=True, exist_ok=True)
    check_room(path.parent, source.stat().st_size)
    with atomic_write(path) as temporary:
        _copy(source, temporary)
        if file_sha256(temporary) != sha256:
            raise InputError(f"{source} changed while it was copied: run it again")
    _note(artefacts, file, sha256)
    return f"wrote {path}: {path.stat().st_size:,} bytes"


def verify_source(file: PublicFile, source: Path) -> str:
    """The sha256 of a file that was fetched by other means. Raises `InputError` where it is not `file`."""
    if not source.is_file():
        raise InputError(f"{source} is missing, or no file: name the file that you fetched")
    return verify(source, file.sha256, file.kind.check, f"{source}, taken for {file.name},")


def _is_here(artefacts: Artefacts, file: PublicFile, overwrite: bool) -> bool:
    found = status(artefacts, file)
    if found.state == DAMAGED and not overwrite:
        raise InputError(f"{artefacts.root / file.path} is damaged ({found.note}): --overwrite fetches it again")
    return found.state == PRESENT and bool(file.sha256 or not overwrite)


def _noted(artefacts: Artefacts) -> dict[str, dict[str, str]]:
    """{path: row} of what was downloaded."""
    path = artefacts.downloads_done()
    return {row["file"]: row for row in (read_csv(path, DONE_COLUMNS) if path.exists() else [])}


def _note(artefacts: Artefacts, file: PublicFile, sha256: str) -> None:
    size = (artefacts.root / file.path).stat().st_size
    row = {"file": file.path, "url": file.url, "sha256": sha256, "bytes": size}
    path = artefacts.downloads_done()
    with locks.locked(artefacts.root, path.name):
        rows = _noted(artefacts) | {file.path: row}
        write_csv(path, DONE_COLUMNS, list(rows.values()))


def _note_again(artefacts: Artefacts, file: PublicFile, sha256: str) -> None:
    """Note a file that is here and was not noted: it was brought here, or the run that fetched it was killed."""
    if file.path not in _noted(artefacts) and os.access(artefacts.root, os.W_OK):
        _note(artefacts, file, sha256)


def _copy(source: Path, target: Path) -> None:
    from tqdm import tqdm

    with open(source, "rb") as file, open(target, "wb") as copy:
        bar = {"total": source.stat().st_size, "desc": source.name}
        with tqdm.wrapattr(file, "read", **bar) as counted:
            shutil.copyfileobj(counted, copy, CHUNK)
