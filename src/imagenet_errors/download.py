"""Downloads that go on where they were broken off, and are there completely or not at all."""

import fcntl
import hashlib
import http.client
import os
import random
import re
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import sleep
from typing import BinaryIO

from imagenet_errors.errors import InputError, describe_exception
from imagenet_errors.files import check_room, read_json, write_json

CHUNK = 1 << 20


class DownloadError(InputError):
    """A file that did not come, or not as it should: which, why, and what to do."""


class BrokenOffError(Exception):
    """A failure that may pass: another attempt is worth its while, after `wait` seconds at least."""

    def __init__(self, message: str, wait: float = 0):
        super().__init__(message)
        self.wait = wait


@dataclass(frozen=True)
class RetryPolicy:
    """How a server that fails is put up with.

    Attributes:
        attempts: How often in a row it may fail; a failure that a MiB came before begins a new row.
        first_wait: Seconds before the second attempt. They double from one to the next, and up to a quarter is added by
            chance, so that many who were cut off at once do not come back at once.
        longest_wait: Seconds. A server that asks for more (Retry-After) is left alone.
        seconds_to_answer: How long it may send nothing.
    """

    attempts: int = 5
    first_wait: float = 1
    longest_wait: float = 120
    seconds_to_answer: float = 30

    def wait(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return min(self.first_wait * 2 ** (failures - 1) * random.uniform(1, 1.25), self.longest_wait)


@dataclass(frozen=True)
class Part:
    """What has come of a file so far, locked for this process, beside a note of which version of it this is.

    Attributes:
        file: Opened for appending.
        path: Where it lies.
        url: Where it is from.
    """

    file: BinaryIO
    path: Path
    url: str

    @property
    def note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def size(self) -> int:
        return self.file.seek(0, os.SEEK_END)

    def version(self) -> str:
        """What the server called the version that this is a part of; empty where nobody knows."""
        try:
            note = read_json(self.note)
            return str(note["version"]) if note["url"] == self.url else ""
        except (InputError, KeyError, TypeError):
            return ""

    def begin(self, version: str = "") -> None:
        """Forget what has come; what comes now is of this version."""
        self.file.truncate(0)
        write_json(self.note, {"url": self.url, "version": version})

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """Where a download of `path` gathers."""
    return path.with_name(f"{path.name}.part")


def download(
    url: str,
    path: Path,
    sha256: str = "",
    check: Callable[[Path], None] = lambda path: None,
    max_bytes: int = 64 << 30,
    patience: RetryPolicy = RetryPolicy(),
) -> str:
    """Download a file with a progress bar, in as many attempts as it takes.

    What an earlier attempt left in `<path>.part` is not fetched again, if `sha256` or the server's name for the version
    can tell that the parts fit.

    Args:
        url: What to fetch.
        path: Where it will lie.
        sha256: The first hexadecimal digits of the content's hash; empty where it is not known.
        check: Raises `InputError` for a file that is not what it should be.
        max_bytes: A longer file is refused.
        patience: How a server that fails is put up with.

    Returns:
        The sha256 of the file.

    Raises:
        DownloadError: where the server or the connection fails (what has come is kept), or the content is not what it
            should be (what has come is removed).
        InputError: where the disk has no room for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked_part(part_of(path), url) as part:
        if not (sha256 or part.version()):
            part.file.truncate(0)
        for last in (False, True):
            joined = _fetch(part, max_bytes, patience)
            try:
                found = verify(part.path, sha256, check, f"what came from {url}")
                break
            except DownloadError:
                part.file.truncate(0)
                if last or not joined:
                    raise  # else the pieces may be of two files, and the whole may be right
        part.note.unlink(missing_ok=True)
        os.replace(part.path, path)
    return found


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Have a full disk name the file: closing one writes what is left, and fails without its name."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def _locked_part(path: Path, url: str) -> Iterator[Part]:
    """The part at `path`, which no other process touches meanwhile; removed where it stays empty."""
    busy = DownloadError(f"{path} is being written by another process: wait until it is done")
    with _naming(path), open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise busy  # it was finished and renamed after we opened it
        part = Part(file, path, url)
        try:
            yield part
        finally:
            if part.path.exists() and not part.size:
                part.remove()


def _fetch(part: Part, max_bytes: int, patience: RetryPolicy) -> bool:
    """Append what the part lacks. Returns whether it came in more than one piece."""
    from tqdm import tqdm

    joined, failures = False, 0
    while True:
        before = part.size
        joined |= before > 0
        try:
            _ask(part, max_bytes, patience.seconds_to_answer)
            return joined
        except BrokenOffError as failure:
            failures = 1 if part.size >= before + CHUNK else failures + 1
            wait = max(patience.wait(failures), failure.wait)
            if wait > patience.longest_wait:
                raise DownloadError(f"{failure}, and wants {wait:,.0f} seconds of peace: run it again then") from None
            if failures >= patience.attempts:
                raise DownloadError(f"{failure}: run it again to go on") from None
            tqdm.write(f"{failure}: trying again in {wait:.0f} s", file=sys.stderr)
        sleep(wait)


def _ask(part: Part, max_bytes: int, seconds: float) -> None:
    """Append what the part lacks in one attempt."""
    start, version = part.size, part.version()
    headers = {"Range": f"bytes={start}-"} | ({"If-Range": version} if version else {}) if start else {}
    try:
        with _open(part.url, headers, seconds) as response:
            goes_on = response.status == 206 and _goes_on(response, start, version)
            if response.status != 200 and not goes_on:
                part.begin()
                raise BrokenOffError(f"{part.url} answered with other bytes than were asked for")
            if not goes_on:
                start = 0
                part.begin(_version(response))
            _copy(response, part, start, max_bytes)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise _refusal(part.url, error) from None
        if error.headers.get("Content-Range") != f"bytes */{start}":  # else nothing is left to send
            part.begin()
            _ask(part, max_bytes, seconds)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from an encrypted connection to one that is not."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise DownloadError(f"{req.full_url} redirects to {newurl}, which is not encrypted: it is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, headers: dict[str, str], seconds: float):
    try:
        return urllib.request.build_opener(_Redirects).open(
            urllib.request.Request(url, headers=headers), timeout=seconds
        )
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadError(
                f"{url} cannot be trusted ({reason.verify_message}): check this machine's clock and certificates"
            ) from None
        if isinstance(error, ValueError):
            raise DownloadError(f"{url!r} is no address to download from ({error})") from None
        raise BrokenOffError(f"{url} does not answer ({describe_exception(reason)})") from None


def _refusal(url: str, error: urllib.error.HTTPError) -> Exception:
    """What an error status means for us."""
    answer = f"{url} answered {error.code} {http.client.responses.get(error.code, '')}".rstrip()
    if error.code in (408, 429) or error.code >= 500:
        return BrokenOffError(answer, _seconds_to_wait(error.headers))
    if error.code < 400:
        return DownloadError(f"{answer} without end or direction: fetch it by other means")
    return DownloadError(f"{answer}: try later, or fetch it by other means")


def _seconds_to_wait(headers) -> float:
    """What Retry-After asks for: seconds, or until a date of the server's clock."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return int(text)
    try:
        now = parsedate_to_datetime(headers["Date"]) if headers["Date"] else datetime.now(UTC)
        return (parsedate_to_datetime(text) - now).total_seconds()
    except (ValueError, TypeError):
        return 0


def _version(response) -> str:
    """The server's name for a version of the file, if it vouches for every byte of it."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _goes_on(response, start: int, version: str) -> bool:
    """Whether a partial answer is of the version begun, from `start` on."""
    begins = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return bool(begins) and int(begins[1]) == start and _version(response) in ("", version or _version(response))


def _copy(response, part: Part, start: int, max_bytes: int) -> None:
    from tqdm import tqdm

    left = response.headers.get("Content-Length", "")
    total, name = start + int(left) if left.isdecimal() else None, part.path.stem
    if total is not None:
        if total > max_bytes:
            raise DownloadError(f"{part.url} claims to have {total:,} bytes, more than {max_bytes:,}: not fetched")
        check_room(part.path.parent, total - start)
    with tqdm(desc=name, total=total, initial=start, unit="B", unit_scale=True, unit_divisor=1024) as bar:
        while chunk := _read(response, part.url):
            if part.size == 0 and _is_page(response, chunk):
                raise DownloadError(f"{part.url} answered with a web page, not the file: fetch it by other means")
            _write(part, chunk)
            bar.update(len(chunk))
            if part.size > max_bytes:
                part.begin()
                raise DownloadError(f"{part.url} does not end after {max_bytes:,} bytes: not fetched")
    os.fsync(part.file.fileno())
    if total is not None and part.size != total:
        raise BrokenOffError(f"{name} broke off after {part.size:,} of {total:,} bytes")


def _read(response, url: str) -> bytes:
    try:
        return response.read1(CHUNK)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise BrokenOffError(f"{url} broke off ({describe_exception(error)})") from None


def _write(part: Part, chunk: bytes) -> None:
    try:
        part.file.write(chunk)
        part.file.flush()
    except OSError as error:
        error.filename = str(part.path)
        raise


def _is_page(response, start: bytes) -> bool:
    return response.headers.get_content_type() == "text/html" and start.lstrip()[:1] == b"<"


def verify(path: Path, sha256: str, check: Callable[[Path], None], what: str) -> str:
    """The sha256 of a file. Raises `DownloadError` where it does not begin with `sha256`, or the file fails `check`."""
    found = file_sha256(path)
    if not found.startswith(sha256):
        raise DownloadError(f"{what} has not the sha256 {sha256[:16]}...: try again, or get it elsewhere")
    try:
        check(path)
    except InputError as error:
        raise DownloadError(f"{what} is not what it should be ({error}): try again, or get it elsewhere") from None
    return found


def file_sha256(path: Path) -> str:
    """The hash of a file, with a progress bar for one that takes a while."""
    from tqdm import tqdm

    digest, size = hashlib.sha256(), path.stat().st_size
    options = {"total": size, "unit": "B", "unit_scale": True, "disable": size < 1 << 30}
    with open(path, "rb") as file, tqdm(desc=f"sha256 of {path.name}", **options) as bar:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()
