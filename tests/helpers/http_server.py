"""A server on this machine that breaks off, lies and refuses.

Test modules get it through `pytest_plugins`. PYTEST_DONT_REWRITE: they import it as well.
"""

import http.server
import threading

import pytest

CONTENT = bytes(range(251)) * 1000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content`, in the ways that the server's attributes say."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.server.heads += 1
        self.do_GET()

    def do_GET(self):
        server, asked = self.server, self.headers["Range"]
        if self.command == "GET":
            server.asked.append(asked)
        self.close_connection = True
        status = server.statuses.pop(0) if server.statuses else server.status
        if self.path in server.redirects:
            return self.answer(302, b"", Location=server.redirects[self.path])
        content = server.files.get(self.path, server.content)
        if status or content is None:
            return self.answer(status or 404, b"", **{"X-Error-Code": "EntryNotFound"}, **server.excuses)
        if server.endless:
            return self.send_for_ever()
        self.send_content(content, asked)

    def send_content(self, content, asked):
        server = self.server
        is_same = self.headers["If-Range"] in (None, *server.headers.values()) or not server.knows_versions
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.knows_ranges and is_same else 0
        if start and start >= len(content):
            return self.answer(416, b"", **({"Content-Range": f"bytes */{len(content)}"} if server.tells_size else {}))
        end, server.breaks_at = server.breaks_at or len(content), None
        where = {"Content-Range": f"bytes {start + server.shift}-{len(content) - 1}/{len(content)}"} if start else {}
        self.answer(206 if start else 200, content[start:], end - start, **where, **server.headers)

    def answer(self, status, body, sent=None, **headers):
        self.send_response(status)
        self.send_header("Connection", "close")  # or the client may send its next request to a socket that closes
        for name, value in headers.items():
            self.send_header(name, value)
        if not self.server.chunked:
            self.send_header("Content-Length", len(body) + self.server.boasts)
            self.end_headers()
            self.wfile.write(body[:sent] if self.command == "GET" else b"")
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(f"{len(body):x}\r\n".encode() + body[:sent] + (b"" if sent < len(body) else b"\r\n0\r\n\r\n"))

    def send_for_ever(self):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(1 << 16))
        except OSError:  # the client has had enough
            pass


class Server(http.server.ThreadingHTTPServer):
    """A server to misbehave.

    Attributes:
        content, files: What it serves, everywhere or at paths; None for nothing.
        status, statuses: An error that it answers for good, or some to begin with; `excuses` are their headers.
        breaks_at: Where its next answer ends too early.
        boasts: By how much its Content-Length exceeds what it sends.
        shift: By how much its Content-Range is wrong.
        redirects: {path: address}.
        asked, heads: The Range headers of its GET requests; how many HEAD requests it had.
    """

    content, files, status, breaks_at = CONTENT, {}, None, None
    knows_ranges, knows_versions, tells_size, chunked, endless = True, True, True, False, False
    headers, excuses, redirects, boasts, shift, heads = {}, {}, {}, 0, 0, 0

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.statuses = [], []
        self.url = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.shutdown()


@pytest.fixture
def waits(monkeypatch):
    """How long downloads wanted to wait before further attempts; nobody waits. `waits.then` is called instead."""

    class Waits(list):
        then = staticmethod(lambda: None)

    waits = Waits()
    monkeypatch.setattr("imagenet_errors.download.sleep", lambda seconds: waits.append(seconds) or waits.then())
    return waits
