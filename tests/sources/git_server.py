"""git repositories, and a real `git http-backend` behind a web server on the loopback interface."""

from __future__ import annotations

import base64
import http.server
import os
import subprocess
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

from loopback import Loopback

CLEAN = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_AUTHOR_DATE": "1700000000 +0000",
    "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b", "GIT_COMMITTER_DATE": "1700000000 +0000",
}  # fmt: skip


class Repo:
    """A bare repository. A file's value: its bytes, or (mode, bytes)."""

    def __init__(self, folder: Path, *, filters: bool = True) -> None:
        self.folder = folder
        self("init", "--quiet", "--bare", "--initial-branch=main", str(folder))
        for setting in ("uploadpack.allowFilter", "http.uploadpack"):
            self("config", setting, "true" if filters or setting != "uploadpack.allowFilter" else "false")

    def __call__(self, *words: str, stdin: bytes = b"") -> str:
        env = CLEAN | {"GIT_DIR": str(self.folder)}
        return (
            subprocess.run(["git", *words], env=env, input=stdin, check=True, capture_output=True)
            .stdout.decode()
            .strip()
        )

    def commit(self, files: dict[str, object], ref: str = "refs/heads/main", parent: str = "") -> str:
        lines = []
        index = self.folder / "made-index"
        index.unlink(missing_ok=True)
        for path, value in files.items():
            mode, data = value if isinstance(value, tuple) else ("100644", value)
            raw = data.encode() if isinstance(data, str) else data
            name = raw.decode() if mode == "160000" else self("hash-object", "-w", "--stdin", stdin=raw)
            lines.append(f"{mode} {name}\t{path}\n")
        env = CLEAN | {"GIT_DIR": str(self.folder), "GIT_INDEX_FILE": str(index)}
        subprocess.run(
            ["git", "update-index", "--add", "--index-info"], env=env, input="".join(lines).encode(), check=True
        )
        tree = subprocess.run(["git", "write-tree"], env=env, check=True, capture_output=True).stdout.decode().strip()
        made = self("commit-tree", tree, "-m", "x", *(["-p", parent] if parent else []))
        if ref:
            self("update-ref", ref, made)
        return made

    def forget(self, *refs: str) -> None:
        """Rewrite history: the refs and what they alone hold are gone."""
        for ref in refs:
            self("update-ref", "-d", ref)
        self("reflog", "expire", "--expire=now", "--all")
        self("gc", "--quiet", "--prune=now")


class GitServer(Loopback):
    """Serves every repository of a folder under its name. `failures`: statuses of the next requests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failures: list[int] = []
        self.cuts = 0
        self.hold: threading.Event | None = None  # what answers to fetches wait for
        self.login = ""
        self.requests: list[str] = []
        self.waits: list[float] = []
        super().__init__()
        self.server.RequestHandlerClass.do_POST = self.server.RequestHandlerClass.do_GET

    def serve(self, request: http.server.BaseHTTPRequestHandler) -> None:
        split = urlsplit(request.path)
        length = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(length) if length else self._chunks(request)
        self.requests.append(f"{request.command} {request.path}")
        if self.hold and request.command == "POST" and b"want " in body:
            self.hold.wait(20)
        if self.failures:
            request.send_response(self.failures.pop(0))
            request.end_headers()
            return
        basic = "Basic " + base64.b64encode(self.login.encode()).decode()
        if self.login and request.headers.get("Authorization") != basic:
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="x"')
            request.end_headers()
            return
        env = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(self.folder), "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": unquote(split.path), "QUERY_STRING": split.query, "REQUEST_METHOD": request.command,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "GIT_CONFIG_GLOBAL": os.devnull, "HOME": "/nonexistent",
        }  # fmt: skip
        done = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True)
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        request.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(answer)))
        request.end_headers()
        if self.cuts and request.command == "POST" and b"packfile" in answer:
            self.cuts -= 1
            answer = answer[: len(answer) // 2]
        request.wfile.write(answer)

    def _chunks(self, request: http.server.BaseHTTPRequestHandler) -> bytes:
        out = b""
        while "chunked" in request.headers.get("Transfer-Encoding", ""):
            size = int(request.rfile.readline(), 16)
            out += request.rfile.read(size)
            request.rfile.readline()
            if not size:
                break
        return out
