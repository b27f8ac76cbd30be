"""Downloads from servers that fail, come back, change and lie; onto disks that are full."""

import hashlib
import subprocess
from urllib.request import Request

import pytest

from imagenet_errors import download as downloading
from imagenet_errors.download import DownloadError, RetryPolicy, download
from imagenet_errors.errors import InputError
from tests.helpers.http_server import CONTENT

pytest_plugins = "tests.helpers.http_server"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LAST_MODIFIED = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


class TestPatience:
    """Servers that fail, and come back."""

    @pytest.fixture
    def fetch(self, server, path, waits):
        def run(sha256="", url=None, **options):
            download(url or f"{server.url}/file", path, sha256, **options)
            assert path.read_bytes() == server.content
            assert list(path.parent.iterdir()) == [path]

        return run

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_a_server_that_is_busy_is_given_up(self, fetch, server, waits, status):
        server.statuses = [status] * 4
        fetch()
        assert len(waits) == 4
        assert all(2**n <= wait <= 1.25 * 2**n for n, wait in enumerate(waits))
        assert len(set(waits)) == 4

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
    def test_a_refusal_is_asked_again(self, fetch, server, waits, status):
        server.status = status
        with pytest.raises(DownloadError, match=f"answered {status} "):
            fetch()
        assert (waits, server.asked) == ([], [None])

    def test_it_is_never_given_up(self, fetch, server, waits):
        server.status = 503
        with pytest.raises(DownloadError, match="answered 503 Service Unavailable: run it again to go on"):
            fetch(patience=RetryPolicy(attempts=3))
        assert len(waits) == 2

    def test_a_bar_for_patience_is_counted_from_the_beginning(self, fetch, server, waits, monkeypatch):
        """A connection that breaks off every time, but brings something, gets there."""
        monkeypatch.setattr(downloading, "CHUNK", 10_000)
        server.breaks_at, server.headers, ends = 20_000, {"ETag": '"1"'}, iter(range(40_000, 280_000, 20_000))
        waits.then = lambda: setattr(server, "breaks_at", next(ends))
        fetch(patience=RetryPolicy(attempts=2))
        assert len(server.asked) == 13

    def test_retry_after_is_ignored(self, fetch, server, waits):
        server.statuses, server.excuses = [503], {"Retry-After": "17"}
        fetch()
        server.statuses, server.excuses = [429], {"Retry-After": "Thu, 01 Jan 1970 00:00:19 GMT"}
        waits.then = lambda: None
        fetch()
        assert waits[0] == 17
        assert waits[1] < 2  # a date that is past

    def test_a_date_to_wait_for_is_read_by_our_clock(self, server):
        headers = {"Retry-After": "Wed, 21 Oct 2015 07:28:09 GMT", "Date": LAST_MODIFIED}
        assert downloading._seconds_to_wait(headers) == 9
        assert downloading._seconds_to_wait({"Retry-After": "soon", "Date": LAST_MODIFIED}) == 0

    def test_a_long_wait_is_waited(self, fetch, server, waits):
        server.status, server.excuses = 503, {"Retry-After": "86400"}
        with pytest.raises(DownloadError, match="wants 86,400 seconds of peace"):
            fetch()
        assert waits == []

    @pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
    def test_a_part_of_a_known_version_is_fetched_again(self, fetch, server, waits, name):
        server.headers, server.breaks_at = {name: '"1"' if name == "ETag" else LAST_MODIFIED}, 100_000
        fetch()
        assert server.asked == [None, "bytes=100000-"]

    @pytest.mark.parametrize("later", [False, True])
    @pytest.mark.parametrize("knows", [True, False])
    @pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
    def test_two_versions_are_glued(self, fetch, server, waits, name, knows, later):
        """The file changes after it broke off, in the same run or before the next; some servers ignore If-Range."""

        def change():
            server.content = CONTENT[::-1]
            server.headers = {name: '"2"' if name == "ETag" else "Thu, 22 Oct 2015 07:28:00 GMT"}

        server.headers, server.breaks_at = {name: '"1"' if name == "ETag" else LAST_MODIFIED}, 100_000
        server.knows_versions, waits.then = knows, change
        if later:
            with pytest.raises(DownloadError):
                fetch(patience=RetryPolicy(attempts=1))
            change()
        fetch()
        assert server.asked == [None, "bytes=100000-", *[None] * (not knows)]

    def test_two_files_without_versions_are_glued(self, fetch, server, waits):
        server.breaks_at = 100_000
        with pytest.raises(DownloadError, match="broke off after 100,000"):
            fetch(patience=RetryPolicy(attempts=1))
        server.content = CONTENT[::-1]
        fetch()
        assert server.asked == [None, None]

    def test_two_files_are_glued_and_given_up(self, fetch, server, waits):
        """The hash alone tells."""
        server.breaks_at = 100_000
        with pytest.raises(DownloadError):
            fetch(patience=RetryPolicy(attempts=1))
        server.content = CONTENT[::-1]
        fetch(hashlib.sha256(server.content).hexdigest())
        assert server.asked == [None, "bytes=100000-", None]

    def test_another_url_continues_the_part(self, fetch, server, path):
        server.headers, server.breaks_at = {"ETag": '"1"'}, 100_000
        with pytest.raises(DownloadError):
            fetch(patience=RetryPolicy(attempts=1))
        fetch(url=f"{server.url}/other")
        assert server.asked == [None, None]

    @pytest.mark.parametrize("note", ["", "{", "[]", "{}", '{"url": 1}', "\xff"])
    def test_a_damaged_note_of_the_version_is_believed(self, fetch, server, path, note):
        path.with_name("file.part").write_bytes(b"x" * 100)
        path.with_name("file.part.json").write_text(note, encoding="latin-1")
        fetch()
        assert server.asked == [None]

    def test_a_weak_version_vouches_for_bytes(self, fetch, server):
        server.headers, server.breaks_at = {"ETag": 'W/"1"'}, 100_000
        with pytest.raises(DownloadError):
            fetch(patience=RetryPolicy(attempts=1))
        fetch()
        assert server.asked == [None, None]


