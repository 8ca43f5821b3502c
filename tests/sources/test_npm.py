"""`npm:` against a registry on loopback: choice, integrity, logins, mirrors, hostile answers."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback

from tunekit.errors import SourceError
from tunekit.lockfile import dump_lock, empty_lock
from tunekit.sources.npm_settings import npm_settings
from tunekit.sources.registry import materialise, resolve

FILES = {
    "package.json": "{}",
    "models/tokenizer.json": '{"a": 1}',
    "models/tokenizer_config.json": "{}",
    "x/y.txt": "y",
}
NAME = "@org/demo"


def tarball(files: dict[str, str] = FILES, top: str = "package") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


class Registry(Loopback):
    """`documents` by name, `tarballs` by path; `token`: what must be said, if anything."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.tarballs: dict[str, bytes] = {}
        self.status: dict[str, int] = {}
        self.redirects: dict[str, str] = {}
        self.token = ""
        self.seen: list[tuple[str, str]] = []  # path, Authorization
        super().__init__()

    def add(self, version: str, data: bytes | None = None, name: str = NAME, **dist: Any) -> None:
        data = tarball() if data is None else data
        path = f"/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
        self.tarballs[path] = data
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
        entry = {"dist": {"tarball": self.base + path, "integrity": integrity} | dist}
        document = self.documents.setdefault(name, {"versions": {}, "dist-tags": {}})
        document["versions"][version] = entry
        document["dist-tags"]["latest"] = version

    def serve(self, request: http.server.BaseHTTPRequestHandler) -> None:
        said = request.headers.get("Authorization", "")
        path = request.path.replace("%2F", "/").replace("%2f", "/")
        self.seen.append((path, said))
        if path in self.redirects:
            request.send_response(302)
            request.send_header("Location", self.redirects[path])
            request.end_headers()
            return
        document = self.documents.get(path.removeprefix("/"))
        body = json.dumps(document).encode() if isinstance(document, dict) else document
        body = self.tarballs.get(path) if body is None else body
        status = 401 if self.token and said != self.token else self.status.get(path, 200 if body is not None else 404)
        request.send_response(status)
        request.end_headers()
        request.wfile.write(body or b"" if status == 200 else b"")


@pytest.fixture
def home(tmp_path: Path, no_pip: pytest.MonkeyPatch) -> Path:
    """None of this machine's npm settings."""
    for name in [n for n in os.environ if n.lower().startswith("npm_config_")]:
        no_pip.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    no_pip.setenv("HOME", str(folder))
    no_pip.setenv("NPM_CONFIG_GLOBALCONFIG", str(folder / "none"))
    return folder


@pytest.fixture
def registry(home: Path, no_pip: pytest.MonkeyPatch):
    server = Registry()
    no_pip.setenv("NPM_CONFIG_REGISTRY", server.base)
    yield server
    server.close()


def pin(source: str, tmp_path: Path, **more: Any):
    return resolve(source, root=tmp_path, cache=tmp_path / "cache", **more)


