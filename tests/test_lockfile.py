from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.errors import LockError
from tunekit.hashing import sha256_bytes
from tunekit.lockfile import (
    Archive,
    Environment,
    FileEntry,
    Lock,
    ResultBlock,
    SourceBlock,
    bad_path,
    block_of,
    dump_lock,
    empty_lock,
    load_lock,
    read_lock,
    reading,
    recipe_of,
    save_lock,
)

GRPO = recipe_of({"method": "grpo", "beta": 0.0, "learning_rate": 1e-5, "adapter": {"r": 32, "on": [True, "x"]}})
A, B, C = (sha256_bytes(x) for x in (b"a", b"b", b"c"))


def sample() -> Lock:
    files = [FileEntry("b/two.txt", 2, B), FileEntry("a.txt", 1, A)]
    demo = block_of("pypi:demo@1.0#data", "1.0", Archive("demo-1.0.tar.gz", 10, C), files)
    plain = block_of("hf:org/name", "0123abc", None, [FileEntry("c", 0, C)])
    return Lock(
        sources={b.source: b for b in (demo, plain)},
        environments={"default": Environment("3.11", {"torch": "2.13.0", "accelerate": "1.10.0"})},
        results=[ResultBlock("run:sft", A, "7f3a", {"main": B, "adapter": C}, {"loss": 1.25})],
        recipes={"grpo-lora": GRPO},
    )


def load(text: str, tmp_path: Path) -> Lock:
    (tmp_path / "tunekit.lock").write_text(text)
    return load_lock(tmp_path / "tunekit.lock")


def test_golden_text():
    lock = Lock({"path:x": block_of("path:x", "", None, [FileEntry("x", 1, A)])}, {}, [], {})
    assert dump_lock(lock) == (
        "# Written by tunekit. Commit it; `tunekit lock` brings it up to date.\n"
        "version = 1\n\n"
        "[[source]]\n"
        'source = "path:x"\n'
        'tree = "sha256:5f7723390edbe05b14b742de6e70d21b9879120e4d992f780011c8f4ddf53ee0"\n'
        'check = "4def6b6cce49969c"\n'
        "files = [\n"
        f'    {{ path = "x", size = 1, sha256 = "{A}" }},\n'
        "]\n"
    )


def test_round_trip(tmp_path):
    text = dump_lock(sample())
    lock = load(text, tmp_path)
    assert lock == sample()._replace(sources=lock.sources)
    assert lock.sources == sample().sources
    assert dump_lock(lock) == text
    assert [t["source"] for t in tomllib.loads(text)["source"]] == ["hf:org/name", "pypi:demo@1.0#data"]
    assert [f.path for f in lock.sources["pypi:demo@1.0#data"].files] == ["a.txt", "b/two.txt"]
    for block in lock.sources.values():
        assert SourceBlock.from_json(block.to_json()) == block


words = st.text(st.characters(codec="utf-8"), max_size=8)
digests = st.binary(max_size=4).map(sha256_bytes)
paths = st.lists(words, min_size=1, max_size=3).map("/".join).filter(lambda p: not bad_path(p))
entries = st.builds(FileEntry, paths, st.integers(0, 2**63 - 1), digests)
file_lists = st.lists(entries, min_size=1, max_size=4, unique_by=lambda f: f.path)
archive_names = words.filter(lambda n: not bad_path(n) and "/" not in n)
archives = st.none() | st.builds(Archive, archive_names, st.integers(0, 2**63 - 1), digests)
blocks = st.builds(block_of, words, words, archives, file_lists)
versions = words.filter(lambda v: "+" not in v)
environments = st.dictionaries(words, st.builds(Environment, words, st.dictionaries(words, versions, max_size=3)))
labels = st.sampled_from(["run:a", "run:b@best", "merge:c.lr-1"])
attempts = words | st.integers(-(2**63), 2**63 - 1)
figures = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1)
outputs = st.dictionaries(words, digests, max_size=3)
results = st.builds(ResultBlock, labels, digests, attempts, outputs, st.dictionaries(words, figures, max_size=2))
leaves = figures | words | st.booleans()
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2))
recipes = st.dictionaries(words, st.dictionaries(words, values, max_size=3).map(recipe_of), max_size=2)
locks = st.builds(
    lambda sources, env, res, recipes: Lock({b.source: b for b in sources}, env, res, recipes),
    st.lists(blocks, max_size=3),
    environments,
    st.lists(results, max_size=3, unique_by=lambda r: r.key),
    recipes,
)


@given(lock=locks)
@settings(max_examples=40, deadline=None)
def test_any_lock_round_trips_to_the_byte(lock, tmp_path_factory):
    text = dump_lock(lock)
    file = tmp_path_factory.getbasetemp() / "tunekit.lock"
    file.write_bytes(text.encode())
    again = load_lock(file)
    assert (again.sources, again.environments, again.recipes) == (lock.sources, lock.environments, lock.recipes)
    assert dump_lock(again) == text


