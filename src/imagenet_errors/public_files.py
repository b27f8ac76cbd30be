"""The public files that the analysis needs: where they are from, which are present, and whether they are valid."""

import csv
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from imagenet_errors import locks
from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.download import RetryPolicy, check_file, download_file, file_sha256, partial_path
from imagenet_errors.error_types import ERROR_COLUMNS
from imagenet_errors.errors import InputError, describe_exception, describe_unknown
from imagenet_errors.files import atomic_write, check_room, read_csv, read_json, read_text, write_csv
from imagenet_errors.paths import DOWNLOAD_COLUMNS, DOWNLOADED_COLUMNS, DOWNLOADS, Artefacts
from imagenet_errors.progress import open_progress

CHUNK = 1 << 20
PRESENT, MISSING, DAMAGED, INCOMPLETE = "present", "missing", "damaged", "incomplete"


class FileGroup(NamedTuple):
    """What the files of a group must be: a check that raises `InputError`, and their maximum size."""

    check: Callable[[Path], None]
    max_bytes: int


def check_archive(path: Path) -> None:
    """Its first bytes alone; unpacking checks all of it."""
    with open(path, "rb") as file:
        if file.read(2) != b"\x1f\x8b":
            raise InputError(f"{path} is not a gzip archive: compress it with gzip if a browser decompressed it")


def check_annotations(path: Path) -> None:
    content = read_json(path)
    if not isinstance(content, dict) or not (content.get("initial_annots") and "problematic_images" in content):
        raise InputError(f"{path} has no annotations ('initial_annots' and 'problematic_images')")


def check_mistakes(path: Path) -> None:
    content = read_json(path)
    if not (content and isinstance(content, dict) and all(isinstance(one, dict) for one in content.values())):
        raise InputError(f"{path} is not a list of mistakes by file name")


