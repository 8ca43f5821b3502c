"""Sources that fsspec reaches: `memory:`, a driver that fails on purpose, a real FTP server and a real S3 one."""

from __future__ import annotations

import sys
import threading
import time
import types

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from sourced import Sourced

from tunekit.errors import SourceError
from tunekit.hashing import sha256_bytes
from tunekit.sources.registry import resolve

FILES = {
    "/b/d/a.jsonl": b"a\n",
    "/b/d/deep/b.jsonl": b"b" * 3_000_000,
    "/b/d/deep/c.txt": b"c",
    "/b/d/.hidden": b"x",
    "/b/odd[1].txt": b"odd",
}


class Flaky(MemoryFileSystem):
    """A store of its own, which fails as it is told: `cuts`: after how many bytes the next files break off."""

    protocol = "flaky"
    store: dict = {}
    pseudo_dirs = [""]
    cuts: list[int] = []
    errors: list[BaseException] = []
    opened: list[str] = []
    changes: dict[str, bytes] = {}

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(path.replace("flaky://", "memory://"))

    def info(self, path, **kwargs):
        if self.errors:
            raise self.errors.pop(0)
        return (
            super().info(path, **kwargs) | {"ETag": sha256_bytes(self.cat_file(path))}
            if self.isfile(path)
            else super().info(path)
        )

    def isfile(self, path):
        return self._strip_protocol(path) in self.store

    def _open(self, path, mode="rb", **kwargs):
        inner = super()._open(path, mode, **kwargs)
        if mode != "rb":
            return inner
        self.opened.append(path)
        return Broken(inner.getvalue(), self.cuts.pop(0) if self.cuts else None, path)


class Broken(MemoryFile):
    def __init__(self, data, left, path):
        super().__init__(None, None, data)
        self.left, self.name = left, path

    def read(self, size=-1):
        if path := Flaky.changes.pop(self.name, None):
            Flaky.store[self.name] = MemoryFile(Flaky, self.name, path)
        if self.left is None:
            return super().read(size)
        block = super().read(min(size, self.left))
        self.left -= len(block)
        if not block:
            raise ConnectionResetError("cut")
        return block

    def close(self):
        pass


@pytest.fixture
def place(tmp_path, monkeypatch):
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    waits: list[float] = []
    quick = types.SimpleNamespace(**{**vars(time), "sleep": waits.append})
    for module in ("tunekit.sources.transfer", "tunekit.sources.fs_driver"):
        monkeypatch.setattr(module + ".time", quick)
    for kind in (MemoryFileSystem, Flaky):
        monkeypatch.setattr(kind, "store", {})
        monkeypatch.setattr(kind, "pseudo_dirs", [""])
        for path, data in FILES.items():
            kind().pipe(path, data)
    for name in ("cuts", "errors", "opened"):
        monkeypatch.setattr(Flaky, name, [])
    monkeypatch.setattr(Flaky, "changes", {})

    found = Sourced(tmp_path)
    found.waits = waits
    return found


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("memory://b/d/a.jsonl", {"a.jsonl"}),
        ("memory://b/d", {"a.jsonl", "deep/b.jsonl", "deep/c.txt"}),
        ("memory://b/d/", {"a.jsonl", "deep/b.jsonl", "deep/c.txt"}),
        ("memory://b#d", {"a.jsonl", "deep/b.jsonl", "deep/c.txt"}),
        ("memory://b/d/*.jsonl", {"a.jsonl"}),
        ("memory://b/d/**/*.jsonl", {"a.jsonl", "deep/b.jsonl"}),
        ("memory://b/*/deep/*", {"d/deep/b.jsonl", "d/deep/c.txt"}),
        ("memory://b#d/*/*.txt", {"deep/c.txt"}),
        ("memory://b/d/.h*", {".hidden"}),
        ("memory://b/d/.hidden", {".hidden"}),
        ("memory://b/odd[1].txt", {"odd[1].txt"}),
    ],
)
def test_files_folders_globs(place, source, wanted):
    block = place.lock(source)
    assert {f.path for f in block.files} == wanted
    written = place.write(block, offline=True)
    assert {name: sha256_bytes(data) for name, data in written.items()} == {f.path: f.sha256 for f in block.files}
    place.forget()
    assert place.write(block) == written, "and again, from the place itself"
    total = sum(f.size for f in block.files)
    assert place.told[-1] == (total, total, "bytes")


def test_missing_names_the_nearest(place):
    error = place.refused("memory://b/dd")
    assert error.slug == "missing-file" and "`d`" in error.hint
    error = place.refused("memory://b/d/*.parquet")
    assert error.slug == "missing-file" and "a.jsonl" in error.hint
    assert place.refused("memory://b/*.jsonl").slug == "missing-file"
    assert place.refused("memory://*.jsonl").slug == "missing-file"


