"""`pypi:` through find-links: the choice of file, names in the artifact, nothing executed, nothing hostile."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from tunekit.errors import SourceError
from tunekit.lockfile import SourceBlock
from tunekit.sources import archive
from tunekit.sources.registry import materialise, resolve

FILES = {"corpus/a.txt": "alpha\n", "corpus/b.txt": "beta\n", "corpus/deep/c.txt": "gamma\n", "other.md": "x\n"}


def pin(source: str, tmp_path: Path, **more) -> SourceBlock:
    return resolve(source, root=tmp_path, cache=tmp_path / "cache", **more)


def written(block: SourceBlock, tmp_path: Path, **more) -> dict[str, str]:
    out = tmp_path / "out"
    materialise(block, out, root=tmp_path, cache=tmp_path / "cache", **more)
    return {p.relative_to(out).as_posix(): p.read_text() for p in sorted(out.rglob("*")) if p.is_file()}


def slug_of(source: str, tmp_path: Path, **more) -> str:
    with pytest.raises(SourceError) as caught:
        pin(source, tmp_path, **more)
    return caught.value.slug


@pytest.mark.parametrize(
    ("fragment", "wanted"),
    [
        ("", {"corpus/a.txt", "corpus/b.txt", "corpus/deep/c.txt", "other.md"}),
        ("#corpus", {"a.txt", "b.txt", "deep/c.txt"}),
        ("#corpus/", {"a.txt", "b.txt", "deep/c.txt"}),
        ("#corpus/a.txt", {"a.txt"}),
        ("#corpus/*.txt", {"a.txt", "b.txt"}),
        ("#corpus/**/*.txt", {"a.txt", "b.txt", "deep/c.txt"}),
        ("#**/c.*", {"corpus/deep/c.txt"}),
        ("#*.md", {"other.md"}),
    ],
)
@pytest.mark.parametrize("kind", ["wheel", "sdist", "sdist-zip", "sdist-xz"])
def test_fragment_names_the_files(packages, tmp_path, kind, fragment, wanted):
    if kind == "wheel":
        packages.add("demo-1.0-py3-none-any.whl", packages.wheel(FILES))
    elif kind == "sdist":
        packages.add("demo-1.0.tar.gz", packages.sdist("demo-1.0", FILES))
    elif kind == "sdist-xz":
        packages.add("demo-1.0.tar.xz", packages.sdist("demo-1.0", FILES, mode="w:xz"))
    else:
        packages.add("demo-1.0.zip", packages.wheel({f"demo-1.0/{k}": v for k, v in FILES.items()}))
    block = pin(f"pypi:demo@1.0{fragment}", tmp_path)
    assert {f.path for f in block.files} == wanted
    assert block.revision == "1.0"
    got = written(block, tmp_path, offline=True)
    assert set(got) == wanted
    for entry in block.files:
        data = got[entry.path].encode()
        assert (entry.size, entry.sha256) == (len(data), "sha256:" + hashlib.sha256(data).hexdigest())
        assert not (tmp_path / "out" / entry.path).stat().st_mode & 0o111


def test_pure_wheel_before_sdist_before_any_wheel(packages, tmp_path):
    packages.add("demo-1.0-cp27-cp27m-win_amd64.whl", packages.wheel({"w": "1"}))
    assert pin("pypi:demo", tmp_path).archive.name == "demo-1.0-cp27-cp27m-win_amd64.whl"
    packages.add("demo-1.0.zip", packages.wheel({"demo-1.0/w": "2"}))
    packages.add("demo-1.0.tar.gz", packages.sdist("demo-1.0", {"w": "2"}))
    assert pin("pypi:demo", tmp_path).archive.name == "demo-1.0.tar.gz"
    packages.add("demo-1.0-py2.py3-none-any.whl", packages.wheel({"w": "3"}))
    assert pin("pypi:demo", tmp_path).archive.name == "demo-1.0-py2.py3-none-any.whl"
    packages.add("demo-1.0-7-py2.py3-none-any.whl", packages.wheel({"w": "4"}))
    assert pin("pypi:Demo", tmp_path).archive.name == "demo-1.0-7-py2.py3-none-any.whl"


def test_newest_release_without_version(packages, tmp_path):
    for version in ("1.0", "1.9", "1.10", "2.0rc1"):
        packages.add(f"demo-{version}-py3-none-any.whl", packages.wheel({"v": version}))
    assert pin("pypi:demo#v", tmp_path).revision == "1.10"
    assert pin("pypi:demo@2.0rc1#v", tmp_path).revision == "2.0rc1"
    assert pin("pypi:demo@1.0.0#v", tmp_path).revision == "1.0"
    with pytest.raises(SourceError) as caught:
        pin("pypi:demo@1.11", tmp_path)
    assert caught.value.slug == "version-not-found" and "1.10, 2.0rc1" in caught.value.hint
    assert slug_of("pypi:demo@what", tmp_path) == "version-not-found"
    packages.add("raw-1.0a1-py3-none-any.whl", packages.wheel({"v": "1"}))
    assert slug_of("pypi:raw", tmp_path) == "no-release"
    assert slug_of("pypi:absent", tmp_path) == "package-not-found"
    assert slug_of("pypi:absent", tmp_path, offline=True) == "offline"


def test_setup_py_is_never_executed(packages, tmp_path):
    marker = tmp_path / "executed"
    code = f"open({str(marker)!r}, 'w').write('yes')\n"
    hooks = {"setup.py": code, "_build.py": code, "conftest.py": code, "data.txt": "rows\n"}
    hooks["pyproject.toml"] = '[build-system]\nrequires = []\nbuild-backend = "_build"\nbackend-path = ["."]\n'
    packages.add("evil-1.0.tar.gz", packages.sdist("evil-1.0", hooks))
    block = pin("pypi:evil@1.0", tmp_path)
    assert written(block, tmp_path)["setup.py"] == code
    assert not marker.exists()


def test_nothing_matches_names_the_nearest(packages, tmp_path):
    packages.add("demo-1.0-py3-none-any.whl", packages.wheel(FILES))
    with pytest.raises(SourceError) as caught:
        pin("pypi:demo@1.0#corpus/aa.txt", tmp_path)
    assert caught.value.slug == "missing-file" and "did you mean `corpus/a.txt`?" in caught.value.hint
    with pytest.raises(SourceError) as caught:
        pin("pypi:demo@1.0#corpora", tmp_path)
    assert "did you mean `corpus`?" in caught.value.hint


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    made.linkname = link
    return made


@pytest.mark.parametrize(
    "member",
    [
        info("demo-1.0/../../evil"),
        info("../evil"),
        info("/tmp/evil"),
        info("demo-1.0/a\\b"),
        info("demo-1.0/a\nb"),
        info("demo-1.0/a//b"),
        info("demo-1.0/dev", tarfile.CHRTYPE),
        info("demo-1.0/pipe", tarfile.FIFOTYPE),
        info("demo-1.0/link", tarfile.SYMTYPE, "../../etc/passwd"),
        info("demo-1.0/link", tarfile.SYMTYPE, "/etc/passwd"),
        info("demo-1.0/link", tarfile.LNKTYPE, "../etc/passwd"),
        info("demo-1.0/corpus/a.txt"),
        info("demo-1.0/../dir", tarfile.DIRTYPE),
    ],
    ids=lambda m: repr(m.name) + m.linkname,
)
def test_hostile_tar_is_refused_whole(packages, tmp_path, member):
    packages.add("demo-1.0.tar.gz", packages.sdist("demo-1.0", FILES, member))
    assert slug_of("pypi:demo@1.0#other.md", tmp_path) == "archive-unsafe"


def test_inner_links_are_refused_only_where_wanted(packages, tmp_path):
    links = [info("demo-1.0/corpus/l.txt", tarfile.SYMTYPE, "a.txt"), info("demo-1.0/h", tarfile.LNKTYPE, "demo-1.0/x")]
    packages.add("demo-1.0.tar.gz", packages.sdist("demo-1.0", FILES, *links))
    assert len(pin("pypi:demo@1.0#corpus/deep", tmp_path).files) == 1
    assert slug_of("pypi:demo@1.0#corpus", tmp_path) == "archive-unsafe"
    assert slug_of("pypi:demo@1.0", tmp_path) == "archive-unsafe"


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "a\\..\\evil", "corpus/a.txt", "dir/../../"])
def test_hostile_zip_is_refused_whole(packages, tmp_path, name):
    out = io.BytesIO(packages.wheel(FILES))
    with zipfile.ZipFile(out, "a") as z:
        entry = zipfile.ZipInfo("placeholder")
        entry.filename = name
        if name in FILES:
            with pytest.warns(UserWarning, match="Duplicate"):
                z.writestr(entry, "x")
        else:
            z.writestr(entry, "x" if not name.endswith("/") else "")
    packages.add("demo-1.0-py3-none-any.whl", out.getvalue())
    assert slug_of("pypi:demo@1.0#other.md", tmp_path) == "archive-unsafe"


@pytest.mark.parametrize("mode", [0o120777, 0o020666])
def test_zip_links_and_devices(packages, tmp_path, mode):
    out = io.BytesIO(packages.wheel(FILES))
    with zipfile.ZipFile(out, "a") as z:
        entry = zipfile.ZipInfo("corpus/link")
        entry.external_attr = mode << 16
        z.writestr(entry, "/etc/passwd")
    packages.add("demo-1.0-py3-none-any.whl", out.getvalue())
    assert slug_of("pypi:demo@1.0#corpus", tmp_path) == "archive-unsafe"


def lie_about_size(data: bytes, name: bytes, true: int, claimed: int) -> bytes:
    """The central directory's uncompressed size of one member, overwritten."""
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(name))
    assert int.from_bytes(data[at + 24 : at + 28], "little") == true
    return data[: at + 24] + claimed.to_bytes(4, "little") + data[at + 28 :]


