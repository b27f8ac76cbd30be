"""Downloads that resume where they were interrupted, and are there completely or not at all."""

import hashlib
import logging
import os
import random
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urljoin

from filelock import FileLock, Timeout

from imagenet_errors.errors import InputError, describe_exception
from imagenet_errors.files import check_room, read_json, write_json
from imagenet_errors.progress import open_progress

if TYPE_CHECKING:
    from requests import Response

log = logging.getLogger(__name__)

AGAIN = "try again, or download it by other means"
CHUNK = 1 << 20


class DownloadError(InputError):
    """A file that was not downloaded, or is not what it should be: which, why, and what to do."""


class TemporaryError(Exception):
    """A failure that another attempt may overcome, `wait` seconds later at the earliest."""

    wait: float = 0


@dataclass(frozen=True)
class RetryPolicy:
    """How often and when a failed request is repeated. (urllib3's retries know neither parts nor progress.)

    Attributes:
        attempts: How often in a row a server may fail; a failure after at least a MiB has arrived counts as the first.
        first_wait: Seconds before the second attempt; they double with each failure.
        longest_wait: Seconds; a server that asks for more (Retry-After) is not asked again.
        seconds_to_answer: How long a server may send nothing.
    """

    attempts: int = 5
    first_wait: float = 1
    longest_wait: float = 120
    seconds_to_answer: float = 30

    def seconds_to_wait(self, failures: int) -> float:
        """After so many failures in a row; up to a quarter is random, so that clients do not return together."""
        return min(self.first_wait * 2 ** (failures - 1) * random.uniform(1, 1.25), self.longest_wait)


@dataclass(frozen=True)
class PartialFile:
    """What has arrived of the file at `url`, open for appending, with a note of the file's version beside it."""

    file: BinaryIO
    path: Path
    url: str

    @property
    def note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def size(self) -> int:
        return self.file.seek(0, os.SEEK_END)

    def read_version(self) -> str:
        """The server's name for the version that this is a part of; empty if unknown."""
        try:
            note = read_json(self.note)
            return str(note["version"]) if note["url"] == self.url else ""
        except (InputError, KeyError, TypeError):
            return ""

    def restart(self, version: str = "") -> None:
        """Discard what has arrived; what arrives now is of this version."""
        self.file.truncate(0)
        write_json(self.note, {"url": self.url, "version": version})

    def append(self, chunk: bytes) -> None:
        self.file.write(chunk)
        self.file.flush()


def partial_path(path: Path) -> Path:
    """Where the parts of a download are collected."""
    return path.with_name(f"{path.name}.part")


