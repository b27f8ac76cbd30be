"""Downloads from servers that fail, recover, change and lie; onto full disks."""

import hashlib
import ssl
import subprocess

import pytest

from imagenet_errors import download as downloading
from imagenet_errors.download import DownloadError, RetryPolicy, download_file
from imagenet_errors.errors import InputError
from tests.helpers.http_server import CONTENT

pytest_plugins = "tests.helpers.http_server"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LAST_MODIFIED = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


class TestRetries:
    """Servers that fail and recover."""

    @pytest.fixture
    def fetch(self, server, path, waits):
        def run(sha256="", url=None, **options):
            download_file(url or f"{server.url}/file", path, sha256, **options)
            assert path.read_bytes() == server.content
            assert list(path.parent.iterdir()) == [path]

        return run

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_busy_server_is_asked_again(self, fetch, server, waits, status):
        server.statuses = [status] * 4
        fetch()
        assert len(waits) == 4
        assert all(2**n <= wait <= 1.25 * 2**n for n, wait in enumerate(waits))
        assert len(set(waits)) == 4

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
    def test_refusal_is_final(self, fetch, server, waits, status):
        server.status = status
        with pytest.raises(DownloadError, match=f"answered {status} "):
            fetch()
        assert (waits, server.asked) == ([], [None])

    def test_attempts_are_limited(self, fetch, server, waits):
        server.status = 503
        with pytest.raises(DownloadError, match="answered 503 Service Unavailable: run it again to resume"):
            fetch(retries=RetryPolicy(attempts=3))
        assert len(waits) == 2

    def test_progress_earns_further_attempts(self, fetch, server, waits, monkeypatch):
        """A connection that breaks off every time succeeds if something arrives each time."""
        monkeypatch.setattr(downloading, "CHUNK", 10_000)
        server.breaks_at, server.headers, ends = 20_000, {"ETag": '"1"'}, iter(range(40_000, 280_000, 20_000))
        waits.then = lambda: setattr(server, "breaks_at", next(ends))
        fetch(retries=RetryPolicy(attempts=2))
        assert len(server.asked) == 13

    def test_retry_after_is_respected(self, fetch, server, waits):
        server.statuses, server.excuses = [503], {"Retry-After": "17"}
        fetch()
        server.statuses, server.excuses = [429], {"Retry-After": "Thu, 01 Jan 1970 00:00:19 GMT"}
        waits.then = lambda: None
        fetch()
        assert waits[0] == 17
        assert waits[1] < 2  # a date that is past

    def test_retry_after_date_is_read_by_the_clock_of_the_server(self, server):
        headers = {"Retry-After": "Wed, 21 Oct 2015 07:28:09 GMT", "Date": LAST_MODIFIED}
        assert downloading._read_retry_after(headers) == 9
        assert downloading._read_retry_after({"Retry-After": "soon", "Date": LAST_MODIFIED}) == 0

    def test_long_wait_is_left_to_the_user(self, fetch, server, waits):
        server.status, server.excuses = 503, {"Retry-After": "86400"}
        with pytest.raises(DownloadError, match="asks to wait 86,400 seconds: run it again then"):
            fetch()
        assert waits == []

    @pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
    def test_part_of_the_same_version_is_resumed(self, fetch, server, waits, name):
        server.headers, server.breaks_at = {name: '"1"' if name == "ETag" else LAST_MODIFIED}, 100_000
        fetch()
        assert server.asked == [None, "bytes=100000-"]

    @pytest.mark.parametrize("later", [False, True])
    @pytest.mark.parametrize("knows", [True, False])
    @pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
    def test_two_versions_are_not_joined(self, fetch, server, waits, name, knows, later):
        """The file changes after it broke off, in the same run or before the next; some servers ignore If-Range."""

        def change():
            server.content = CONTENT[::-1]
            server.headers = {name: '"2"' if name == "ETag" else "Thu, 22 Oct 2015 07:28:00 GMT"}

        server.headers, server.breaks_at = {name: '"1"' if name == "ETag" else LAST_MODIFIED}, 100_000
        server.knows_versions, waits.then = knows, change
        if later:
            with pytest.raises(DownloadError):
                fetch(retries=RetryPolicy(attempts=1))
            change()
        fetch()
        assert server.asked == [None, "bytes=100000-", *[None] * (not knows)]

    def test_part_without_version_is_not_resumed(self, fetch, server, waits):
        server.breaks_at = 100_000
        with pytest.raises(DownloadError, match="broke off after 100,000"):
            fetch(retries=RetryPolicy(attempts=1))
        server.content = CONTENT[::-1]
        fetch()
        assert server.asked == [None, None]

    def test_two_versions_are_told_apart_by_the_hash(self, fetch, server, waits):
        server.breaks_at = 100_000
        with pytest.raises(DownloadError):
            fetch(retries=RetryPolicy(attempts=1))
        server.content = CONTENT[::-1]
        fetch(hashlib.sha256(server.content).hexdigest())
        assert server.asked == [None, "bytes=100000-", None]

    def test_part_of_another_url_is_not_resumed(self, fetch, server, path):
        server.headers, server.breaks_at = {"ETag": '"1"'}, 100_000
        with pytest.raises(DownloadError):
            fetch(retries=RetryPolicy(attempts=1))
        fetch(url=f"{server.url}/other")
        assert server.asked == [None, None]

    @pytest.mark.parametrize("note", ["", "{", "[]", "{}", '{"url": 1}', "\xff"])
    def test_damaged_note_of_the_version_is_ignored(self, fetch, server, path, note):
        path.with_name("file.part").write_bytes(b"x" * 100)
        path.with_name("file.part.json").write_text(note, encoding="latin-1")
        fetch()
        assert server.asked == [None]

    def test_weak_etag_is_not_a_version(self, fetch, server):
        server.headers, server.breaks_at = {"ETag": 'W/"1"'}, 100_000
        with pytest.raises(DownloadError):
            fetch(retries=RetryPolicy(attempts=1))
        fetch()
        assert server.asked == [None, None]


