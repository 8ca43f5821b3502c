from __future__ import annotations

import os
from pathlib import Path

import pytest

from tunekit.errors import SourceError
from tunekit.hashing import sha256_bytes, sha256_file, tree_digest
from tunekit.sources.path import files_of_path, tree_of_path
from tunekit.sources.registry import materialise, resolve


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    texts = ("data/a.txt", "data/b.txt", "data/deep/c.txt", "data/deep/d.md", "data/.hidden", ".git/config", "top.txt")
    for name in texts:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("same" if name.endswith("b.txt") or name.endswith("a.txt") else name)
    return root


def names(source: str, root: Path) -> list[str]:
    return [f.path for f in tree_of_path(source, root)]


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("path:data/a.txt", ["a.txt"]),
        ("path:./data//a.txt", ["a.txt"]),
        ("path:data", ["a.txt", "b.txt", "deep/c.txt", "deep/d.md"]),
        ("path:data/", ["a.txt", "b.txt", "deep/c.txt", "deep/d.md"]),
        ("path:data/*.txt", ["a.txt", "b.txt"]),
        ("path:data/?.txt", ["a.txt", "b.txt"]),
        ("path:data/[!a].txt", ["b.txt"]),
        ("path:data/**/*.txt", ["a.txt", "b.txt", "deep/c.txt"]),
        ("path:data/**", ["a.txt", "b.txt", "deep/c.txt", "deep/d.md"]),
        ("path:data/.h*", [".hidden"]),
        ("path:data/.hidden", [".hidden"]),
        ("path:*/deep/*", ["data/deep/c.txt", "data/deep/d.md"]),
        ("path:*.txt", ["top.txt"]),
        ("path:**/c.txt", ["data/deep/c.txt"]),
        ("path:.", ["data/a.txt", "data/b.txt", "data/deep/c.txt", "data/deep/d.md", "top.txt"]),
    ],
)
def test_files_folders_globs(root, source, wanted):
    assert names(source, root) == wanted
    assert [n for n, _ in files_of_path(source, root)] == wanted


def test_a_literal_name_beats_a_glob(root):
    (root / "odd[1].txt").write_text("x")
    assert names("path:odd[1].txt", root) == ["odd[1].txt"]


def test_entries_and_block(root, tmp_path):
    asked: list[str] = []

    def hash_file(path: str) -> str:
        asked.append(path)
        return sha256_file(path)

    entries = tree_of_path("path:data/*.txt", root, hash_file)
    assert [e.sha256 for e in entries] == [sha256_bytes(b"same")] * 2  # equal bytes, two names
    assert asked == [str(root / "data" / n) for n in ("a.txt", "b.txt")]
    block = resolve("path:data/*.txt", root=root, cache=tmp_path / "cache")
    assert list(block.files) == entries and block.archive is None and block.revision == ""
    assert block.tree == tree_digest([(e.path, e.size, False, e.sha256) for e in entries])
    materialise(block, tmp_path / "out", root=root, cache=tmp_path / "cache", offline=True)
    assert {p.name: p.read_text() for p in (tmp_path / "out").iterdir()} == {"a.txt": "same", "b.txt": "same"}
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("source", ["path:out", "path:out/x.txt", "path:data", "path:data/*", "path:data/link.txt"])
def test_links_out_of_the_project(root, tmp_path, source):
    (tmp_path / "x.txt").write_text("secret")
    (root / "out").symlink_to(tmp_path)
    (root / "data" / "link.txt").symlink_to("../../x.txt")
    with pytest.raises(SourceError) as caught:
        tree_of_path(source, root)
    assert caught.value.slug == "path-outside-project"


def test_links_that_nobody_asked_for_do_no_harm(root, tmp_path):
    (root / ".venv").symlink_to(tmp_path)
    (root / "data" / "python").symlink_to("/usr/bin/env")
    assert names("path:data/*.txt", root) == ["a.txt", "b.txt"]
    assert "top.txt" in names("path:**/*.txt", root)


def test_links_inside(root):
    (root / "alias").symlink_to("data/deep")
    (root / "data" / "again.txt").symlink_to("a.txt")
    assert names("path:alias", root) == ["c.txt", "d.md"]
    assert names("path:alias/c.txt", root) == ["c.txt"]
    assert "again.txt" in names("path:data/*.txt", root)