def download_file(
    url: str,
    path: Path,
    sha256: str = "",
    check: Callable[[Path], None] = lambda path: None,
    max_bytes: int = 64 << 30,
    retries: RetryPolicy = RetryPolicy(),
) -> str:
    """Download a file with a progress bar.

    What an earlier attempt left in `<path>.part` is not downloaded again if `sha256` or the server's name for the
    version (ETag, Last-Modified) can tell whether the parts belong together.

    Args:
        url: What to download.
        path: Where to put it.
        sha256: The first hexadecimal digits of the content's hash; empty if unknown.
        check: Raises `InputError` for a file that is not what it should be.
        max_bytes: A longer file is refused.
        retries: How often and when a failed request is repeated.

    Returns:
        The sha256 of the file.

    Raises:
        DownloadError: if the server or the connection fails (what has arrived is kept), or the content is not what it
            should be (what has arrived is removed).
        InputError: if the disk has no room for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _open_partial_file(partial_path(path), url) as part:
        if not (sha256 or part.read_version()):
            part.file.truncate(0)
        for is_last in (False, True):
            is_joined = _complete(part, max_bytes, retries)
            try:
                found = check_file(part.path, sha256, check, f"the download from {url}", AGAIN)
                break
            except DownloadError:
                part.file.truncate(0)
                if is_last or not is_joined:
                    raise  # else the parts may be of two versions: download the whole file
        part.note.unlink(missing_ok=True)
        os.replace(part.path, path)
    return found


@contextmanager
def _open_partial_file(path: Path, url: str) -> Iterator[PartialFile]:
    """Lock the part at `path` and open it; remove it if it stays empty."""
    busy = DownloadError(f"{path} is being written by another process: wait until it has finished")

    def check_identity(descriptor: int) -> None:
        if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise busy  # finished and renamed since it was opened

    try:
        lock = FileLock(path, blocking=False, fallback_to_soft=False, on_acquired=check_identity)
        with lock, open(path, "ab") as file:
            part = PartialFile(file, path, url)
            try:
                yield part
            finally:
                if path.exists() and not part.size:
                    path.unlink()
                    part.note.unlink(missing_ok=True)
    except Timeout:
        raise busy from None
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def _complete(part: PartialFile, max_bytes: int, retries: RetryPolicy) -> bool:
    """Append what the part lacks, in as many requests as needed. Returns whether it arrived in several pieces."""
    is_joined, failures = False, 0
    while True:
        size = part.size
        is_joined |= size > 0
        try:
            _append_rest(part, max_bytes, retries.seconds_to_answer)
            return is_joined
        except TemporaryError as failure:
            failures = 1 if part.size >= size + CHUNK else failures + 1
            wait = max(retries.seconds_to_wait(failures), failure.wait)
            if wait > retries.longest_wait:
                raise DownloadError(f"{failure} and asks to wait {wait:,.0f} seconds: run it again then") from None
            if failures >= retries.attempts:
                raise DownloadError(f"{failure}: run it again to resume") from None
            log.info(f"{failure}: next attempt in {wait:.0f} s")
        sleep(wait)


def _append_rest(part: PartialFile, max_bytes: int, seconds_to_answer: float) -> None:
    """Append what the part lacks, in one request."""
    start, version = part.size, part.read_version()
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-"} | ({"If-Range": version} if version else {})
    with _request(part.url, headers, seconds_to_answer) as response:
        if response.status_code == 416 and start:
            if response.headers.get("Content-Range") != f"bytes */{start}":  # else the part is complete
                part.restart()
                _append_rest(part, max_bytes, seconds_to_answer)
            return
        if response.status_code >= 300:
            raise _describe_refusal(part.url, response)
        resumes = response.status_code == 206 and _is_rest(response, start, version)
        if response.status_code != 200 and not resumes:
            part.restart()
            raise TemporaryError(f"{part.url} answered with other bytes than were asked for")
        if not resumes:
            start = 0
            part.restart(_get_version(response))
        _receive(response, part, start, max_bytes)


def _request(url: str, headers: dict[str, str], seconds_to_answer: float) -> "Response":
    """Raises `DownloadError` or `TemporaryError` if no server answers."""
    import requests

    try:
        hooks = {"response": _refuse_unencrypted_redirect}
        response = requests.get(url, headers=headers, timeout=seconds_to_answer, stream=True, hooks=hooks)
    except requests.TooManyRedirects:
        raise DownloadError(f"{url} redirects without end: download it by other means") from None
    except ValueError as error:
        raise DownloadError(f"{url!r} is not an address to download from ({error})") from None
    except OSError as error:
        cause = _find_cause(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            advice = "check this machine's clock and its certificates (REQUESTS_CA_BUNDLE)"
            raise DownloadError(f"{url} has no trusted certificate ({cause.verify_message}): {advice}") from None
        raise TemporaryError(f"{url} does not answer ({describe_exception(cause)})") from None
    response.raw.enforce_content_length = False  # we compare sizes
    return response


def _refuse_unencrypted_redirect(response: "Response", **_: Any) -> None:
    target = urljoin(response.url, response.headers.get("Location", ""))
    if response.is_redirect and response.url.startswith("https:") and not target.startswith("https:"):
        raise DownloadError(f"{response.url} redirects to {target}, which is not encrypted: download it by other means")


def _find_cause(error: BaseException) -> BaseException:
    """The innermost of the exceptions that requests and urllib3 wrap around each other."""
    inner = (error.__cause__, getattr(error, "reason", None), *error.args)
    return next((_find_cause(each) for each in inner if isinstance(each, BaseException)), error)


def _describe_refusal(url: str, response: "Response") -> Exception:
    """What to raise for an error status."""
    answer = f"{url} answered {response.status_code} {response.reason or ''}".rstrip()
    if response.status_code in (408, 429) or response.status_code >= 500:
        error = TemporaryError(answer)
        error.wait = _read_retry_after(response.headers)
        return error
    return DownloadError(f"{answer}: try later, or download it by other means")


def _read_retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that Retry-After asks for, as a number or as a date by the server's clock."""
    try:
        text = headers["Retry-After"].strip()
        if text.isdecimal():
            return int(text)
        return (parsedate_to_datetime(text) - parsedate_to_datetime(headers["Date"])).total_seconds()
    except (KeyError, ValueError, TypeError):
        return 0