@given(lock=locks, data=st.data())
@settings(max_examples=15, deadline=None)
def test_order_does_not_matter(lock, data):
    shuffled = lock._replace(
        sources=dict(data.draw(st.permutations(list(lock.sources.items())))),
        results=data.draw(st.permutations(lock.results)),
        recipes=dict(data.draw(st.permutations(list(lock.recipes.items())))),
    )
    assert dump_lock(shuffled) == dump_lock(lock)


def test_independent_additions_merge_without_conflict(tmp_path):
    base = sample()
    ours, theirs = dict(base.sources), dict(base.sources)
    ours["aa:ours"] = block_of("aa:ours", "1", None, [FileEntry("o", 1, A)])
    theirs["zz:theirs"] = block_of("zz:theirs", "1", None, [FileEntry("t", 1, A)])
    for name, sources in (("base", base.sources), ("ours", ours), ("theirs", theirs)):
        (tmp_path / name).write_text(dump_lock(base._replace(sources=sources)))
    merged = subprocess.run(["git", "merge-file", "-p", "ours", "base", "theirs"], cwd=tmp_path, capture_output=True)
    assert merged.returncode == 0
    assert merged.stdout.decode() == dump_lock(base._replace(sources={**ours, **theirs}))


@pytest.mark.parametrize(
    ("old", "new", "slug", "on"),
    [
        ("version = 1", "version = 2", "lock-version", "version = 2"),
        ("version = 1", "version = true", "lock-version", "version = true"),
        ("version = 1\n", "", "lock-version", "# Written"),
        ("version = 1", "version = 1\nmore = 3", "lock-unknown-key", "more = 3"),
        ("[recipes.grpo-lora]", "[nonsense]\n[recipes.grpo-lora]", "lock-unknown-key", "[nonsense]"),
        ('revision = "1.0"', 'revision = "1.1"', "lock-tampered", "check ="),
        ('revision = "0123abc"', 'revision = "4567def"', "lock-tampered", "check ="),
        ('revision = "0123abc"\n', "", "lock-tampered", "check ="),
        ("size = 10", "size = 11", "lock-tampered", "check ="),
        ('name = "demo-1.0.tar.gz"', 'name = "demo-1.1.tar.gz"', "lock-tampered", "check ="),
        ('source = "hf:org/name"', 'source = "hf:org/nam"', "lock-tampered", "check ="),
        ('revision = "1.0"', 'revison = "1.0"', "lock-unknown-key", "revison"),
        ('revision = "1.0"', "revision = 1.0", "lock-wrong-type", "revision = 1.0"),
        ('path = "a.txt", size = 1', 'path = "a.txt", size = 2', "lock-tampered", "tree ="),
        ('path = "a.txt", size = 1', 'path = "a.txt", size = true', "lock-wrong-type", '"a.txt"'),
        ('path = "a.txt", size = 1', 'path = "a.txt", size = -1', "lock-wrong-type", '"a.txt"'),
        ('path = "a.txt"', 'path = "z.txt"', "lock-tampered", "tree ="),
        ('path = "a.txt"', 'path = "../a.txt"', "lock-bad-path", '"../a.txt"'),
        ('path = "a.txt"', 'path = "/a.txt"', "lock-bad-path", '"/a.txt"'),
        ('path = "a.txt"', 'path = "x/./a.txt"', "lock-bad-path", '"x/./a.txt"'),
        ('path = "a.txt"', 'path = "b/two.txt"', "lock-duplicate", "[[source]]"),
        ('path = "a.txt", ', "", "lock-missing-key", "files ="),
        (f'size = 1, sha256 = "{A}"', f'size = 1, sha256 = "{B}"', "lock-tampered", "tree ="),
        (f'size = 1, sha256 = "{A}"', 'size = 1, sha256 = "md5:00"', "lock-bad-digest", "md5:00"),
        (f'size = 1, sha256 = "{A}"', f'size = 1, sha256 = "{A.upper()}"', "lock-bad-digest", A.upper()),
        ("size = 10", 'size = "10"', "lock-wrong-type", "archive ="),
        ('name = "demo-1.0.tar.gz"', 'name = "../demo"', "lock-bad-path", "archive ="),
        (f'size = 10, sha256 = "{C}"', 'size = 10, sha256 = "x"', "lock-bad-digest", "archive ="),
        (f'size = 10, sha256 = "{C}"', "size = 10", "lock-missing-key", "archive ="),
        ('"pypi:demo@1.0#data"', '"hf:org/name"', "lock-tampered", "check ="),
        ('torch = "2.13.0"', 'torch = "2.13.0+cpu"', "lock-local-version", "torch"),
        ('torch = "2.13.0"', "torch = 2.13", "lock-wrong-type", "torch"),
        ('python = "3.11"\n', "", "lock-missing-key", "[environment.default]"),
        (f'digest = "{GRPO.digest}"', 'digest = "sha256:12"', "lock-bad-digest", "sha256:12"),
        ("beta = 0.0", "beta = 0.04", "lock-tampered", "digest ="),
        ("beta = 0.0", "beta = nan", "lock-wrong-type", "[recipes.grpo-lora]"),
        ("beta = 0.0", "beta = 1979-05-27", "lock-wrong-type", "[recipes.grpo-lora]"),
        (f'digest = "{GRPO.digest}"\n', "", "lock-missing-key", "[recipes.grpo-lora]"),
        ("loss = 1.25", "loss = inf", "lock-wrong-type", "metrics ="),
        ('label = "run:sft"', 'label = "run"', "lock-bad-label", "label ="),
        (f'key = "{A}"', 'key = "sha256:zz"', "lock-bad-digest", "key ="),
        ('attempt = "7f3a"', "attempt = 1.5", "lock-wrong-type", "attempt ="),
        (f'main = "{B}"', "main = 3", "lock-bad-digest", "outputs ="),
        ("[recipes.grpo-lora]", "[recipes.", "lock-not-toml", "[recipes"),
        ("[recipes.grpo-lora]", "<<<<<<< ours\n[recipes.grpo-lora]", "lock-conflict", "<<<<<<< ours"),
    ],
)
def test_tampering_is_named_with_its_line(tmp_path, old, new, slug, on):
    text = dump_lock(sample())
    assert text.count(old) >= 1
    edited = text.replace(old, new, 1)
    with pytest.raises(LockError) as caught:
        load(edited, tmp_path)
    error = caught.value
    assert error.slug == slug and error.exit_code == 3
    assert error.hint
    line = error.data["line"]
    assert error.message.startswith(f"tunekit.lock:{line}: ")
    if slug not in ("lock-not-toml", "lock-conflict"):
        assert on in edited.splitlines()[line - 1], (line, edited.splitlines()[line - 1])


