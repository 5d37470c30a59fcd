"""A real HTTP server for one folder of bytes in memory: with ranges or without, and with connections that break."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """What is served, and what was asked for."""

    files: dict[str, bytes]
    ranges: bool = True
    etag: str = '"1"'
    chunked: bool = False
    break_after: list[int] = field(default_factory=list)
    """Bytes of the body after which the next GETs are cut off, one each."""
    statuses: list[int] = field(default_factory=list)
    """Answers to the next requests of any kind, instead of the file."""
    seconds: float = 0.0
    """How long each answer takes."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and Range header of each request."""
    url: str = ""

    def gets(self) -> list[str]:
        return [asked for method, asked in self.requests if method == "GET"]


class QuietHandler(BaseHTTPRequestHandler):
    """Prints nothing, and lets clients hang up when they have read enough."""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def handler_of(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            asked = self.headers.get("Range", "")
            server.requests.append((self.command, asked))
            time.sleep(server.seconds)
            if server.statuses:
                self.refuse(server.statuses.pop(0))
                return
            data = server.files.get(self.path.partition("?")[0].lstrip("/"))
            if data is None:
                self.refuse(404)
            elif asked and server.ranges:
                first, last = asked.removeprefix("bytes=").split("-")
                start, end = int(first), min(int(last or len(data)), len(data) - 1)
                self.send(206, data[start : end + 1], f"bytes {start}-{end}/{len(data)}")
            else:
                self.send(200, data, "")

        def refuse(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def send(self, status: int, body: bytes, content_range: str) -> None:
            self.send_response(status)
            if server.etag:
                self.send_header("ETag", server.etag)
            if server.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", str(len(body)))
            if content_range:
                self.send_header("Content-Range", content_range)
            self.end_headers()
            if self.command == "HEAD":
                return
            if server.chunked:
                self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            elif server.break_after:
                self.wfile.write(body[: server.break_after.pop(0)])
                self.close_connection = True
            else:
                self.wfile.write(body)

    return Handler


@contextlib.contextmanager
def serve(server: FileServer) -> Iterator[FileServer]:
    with listen(handler_of(server)) as server.url:
        yield server


@contextlib.contextmanager
def listen(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server in threads of this process; yields its URL."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