def _get_version(response: "Response") -> str:
    """The server's name for a version of the file, if equal names promise equal bytes (no weak ETag)."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _is_rest(response: "Response", start: int, version: str) -> bool:
    """Whether a partial answer begins at `start` and is of the same version."""
    found = _get_version(response)
    begins_at_start = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    return begins_at_start and found in ("", version or found)


def _receive(response: "Response", part: PartialFile, start: int, max_bytes: int) -> None:
    length = response.headers.get("Content-Length", "")
    total, name = start + int(length) if length.isdecimal() else None, part.path.stem
    if total is not None:
        if total > max_bytes:
            raise DownloadError(
                f"{part.url} announces {total:,} bytes, more than {max_bytes:,}: download it by other means"
            )
        check_room(part.path.parent, total - start)
    is_page = response.headers.get("Content-Type", "").startswith("text/html")
    with open_progress(name, total, start, in_bytes=True) as advance:
        while chunk := _read_chunk(response, part.url):
            if part.size == 0 and is_page and chunk.lstrip().startswith(b"<"):
                raise DownloadError(f"{part.url} answered with a web page, not the file: download it by other means")
            part.append(chunk)
            advance(len(chunk))
            if part.size > max_bytes:
                part.restart()
                raise DownloadError(f"{part.url} does not end after {max_bytes:,} bytes: download it by other means")
    os.fsync(part.file.fileno())
    if total is not None and part.size != total:
        raise TemporaryError(f"{name} broke off after {part.size:,} of {total:,} bytes")


def _read_chunk(response: "Response", url: str) -> bytes:
    from urllib3.exceptions import HTTPError

    try:
        return response.raw.read1(CHUNK, decode_content=False)
    except (HTTPError, OSError, ValueError) as error:
        raise TemporaryError(f"{url} broke off ({describe_exception(_find_cause(error))})") from None


def check_file(path: Path, sha256: str, check: Callable[[Path], None], what: str, advice: str) -> str:
    """The sha256 of a file. Raises `DownloadError` if it does not begin with `sha256`, or the file fails `check`."""
    found = file_sha256(path)
    if not found.startswith(sha256):
        raise DownloadError(f"{what} does not have the sha256 {sha256[:16]}...: {advice}")
    try:
        check(path)
    except InputError as error:
        raise DownloadError(f"{what} is not what it should be ({error}): {advice}") from None
    return found


def file_sha256(path: Path) -> str:
    """The sha256 of a file, with a progress bar where that takes a second or more."""
    digest, size = hashlib.sha256(), path.stat().st_size
    progress = open_progress(f"sha256 of {path.name}", size, in_bytes=True, delay=1)
    with open(path, "rb") as file, progress as advance:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            advance(len(chunk))
    return digest.hexdigest()