def test_one_source_has_one_block(tmp_path):
    text = dump_lock(sample())
    block = text[text.index("[[source]]") : text.rindex("[[source]]")]
    with pytest.raises(LockError, match="`hf:org/name` has two blocks") as caught:
        load(text + "\n" + block, tmp_path)
    assert caught.value.slug == "lock-duplicate"


def test_a_lock_of_before_the_check_line_is_read(tmp_path):
    text = "".join(line for line in dump_lock(sample()).splitlines(True) if not line.startswith("check ="))
    assert load(text, tmp_path) == load(dump_lock(sample()), tmp_path)


def test_one_key_has_one_result(tmp_path):
    first = ResultBlock("run:a", A, "1", {"main": B})
    twin = first._replace(label="run:b")  # two targets may share a key, and then its result
    assert load(dump_lock(empty_lock()._replace(results=[first, twin])), tmp_path).results == [first, twin]
    for other in (first, twin._replace(attempt="2"), twin._replace(outputs={})):
        with pytest.raises(LockError) as caught:
            load(dump_lock(empty_lock()._replace(results=[first, other])), tmp_path)
        assert caught.value.slug == "lock-duplicate" and "two results" in caught.value.message


def test_tampered_block_names_source_and_way_out(tmp_path):
    with pytest.raises(LockError) as caught:
        load(dump_lock(sample()).replace("size = 2", "size = 3"), tmp_path)
    assert "pypi:demo@1.0#data" in caught.value.message and "tunekit lock" in caught.value.hint


def test_every_flipped_digest_digit_is_noticed(tmp_path):
    """Digests of files and trees: any change is refused. (Those of archives, keys and outputs are checked
    against the bytes, when there are some.)"""
    lines = dump_lock(sample()).splitlines()
    wanted = [i for i, line in enumerate(lines) if line.startswith(("tree =", "    { path"))]
    assert len(wanted) == 5
    for i in wanted:
        at = lines[i].rindex("sha256:") + 7
        for k in (at, at + 31, at + 63):
            flipped = lines[i][:k] + ("0" if lines[i][k] != "0" else "1") + lines[i][k + 1 :]
            with pytest.raises(LockError):
                load("\n".join([*lines[:i], flipped, *lines[i + 1 :]]), tmp_path)