class TestLies:
    """Servers that send wrong sizes, bytes, pages and redirects."""

    @pytest.fixture
    def fetch(self, server, path, waits):
        return lambda sha256="", **options: download_file(f"{server.url}/file", path, sha256, **options)

    def assert_nothing_is_left(self, path):
        assert list(path.parent.iterdir()) == []

    def test_other_bytes_than_asked_for_are_not_appended(self, fetch, server, path):
        server.headers, server.breaks_at, server.shift = {"ETag": '"1"'}, 100_000, 3
        fetch()
        assert path.read_bytes() == CONTENT
        assert server.asked == [None, "bytes=100000-", None]

    def test_exaggerated_size_is_corrected_by_another_request(self, fetch, server, path, waits):
        server.boasts = 1000
        fetch(SHA256)
        assert path.read_bytes() == CONTENT
        assert server.asked == [None, f"bytes={len(CONTENT)}-"]

    def test_attempts_end_at_an_exaggerated_size(self, fetch, server, path, waits):
        server.boasts, server.knows_ranges = 1000, False
        with pytest.raises(DownloadError, match="broke off after 251,000 of 252,000 bytes: run it again to resume"):
            fetch(SHA256)
        assert len(waits) == 4

    def test_understated_size_fails_the_hash(self, fetch, server, path):
        server.boasts = -1000
        with pytest.raises(DownloadError, match="does not have the sha256"):
            fetch(SHA256)
        self.assert_nothing_is_left(path)

    def test_endless_file_is_stopped(self, fetch, server, path):
        server.endless = True
        with pytest.raises(DownloadError, match="does not end after 3,000,000 bytes"):
            fetch(max_bytes=3_000_000)
        self.assert_nothing_is_left(path)

    def test_giant_file_is_refused(self, fetch, server, path):
        server.boasts = 1 << 60
        with pytest.raises(DownloadError, match="announces 1,152,921,504,607,097,976 bytes, more than"):
            fetch()
        self.assert_nothing_is_left(path)

    def test_damaged_bytes_are_downloaded_once(self, fetch, server, path, waits):
        server.content = CONTENT[:-1] + b"x"
        with pytest.raises(DownloadError, match="does not have the sha256"):
            fetch(SHA256)
        assert (waits, server.asked) == ([], [None])
        self.assert_nothing_is_left(path)

    def test_web_page_is_refused(self, fetch, server, path):
        server.content, server.headers = b"\n<!doctype html><p>Log in", {"Content-Type": "text/html; charset=utf-8"}
        with pytest.raises(DownloadError, match="answered with a web page, not the file"):
            fetch()
        self.assert_nothing_is_left(path)

    def test_redirects_are_followed(self, fetch, server, path):
        server.redirects = {"/file": "/there"}
        fetch(SHA256)
        assert path.read_bytes() == CONTENT

    def test_circular_redirects_are_refused(self, fetch, server, path):
        server.redirects = {"/file": "/file"}
        with pytest.raises(DownloadError, match="/file redirects without end"):
            fetch()
        self.assert_nothing_is_left(path)

    @pytest.fixture
    def certificate(self, server, tmp_path_factory):
        """Of the server, which speaks https."""
        folder = tmp_path_factory.mktemp("certificate")
        key, certificate = folder / "key", folder / "certificate"
        made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run([*made, *names], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.url = server.url.replace("http:", "https:")
        return certificate

    @pytest.mark.parametrize("where", ["http://example.org/file", "ftp://example.org/file"])
    def test_redirect_to_an_unencrypted_address_is_refused(
        self, fetch, server, path, certificate, monkeypatch, waits, where
    ):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        server.redirects = {"/file": where}
        with pytest.raises(DownloadError, match=f"redirects to {where}, which is not encrypted"):
            fetch()
        assert waits == []
        server.redirects = {"/file": f"{server.url}/there"}
        fetch(SHA256)
        assert path.read_bytes() == CONTENT

    @pytest.mark.parametrize("where", ["file:///etc/passwd", "http://["])
    def test_redirect_to_no_web_address_is_refused(self, fetch, server, path, where):
        server.redirects = {"/file": where}
        with pytest.raises(DownloadError):
            fetch(retries=RetryPolicy(attempts=1))
        self.assert_nothing_is_left(path)

    @pytest.mark.parametrize(
        "url", ["", "file", "http://", "http://[", "http://a b/", "ftp:/x", "http://localhost:99999"]
    )
    def test_malformed_address_is_refused(self, path, url):
        with pytest.raises(DownloadError, match=r"is not an address|does not answer"):
            download_file(url, path, retries=RetryPolicy(attempts=1))
        self.assert_nothing_is_left(path)

    def test_unencrypted_server_is_not_reached_by_https(self, server, path):
        with pytest.raises(DownloadError, match=r"does not answer \(SSLError"):
            download_file(server.url.replace("http:", "https:"), path, retries=RetryPolicy(attempts=1))
        self.assert_nothing_is_left(path)

    def test_self_signed_certificate_is_not_trusted(self, fetch, server, path, certificate, waits):
        words = r"has no trusted certificate \(.*certificate.*\): check this machine's clock"
        with pytest.raises(DownloadError, match=words):
            fetch()
        assert (waits, server.asked, path.exists()) == ([], [], False)


class TestDisk:
    """Disks without room, and processes that download the same file."""

    def free(self, monkeypatch, num_bytes):
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": (256 << 20) + num_bytes}))

    def test_download_without_room_is_refused(self, server, path, monkeypatch):
        self.free(monkeypatch, len(CONTENT) - 1)
        with pytest.raises(InputError, match="bytes free, 251,000 are needed"):
            download_file(server.url, path)
        assert list(path.parent.iterdir()) == []

    def test_room_is_needed_for_the_rest_only(self, server, path, monkeypatch):
        self.free(monkeypatch, 1000)
        path.with_name("file.part").write_bytes(CONTENT[:-1000])
        download_file(server.url, path, SHA256)
        assert path.read_bytes() == CONTENT

    def test_part_is_kept_without_room_for_the_rest(self, server, path, monkeypatch):
        self.free(monkeypatch, 1000)
        path.with_name("file.part").write_bytes(CONTENT[:-1001])
        with pytest.raises(InputError, match="make room"):
            download_file(server.url, path, SHA256)
        assert path.with_name("file.part").stat().st_size == len(CONTENT) - 1001

    def test_full_disk_names_the_part(self, server, path, monkeypatch):
        part = downloading.partial_path(path)
        with open("/dev/full", "wb", buffering=0) as full:
            monkeypatch.setattr(downloading.PartialFile, "append", lambda _, chunk: full.write(chunk))
            with pytest.raises(OSError, match="No space left on device") as error:
                download_file(server.url, path)
        assert error.value.filename == str(part)
        assert not path.exists()

    def test_part_is_locked_against_other_processes(self, server, path):
        busy = pytest.raises(DownloadError, match="is being written by another process")
        with downloading._open_partial_file(downloading.partial_path(path), ""), busy:
            download_file(server.url, path, SHA256)
        download_file(server.url, path, SHA256)
        assert path.read_bytes() == CONTENT

    def test_finished_file_is_not_written_to(self, server, path, monkeypatch):
        """Another process renames the part after we open it and before we lock it."""
        part = downloading.partial_path(path)
        monkeypatch.setattr("fcntl.flock", lambda *_: path.exists() or part.rename(path))
        with pytest.raises(DownloadError, match="is being written by another process"):
            download_file(server.url, path, SHA256)
        assert path.read_bytes() == b""