@pytest.mark.parametrize(("claimed", "slug"), [(10, "archive-corrupt"), (900_000, "archive-unsafe")])
def test_zip_with_lying_sizes(packages, tmp_path, claimed, slug):
    data = lie_about_size(packages.wheel({"bomb": b"\0" * 500_000}), b"bomb", 500_000, claimed)
    packages.add("demo-1.0-py3-none-any.whl", data)
    assert slug_of("pypi:demo@1.0#bomb", tmp_path) == slug


def test_zip_with_a_wrong_checksum(packages, tmp_path):
    """Only a file that is read has its bytes checked; then nothing of it is kept."""
    data = bytearray(packages.wheel({"a.txt": "x", "b.txt": "y" * 4000}))
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(b"b.txt"))
    data[at + 16] ^= 0xFF  # its CRC-32 in the directory
    packages.add("demo-1.0-py3-none-any.whl", bytes(data))
    assert slug_of("pypi:demo@1.0#b.txt", tmp_path) == "archive-corrupt"
    assert len(pin("pypi:demo@1.0#a.txt", tmp_path).files) == 1


@pytest.mark.parametrize(("field", "value"), [(8, 1), (10, 99)], ids=["encrypted", "compression"])
def test_zip_members_that_cannot_be_read(packages, tmp_path, field, value):
    data = bytearray(packages.wheel({"a.txt": "x"}))
    at = data.rindex(b"PK\x01\x02")
    data[at + field : at + field + 2] = value.to_bytes(2, "little")
    packages.add("demo-1.0-py3-none-any.whl", bytes(data))
    assert slug_of("pypi:demo@1.0#a.txt", tmp_path) == "archive-corrupt"