def test_no_flipped_byte_of_a_source_or_of_a_setting_goes_unnoticed(tmp_path):
    """A text with one byte changed is refused, or says the same of sources and recipes (white space, comments)."""
    text, whole = dump_lock(sample()), load(dump_lock(sample()), tmp_path)
    refused = 0
    for at in range(len(text)):
        other = "x" if text[at] != "x" else "0"
        try:
            found = read_lock((text[:at] + other + text[at + 1 :]).encode(), "l")
        except LockError:
            refused += 1
            continue
        assert found.sources == whole.sources, at
        assert list(found.recipes.values()) == list(whole.recipes.values()), at
    assert len(text) > 1500 and refused > 0.7 * len(text)


@pytest.mark.parametrize(
    "text",
    [
        "version = 1\nsource = 3",
        "version = 1\nsource = [3]",
        "version = 1\nresult = [[]]",
        "version = 1\nrecipes = 1",
        "version = 1\nrecipes = { a = 1979-05-27 }",
        f"version = 1\nrecipes = {{ a = '{A}' }}",
        "version = 1\nenvironment = { a = 1 }",
        "version = 1\n[[source]]\narchive = []",
        "version = 1\n[[source]]\nsource = 'x'\ntree = 'x'\nfiles = [1]",
        "version = 1\n[[source]]\nsource = 'x'\ntree = 'x'\nfiles = []",
        "version = 1\nx = " + "[" * 3000,
    ],
)
def test_odd_shapes_are_lock_errors(tmp_path, text):
    with pytest.raises(LockError):
        load(text, tmp_path)


def test_not_utf8(tmp_path):
    (tmp_path / "l").write_bytes(b"version = 1\n# \xff\n")
    with pytest.raises(LockError) as caught:
        load_lock(tmp_path / "l")
    assert caught.value.slug == "lock-not-toml"


def read_strictly(data: bytes) -> Lock:
    return reading._Reader(data, "l").lock()


def outcome(read, data: bytes) -> tuple[object, ...]:
    try:
        return ("read", read(data))
    except LockError as e:
        return (e.slug, e.message)


@given(lock=locks, data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_quick_way_reads_what_the_strict_one_does(lock, data):
    """Also of a text with an edit anywhere: the same lock, or the same error."""
    text = dump_lock(lock)
    assert reading._as_written(text.encode(), "l") is not None
    at = data.draw(st.integers(0, len(text)))
    size = data.draw(st.sampled_from([0, 1, 1, 5, 80]))
    edited = text[:at] + data.draw(st.sampled_from(["", "x", " ", "\n", '"', "0", "#", "]", "é"])) + text[at + size :]
    for body in (text.encode(), edited.encode()):
        assert outcome(lambda b: read_lock(b, "l"), body) == outcome(read_strictly, body)


@pytest.mark.parametrize("path", ["a.txt", "x/.hidden", "ü/ä.json", "a b", 'q"uote', "x" * 255, "-/=."])
def test_the_quick_way_takes_any_name(path):
    block = block_of("path:x", "", None, [FileEntry(path, 1, A)])
    text = dump_lock(empty_lock()._replace(sources={"path:x": block}))
    assert reading._as_written(text.encode(), "l") == read_strictly(text.encode())


@pytest.mark.parametrize("path", ["../a", "a/../b", "/a", "a//b", "./a", "a/", "x" * 256])
def test_the_quick_way_refuses_bad_names(tmp_path, path):
    text = dump_lock(empty_lock()._replace(sources={"x": block_of("x", "", None, [FileEntry(path, 1, A)])}))
    with pytest.raises(LockError) as caught:
        load(text, tmp_path)
    assert caught.value.slug == "lock-bad-path"


def test_missing_file_is_an_empty_lock(tmp_path):
    assert load_lock(tmp_path / "tunekit.lock") == empty_lock()
    load_lock(tmp_path / "tunekit.lock").recipes["x"] = GRPO
    assert empty_lock().recipes == {}


def test_save_is_atomic_and_lazy(tmp_path, monkeypatch):
    file = tmp_path / "tunekit.lock"
    assert save_lock(sample(), file) is True
    before = file.stat()
    assert save_lock(sample(), file) is False
    assert file.stat().st_mtime_ns == before.st_mtime_ns and file.stat().st_ino == before.st_ino

    def broken(*args: object) -> None:
        raise OSError("no rename today")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="no rename"):
        save_lock(empty_lock(), file)
    assert load_lock(file).recipes == sample().recipes
    assert [p.name for p in tmp_path.iterdir()] == ["tunekit.lock"]


@pytest.mark.parametrize("path", ["", "/a", "a//b", "./a", "a/..", "a/", "a\\b", "a\nb", "a\0", "\ud800", "x" * 256])
def test_bad_paths(path):
    assert bad_path(path)


@pytest.mark.parametrize("module", ["tunekit.lockfile", "tunekit.sources.registry"])
def test_imports_are_light(module):
    heavy = ("msgspec", "rich", "tomlkit", "httpx2", "unearth", "packaging")
    code = f"import sys, {module}; print([x for x in {heavy} if x in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