class TestLies:
    """Servers that say what is not."""

    @pytest.fixture
    def fetch(self, server, path, waits):
        return lambda sha256="", **options: download(f"{server.url}/file", path, sha256, **options)

    def nothing_is_left(self, path):
        assert list(path.parent.iterdir()) == []

    def test_other_bytes_than_asked_for_are_appended(self, fetch, server, path):
        server.headers, server.breaks_at, server.shift = {"ETag": '"1"'}, 100_000, 3
        fetch()
        assert path.read_bytes() == CONTENT
        assert server.asked == [None, "bytes=100000-", None]

    def test_a_boasted_size_is_waited_for(self, fetch, server, path, waits):
        server.boasts = 1000
        fetch(SHA256)
        assert path.read_bytes() == CONTENT
        assert server.asked == [None, f"bytes={len(CONTENT)}-"]

    def test_a_boasted_size_for_ever(self, fetch, server, path, waits):
        server.boasts, server.knows_ranges = 1000, False
        with pytest.raises(DownloadError, match="broke off after 251,000 of 252,000 bytes: run it again to go on"):
            fetch(SHA256)
        assert len(waits) == 4

    def test_a_small_size_makes_a_whole_file(self, fetch, server, path):
        server.boasts = -1000
        with pytest.raises(DownloadError, match="has not the sha256"):
            fetch(SHA256)
        self.nothing_is_left(path)

    def test_a_file_that_never_ends_fills_the_disk(self, fetch, server, path):
        server.endless = True
        with pytest.raises(DownloadError, match="does not end after 3,000,000 bytes"):
            fetch(max_bytes=3_000_000)
        self.nothing_is_left(path)

    def test_a_giant_is_fetched(self, fetch, server, path):
        server.boasts = 1 << 60
        with pytest.raises(DownloadError, match="claims to have 1,152,921,504,607,097,976 bytes, more than"):
            fetch()
        self.nothing_is_left(path)

    def test_damaged_bytes_are_fetched_for_ever(self, fetch, server, path, waits):
        server.content = CONTENT[:-1] + b"x"
        with pytest.raises(DownloadError, match="has not the sha256"):
            fetch(SHA256)
        assert (waits, server.asked) == ([], [None])
        self.nothing_is_left(path)

    def test_a_web_page_passes_for_a_file(self, fetch, server, path):
        server.content, server.headers = b"\n<!doctype html><p>Log in", {"Content-Type": "text/html; charset=utf-8"}
        with pytest.raises(DownloadError, match="answered with a web page, not the file"):
            fetch()
        self.nothing_is_left(path)

    def test_redirects_are_not_followed(self, fetch, server, path):
        server.redirects = {"/file": "/there"}
        fetch(SHA256)
        assert path.read_bytes() == CONTENT

    def test_redirects_in_circles_are_followed_for_ever(self, fetch, server, path):
        server.redirects = {"/file": "/file"}
        with pytest.raises(DownloadError, match="answered 302 Found without end or direction"):
            fetch()
        self.nothing_is_left(path)

    @pytest.mark.parametrize("where", ["http://example.org/file", "ftp://example.org/file"])
    def test_a_redirect_takes_the_encryption_away(self, where):
        with pytest.raises(DownloadError, match="not encrypted"):
            downloading._Redirects().redirect_request(Request("https://example.org"), None, 302, "", {}, where)

    @pytest.mark.parametrize("where", ["file:///etc/passwd", "http://["])
    def test_a_redirect_leads_nowhere(self, fetch, server, path, where):
        server.redirects = {"/file": where}
        with pytest.raises(DownloadError):
            fetch(patience=RetryPolicy(attempts=1))
        self.nothing_is_left(path)

    @pytest.mark.parametrize(
        "url", ["", "file", "http://", "http://[", "http://a b/", "ftp:/x", "http://localhost:99999"]
    )
    def test_what_is_no_address_ends_in_a_traceback(self, path, url):
        with pytest.raises(DownloadError, match=r"is no address|does not answer"):
            download(url, path, patience=RetryPolicy(attempts=1))
        self.nothing_is_left(path)

    def test_plain_words_on_an_encrypted_connection(self, server, path):
        with pytest.raises(DownloadError, match=r"does not answer \(SSLError"):
            download(server.url.replace("http:", "https:"), path, patience=RetryPolicy(attempts=1))
        self.nothing_is_left(path)

    def test_a_self_made_certificate_is_trusted(self, server, path, tmp_path, waits):
        import ssl

        key, certificate = tmp_path / "key", tmp_path / "certificate"
        made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate]
        subprocess.run([*made, "-subj", "/CN=localhost"], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        with pytest.raises(DownloadError, match=r"cannot be trusted \(.*certificate.*: check this machine's clock"):
            download(server.url.replace("http:", "https:"), path)
        assert (waits, server.asked, path.exists()) == ([], [], False)


class TestDisk:
    """This machine's side."""

    def free(self, monkeypatch, num_bytes):
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": (256 << 20) + num_bytes}))

    def test_it_begins_without_room(self, server, path, monkeypatch):
        self.free(monkeypatch, len(CONTENT) - 1)
        with pytest.raises(InputError, match="bytes free, 251,000 are needed"):
            download(server.url, path)
        assert list(path.parent.iterdir()) == []

    def test_room_is_wanted_for_what_is_there(self, server, path, monkeypatch):
        self.free(monkeypatch, 1000)
        path.with_name("file.part").write_bytes(CONTENT[:-1000])
        download(server.url, path, SHA256)
        assert path.read_bytes() == CONTENT

    def test_what_has_come_is_lost_without_room(self, server, path, monkeypatch):
        self.free(monkeypatch, 1000)
        path.with_name("file.part").write_bytes(CONTENT[:-1001])
        with pytest.raises(InputError, match="make room"):
            download(server.url, path, SHA256)
        assert path.with_name("file.part").stat().st_size == len(CONTENT) - 1001

    def test_a_full_disk_is_told_without_its_path(self, server, path):
        with (
            open("/dev/full", "wb", buffering=0) as full,
            pytest.raises(OSError, match="No space left on device") as error,
        ):
            downloading._write(downloading.Part(full, path, ""), b"x" * 10)
        assert error.value.filename == str(path)
        assert not path.exists()

    def test_two_processes_write_one_part(self, server, path):
        busy = pytest.raises(DownloadError, match="is being written by another process")
        with downloading._locked_part(downloading.part_of(path), ""), busy:
            download(server.url, path, SHA256)
        download(server.url, path, SHA256)
        assert path.read_bytes() == CONTENT

    def test_a_finished_file_is_written_on(self, server, path, monkeypatch):
        """Another process renames the part between our opening and our locking it."""
        part = downloading.part_of(path)
        monkeypatch.setattr(downloading.fcntl, "flock", lambda *_: part.rename(path))
        with pytest.raises(DownloadError, match="is being written by another process"):
            download(server.url, path, SHA256)
        assert path.read_bytes() == b""