def test_other_bytes_than_the_pin(place):
    block = place.lock("memory://b/d/*.jsonl")
    place.forget()
    MemoryFileSystem().pipe("/b/d/a.jsonl", b"A\n")
    with pytest.raises(SourceError) as caught:
        place.write(block)
    assert caught.value.slug == "source-changed"
    assert sha256_bytes(b"a\n") in caught.value.message and sha256_bytes(b"A\n") in caught.value.message
    MemoryFileSystem().rm("/b/d/a.jsonl")
    with pytest.raises(SourceError) as caught:
        place.write(block)
    assert caught.value.slug == "missing-file"


def test_offline(place):
    assert place.refused("memory://b/d", offline=True).slug == "offline"
    block = place.lock("memory://b/d")
    place.forget()
    with pytest.raises(SourceError) as caught:
        place.write(block, offline=True)
    assert caught.value.slug == "offline" and "a.jsonl" in caught.value.message


def test_a_drivers_version_is_the_revision(place):
    assert place.lock("flaky://b/d/a.jsonl").revision == sha256_bytes(b"a\n")
    assert place.lock("flaky://b/d").revision == ""
    assert place.lock("memory://b/d/a.jsonl").revision == ""


def test_cut_reads_go_on(place):
    Flaky.cuts = [1_000_000, 500_000]
    block = place.lock("flaky://b/d/deep/b.jsonl")
    assert block.files[0].sha256 == sha256_bytes(FILES["/b/d/deep/b.jsonl"])
    assert place.waits == [0.5, 1.0] and len(Flaky.opened) == 3
    Flaky.cuts = [0] * 50
    place.forget()
    error = place.refused("flaky://b/d/deep/b.jsonl")
    assert error.slug == "source-unreachable" and "cut" in error.message and len(Flaky.opened) == 3 + 5
    with pytest.raises(SourceError):
        place.write(block)
    Flaky.cuts = []
    assert len(place.write(block)) == 1


def test_a_file_that_changes_while_it_is_read(place):
    """Half of the old and half of the new must not be pinned."""
    new = b"n" * 3_000_000
    Flaky.changes = {"/b/d/deep/b.jsonl": new}
    assert place.lock("flaky://b/d/deep/b.jsonl").files[0].sha256 == sha256_bytes(new)


def test_drivers_errors_have_names(place):
    class NoCredentialsError(Exception):
        pass

    Flaky.errors = [TimeoutError("slow"), ConnectionError("x")]
    assert len(place.lock("flaky://b/d").files) == 3
    for error, slug in (
        (PermissionError("no"), "login-refused"),
        (NoCredentialsError("no"), "login-refused"),
        (ConnectionError("no"), "source-unreachable"),
    ):
        Flaky.errors = [error] * 3
        assert place.refused("flaky://b/d").slug == slug


def test_a_full_disk_is_not_the_drivers_fault(place, monkeypatch):
    from tunekit.errors import StoreError

    monkeypatch.setenv("TUNEKIT_MIN_FREE", "900000TB")
    with pytest.raises(StoreError):
        place.lock("memory://b/d")


def test_names_that_cannot_be_in_an_artifact(place):
    MemoryFileSystem().pipe("/b/bad/a\nb", b"x")
    assert place.refused("memory://b/bad").slug == "path-outside-project"


def test_what_is_neither_file_nor_folder(place, monkeypatch):
    real = MemoryFileSystem.info
    monkeypatch.setattr(
        MemoryFileSystem, "info", lambda self, p, **k: real(self, p) | ({"type": "link"} if "a.jsonl" in p else {})
    )
    assert place.refused("memory://b/d/a.jsonl").slug == "not-a-file"


def test_local_drivers_are_refused(place):
    class Sneaky(LocalFileSystem):
        protocol = "sneaky"

        @classmethod
        def _strip_protocol(cls, path):
            return LocalFileSystem._strip_protocol(path.replace("sneaky://", "file:///"))

    fsspec.register_implementation("sneaky", Sneaky, clobber=True)
    error = place.refused("sneaky://etc/passwd")
    assert error.slug == "path-outside-project" and "pin = true" in error.hint


@pytest.mark.parametrize(
    ("source", "package"), [("oci://b/x", "ocifs"), ("webdav://h/x", "webdav4"), ("smb://h/x", "smbprotocol")]
)
def test_a_missing_driver_is_named(place, source, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    error = place.refused(source)
    assert error.slug == "driver-missing" and error.hint == f"`pip install {package}`"


@pytest.fixture
def ftp(tmp_path):
    """A real FTP server (pyftpdlib)."""
    pytest.importorskip("pyftpdlib")
    import logging

    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import ThreadedFTPServer

    logging.disable(logging.CRITICAL)
    root = tmp_path / "served"
    for path, data in FILES.items():
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).write_bytes(data)
    authorizer = DummyAuthorizer()
    authorizer.add_anonymous(str(root))
    handler = type("Handler", (FTPHandler,), {"authorizer": authorizer})
    server = ThreadedFTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"timeout": 0.02}, daemon=True)
    thread.start()
    yield f"ftp://127.0.0.1:{server.address[1]}"
    server.close_all()
    logging.disable(logging.NOTSET)