def failure(source: str, tmp_path: Path, **more: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        pin(source, tmp_path, **more)
    return caught.value


def written(block, tmp_path: Path, cache: str = "cache") -> dict[str, str]:
    out = tmp_path / f"out-{cache}"
    materialise(block, out, root=tmp_path, cache=tmp_path / cache)
    return {p.relative_to(out).as_posix(): p.read_text() for p in out.rglob("*") if p.is_file()}


def test_a_package_of_a_scope(registry, tmp_path):
    registry.add("1.0.0")
    registry.add("1.1.0", tarball(FILES | {"new": "n"}))
    block = pin(f"npm:{NAME}@1.0.0#models", tmp_path)
    assert (block.revision, block.archive.name) == ("1.0.0", "demo-1.0.0.tgz")
    assert block.archive.sha256 == "sha256:" + hashlib.sha256(tarball_of(registry, "1.0.0")).hexdigest()
    wanted = {"tokenizer.json": '{"a": 1}', "tokenizer_config.json": "{}"}
    assert written(block, tmp_path) == wanted and written(block, tmp_path, "fresh") == wanted
    assert pin(f"npm:{NAME}#new", tmp_path).revision == "1.1.0"
    registry.documents[NAME]["dist-tags"]["next"] = "1.0.0"
    assert pin(f"npm:{NAME}@next#x", tmp_path).revision == "1.0.0"
    lock = dump_lock(empty_lock()._replace(sources={block.source: block}))
    assert "127.0.0.1" not in lock and "http" not in lock
    materialise(block, tmp_path / "off", root=tmp_path, cache=tmp_path / "cache", offline=True)
    assert failure(f"npm:{NAME}", tmp_path, offline=True).slug == "offline"


def tarball_of(registry: Registry, version: str) -> bytes:
    return registry.tarballs[f"/{NAME}/-/demo-{version}.tgz"]


def test_versions_that_are_not_there(registry, tmp_path):
    for version in ("1.0.0", "1.2.0", "1.10.0"):
        registry.add(version)
    error = failure(f"npm:{NAME}@1.2.1", tmp_path)
    assert error.slug == "version-not-found" and "did you mean `1.2.0`?" in error.hint
    assert "ranges" in failure(f"npm:{NAME}@^9", tmp_path).hint
    assert failure("npm:absent", tmp_path).slug == "package-not-found"
    error = failure(f"npm:{NAME}@1.0.0#modls", tmp_path)
    assert error.slug == "missing-file" and "did you mean `models`?" in error.hint


def test_deprecated_is_refused_unless_it_is_named(registry, tmp_path):
    registry.add("1.0.0")
    block = pin(f"npm:{NAME}#models", tmp_path)
    registry.documents[NAME]["versions"]["1.0.0"]["deprecated"] = "leaks names"
    error = failure(f"npm:{NAME}", tmp_path)
    assert error.slug == "version-deprecated" and "leaks names" in error.message and "@1.0.0" in error.hint
    heard: list[str] = []
    assert pin(f"npm:{NAME}@1.0.0#models", tmp_path, warn=heard.append).files == block.files
    assert heard == [f"warning: `npm:{NAME}@1.0.0#models` is deprecated: leaks names"]
    assert written(block, tmp_path, "fresh")  # and a lock outlives it


def test_integrity_is_checked_before_anything_is_kept(registry, tmp_path):
    registry.add("1.0.0")
    path = f"/{NAME}/-/demo-1.0.0.tgz"
    block = pin(f"npm:{NAME}@1.0.0#models", tmp_path)
    registry.tarballs[path] = tarball({"models/tokenizer.json": "evil"})
    error = failure(f"npm:{NAME}@1.0.0", tmp_path)
    assert error.slug == "hash-mismatch" and "sha512" in error.message
    # a registry that changes both says so by our own pin
    registry.add("1.0.0", registry.tarballs[path])
    with pytest.raises(SourceError) as caught:
        written(block, tmp_path, "fresh")
    assert caught.value.slug == "source-changed"
    assert list((tmp_path / "fresh" / "archives").iterdir()) == []
    del registry.documents[NAME]["versions"]["1.0.0"]
    with pytest.raises(SourceError) as caught:
        written(block, tmp_path, "fresh2")
    assert caught.value.slug == "source-changed" and "1.0.0" in caught.value.message


def test_old_packages_have_a_sha1_alone(registry, tmp_path):
    data = tarball()
    registry.add("1.0.0", data, integrity=None, shasum=hashlib.sha1(data).hexdigest())
    assert pin(f"npm:{NAME}", tmp_path).archive.sha256 == "sha256:" + hashlib.sha256(data).hexdigest()
    registry.add("1.0.0", data, integrity=None, shasum="0" * 40)
    assert failure(f"npm:{NAME}", tmp_path).slug == "hash-mismatch"
    registry.add("1.0.0", data, integrity="md5-AAAA", shasum=None)
    assert failure(f"npm:{NAME}", tmp_path).slug == "version-not-found", "nothing could be checked"


def test_login_goes_to_its_place_alone(registry, home, tmp_path, no_pip):
    registry.token = "Bearer s3cret"
    registry.add("1.0.0")
    other = Registry()
    try:
        other.add("1.0.0")
        error = failure(f"npm:{NAME}", tmp_path)
        assert error.slug == "registry-refuses" and "npm login" in error.hint
        host = registry.base.removeprefix("http:")
        no_pip.setenv("MY_TOKEN", "s3cret")
        (home / ".npmrc").write_text(f"; mine\n{host}/:_authToken=${{MY_TOKEN}}\n_authToken=bare\n")
        block = pin(f"npm:{NAME}#models", tmp_path)
        assert registry.seen[-1][1] == "Bearer s3cret" and "s3cret" not in dump_lock(
            empty_lock()._replace(sources={block.source: block})
        )
        registry.redirects[f"/{NAME}/-/demo-1.0.0.tgz"] = other.base + f"/{NAME}/-/demo-1.0.0.tgz"
        registry.add("1.0.1", tarball_of(other, "1.0.0"))
        registry.redirects[f"/{NAME}/-/demo-1.0.1.tgz"] = other.base + f"/{NAME}/-/demo-1.0.0.tgz"
        assert pin(f"npm:{NAME}@1.0.1", tmp_path).revision == "1.0.1"
        assert other.seen and all(said == "" for _, said in other.seen)
        no_pip.setenv("MY_TOKEN", "wrong")
        error = failure(f"npm:{NAME}", tmp_path)
        assert "wrong" not in error.render() and error.slug == "registry-refuses"
    finally:
        other.close()


def test_a_mirror_serves_the_tarballs_that_it_copies(registry, tmp_path):
    registry.add("1.0.0", tarball=f"http://127.0.0.1:9/{NAME}/-/demo-1.0.0.tgz")
    assert pin(f"npm:{NAME}#models", tmp_path).revision == "1.0.0"


def test_failures_have_names(registry, tmp_path, no_pip):
    registry.add("1.0.0")
    for status in (500, 429):
        registry.status[f"/{NAME}"] = status
        error = failure(f"npm:{NAME}", tmp_path)
        assert error.slug == "registry-unreachable" and str(status) in error.message
    assert len(registry.seen) == 6, "three times each"
    no_pip.setenv("NPM_CONFIG_REGISTRY", "http://user:secret@127.0.0.1:9/")
    error = failure(f"npm:{NAME}", tmp_path)
    assert error.slug == "registry-unreachable" and "secret" not in error.render()
    no_pip.setenv("NPM_CONFIG_REGISTRY", "file:///etc")
    assert failure(f"npm:{NAME}", tmp_path).slug == "npm-settings"


@pytest.mark.parametrize(
    "document",
    [b"", b"<html>", b"[]", b"[" * 100_000, b"{}", b'{"versions": []}', b'{"versions": {}, "dist-tags": 1}', b"\xff"],
)
def test_answers_that_are_none(registry, tmp_path, document):
    registry.documents[NAME] = document
    assert failure(f"npm:{NAME}", tmp_path).slug == "bad-registry"


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://127.0.0.1/x.tgz", "git+ssh://x/y", 7, None, ""])
def test_tarballs_elsewhere(registry, tmp_path, where):
    registry.add("1.0.0", tarball=where)
    assert failure(f"npm:{NAME}", tmp_path).slug == "version-not-found"


def test_more_than_a_document(registry, tmp_path, monkeypatch):
    monkeypatch.setattr("tunekit.sources.npm_registry.MAX_DOCUMENT", 100)
    registry.add("1.0.0")
    assert failure(f"npm:{NAME}", tmp_path).slug == "bad-registry"


@pytest.mark.parametrize(
    ("data", "slug"),
    [
        (tarball({"../../evil": "x"}), "archive-unsafe"),
        (tarball({"a": "x"}, top="/tmp"), "archive-unsafe"),
        (gzip.compress(b"no tar" * 200), "archive-corrupt"),
        (b"nothing", "archive-corrupt"),
    ],
)
def test_hostile_tarballs(registry, tmp_path, data, slug):
    registry.add("1.0.0", data)
    assert failure(f"npm:{NAME}", tmp_path).slug == slug


def test_settings(home, tmp_path):
    env = {"HOME": str(home), "NPM_CONFIG_GLOBALCONFIG": str(home / "global"), "PATH": ""}
    with pytest.raises(SourceError) as caught:
        npm_settings(environ=env)
    assert caught.value.slug == "npm-settings" and "NPM_CONFIG_REGISTRY" in caught.value.hint
    (home / "global").write_text("registry = https://global.test/npm\ncafile=/ca.pem\nhttps-proxy=http://proxy.test\n")
    found = npm_settings(environ=env)
    assert (found.registry, found.http.cert, found.http.proxy) == (
        "https://global.test/npm/",
        "/ca.pem",
        "http://proxy.test",
    )
    (home / ".npmrc").write_text(
        '# c\n[section]\nregistry="https://user.test"\n@org:registry=https://org.test/\n'
        "//org.test/:username=u\n//org.test/:_password=cHc=\n//user.test/deep/:_auth=YTpi\nstrict-ssl=false\n"
    )
    found = npm_settings(environ=env)
    assert found.registry == "https://user.test/" and found.http.trusted_hosts == ["user.test"]
    assert npm_settings("@org", env).registry == "https://org.test/"
    assert found.header_for("https://user.test/deep/x") == "Basic YTpi" and not found.header_for("https://user.test/x")
    assert found.header_for("https://org.test/a/b") == "Basic " + base64.b64encode(b"u:pw").decode()
    assert not found.header_for("https://evil.test//org.test/") and not found.header_for("https://org.test.evil/")
    assert npm_settings(environ=env | {"npm_config_registry": "http://env.test"}).registry == "http://env.test/"
    (home / ".npmrc").write_bytes(b"\xff")
    with pytest.raises(SourceError) as caught:
        npm_settings(environ=env)
    assert caught.value.slug == "npm-settings"


def test_npm_itself_says_its_default(home):
    fake = home / "bin"
    fake.mkdir()
    (fake / "npm").write_text("#!/bin/sh\necho https://default.test/\n")
    (fake / "npm").chmod(0o755)
    env = {"HOME": str(home), "PATH": f"{fake}:/usr/bin:/bin", "NPM_CONFIG_GLOBALCONFIG": str(home / "none")}
    assert npm_settings(environ=env).registry == "https://default.test/"
    (fake / "npm").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(SourceError):
        npm_settings(environ=env)
