"""`pypi:` through a real simple index on the loopback interface, and everything an index can do wrong."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from tunekit.errors import SourceError
from tunekit.sources import download
from tunekit.sources.registry import materialise, resolve

WHEEL = "demo-1.0-py3-none-any.whl"


def pin(source: str, tmp_path: Path, **more):
    return resolve(source, root=tmp_path, cache=tmp_path / "cache", **more)


def failure(call, *args, **more) -> SourceError:
    with pytest.raises(SourceError) as caught:
        call(*args, **more)
    return caught.value


def archives(tmp_path: Path) -> list[str]:
    return sorted(p.name for p in (tmp_path / "cache" / "archives").glob("*"))


@pytest.fixture
def wheel(index) -> bytes:
    index.files[WHEEL] = index.wheel({"data/rows.txt": "row\n" * 5000})
    return index.files[WHEEL]


def test_resolves_verifies_and_caches(index, wheel, tmp_path):
    seen: list[tuple[int, int, str]] = []
    block = pin("pypi:demo@1.0#data/rows.txt", tmp_path, progress=lambda *p: seen.append(p))
    assert block.archive.sha256 == "sha256:" + hashlib.sha256(wheel).hexdigest()
    assert archives(tmp_path) == [block.archive.sha256[7:]]
    assert seen[-1] == (len(wheel), len(wheel), "bytes")
    asked = [r for r in index.requests if r.endswith(WHEEL)]
    assert pin("pypi:demo#data/rows.txt", tmp_path)._replace(source=block.source) == block
    assert [r for r in index.requests if r.endswith(WHEEL)] == asked == [f"/files/{WHEEL}"]
    before = len(index.requests)  # the cache alone is enough from here
    materialise(block, tmp_path / "out", root=tmp_path, cache=tmp_path / "cache", offline=True)
    assert (tmp_path / "out" / "rows.txt").read_text() == "row\n" * 5000
    assert len(index.requests) == before


def test_offline_never_asks(index, wheel, tmp_path):
    assert failure(pin, "pypi:demo@1.0", tmp_path, offline=True).slug == "offline"
    block = pin("pypi:demo@1.0", tmp_path)
    index.requests.clear()
    where = {"root": tmp_path, "cache": tmp_path / "empty", "offline": True}
    assert failure(materialise, block, tmp_path / "out", **where).slug == "offline"
    assert index.requests == []


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256", "sha512"])
def test_hash_of_the_index_is_checked(index, wheel, tmp_path, name):
    index.fragments[WHEEL] = f"{name}={hashlib.new(name, wheel).hexdigest()}"
    assert pin("pypi:demo", tmp_path).revision == "1.0"
    index.fragments[WHEEL] = f"{name}={hashlib.new(name, b'other').hexdigest()}"
    error = failure(resolve, "pypi:demo", root=tmp_path, cache=tmp_path / "c2")
    assert error.slug == "hash-mismatch" and WHEEL in error.message
    assert list((tmp_path / "c2" / "archives").iterdir()) == []


@pytest.mark.parametrize("fragment", ["sha256=../../etc", "sha256=zz", "md5="])
def test_odd_hashes_of_the_index(index, wheel, tmp_path, fragment):
    index.fragments[WHEEL] = fragment
    if fragment == "md5=":
        assert pin("pypi:demo", tmp_path).archive.size == len(wheel)  # as if it gave none
    else:
        assert failure(pin, "pypi:demo", tmp_path).slug == "hash-mismatch"


def test_index_without_hashes(index, wheel, tmp_path):
    index.fragments[WHEEL] = ""
    assert pin("pypi:demo", tmp_path).archive.sha256 == "sha256:" + hashlib.sha256(wheel).hexdigest()


def test_json_index(index, wheel, tmp_path):
    def page(project: str) -> bytes:
        link = {"filename": WHEEL, "url": f"../../files/{WHEEL}", "yanked": "broken"}
        link["hashes"] = {"sha256": hashlib.sha256(wheel).hexdigest(), "blake2b_256": "00"}
        newer = {**link, "yanked": False}
        return json.dumps({"meta": {"api-version": "1.0"}, "name": project, "files": [link, newer]}).encode()

    index.page = page
    index.content_type = "application/vnd.pypi.simple.v1+json"
    assert pin("pypi:demo@1.0", tmp_path).revision == "1.0"


def test_yanked(index, wheel, tmp_path):
    block = pin("pypi:demo@1.0", tmp_path)
    index.attributes[WHEEL] = 'data-yanked="leaks names"'
    error = failure(pin, "pypi:demo", tmp_path)
    assert error.slug == "version-yanked" and "leaks names" in error.message and "@1.0" in error.hint
    heard: list[str] = []
    named = resolve("pypi:demo@1.0", root=tmp_path, cache=tmp_path / "cache", warn=heard.append)
    assert named == block, "whoever names it gets it (PEP 592)"
    assert heard == ["warning: `pypi:demo@1.0` was withdrawn (yanked): leaks names"]
    assert failure(pin, "pypi:demo@1.1", tmp_path).slug == "version-not-found"
    index.files["demo-0.9-py3-none-any.whl"] = wheel
    assert pin("pypi:demo", tmp_path).revision == "0.9"
    materialise(block, tmp_path / "out", root=tmp_path, cache=tmp_path / "fresh")  # a lock outlives a yank


def test_missing(index, wheel, tmp_path):
    assert failure(pin, "pypi:other", tmp_path).slug == "package-not-found"
    assert failure(pin, "pypi:demo@3", tmp_path).slug == "version-not-found"
    index.status[WHEEL] = 404
    error = failure(pin, "pypi:demo", tmp_path)
    assert error.slug == "download-failed" and "404" in error.message
    assert index.requests.count(f"/files/{WHEEL}") == 1  # no use trying again


def test_index_that_fails_is_not_an_index_without_the_package(index, wheel, tmp_path):
    for status in (500, 503, 403, 401):
        index.status["/simple/demo/"] = status
        error = failure(pin, "pypi:demo", tmp_path)
        assert error.slug == "index-unreachable" and str(status) in error.message


def test_unreachable(no_pip, tmp_path):
    no_pip.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:9/simple")
    error = failure(pin, "pypi:demo", tmp_path)
    assert error.slug == "index-unreachable"
    assert "secret" not in error.render()


def test_one_index_down_matters_for_a_choice_but_not_for_a_pin(index, wheel, tmp_path, no_pip):
    block = pin("pypi:demo@1.0", tmp_path)
    no_pip.setenv("PIP_EXTRA_INDEX_URL", "http://127.0.0.1:9/simple")
    assert failure(pin, "pypi:demo@1.0", tmp_path).slug == "index-unreachable"
    materialise(block, tmp_path / "out", root=tmp_path, cache=tmp_path / "fresh")


def test_cut_connection_is_tried_again(index, wheel, tmp_path):
    index.cuts = 2
    assert pin("pypi:demo", tmp_path).archive.size == len(wheel)
    assert index.requests.count(f"/files/{WHEEL}") == 3


def test_connection_that_always_breaks(index, wheel, tmp_path):
    index.cuts = 99
    error = failure(pin, "pypi:demo", tmp_path)
    assert error.slug == "download-failed" and "3 times" in error.hint
    assert archives(tmp_path) == []


def test_server_errors_are_tried_again(index, wheel, tmp_path):
    index.status[WHEEL] = 503
    assert failure(pin, "pypi:demo", tmp_path).slug == "download-failed"
    assert index.requests.count(f"/files/{WHEEL}") == 3


def test_lock_beats_the_index(index, wheel, tmp_path):
    block = pin("pypi:demo@1.0", tmp_path)
    where = {"root": tmp_path, "cache": tmp_path / "fresh"}
    index.files[WHEEL] = wheel + b"\0"
    assert failure(materialise, block, tmp_path / "o1", **where).slug == "source-changed"  # other hash listed
    index.fragments[WHEEL] = ""
    assert failure(materialise, block, tmp_path / "o2", **where).slug == "source-changed"  # other bytes served
    assert list((tmp_path / "fresh" / "archives").iterdir()) == []


def test_redirects(index, wheel, tmp_path):
    secret = tmp_path / WHEEL
    secret.write_bytes(wheel)
    index.redirects[f"/files/{WHEEL}"] = f"/mirror/{WHEEL}"
    assert pin("pypi:demo", tmp_path).revision == "1.0"
    for place in (secret.as_uri(), "http://192.0.2.1/x.whl"):
        index.redirects[f"/files/{WHEEL}"] = place
        assert failure(resolve, "pypi:demo", root=tmp_path, cache=tmp_path / "c2").slug == "redirect-refused"


def test_a_page_cannot_point_at_this_machine(index, wheel, tmp_path):
    (tmp_path / WHEEL).write_bytes(wheel)
    for place in ((tmp_path / WHEEL).as_uri(), f"git+file://{tmp_path}/{WHEEL}", f"http://192.0.2.1/{WHEEL}"):
        index.hrefs[WHEEL] = place
        assert failure(pin, "pypi:demo", tmp_path).slug == "package-not-found"


def test_plain_http_index_needs_trust(no_pip, tmp_path):
    no_pip.setenv("PIP_INDEX_URL", "http://192.0.2.1/simple")
    error = failure(pin, "pypi:demo", tmp_path)
    assert error.slug == "index-unreachable" and "trusted-host" in error.message


def test_old_partial_downloads_are_swept(index, wheel, tmp_path):
    folder = tmp_path / "cache" / "archives"
    folder.mkdir(parents=True)
    for name, age in (("part-old", 10**6), ("part-new", 0)):
        (folder / name).write_bytes(b"x")
        stamp = (folder / name).stat().st_mtime - age
        os.utime(folder / name, (stamp, stamp))
    pin("pypi:demo", tmp_path)
    assert "part-old" not in archives(tmp_path) and "part-new" in archives(tmp_path)


def test_too_large(index, wheel, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MAX_ARCHIVE", 10)
    assert failure(pin, "pypi:demo", tmp_path).slug == "archive-too-large"