def test_a_bomb_is_measured_before_it_goes_off(packages, tmp_path, monkeypatch):
    """40 MB of zeros in 40 KB: read in blocks, refused by what the members declare."""
    monkeypatch.setattr(archive, "MAX_TOTAL", 30 << 20)
    zeros, out = b"\0" * (40 << 20), io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a", zeros)
    sdist = packages.sdist("demo-1.0", {"a": zeros})
    for name, data in (("demo-1.0.tar.gz", sdist), ("other-1.0-py3-none-any.whl", out.getvalue())):
        assert len(data) < 100_000
        packages.add(name, data)
        assert slug_of(f"pypi:{name.partition('-')[0]}#b", tmp_path) == "archive-too-large"


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_tar_headers_of_headers(packages, tmp_path, kind):
    """tarfile goes one call deeper for each."""
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 512
    body = (header.tobuf(tarfile.GNU_FORMAT) + b"11 path=ab\n".ljust(512, b"\0")) * 5000
    packages.add("demo-1.0.tar", body + b"\0" * 1024)
    assert slug_of("pypi:demo", tmp_path) == "archive-corrupt"


@pytest.mark.parametrize("comment", [b"", b"a comment"])
@pytest.mark.parametrize("zip64", [False, True])
def test_a_zips_directory_is_measured_first(packages, tmp_path, monkeypatch, comment, zip64):
    with monkeypatch.context() as m:
        if zip64:
            m.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as z:
            for i in range(40):
                z.writestr(f"file-{i}", "x")
            z.comment = comment
    packages.add("demo-1.0-py3-none-any.whl", out.getvalue())
    assert len(pin("pypi:demo", tmp_path).files) == 40
    size = archive._directory_size(tmp_path / "wheels/demo-1.0-py3-none-any.whl")
    assert 40 * 46 < size < 40 * 64
    monkeypatch.setattr(archive, "_MAX_DIRECTORY", size - 1)
    assert slug_of("pypi:demo", tmp_path) == "archive-too-large"


