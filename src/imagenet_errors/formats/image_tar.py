"""Tar archives of images: the official one, and our copy of compressed ones, which names what it was made from."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from imagenet_errors.errors import InputError, describe_exception
from imagenet_errors.files import atomic_write, refuse_unreadable

ADVICE_ON_COPY = "remove it, it is made again"


def list_members(path: Path, advice: str) -> list[tarfile.TarInfo]:
    """The members of a tar archive, in its order; `advice` is for a damaged one.

    Raises:
        InputError: where it is damaged or incomplete.
        UnreadableFileError: where the operating system does not let us read it.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            members = archive.getmembers()
            with open(path, "rb") as file:  # tarfile takes the first damaged header for the end
                file.seek(archive.offset)
                if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise ValueError(f"it breaks off after {len(members):,} members")
    except Exception as error:  # tarfile raises many for damaged bytes
        refuse_unreadable(error, path)
        raise InputError(f"{path} is not a whole tar archive ({describe_exception(error)}): {advice}") from None
    return members


def write_copy(path: Path, images: Iterable[tuple[str, bytes]], source: str) -> None:
    """Write images to a tar archive.

    Args:
        path: The archive.
        images: (name, bytes).
        source: A fingerprint of what they are copied from.
    """
    with (
        atomic_write(path) as temporary,
        tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": source}) as archive,
    ):
        for name, content in images:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def read_source(path: Path) -> str | None:
    """The fingerprint of what a copy was made from; None where there is no copy."""
    try:
        with tarfile.open(path, "r:") as archive:
            return archive.pax_headers.get("comment")
    except (OSError, tarfile.TarError):
        return None


def check(path: Path) -> None:
    """Raises `InputError` for a copy that is not whole."""
    list_members(path, ADVICE_ON_COPY)