def check_logits(path: Path) -> None:
    """Shape and dtype of an array in an .npy file, or alone in an .npz file; an .npy file's numbers are not read."""
    try:
        if zipfile.is_zipfile(path):
            shape, dtype = _check_only_array(path)
        else:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            shape, dtype = array.shape, array.dtype
            if path.stat().st_size != array.offset + array.nbytes:
                raise ValueError("bytes follow the array")
    except Exception as error:  # NumPy, zipfile and zlib raise a dozen different exceptions for damaged bytes
        raise InputError(f"{path} is not an array ({describe_exception(error)})") from None
    if len(shape) != 2 or shape[1] != NUM_CLASSES or not shape[0] or dtype.kind != "f":
        raise InputError(f"{path} has dtype {dtype} and shape {shape}, not [N, {NUM_CLASSES}] logits")


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
        raise InputError(f"{path} is not a table ({error})") from None
    missing = [column for column in ("model_dir_id", "training_data", *ERROR_COLUMNS) if column not in header]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]!r}")
    if not text.endswith("\n") or {len(row) for row in rows} != {len(header)}:
        raise InputError(f"{path} is incomplete: its last line or a row is cut off")


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
        name: Its name for `--what`.
        what: Its group, a key of FILE_GROUPS.
        url: Where it is from.
        path: Its place below the artefacts folder.
        sha256: Of its content, if published; else empty.
        description: One line for users.
    """

    name: str
    what: str
    url: str
    path: str
    sha256: str
    description: str

    @property
    def group(self) -> FileGroup:
        return FILE_GROUPS[self.what]


class Status(NamedTuple):
    """PRESENT, MISSING, DAMAGED or INCOMPLETE; bytes on the disk; the reason; the sha256 if it was computed."""

    state: str
    size: int
    note: str
    sha256: str = ""


def load_public_files(artefacts: Artefacts) -> list[PublicFile]:
    """The rows of downloads.csv. Raises `InputError` for one that is malformed or leads out of the artefacts folder."""
    path = artefacts.find(DOWNLOADS)
    found = [PublicFile(**row) for row in read_csv(path, DOWNLOAD_COLUMNS)]
    for file in found:
        place = PurePosixPath(file.path)
        if place.is_absolute() or ".." in place.parts or not place.parts or not file.path.isprintable():
            raise InputError(f"{path}: {file.path!r} is not a path below the artefacts folder: correct it")
        if not file.url.startswith(("http://", "https://")):
            raise InputError(f"{path}: {file.url!r} does not begin with http:// or https://: correct it")
        if file.what not in FILE_GROUPS:
            raise InputError(f"{path}: {describe_unknown('group', file.what, FILE_GROUPS)}: correct it")
    return found


def select_files(files: list[PublicFile], names: list[str]) -> list[PublicFile]:
    """The files of these names or groups, in the order of the table; `all` selects all."""
    known = ["all", *FILE_GROUPS, *(file.name for file in files)]
    for name in names:
        if name not in known:
            raise InputError(describe_unknown("public file", name, known))
    return [file for file in files if {"all", file.what, file.name} & set(names)]


def identify_file(files: list[PublicFile], source: Path) -> PublicFile:
    """The one of `files` that `source` is a copy of: the only one, or else the only one with its file name."""
    fitting = files if len(files) == 1 else [file for file in files if PurePosixPath(file.path).name == source.name]
    if len(fitting) != 1:
        names = ", ".join(file.name for file in fitting or files)
        raise InputError(f"{source} may be any of {names}: name one with --what")
    return fitting[0]


def check_public_file(artefacts: Artefacts, file: PublicFile) -> Status:
    """Whether a file is present and valid: by its published hash, the hash of its download, or its form."""
    path, part = artefacts.root / file.path, partial_path(artefacts.root / file.path)
    if not path.exists():
        if part.is_file():
            return Status(INCOMPLETE, part.stat().st_size, "the same command resumes it")
        return Status(MISSING, 0, file.description)
    size, downloaded = path.stat().st_size, read_downloaded(artefacts).get(file.path)
    try:
        if not (file.sha256 or downloaded):
            file.group.check(path)
            return Status(PRESENT, size, "has the right form; its hash is not known")
        sha256 = file_sha256(path)
    except (InputError, OSError) as error:
        return Status(DAMAGED, size, str(error))
    if file.sha256:
        note = "has the published sha256" if sha256 == file.sha256 else "does not have the published sha256"
        return Status(PRESENT if sha256 == file.sha256 else DAMAGED, size, note, sha256)
    if downloaded and sha256 != downloaded["sha256"]:
        return Status(DAMAGED, size, "was changed after its download", sha256)
    return Status(PRESENT, size, "is as it was downloaded", sha256)


def check(artefacts: Artefacts, file: PublicFile) -> None:
    """Raises `InputError` if a file is damaged."""
    found = check_public_file(artefacts, file)
    if found.state == DAMAGED:
        raise InputError(f"{artefacts.root / file.path}: {found.note}")


def fetch_file(artefacts: Artefacts, file: PublicFile, overwrite: bool, retries: RetryPolicy) -> str:
    """Download a file unless it is present. Returns what was done.

    Raises:
        InputError: if it cannot be downloaded, or a damaged file is in its place and is not to be overwritten.
    """
    path, found = artefacts.root / file.path, check_public_file(artefacts, file)
    if found.state == DAMAGED and not overwrite:
        raise InputError(f"{path} is damaged ({found.note}): --overwrite downloads it again")
    if found.state == PRESENT and (file.sha256 or not overwrite):
        _record_present(artefacts, file, found.sha256)
        return f"{path} exists and is kept"
    sha256 = download_file(file.url, path, file.sha256, file.group.check, file.group.max_bytes, retries)
    _record(artefacts, file.path, file.url, sha256)
    return f"wrote {path}: {path.stat().st_size:,} bytes"


def copy_file(artefacts: Artefacts, file: PublicFile, source: Path, overwrite: bool) -> str:
    """Check and copy a file that was downloaded by other means. Returns what was done.

    Raises:
        InputError: if it is not what it should be, or another file is in its place and is not to be overwritten.
    """
    path = artefacts.root / file.path
    sha256 = check_source(file, source)
    if not _copy_checked(source, path, sha256, overwrite):
        _record_present(artefacts, file, sha256)
        return f"{path} exists and is kept"
    _record(artefacts, file.path, file.url, sha256)
    return f"wrote {path}: {path.stat().st_size:,} bytes"


def find_archived_dataset(source: Path) -> str | None:
    """The dataset of an archive that is named as in an artefacts folder, `models-<dataset>.tar.gz`; else None."""
    return {Artefacts(Path()).archive(dataset).name: dataset for dataset in DATASETS}.get(source.name)


def copy_archive(artefacts: Artefacts, dataset: str, source: Path, overwrite: bool) -> str:
    """Copy an archive of a dataset's analyses, which is read in place. Returns what was done.

    Raises:
        InputError: if it is none, or another one is in its place and is not to be overwritten.
    """
    path = artefacts.archive(dataset)
    if not source.is_file():
        raise InputError(f"{source} is missing or not a file: name the archive that you have")
    check_archive(source)
    if not _copy_checked(source, path, file_sha256(source), overwrite):
        return f"{path} exists and is kept"
    return f"wrote {path}: {path.stat().st_size:,} bytes; evaluation.py --dataset {dataset} --collect_results reads it"


def _copy_checked(source: Path, path: Path, sha256: str, overwrite: bool) -> bool:
    """Copy a file; returns whether that was needed. Raises `InputError` where another file is in its place."""
    if path.is_file() and file_sha256(path) == sha256:
        return False
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists and differs from {source}: --overwrite replaces it")
    path.parent.mkdir(parents=True, exist_ok=True)
    check_room(path.parent, source.stat().st_size)
    with atomic_write(path) as temporary:
        _copy(source, temporary)
        if file_sha256(temporary) != sha256:
            raise InputError(f"{source} changed while it was copied: run it again")
    return True


def check_source(file: PublicFile, source: Path) -> str:
    """The sha256 of a file that was downloaded by other means. Raises `InputError` if it is not `file`."""
    if not source.is_file():
        raise InputError(f"{source} is missing or not a file: name the file that you downloaded")
    advice = "give another file, or say with --what which one it is"
    return check_file(source, file.sha256, file.group.check, f"{source}, taken for {file.name},", advice)


def read_downloaded(artefacts: Artefacts) -> dict[str, dict[str, str]]:
    """{path: row of downloads_done.csv}."""
    path = artefacts.downloads_done()
    return {row["file"]: row for row in (read_csv(path, DOWNLOADED_COLUMNS) if path.exists() else [])}


def _record(artefacts: Artefacts, file: str, url: str, sha256: str) -> None:
    """Write the row of downloads_done.csv of a file, named by its path below the artefacts folder."""
    row = {"file": file, "url": url, "sha256": sha256, "bytes": (artefacts.root / file).stat().st_size}
    path = artefacts.downloads_done()
    with locks.locked(artefacts.root, path.name):
        rows = read_downloaded(artefacts) | {file: row}
        write_csv(path, DOWNLOADED_COLUMNS, list(rows.values()))


def record_unpacked(artefacts: Artefacts, archive: PublicFile, unpacked: dict[str, str]) -> None:
    """Note which archives of analyses came out of a public one, so that these are known to be its.

    Args:
        artefacts: The folder that it was unpacked into.
        archive: The public archive.
        unpacked: {path below the folder: sha256} of the files in it.
    """
    downloaded = read_downloaded(artefacts)
    for dataset in DATASETS:
        file = artefacts.archive(dataset).name
        if file in unpacked and downloaded.get(file, {}).get("sha256") != unpacked[file]:
            _record(artefacts, file, archive.url, unpacked[file])


def _record_present(artefacts: Artefacts, file: PublicFile, sha256: str) -> None:
    """Record a file that is present without a row: the user brought it, or the run that downloaded it was killed."""
    if file.path not in read_downloaded(artefacts) and os.access(artefacts.root, os.W_OK):
        _record(artefacts, file.path, file.url, sha256 or file_sha256(artefacts.root / file.path))


def _copy(source: Path, target: Path) -> None:
    progress = open_progress(source.name, source.stat().st_size, in_bytes=True)
    with open(source, "rb") as file, open(target, "wb") as copy, progress as advance:
        while chunk := file.read(CHUNK):
            copy.write(chunk)
            advance(len(chunk))