def test_total_and_count_are_limited(packages, tmp_path, monkeypatch):
    packages.add("demo-1.0.tar.gz", packages.sdist("demo-1.0", FILES))
    with monkeypatch.context() as m:
        m.setattr(archive, "MAX_TOTAL", 10)
        assert slug_of("pypi:demo", tmp_path) == "archive-too-large"
    monkeypatch.setattr(archive, "MAX_MEMBERS", 2)
    assert slug_of("pypi:demo", tmp_path) == "archive-too-large"


def test_tar_headers_cannot_fill_the_memory(packages, tmp_path):
    huge = tarfile.TarInfo("././@LongLink")
    huge.type = tarfile.GNUTYPE_LONGNAME
    huge.size = 8 << 30
    body = huge.tobuf(tarfile.GNU_FORMAT) + b"\0" * 4096
    packages.add("demo-1.0.tar", body)
    assert slug_of("pypi:demo", tmp_path) == "archive-too-large"


@pytest.mark.parametrize("name", ["demo-1.0.tar.gz", "demo-1.0.tar.bz2", "demo-1.0.zip", "demo-1.0-py3-none-any.whl"])
def test_garbage_and_truncation_have_a_name(packages, tmp_path, name):
    packages.add(name, b"this is no archive at all" * 40)
    assert slug_of("pypi:demo", tmp_path) == "archive-corrupt"
    whole = packages.sdist("demo-1.0", {"a": os.urandom(50_000)}) if name.endswith("gz") else packages.wheel(FILES)
    packages.add(name, whole[: len(whole) // 2])
    assert slug_of("pypi:demo", tmp_path) == "archive-corrupt"


def test_materialise_notices_other_bytes(packages, tmp_path):
    file = packages.add("demo-1.0-py3-none-any.whl", packages.wheel(FILES))
    block = pin("pypi:demo@1.0#corpus", tmp_path)
    entry = block.files[0]._replace(sha256="sha256:" + "0" * 64)
    for files in ((entry, *block.files[1:]), (entry._replace(path="gone"),), (entry._replace(size=1),)):
        with pytest.raises(SourceError) as caught:
            written(block._replace(files=files), tmp_path)
        assert caught.value.slug == "source-changed"
        assert not (tmp_path / "out" / entry.path).exists()
    cached = tmp_path / "cache" / "archives" / block.archive.sha256[7:]
    cached.chmod(0o600)
    cached.write_bytes(b"damaged")
    for left in (tmp_path / "out").iterdir():
        left.unlink()
    assert set(written(block, tmp_path)) == {"a.txt", "b.txt", "deep/c.txt"}  # fetched again
    cached.unlink()
    file.write_bytes(packages.wheel({**FILES, "corpus/a.txt": "other\n"}))
    with pytest.raises(SourceError) as caught:
        materialise(block, tmp_path / "out2", root=tmp_path, cache=tmp_path / "cache")
    assert caught.value.slug == "source-changed"
    file.unlink()
    with pytest.raises(SourceError) as caught:
        materialise(block, tmp_path / "out3", root=tmp_path, cache=tmp_path / "cache")
    assert caught.value.slug == "package-not-found"
    with pytest.raises(SourceError) as caught:
        materialise(block._replace(archive=None), tmp_path / "out4", root=tmp_path, cache=tmp_path / "cache")
    assert caught.value.slug == "source-changed"


def test_writes_exactly_the_files_of_the_block(packages, tmp_path):
    packages.add("demo-1.0-py3-none-any.whl", packages.wheel(FILES))
    block = pin("pypi:demo@1.0", tmp_path)
    seen: list[tuple[int, int, str]] = []
    out = tmp_path / "some"
    materialise(
        block._replace(files=block.files[:2]),
        out,
        root=tmp_path,
        cache=tmp_path / "cache",
        progress=lambda *p: seen.append(p),
    )
    assert sorted(p.name for p in out.rglob("*") if p.is_file()) == ["a.txt", "b.txt"]
    assert seen[-1] == (11, 11, "bytes")