def test_a_linked_project_folder(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    assert names("path:data/*.txt", tmp_path / "link") == ["a.txt", "b.txt"]


def test_loops_and_special_files(root):
    (root / "data" / "deep" / "up").symlink_to("..")
    with pytest.raises(SourceError) as caught:
        tree_of_path("path:data", root)
    assert caught.value.slug == "not-a-file"
    (root / "data" / "deep" / "up").unlink()
    os.mkfifo(root / "data" / "pipe")
    for source in ("path:data", "path:data/pipe"):
        with pytest.raises(SourceError) as caught:
            tree_of_path(source, root)
        assert caught.value.slug == "not-a-file"


def test_missing_names_the_nearest(root):
    with pytest.raises(SourceError) as caught:
        tree_of_path("path:data/aa.txt", root)
    assert caught.value.slug == "missing-file" and "did you mean `a.txt`?" in caught.value.hint
    with pytest.raises(SourceError) as caught:
        tree_of_path("path:dta/a.txt", root)
    assert "`dta` in the project" in caught.value.message and "data" in caught.value.hint
    for source in ("path:data/*.parquet", "path:empty", "path:data/a.txt/x", "path:top.txt/*", "path:gone"):
        (root / "empty").mkdir(exist_ok=True)
        (root / "gone").unlink(missing_ok=True)
        (root / "gone").symlink_to("nowhere")
        with pytest.raises(SourceError) as caught:
            tree_of_path(source, root)
        assert caught.value.slug == "missing-file", source


def test_names_that_cannot_be_in_an_artifact(root):
    for name in (b"data/a\nb", b"data/a\\b", b"data/\xff"):
        made = os.fsencode(root) + b"/" + name
        with open(made, "w"):
            pass
        with pytest.raises(SourceError) as caught:
            tree_of_path("path:data", root)
        assert caught.value.slug == "not-a-file"
        os.unlink(made)


def test_materialise_notices_edits(root, tmp_path):
    block = resolve("path:data/*.txt", root=root, cache=tmp_path)
    for number, edit in enumerate(("sane", "sam", "same and more", None)):
        (root / "data" / "b.txt").unlink()
        if edit is not None:
            (root / "data" / "b.txt").write_text(edit)
        with pytest.raises(SourceError) as caught:
            materialise(block, tmp_path / f"out{number}", root=root, cache=tmp_path)
        assert caught.value.slug == "source-changed"
        assert not (tmp_path / f"out{number}" / "b.txt").exists()


@pytest.fixture
def beside(root, tmp_path) -> Path:
    """A folder beside the project."""
    for name in ("shared/a.jsonl", "shared/deep/b.jsonl", "shared/.hidden", "shared/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path / "shared"


@pytest.mark.parametrize(
    ("tail", "wanted"),
    [
        ("", ["a.jsonl", "c.txt", "deep/b.jsonl"]),
        ("/", ["a.jsonl", "c.txt", "deep/b.jsonl"]),
        ("/a.jsonl", ["a.jsonl"]),
        ("/**/*.jsonl", ["a.jsonl", "deep/b.jsonl"]),
        ("/*.jsonl", ["a.jsonl"]),
        ("/deep/../a.jsonl", ["a.jsonl"]),
        ("/link.txt", ["link.txt"]),
    ],
)
def test_outside_the_project(root, beside, tmp_path, tail, wanted):
    if "link" in tail:
        (beside / "link.txt").symlink_to("c.txt")
    for source in (f"path:{beside}{tail}", f"path:../shared{tail}"):
        told: list[tuple[int, int, str]] = []
        block = resolve(source, root=root, cache=tmp_path, progress=lambda *at, told=told: told.append(at))
        assert [f.path for f in block.files] == wanted
        assert told[-1] == (sum(f.size for f in block.files),) * 2 + ("bytes",)
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        materialise(block, out, root=root, cache=tmp_path)
        assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()) == wanted


def test_outside_that_leads_elsewhere(root, beside, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (beside / "out.txt").symlink_to("../secret")
    for source in ("path:../shared", "path:../shared/*.txt"):
        with pytest.raises(SourceError) as caught:
            files_of_path(source, root)
        assert caught.value.slug == "path-outside-project"
    (beside / "out.txt").unlink()
    (beside / "loop").symlink_to(".")
    with pytest.raises(SourceError) as caught:
        files_of_path("path:../shared", root)
    assert caught.value.slug == "not-a-file"
    for source in ("path:/dev/null", "path:../shared/none.txt", "path:../none/x/y", "path:../shared/*.parquet"):
        with pytest.raises(SourceError) as caught:
            files_of_path(source, root)
        assert caught.value.slug in ("not-a-file", "missing-file"), source


def test_outside_that_is_inside(root):
    for source in (f"path:{root}/data", "path:../project/data/a.txt", "path:data/../data/*.txt", f"path:{root}"):
        with pytest.raises(SourceError) as caught:
            files_of_path(source, root)
        assert caught.value.slug == "path-inside-project", source
    assert "path:" in caught.value.hint and "without `pin`" in caught.value.hint


def test_outside_and_changed(root, beside, tmp_path):
    block = resolve("path:../shared/*.jsonl", root=root, cache=tmp_path)
    (beside / "a.jsonl").write_text("shared/A.jsonl")
    with pytest.raises(SourceError) as caught:
        materialise(block, tmp_path / "out", root=root, cache=tmp_path)
    assert caught.value.slug == "source-changed"
