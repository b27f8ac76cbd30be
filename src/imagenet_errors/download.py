"""Downloads that go on where they were broken off, and are there completely or not at all."""

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from pathlib import Path

CHUNK = 1 << 20
SECONDS_TO_ANSWER = 30


def download(url: str, path: Path, sha256: str = "") -> None:
    """Download a file with a progress bar.

    What an earlier attempt left in `<path>.part` is not fetched again, if `sha256` can tell that the parts fit.

    Args:
        url: What to fetch.
        path: Where it will lie.
        sha256: The first hexadecimal digits of the content's hash; empty for no check.

    Raises:
        OSError: where the server or the connection fails (what has come is kept), or the content has another hash.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    if not sha256:
        part.unlink(missing_ok=True)
    _fetch(url, part)
    if not file_sha256(part).startswith(sha256):
        part.unlink()
        raise OSError(f"what came from {url} has not the sha256 {sha256}...: try again, or get it elsewhere")
    os.replace(part, path)


def _fetch(url: str, part: Path) -> None:
    """Append to `part` what it lacks."""
    there = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        response = urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        size = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if size and int(size[1]) == there:  # nothing is left to send
            return
        part.unlink()
        return _fetch(url, part)
    try:
        with response, open(part, "ab" if response.status == 206 else "wb") as file:
            _copy(response, file, part.stem)
    except http.client.HTTPException as error:
        raise OSError(f"{url} broke off ({type(error).__name__}): run it again to go on") from error


def _copy(response, file, name: str) -> None:
    from tqdm import tqdm

    start, left = file.tell(), response.headers.get("Content-Length")
    total = start + int(left) if left else None
    with tqdm(desc=name, total=total, initial=start, unit="B", unit_scale=True, unit_divisor=1024) as bar:
        while chunk := response.read(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
    file.flush()
    os.fsync(file.fileno())
    if total is not None and file.tell() != total:
        raise OSError(f"{name} broke off after {file.tell():,} of {total:,} bytes: run it again to go on")


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
