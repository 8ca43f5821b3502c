"""A web server on the loopback interface: files with ETags and ranges, and its failures."""

from __future__ import annotations

import hashlib
import http.server
import time
from urllib.parse import urlsplit

from loopback import Loopback


class WebServer(Loopback):
    """`files`: path → bytes. `failures`: statuses (with headers) for the next requests of a path."""

    protocol = "HTTP/1.1"

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.failures: dict[str, list[tuple[int, dict[str, str]]]] = {}
        self.redirects: dict[str, str] = {}
        self.headers: dict[str, str] = {}  # of every answer
        self.cuts: list[int] = []  # after how many bytes the next answers break off
        self.stalls = 0  # how many of the next answers stop in the middle and say nothing more
        self.etags = True
        self.ranges = True
        self.lengths = True
        self.login = ""  # what `Authorization` must say
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.sent = 0  # bytes of files
        self.waits: list[float] = []
        super().__init__()

    def etag(self, path: str) -> str:
        return '"' + hashlib.md5(self.files[path]).hexdigest() + '"'

    def serve(self, request: http.server.BaseHTTPRequestHandler) -> None:
        path = urlsplit(request.path).path
        asked = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.path, asked))
        if self.failures.get(path):
            self._answer(request, *self.failures[path].pop(0))
        elif path in self.redirects:
            self._answer(request, 302, {"Location": self.redirects[path]})
        elif self.login and asked.get("authorization") != self.login:
            self._answer(request, 401, {})
        elif path not in self.files:
            self._answer(request, 404, {})
        elif self.etags and asked.get("if-none-match") == self.etag(path):
            self._answer(request, 304, {})
        else:
            self._file(request, path, asked)

    def _file(self, request: http.server.BaseHTTPRequestHandler, path: str, asked: dict[str, str]) -> None:
        whole = self.files[path]
        start = int(asked["range"].removeprefix("bytes=").removesuffix("-")) if "range" in asked else 0
        valid = asked.get("if-range") in (None, self.etag(path) if self.etags else None)
        headers = {"ETag": self.etag(path)} if self.etags else {}
        if start >= len(whole) > 0 and self.ranges and valid:
            self._answer(request, 416, {"Content-Range": f"bytes */{len(whole)}"})
            return
        if start and self.ranges and valid:
            headers["Content-Range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
            self._answer(request, 206, headers, whole[start:])
        else:
            self._answer(request, 200, headers, whole)

    def _answer(
        self, request: http.server.BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes = b""
    ) -> None:
        request.send_response(status)
        for name, value in (headers | self.headers).items():
            request.send_header(name, value)
        if self.lengths:
            request.send_header("Content-Length", str(len(body)))
        else:
            request.close_connection = True
        request.end_headers()
        if body and self.cuts:
            body = body[: self.cuts.pop(0)]
            request.close_connection = True
        if body and self.stalls:
            self.stalls -= 1
            body = body[: len(body) // 2]
            request.wfile.write(body)
            request.wfile.flush()
            self.sent += len(body)
            time.sleep(1)
            request.close_connection = True
            return
        self.sent += len(body)
        request.wfile.write(body)
