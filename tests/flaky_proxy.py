"""A real HTTP server between a client and another server, that fails as networks and overloaded servers do."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from file_server import QuietHandler, listen

SLOW_DOWN = (
    b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'
)
INTERNAL = b'<?xml version="1.0"?><Error><Code>InternalError</Code><Message>We failed.</Message></Error>'
KINDS = ("500", "503", "refused", "cut answer", "cut request", "slow")
SLOW = 0.2
"""Seconds that a slow answer takes."""


@dataclass
class FlakyProxy:
    host: str
    port: int
    share: float = 0.0
    """Of the requests that fail, in one of KINDS."""
    broken: str = ""
    """Every request whose path holds this fails with 500."""
    requests: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    url: str = ""
    chance: random.Random = field(default_factory=lambda: random.Random(3))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_failure(self, method: str, path: str) -> str:
        with self.lock:
            self.requests[method] += 1
            kind = "500" if self.broken and self.broken in path else ""
            if not kind and self.chance.random() < self.share:
                kind = self.chance.choice(KINDS)
            if kind:
                self.failures[kind] += 1
            return kind


def handler_of(proxy: FlakyProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            kind = proxy.next_failure(self.command, self.path)
            if kind == "refused":
                self.close_connection = True
                return
            if kind == "cut request":
                # Part of the body is read, then the connection is gone; nothing reaches the server.
                self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if kind == "slow":
                time.sleep(SLOW)
            if kind in ("500", "503"):
                self.answer(int(kind), SLOW_DOWN if kind == "503" else INTERNAL, {"Content-Type": "application/xml"})
                return
            self.forward(body, cut=kind == "cut answer")

        def forward(self, body: bytes, *, cut: bool) -> None:
            upstream = http.client.HTTPConnection(proxy.host, proxy.port, timeout=30)
            upstream.request(self.command, self.path, body=body, headers=dict(self.headers.items()))
            answer = upstream.getresponse()
            data, headers = answer.read(), dict(answer.getheaders())
            upstream.close()
            self.answer(answer.status, data, headers, cut=cut)

        def answer(self, status: int, data: bytes, headers: dict[str, str], *, cut: bool = False) -> None:
            self.send_response(status)
            dropped = ("content-length", "transfer-encoding", "connection", "date", "server")
            for name, value in headers.items():
                if name.lower() not in dropped:
                    self.send_header(name, value)
            length = headers.get("Content-Length", headers.get("content-length", "0"))
            self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[: len(data) // 2] if cut else data)
            self.close_connection = self.close_connection or cut

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815  # names of http.server

    return Handler


@contextlib.contextmanager
def run_proxy(proxy: FlakyProxy) -> Iterator[FlakyProxy]:
    with listen(handler_of(proxy)) as proxy.url:
        yield proxy
