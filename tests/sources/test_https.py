"""`https:` and `http:` sources, against a server on loopback: pins, resumed and cut downloads, redirects, refusals."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sourced import Sourced

from tunekit.errors import SourceError
from tunekit.hashing import sha256_bytes

ROWS = b"".join(b'{"text": "row %d"}\n' % i for i in range(20_000))


@pytest.fixture
def place(web, tmp_path):
    web.files["/d/rows.jsonl"] = ROWS

    class Place(Sourced):
        source = web.base + "/d/rows.jsonl"

        def whole(self, text: str) -> str:
            return text or self.source

    return Place(tmp_path)


def test_pin_and_write(place, web):
    block = place.lock()
    assert block.files == ((("rows.jsonl", len(ROWS), sha256_bytes(ROWS))),)
    assert block.revision == "" and block.archive == block.files[0]
    assert place.told[-1] == (len(ROWS), len(ROWS), "bytes") and len(place.told) > 1
    asked = len(web.requests)
    assert place.write(block, offline=True) == {"rows.jsonl": ROWS}
    assert len(web.requests) == asked, "what was locked is in the cache"
    place.forget()
    assert place.write(block) == {"rows.jsonl": ROWS}
    assert {h["accept-encoding"] for _, h in web.requests} == {"identity"}


def test_other_bytes_than_the_pin(place, web):
    block = place.lock()
    place.forget()
    web.files["/d/rows.jsonl"] = other = ROWS.replace(b"7", b"8")
    with pytest.raises(SourceError) as caught:
        place.write(block)
    assert caught.value.slug == "source-changed"
    assert sha256_bytes(ROWS) in caught.value.message and sha256_bytes(other) in caught.value.message
    assert not list(place.cache.rglob("archives/*")), "what is not pinned is not kept"
    assert place.lock().files[0].sha256 == sha256_bytes(other), "lock --upgrade takes the new"


def test_a_much_larger_file_is_not_fetched(place, web, monkeypatch):
    monkeypatch.setattr("tunekit.sources.transfer.SMALL", 1000)
    block = place.lock()
    place.forget()
    web.files["/d/rows.jsonl"] = ROWS * 2
    before = web.sent
    with pytest.raises(SourceError) as caught:
        place.write(block)
    assert caught.value.slug == "source-changed" and str(len(ROWS) * 2) in caught.value.message
    assert web.sent - before <= len(ROWS) * 2
    web.lengths, web.headers = False, {}
    with pytest.raises(SourceError) as caught:
        place.write(block)
    assert caught.value.slug == "unknown-length"


def test_an_unchanged_file_is_not_fetched_again(place, web):
    block = place.lock()
    sent = web.sent
    assert place.lock() == block and web.sent == sent
    assert web.requests[-1][1]["if-none-match"] == web.etag("/d/rows.jsonl")
    web.files["/d/rows.jsonl"] = b"new\n"
    assert place.lock().files[0].sha256 == sha256_bytes(b"new\n")
    web.headers = {"ETag": 'W/"weak"'}
    web.files["/d/rows.jsonl"] = b"newer\n"
    web.etags = False
    assert place.lock().files[0].size == 6
    assert not list((place.cache / "hints").iterdir()), "a weak tag says nothing about bytes"
    (place.cache / "hints" / "x").write_text("{")


def test_cut_connections_go_on_where_they_stopped(place, web):
    web.cuts = [100_000, 50_000, 1, 0]
    assert place.lock().files[0].sha256 == sha256_bytes(ROWS)
    assert web.sent == len(ROWS), "not one byte twice"
    starts = [h.get("range") for _, h in web.requests]
    assert starts == [None, "bytes=100000-", "bytes=150000-", "bytes=150001-", "bytes=150001-"]
    assert {h.get("if-range") for _, h in web.requests[1:]} == {web.etag("/d/rows.jsonl")}
    assert web.waits == [0.5, 1.0, 2.0, 4.0]


def test_a_bounded_number_of_times(place, web):
    web.cuts = [10] * 20
    error = place.refused()
    assert error.slug == "download-failed" and "cut" in error.message and "5 times" in error.hint
    assert len(web.requests) == 5
    web.cuts = []
    assert place.lock().files[0].sha256 == sha256_bytes(ROWS)
    assert web.sent == len(ROWS), "the next call goes on, too"


def test_progress_resets_the_count(place, web, monkeypatch):
    monkeypatch.setattr("tunekit.sources.transfer.ENOUGH", 10_000)
    web.cuts = [20_000] * 12
    assert place.lock().files[0].sha256 == sha256_bytes(ROWS)


def test_the_file_changes_between_two_halves(place, web):
    """Without a pin the ETag tells; the half of the old version must not stay."""
    web.cuts = [100_000]
    real = web.serve

    def serve(request):
        real(request)
        web.files["/d/rows.jsonl"] = ROWS.replace(b"row", b"ROW")

    web.serve = serve
    assert place.lock().files[0].sha256 == sha256_bytes(ROWS.replace(b"row", b"ROW"))


def test_no_etag_no_resume_without_a_pin(place, web):
    web.etags = False
    web.cuts = [100_000]
    assert place.lock().files[0].sha256 == sha256_bytes(ROWS)
    assert [h.get("range") for _, h in web.requests] == [None, None]


def test_a_pin_resumes_without_etag(place, web):
    block = place.lock()
    place.forget()
    web.etags = False
    web.cuts = [100_000]
    assert place.write(block) == {"rows.jsonl": ROWS}
    assert web.requests[-1][1]["range"] == "bytes=100000-"


def test_pieces_of_two_versions_under_a_pin(place, web):
    """A part that another version left is found by the digest, and the whole is fetched once more."""
    block = place.lock()
    place.forget()
    web.etags = False
    web.files["/d/rows.jsonl"] = b"x" * len(ROWS)
    web.cuts = [1000] * 5
    with pytest.raises(SourceError):
        place.write(block)
    web.files["/d/rows.jsonl"] = ROWS
    assert place.write(block) == {"rows.jsonl": ROWS}


def test_no_ranges(place, web):
    web.ranges = False
    web.cuts = [100_000]
    assert place.lock().files[0].sha256 == sha256_bytes(ROWS)


def test_part_is_longer_than_the_file_is_now(place, web):
    web.cuts = [100_000] + [0] * 4
    place.refused()
    web.files["/d/rows.jsonl"] = b"short\n"
    web.headers = {"ETag": '"same"'}  # a server that lies about the version
    assert place.lock().files[0].size == 6


def test_statuses_that_pass(place, web):
    web.failures["/d/rows.jsonl"] = [(500, {}), (429, {"Retry-After": "7"}), (503, {"Retry-After": "2"}), (408, {})]
    assert place.lock().files[0].sha256 == sha256_bytes(ROWS)
    assert web.waits == [0.5, 7.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("status", "headers", "slug", "requests"),
    [
        (429, {}, "rate-limited", 5),
        (429, {"Retry-After": "3600"}, "rate-limited", 1),
        (429, {"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}, "rate-limited", 1),
        (429, {"Retry-After": "soon"}, "rate-limited", 5),
        (500, {}, "download-failed", 5),
        (404, {}, "missing-file", 1),
        (410, {}, "missing-file", 1),
        (401, {}, "login-refused", 1),
        (403, {}, "login-refused", 1),
        (418, {}, "download-failed", 1),
        (204, {}, "download-failed", 1),
        (206, {}, "download-failed", 5),
        (206, {"Content-Range": "bytes 5-9/10"}, "download-failed", 5),
    ],
)
def test_statuses_that_do_not(place, web, status, headers, slug, requests):
    web.failures["/d/rows.jsonl"] = [(status, headers)] * 9
    error = place.refused()
    assert error.slug == slug and len(web.requests) == requests, error.message
    assert not list(place.cache.rglob("archives/*"))


def test_a_server_that_says_nothing_more(place, web, monkeypatch):
    monkeypatch.setattr("tunekit.sources.web.TIMEOUT", 0.2)
    web.stalls = 2
    assert place.lock().files[0].sha256 == sha256_bytes(ROWS)
    assert web.sent == len(ROWS) and len(web.requests) == 3
    web.stalls = 9
    place.forget()
    error = place.refused()
    assert error.slug == "source-unreachable" and "said nothing" in error.message


def test_a_server_that_drips(monkeypatch):
    from tunekit.sources import web
    from tunekit.sources.transfer import Again

    now = iter(range(0, 1000, 20))
    monkeypatch.setattr(web.time, "monotonic", lambda: next(now))
    with pytest.raises(Again) as caught:
        list(web._steadily(iter([b"x"] * 100)))
    assert "only 4 bytes" in caught.value.why
    assert len(list(web._steadily(iter([b"x" * 50_000] * 20)))) == 20


def test_nobody_listens(place, web):
    web.close()
    error = place.refused()
    assert error.slug == "source-unreachable"


def test_offline(place):
    assert place.refused(offline=True).slug == "offline"
    block = place.lock()
    place.forget()
    with pytest.raises(SourceError) as caught:
        place.write(block, offline=True)
    assert caught.value.slug == "offline"


def test_redirects(place, web, monkeypatch):
    web.redirects["/old"] = "/older?x=1"
    web.redirects["/older"] = web.base + "/d/rows.jsonl?signature=secret"
    assert place.lock(web.base + "/old").files == (("old", len(ROWS), sha256_bytes(ROWS)),)
    web.redirects["/loop"] = "/loop"
    error = place.refused(web.base + "/loop?key=secret")
    assert error.slug == "redirects" and len([r for r in web.requests if r[0].startswith("/loop")]) == 10
    for there in ("file:///etc/passwd", "ftp://127.0.0.1/x", "http://example.invalid/x", "gopher://x", "//[bad"):
        web.redirects["/out"] = there
        with pytest.raises(SourceError) as caught:
            place.lock(web.base + "/out")
        assert caught.value.slug == "insecure-source", there


def test_from_https_to_http_is_refused():
    from tunekit.sources.web import Web

    web = Web.__new__(Web)
    web.source = "https://h/x"
    with pytest.raises(SourceError) as caught:
        web._next("https://h/x", "http://127.0.0.1/x?signature=secret")
    assert caught.value.slug == "insecure-source" and "secret" not in caught.value.message


def test_login_by_netrc_goes_to_its_host_alone(place, web, tmp_path):
    web.login = "Basic bWU6c2VjcmV0"
    error = place.refused()
    assert error.slug == "login-refused" and "netrc" in error.hint
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\ndefault login other password all\n")
    block = place.lock()
    assert "secret" not in repr(block)
    host = web.base.replace("127.0.0.1", "localhost")
    web.redirects["/away"] = host + "/d/rows.jsonl"
    web.login = ""
    place.lock(web.base + "/away")
    assert "authorization" in web.requests[-2][1] and "authorization" not in web.requests[-1][1]
    (tmp_path / "netrc").write_text("machine 127.0.0.1 password hunter2 nonsense\n")
    error = place.refused()
    assert error.slug == "bad-netrc" and "hunter2" not in error.message + error.hint


def test_an_encoding_that_was_not_asked_for(place, web):
    web.headers = {"Content-Encoding": "gzip"}
    assert place.refused().slug == "download-failed"
    web.files["/d/rows.jsonl.gz"] = b"\x1f\x8b not unpacked"
    block = place.lock(web.base + "/d/rows.jsonl.gz")
    assert block.files[0].sha256 == sha256_bytes(b"\x1f\x8b not unpacked")


def test_chunked_and_empty(place, web):
    web.files["/d/none.txt"] = b""
    assert place.lock(web.base + "/d/none.txt").files[0].size == 0
    web.headers, web.lengths = {"Transfer-Encoding": "chunked"}, False
    web.files["/d/c.txt"] = b"5\r\nhello\r\n0\r\n\r\n"
    assert place.lock(web.base + "/d/c.txt").files[0].sha256 == sha256_bytes(b"hello")
    web.files["/d/cut.txt"] = b"5\r\nhel"
    assert place.refused(web.base + "/d/cut.txt").slug == "download-failed"


def _tar(files: dict[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in extra:
            tar.addfile(info)
    return out.getvalue()


def test_files_of_an_archive(place, web, packages):
    files = {"readme.txt": b"r", "data/a.jsonl": b"a", "data/deep/b.jsonl": b"b"}
    web.files["/x.tar.gz"] = _tar(files)
    web.files["/x.zip"] = packages.wheel(files)
    for name in ("/x.tar.gz", "/x.zip"):
        block = place.lock(f"{web.base}{name}#data")
        assert place.write(block) == {"a.jsonl": b"a", "deep/b.jsonl": b"b"}
        assert block.archive.name == name[1:]
        assert set(place.write(place.lock(f"{web.base}{name}#**/*.jsonl"))) == {"data/a.jsonl", "data/deep/b.jsonl"}
        assert set(place.write(place.lock(f"{web.base}{name}#**"))) == set(files)
        assert place.write(place.lock(web.base + name)) == {name[1:]: web.files[name]}
        error = place.refused(f"{web.base}{name}#dta")
        assert error.slug == "missing-file" and "data" in error.hint
    assert place.refused(f"{place.source}#x").slug == "not-an-archive"


def test_hostile_archives(place, web):
    link = tarfile.TarInfo("data/link")
    link.type, link.linkname = tarfile.SYMTYPE, "a.jsonl"
    out = tarfile.TarInfo("data/out")
    out.type, out.linkname = tarfile.SYMTYPE, "../../etc/passwd"
    for extra, slug in ((link, "archive-unsafe"), (out, "archive-unsafe"), (tarfile.TarInfo("../x"), "archive-unsafe")):
        web.files["/x.tar.gz"] = _tar({"data/a.jsonl": b"a"}, extra)
        assert place.refused(f"{web.base}/x.tar.gz#data").slug == slug
    web.files["/x.tar.gz"] = b"not an archive"
    error = place.refused(f"{web.base}/x.tar.gz#data")
    assert error.slug == "archive-corrupt" and "index" not in error.hint


def test_a_killed_download_goes_on(place, web, tmp_path):
    """The process is killed in the middle; the next one asks for the rest only."""
    web.files["/big.bin"] = big = os.urandom(3 << 20)
    web.stalls = 1
    code = (
        "import sys; from tunekit.sources.registry import resolve\n"
        "resolve(sys.argv[1], root='.', cache=sys.argv[2], progress=lambda d, t, u: print(d, flush=True))"
    )
    env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    command = [sys.executable, "-c", code, web.base + "/big.bin", str(place.cache)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    while int(child.stdout.readline() or len(big)) < len(big) // 2:
        pass
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    time.sleep(0.01)
    assert place.lock(web.base + "/big.bin").files[0].sha256 == sha256_bytes(big)
    assert int(web.requests[-1][1]["range"].removeprefix("bytes=").removesuffix("-")) > 0


def test_a_damaged_cache_is_not_believed(place, web):
    block = place.lock()
    (file,) = (place.cache / "archives").iterdir()
    file.chmod(0o644)
    file.write_bytes(ROWS[:-1] + b"x")
    assert place.write(block) == {"rows.jsonl": ROWS}


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.integers(0, 400_000), max_size=4), st.booleans(), st.booleans())
def test_whatever_is_cut_the_bytes_are_right(place, web, cuts, etags, ranges):
    place.forget()
    web.cuts, web.etags, web.ranges = list(cuts), etags, ranges
    assert place.write(place.lock()) == {"rows.jsonl": ROWS}


def test_no_room(place, web, monkeypatch):
    from tunekit.errors import StoreError

    monkeypatch.setenv("TUNEKIT_MIN_FREE", "900000TB")
    with pytest.raises(StoreError) as caught:
        place.lock()
    assert caught.value.slug == "disk-full"


def test_a_cache_that_cannot_be_written(place, tmp_path):
    Path(place.cache).write_text("a file")
    assert place.refused().slug == "source-cache"
