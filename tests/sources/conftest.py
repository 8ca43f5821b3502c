"""Packages built by hand, and a real index on the loopback interface."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import ssl
import sys
import tarfile
import time
import types
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for hub_server and loopback
from loopback import Loopback


def make_wheel(files: dict[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in files.items():
            z.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def make_sdist(top: str, files: dict[str, str | bytes], *extra: tarfile.TarInfo, mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name, data in files.items():
            body = data.encode() if isinstance(data, str) else data
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
        for info in extra:
            tar.addfile(info)
    return out.getvalue()


class Packages:
    """Builders, and a find-links folder that pip's settings point to."""

    wheel = staticmethod(make_wheel)
    sdist = staticmethod(make_sdist)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def add(self, filename: str, data: bytes) -> Path:
        (self.folder / filename).write_bytes(data)
        return self.folder / filename


class Index(Loopback):
    """A PEP 503 index. `files`: filename → bytes; the page of a project lists those that start with its name."""

    wheel = staticmethod(make_wheel)

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.fragments: dict[str, str] = {}  # filename → hash fragment, else the true sha256
        self.attributes: dict[str, str] = {}  # filename → attributes of its link
        self.hrefs: dict[str, str] = {}  # filename → where its link points instead
        self.status: dict[str, int] = {}  # filename, or "/simple/x/" → status
        self.redirects: dict[str, str] = {}  # path → where to
        self.content_type = "text/html"
        self.cuts = 0  # how many of the next downloads break in the middle
        self.requests: list[str] = []
        super().__init__()

    def page(self, project: str) -> bytes:
        links = []
        for name, data in self.files.items():
            if name.replace("_", "-").startswith(project + "-"):
                fragment = self.fragments.get(name, "sha256=" + hashlib.sha256(data).hexdigest())
                href = self.hrefs.get(name, f"../../files/{name}#{fragment}")
                links.append(f'<a href="{href}" {self.attributes.get(name, "")}>{name}</a>')
        return ("<!DOCTYPE html><html><body>" + "\n".join(links) + "</body></html>").encode()

    def serve(self, request: http.server.BaseHTTPRequestHandler) -> None:
        path = request.path
        self.requests.append(path)
        name = path.rpartition("/")[2]
        is_page = path.startswith("/simple/")
        body = self.page(path.split("/")[2]) if is_page else self.files.get(name)
        status = self.status.get(path if is_page else name, 404 if body is None else 200)
        if path in self.redirects:
            request.send_response(302)
            request.send_header("Location", self.redirects[path])
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        body = body if status == 200 and body is not None else b""
        request.send_response(status)
        request.send_header("Content-Type", self.content_type if is_page else "application/octet-stream")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if not is_page and self.cuts:
            self.cuts -= 1
            body = body[: len(body) // 2]
            request.close_connection = True
        request.wfile.write(body)


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """None of this machine's pip settings or proxies."""
    for name in list(os.environ):
        if name.startswith("PIP_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr("tunekit.sources.download.RETRY_AFTER", 0.0)
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading this machine's certificates takes 60 ms a session
    monkeypatch.setattr("tunekit.sources.index._certificates", lambda cert: bare)
    return monkeypatch


@pytest.fixture
def packages(tmp_path: Path, no_pip: pytest.MonkeyPatch) -> Packages:
    found = Packages(tmp_path / "wheels")
    no_pip.setenv("PIP_FIND_LINKS", str(found.folder))
    no_pip.setenv("PIP_NO_INDEX", "1")
    return found


@pytest.fixture
def index(no_pip: pytest.MonkeyPatch):
    server = Index()
    no_pip.setenv("PIP_INDEX_URL", server.base + "/simple")
    yield server
    server.close()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A hub of our own, and a user with an empty cache and no login. Waits are written down, not waited."""
    from hub_server import HubServer

    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING", "TRANSFORMERS_OFFLINE")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    server = HubServer()
    monkeypatch.setenv("HF_ENDPOINT", server.base)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    quick = types.SimpleNamespace(**{**vars(time), "sleep": server.waits.append})
    for module in ("huggingface_hub.utils._http", "huggingface_hub.file_download", "tunekit.sources.hub"):
        monkeypatch.setattr(module + ".time", quick)
    yield server
    server.close()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A web server, and a user with no proxy and no netrc. Waits are written down, not waited."""
    from web_server import WebServer

    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "TUNEKIT_PLAIN_HTTP":
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading this machine's certificates takes 60 ms a session
    monkeypatch.setattr("tunekit.sources.web._certificates", lambda: bare)
    server = WebServer()
    quick = types.SimpleNamespace(**{**vars(time), "sleep": server.waits.append})
    monkeypatch.setattr("tunekit.sources.transfer.time", quick)
    yield server
    server.close()