@pytest.mark.filterwarnings("ignore")
def test_ftp(place, ftp):
    block = place.lock(f"{ftp}/b/d")
    assert {f.path: f.sha256 for f in block.files} == {
        name: sha256_bytes(FILES["/b/d/" + name]) for name in ("a.jsonl", "deep/b.jsonl", "deep/c.txt")
    }
    place.forget()
    assert place.write(block)["a.jsonl"] == b"a\n"
    assert place.refused(f"{ftp}/b/none").slug == "missing-file"


@pytest.fixture
def sftp(tmp_path, monkeypatch):
    pytest.importorskip("paramiko")
    import logging

    from sftp_server import SftpServer

    logging.disable(logging.CRITICAL)
    for path, data in FILES.items():
        (tmp_path / "served" / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "served" / path[1:]).write_bytes(data)
    (tmp_path / "served/b/links").mkdir()
    (tmp_path / "served/b/links/x").symlink_to("/etc/passwd")
    (tmp_path / ".ssh").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setitem(fsspec.config.conf, "sftp", {"password": "secret", "look_for_keys": False})
    server = SftpServer(tmp_path / "served")
    yield server
    server.close()
    logging.disable(logging.NOTSET)


@pytest.mark.filterwarnings("ignore")
def test_sftp(place, sftp, tmp_path):
    source = f"sftp://me@127.0.0.1:{sftp.port}/b/d"
    error = place.refused(source)
    assert error.slug == "unknown-host" and "known_hosts" in error.message, "whoever answers first is not believed"
    (tmp_path / ".ssh/known_hosts").write_text(sftp.known_hosts())
    block = place.lock(source)
    assert {f.path: f.sha256 for f in block.files} == {
        name: sha256_bytes(FILES["/b/d/" + name]) for name in ("a.jsonl", "deep/b.jsonl", "deep/c.txt")
    }
    place.forget()
    assert place.write(block)["deep/b.jsonl"] == FILES["/b/d/deep/b.jsonl"]
    place.forget()
    cut_at: list[int] = []

    def cut(done: int, total: int, unit: str) -> None:
        if done > 1_000_000 and not cut_at:
            cut_at.append(done)
            sftp.cut()

    assert resolve(source, root=tmp_path, cache=place.cache, progress=cut) == block and cut_at
    base = source.removesuffix("/d")
    assert [f.path for f in place.lock(base + "/d/**/*.jsonl").files] == ["a.jsonl", "deep/b.jsonl"]
    assert place.refused(base + "/links").slug == "not-a-file"
    assert place.refused(base + "/none").slug == "missing-file"
    fsspec.config.conf["sftp"]["password"] = "wrong"
    error = place.refused(source)
    assert error.slug == "login-refused" and "wrong" not in error.message


@pytest.fixture
def s3(monkeypatch):
    """A real S3 server (moto), spoken to by s3fs."""
    pytest.importorskip("s3fs")
    server_module = pytest.importorskip("moto.server")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    import s3fs

    fs = s3fs.S3FileSystem(skip_instance_cache=True)
    fs.mkdir("bucket")
    for path, data in FILES.items():
        fs.pipe("bucket" + path[2:], data)
    yield fs
    server.stop()


@pytest.mark.long  # moto and botocore take seconds to load
@pytest.mark.filterwarnings("ignore")
def test_s3(place, s3):
    block = place.lock("s3://bucket/d")
    assert {f.path: f.sha256 for f in block.files} == {
        name: sha256_bytes(FILES["/b/d/" + name]) for name in ("a.jsonl", "deep/b.jsonl", "deep/c.txt")
    }
    one = place.lock("s3://bucket/d/a.jsonl")
    assert one.revision == "60b725f10c9c85c70d97880dfe8191b3", "its ETag"
    assert {f.path for f in place.lock("s3://bucket/d/**/*.jsonl").files} == {"a.jsonl", "deep/b.jsonl"}
    assert place.lock("s3://bucket/odd[1].txt").files[0].size == 3
    place.forget()
    assert place.write(block)["deep/b.jsonl"] == FILES["/b/d/deep/b.jsonl"]
    s3.pipe("bucket/d/a.jsonl", b"A\n")
    place.forget()
    with pytest.raises(SourceError) as caught:
        place.write(one)
    assert caught.value.slug == "source-changed" and sha256_bytes(b"A\n") in caught.value.message
    assert place.refused("s3://bucket/none").slug == "missing-file"
    assert place.refused("s3://no-such-bucket/x").slug == "missing-file"
