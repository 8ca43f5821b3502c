"""A bundle gives the same results elsewhere, with no network and nothing run; what is private stays; what was tampered
with is refused by name."""

from __future__ import annotations

import io
import json
import shutil
import socket
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tunekit.errors import StoreError, TunekitError
from tunekit.hashing import digest_of, sha256_bytes
from tunekit.share.bundle_archive import FIRST, SCHEMA, TOP
from tunekit.share.bundle_open import open_bundle
from tunekit.share.private import private_labels
from tunekit.store import artifacts, records
from tunekit.store.store import Store

TOML = """
[project]
name = "small"

# what b is made of
[dataset.a]
source = "path:data/*.jsonl"

[dataset.b]
from = ["dataset:a"]
map = "ops.py:f"
args = { k = 1 }
"""
SECRET = """
# the customer's chats
[dataset.secret]
source = "path:confidential.jsonl"
private = true

[dataset.derived]
from = ["dataset:secret", "dataset:b"]

[dataset.freed]
from = ["dataset:secret"]
limit = 1
private = false
"""


def write_small(project: Any) -> None:
    project.rows("data/a.jsonl", [{"text": "hi"}, {"text": "ho"}])
    project.write("ops.py", "import lib\ndef f(row, k):\n    return {**row, 'k': k, 'x': lib.X}\n")
    project.write("lib.py", "print('said' * 9, __file__)\nX = 1\n")
    project.write("never_named.txt", "not of any target\n")
    project.manifest(TOML)


@pytest.fixture(scope="module")
def small(module_project: Any) -> Any:
    write_small(module_project)
    assert module_project.build().ran == ["dataset:a#fetch", "dataset:a", "dataset:b"]
    return module_project


@pytest.fixture(scope="module")
def tar(small: Any) -> Path:
    file: Path = small.root.parent / "small.tar"
    done = small.run("bundle", "-o", str(file))
    assert done.code == 0, done.err
    return file


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def elsewhere(make_project: Any) -> Any:
    """Another user: a store and a configuration of their own, and nothing trusted."""
    project = make_project("elsewhere", "other-store")
    project.root.rmdir()
    project.config = project.config.with_name("other-config")
    project.trust = False
    return project


def opened(project: Any, file: Path, *words: str) -> Any:
    return project.run("bundle", "--open", str(file), str(project.root), *words)


def names(file: Path) -> list[str]:
    with tarfile.open(file) as t:
        return [m.name.removeprefix(TOP + "/") for m in t]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.zst"])
def test_opened_elsewhere_nothing_is_executed(small, elsewhere, tmp_path, suffix, offline):
    file = tmp_path / f"b{suffix}"
    done = small.run("bundle", "-o", str(file), "--json")
    assert done.code == 0, done.err
    written = json.loads(done.out)  # the rows of a as they were read, a, b, and a part of each
    assert written["labels"] == ["dataset:b"] and written["artifacts"] == 5 and written["left_out"] == {}
    said = opened(elsewhere, file)
    assert said.code == 0, said.err
    assert "not trusted" in said.out
    build = elsewhere.build("--frozen")
    assert build.code == 0, build.err
    assert build.ran == [] and build.one("summary")["fresh"] == 3
    assert elsewhere.outputs() == small.outputs()
    assert json.loads(elsewhere.run("show", "dataset:b", "--json").out)["state"] == "fresh"


def test_the_project_is_what_is_named_and_no_more(tar):
    project = [n.removeprefix("project/") for n in names(tar) if n.startswith("project/")]
    assert project == ["data/a.jsonl", "lib.py", "ops.py", "tunekit.toml"]
    assert names(tar)[0] == FIRST


def test_toml_is_carried_as_it_is_where_nothing_is_left_out(small, tar):
    with tarfile.open(tar) as t:
        text = t.extractfile(f"{TOP}/project/tunekit.toml").read()
    assert text == (small.root / "tunekit.toml").read_bytes()


def test_what_was_opened_is_not_trusted(tar, elsewhere):
    opened(elsewhere, tar)
    toml = elsewhere.root / "tunekit.toml"
    toml.write_text(toml.read_text().replace("k = 1", "k = 2"))
    done = elsewhere.build("--frozen")
    assert done.code == 6 and "not-trusted" in done.err
    elsewhere.trust = True
    assert elsewhere.build("--frozen").ran == ["dataset:b"]  # from the artifact of a, which came along


def test_the_same_bytes_every_time(small, tmp_path):
    files = [tmp_path / "one.tar.zst", tmp_path / "two.tar.zst", tmp_path / "three.tar.gz", tmp_path / "four.tar.gz"]
    for file in files:
        (small.root / "lib.py").touch()
        assert small.run("bundle", "-o", str(file)).code == 0
    one, two, three, four = (f.read_bytes() for f in files)
    assert one == two and three == four


def test_thin_carries_the_labels_own_artifacts(small, elsewhere, tmp_path):
    file = tmp_path / "thin.tar"
    assert small.run("bundle", "dataset:b", "--thin", "-o", str(file)).code == 0
    assert sum(n.startswith("trees/") for n in names(file)) == 1
    opened(elsewhere, file)
    assert elsewhere.build("--frozen").ran == []


def test_nothing_of_this_machine_is_in_it(small, tmp_path):
    """The map prints where it is; logs stay here unless they are asked for."""
    assert small.run("bundle", "-o", str(tmp_path / "without.tar")).code == 0
    body = (tmp_path / "without.tar").read_bytes()
    for place in (small.root, small.store, Path.home()):
        assert f"{place}/".encode() not in body
    assert b"said" * 9 not in body
    assert small.run("bundle", "--logs", "-o", str(tmp_path / "with.tar")).code == 0
    assert b"said" * 9 in (tmp_path / "with.tar").read_bytes()


def test_another_projects_words_stay_here(make_project, tmp_path):
    """Two projects on one store: what counts was made by the other one, under its own labels."""
    other, ours = make_project("acme"), make_project("ours")
    write_small(other)
    (other.root / "data").rename(other.root / "acme-customers")
    other.manifest(TOML.replace("path:data/*.jsonl", "path:acme-customers/*.jsonl").replace("dataset:a", "dataset:acme")
                   .replace("[dataset.a]", "[dataset.acme]").replace("dataset.b", "dataset.acme-clean"))  # fmt: skip
    assert other.build().ran == ["dataset:acme#fetch", "dataset:acme", "dataset:acme-clean"]
    write_small(ours)
    assert ours.build().ran == [], "the results of the other project"
    assert ours.run("bundle", "-o", str(tmp_path / "x.tar")).code == 0
    assert b"acme" not in (tmp_path / "x.tar").read_bytes()
    assert try_open(tmp_path / "x.tar", tmp_path / "place") == ""


def test_every_target_has_its_history(tar, elsewhere):
    opened(elsewhere, tar)
    targets = json.loads(elsewhere.run("status", "--json").out)["targets"]
    assert [(t["label"], t["state"], t["built"] is None) for t in targets] == [
        ("dataset:a", "fresh", False), ("dataset:b", "fresh", False),
    ]  # fmt: skip


@pytest.mark.parametrize("looked", [True, False])
def test_parts_come_along(small, tar, elsewhere, looked):
    """One row more, and the others are not made again: also where the edit comes before the first look."""
    opened(elsewhere, tar)
    elsewhere.trust = True
    assert not looked or elsewhere.build("--frozen").ran == []
    with open(elsewhere.root / "data" / "a.jsonl", "a") as f:
        f.write('{"text": "more"}\n')
    done = elsewhere.build("--frozen", "dataset:b")
    (end,) = [e for e in done.events if e["type"] == "end" and e["action"] == "dataset:b"]
    assert end["record"]["parts"]["rows_copied"] == 2 and end["record"]["parts"]["rows_made"] == 1


def test_gc_keeps_what_was_opened(tar, elsewhere):
    opened(elsewhere, tar)
    assert elsewhere.run("gc", "--yes", "--grace", "0").code == 0
    assert elsewhere.build("--frozen", "dataset:b").ran == []


def test_sources_only_believes_no_result(tar, elsewhere):
    said = json.loads(opened(elsewhere, tar, "--sources-only", "--json").out)
    assert (said["results"], said["artifacts"]) == (0, 0)  # a `path:` source has no pin: its files are the project's
    elsewhere.trust = True
    assert elsewhere.build("--frozen").ran == ["dataset:a#fetch", "dataset:a", "dataset:b"]


def test_a_result_that_is_there_stays(tar, elsewhere):
    """The store has a result of b's key that came out with other bytes: it counts."""
    store = Store(elsewhere.store).ensure()
    files = Forged(tar).files
    record = next(r for n, d in files.items() if n.endswith(".json") and (r := json.loads(d))["label"] == "dataset:b")
    del record["schema"]
    ours = artifacts.write_tree(store, [])
    records.add(store, {**record, "attempt": "20200101T000000-0", "outputs": {"main": ours}})
    said = json.loads(opened(elsewhere, tar, "--json").out)
    assert said["kept"] == ["dataset:b"] and said["results"] == 3
    assert records.lookup(store, record["key"])["outputs"] == {"main": ours}
    assert elsewhere.outputs("dataset:b")["dataset:b"] == {"main": ours}


@pytest.fixture(scope="module")
def mixed(small, tmp_path_factory):
    place = tmp_path_factory.mktemp("mixed")
    project = type(small)(place / "project", place / "store", place / "config")
    write_small(project)
    project.rows("confidential.jsonl", [{"text": "4711-secret-number"}, {"text": "more"}])
    project.manifest(TOML + SECRET)
    assert project.run("lock").code == 0
    assert project.build("dataset:b", "dataset:derived", "dataset:freed").code == 0
    return project


class TestPrivate:
    def test_is_inherited_and_ended(self, mixed):
        found = private_labels(mixed.planner().graph, ["dataset:derived", "dataset:freed"])
        assert found == {
            "dataset:secret#fetch": "dataset:secret",
            "dataset:secret": "dataset:secret",
            "dataset:derived": "dataset:secret",
        }

    @pytest.mark.parametrize("label", ["dataset:secret", "dataset:derived", "dataset:freed"])
    def test_named_it_is_refused_by_name(self, mixed, tmp_path, label):
        done = mixed.run("bundle", "dataset:b", label, "-o", str(tmp_path / "x.tar"))
        assert done.code == 2 and "error[private]" in done.err
        assert (label in done.err and "dataset:secret" in done.err) or label == "dataset:secret"
        assert list(tmp_path.glob("*x.tar*")) == []

    def test_by_default_it_is_left_out_with_a_line(self, mixed, tmp_path):
        toml = mixed.root / "tunekit.toml"
        before = toml.read_text()
        toml.write_text(before.replace('name = "small"', 'name = "small"\ndefault = ["dataset:b", "dataset:derived"]'))
        try:
            done = mixed.run("bundle", "-o", str(tmp_path / "x.tar"), "--logs")
        finally:
            toml.write_text(before)
        assert done.code == 0 and "left out: dataset:derived (it needs dataset:secret, which is private)" in done.err
        body = (tmp_path / "x.tar").read_bytes()
        for word in (b"secret", b"4711", b"confidential", b"customer", b"derived", b"freed"):
            assert word not in body

    def test_what_was_reduced_builds(self, mixed, tmp_path, elsewhere):
        assert mixed.run("bundle", "dataset:b", "-o", str(tmp_path / "x.tar")).code == 0
        opened(elsewhere, tmp_path / "x.tar")
        assert elsewhere.build("--frozen").ran == []
        assert elsewhere.run("lock", "--check").code == 0
        assert json.loads(elsewhere.run("status", "--json").out)["targets"][-1]["label"] == "dataset:b"

    def test_nothing_is_left(self, mixed, tmp_path):
        done = mixed.run("bundle", "-o", str(tmp_path / "x.tar"))  # the ends of this project are all private
        assert done.code == 2 and "error[nothing-to-bundle]" in done.err


class TestRefused:
    def test_not_built(self, project, tmp_path):
        write_small(project)
        done = project.run("bundle", "-o", str(tmp_path / "x.tar"))
        assert done.code == 2 and "error[not-built]" in done.err and "tunekit build dataset:b" in done.err

    def test_words(self, small, tmp_path):
        for words, slug in [
            (["-o", "x.rar"], "archive-unsupported"),
            (["-o", str(tmp_path / "none" / "x.tar")], "missing-file"),
            ([], "usage"),
            (["-o", "x.tar", "--open", "y.tar"], "usage"),
            (["--open", "x.tar"], "usage"),
            (["--open", str(tmp_path / "gone.tar"), str(tmp_path / "d")], "missing-file"),
            (["-o", "x.tar", "--sources-only"], "usage"),
        ]:
            done = small.run("bundle", *words)
            assert done.code == 2 and f"error[{slug}]" in done.err, words

    def test_a_folder_that_is_not_empty(self, tar, elsewhere):
        elsewhere.write("mine.txt", "mine")
        done = opened(elsewhere, tar)
        assert done.code == 2 and "error[not-empty]" in done.err
        assert [p.name for p in elsewhere.root.iterdir()] == ["mine.txt"]

    def test_hidden_files_are_not_packed(self, project, tmp_path):
        project.rows(".hidden/a.jsonl", [{"x": 1}])
        project.manifest('[dataset.a]\nsource = "path:.hidden/a.jsonl"\n')
        assert project.build().code == 0
        done = project.run("bundle", "-o", str(tmp_path / "x.tar"))
        assert done.code == 2 and "error[bundle-hidden-file]" in done.err

    def test_settings_that_name_this_machine(self, project, tmp_path):
        write_small(project)
        project.write("ops.py", "def f(row, where):\n    return row\n")
        project.manifest(TOML.replace("{ k = 1 }", f'{{ where = "{Path.home()}/rows" }}'))
        assert project.build().code == 0
        done = project.run("bundle", "-o", str(tmp_path / "x.tar"))
        assert done.code == 2 and "error[names-this-machine]" in done.err and "dataset:b" in done.err


def try_open(file: Path, place: Path) -> str:
    """The slug of the error that opening raises; "" if it opens. Nothing may be left of what was refused."""
    store = Store(place / "store").ensure()
    target = place / "opened"
    try:
        open_bundle(file, target, store)
    except TunekitError as e:
        assert not target.exists() and [p.name for p in place.iterdir()] == ["store"], e
        assert not list((store.root / "ac").iterdir())
        return e.slug
    return ""


def content(place: Path) -> dict[str, bytes]:
    """What a project and a store are after opening, without what says when."""
    out = {}
    for path in sorted(place.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.name != "history.jsonl" and path.parent.name != "roots":
            out[str(path.relative_to(place))] = path.read_bytes()
    return out


NAMED = {"bundle-corrupt", "bundle-unsafe", "bundle-version", "not-a-bundle"}


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.zst"])
def test_a_flipped_byte_is_refused_or_changes_nothing(small, tmp_path, suffix):
    """Bytes that nothing reads (what fills a block of the tar) may be anything."""
    file = tmp_path / f"whole{suffix}"
    assert small.run("bundle", "-o", str(file)).code == 0
    data = file.read_bytes()
    assert try_open(file, tmp_path / "good") == ""
    good = content(tmp_path / "good")
    step = max(1, len(data) // 150) | 1
    refused = 0
    for n, at in enumerate(range(0, len(data), step)):
        bad = tmp_path / f"bad{suffix}"
        bad.write_bytes(data[:at] + bytes([data[at] ^ (1 << n % 8)]) + data[at + 1 :])
        place = tmp_path / f"place-{n}"
        slug = try_open(bad, place)
        assert slug in NAMED if slug else content(place) == good, (at, slug)
        refused += bool(slug)
        shutil.rmtree(place)
    assert refused > 20


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.zst"])
def test_one_that_is_cut_off(small, tmp_path, suffix):
    file = tmp_path / f"whole{suffix}"
    assert small.run("bundle", "-o", str(file)).code == 0
    data = file.read_bytes()
    for n, length in enumerate([0, 1, 511, len(data) // 3, len(data) * 2 // 3]):
        file.write_bytes(data[:length])
        assert try_open(file, tmp_path / f"place-{n}") in NAMED


# -- written by somebody who means harm ----------------------------------------------------------


class Forged:
    """A bundle of the right form, to be bent."""

    def __init__(self, tar: Path) -> None:
        self.files: dict[str, bytes] = {}
        with tarfile.open(tar) as t:
            for m in t:
                self.files[m.name.removeprefix(TOP + "/")] = t.extractfile(m).read()
        self.head = json.loads(self.files.pop(FIRST))
        self.extra: list[tuple[tarfile.TarInfo, bytes]] = []

    def swap(self, old: str, name: str, data: bytes) -> None:
        self.files = {name if n == old else n: data if n == old else d for n, d in self.files.items()}

    def first(self, start: str, end: str = "") -> str:
        return next(n for n in sorted(self.files) if n.startswith(start) and n.endswith(end))

    def write(self, file: Path) -> Path:
        self.head["members"] = [[n, len(d), sha256_bytes(d)] for n, d in self.files.items()]
        self.head.pop("digest", None)
        self.head["digest"] = digest_of(self.head, SCHEMA)
        with tarfile.open(file, "w") as t:
            for name, data in [(FIRST, json.dumps(self.head).encode()), *self.files.items()]:
                info = tarfile.TarInfo(f"{TOP}/{name}")
                info.size = len(data)
                t.addfile(info, io.BytesIO(data))
            for info, data in self.extra:
                info.size = len(data)
                t.addfile(info, io.BytesIO(data))
        return file


@pytest.fixture
def forged(tar):
    return Forged(tar)


def test_forged_but_not_bent_it_opens(forged, tmp_path):
    assert try_open(forged.write(tmp_path / "x.tar"), tmp_path / "place") == ""


@pytest.mark.parametrize(
    "name",
    [
        "../out.txt",
        "/etc/x",
        "a/../../x",
        ".git/hooks/post-checkout",
        ".tunekit/state/index.json",
        "a\nb",
        "tunekit.toml/x",
    ],
)
def test_names_of_project_files(forged, tmp_path, name):
    forged.files[f"project/{name}"] = b"x"
    assert try_open(forged.write(tmp_path / "x.tar"), tmp_path / "place") == "bundle-unsafe"
    assert not (tmp_path / "out.txt").exists()


@pytest.mark.parametrize("path", ["../../x", "/x", "a/../b", ""])
def test_names_in_an_artifact(forged, tmp_path, path):
    old = forged.first("trees/")
    entries = json.loads(forged.files[old])
    entries[0][0] = path
    name = digest_of(sorted(entries), "tunekit/tree/1")[7:]
    forged.swap(old, f"trees/{name}", json.dumps(entries).encode())
    assert try_open(forged.write(tmp_path / "x.tar"), tmp_path / "place") == "bundle-unsafe"


def record_with(forged: Forged, change: dict[str, Any]) -> None:
    old = next(n for n in sorted(forged.files) if n.startswith("records/") and json.loads(forged.files[n])["preimage"])
    record = json.loads(forged.files[old]) | change
    forged.swap(old, old, json.dumps(record).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"key": "sha256:" + "0" * 64},
        {"attempt": "../../../x"},
        {"label": "\x1b[31mred"},
        {"preimage": {"kind": "dataset"}},
        {"outputs": {"main": "sha256:none"}},
        {"outputs": {"main": 7}},
        {"log": "../../etc/passwd"},
        {"schema": "tunekit/record/2"},
    ],
)
def test_records(forged, tmp_path, change):
    record_with(forged, change)
    assert try_open(forged.write(tmp_path / "x.tar"), tmp_path / "place") in ("bundle-unsafe", "bundle-corrupt")


def test_an_object_under_another_name(forged, tmp_path):
    old = forged.first("objects/")
    forged.swap(old, "objects/" + "0" * 64, forged.files[old])
    assert try_open(forged.write(tmp_path / "x.tar"), tmp_path / "place") == "bundle-unsafe"


def test_an_artifact_without_its_files(forged, tmp_path):
    for name in [n for n in forged.files if n.startswith("objects/")][:2]:
        del forged.files[name]
    assert try_open(forged.write(tmp_path / "x.tar"), tmp_path / "place") == "bundle-corrupt"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("name", ["bundle/project/lib2.py", "bundle/project/ops.py", "bundle/elsewhere"])
def test_links_and_devices(forged, tmp_path, kind, name):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    forged.extra.append((info, b""))
    assert try_open(forged.write(tmp_path / "x.tar"), tmp_path / "place") == "bundle-unsafe"


def test_what_is_not_listed(forged, tmp_path):
    forged.extra.append((tarfile.TarInfo("bundle/project/more.py"), b"x"))
    assert try_open(forged.write(tmp_path / "x.tar"), tmp_path / "place") == "bundle-unsafe"


def test_another_version_and_no_bundle(forged, tmp_path):
    forged.head["schema"] = "tunekit/bundle-file/2"
    assert try_open(forged.write(tmp_path / "x.tar"), tmp_path / "a") == "bundle-version"
    with tarfile.open(tmp_path / "y.tar", "w") as t:
        t.addfile(tarfile.TarInfo("some/file"), io.BytesIO())
    assert try_open(tmp_path / "y.tar", tmp_path / "b") == "not-a-bundle"


def test_a_bomb(forged, tmp_path, monkeypatch):
    """A few kilobytes that unpack to a gigabyte are refused before they are written."""
    import gzip

    monkeypatch.setattr("tunekit.share.bundle_open._SLACK", 1 << 20)
    forged.files["project/zeros.bin"] = bytes(200 << 20)
    plain = forged.write(tmp_path / "x.tar")
    with open(plain, "rb") as f, gzip.open(tmp_path / "x.tar.gz", "wb", compresslevel=9) as out:
        shutil.copyfileobj(f, out)
    plain.unlink()
    assert try_open(tmp_path / "x.tar.gz", tmp_path / "place") == "bundle-unsafe"


def test_too_little_room(tar, tmp_path, monkeypatch):
    from tunekit import diskspace

    room = diskspace.room(tmp_path)
    monkeypatch.setattr("tunekit.diskspace.room", lambda place: room._replace(free=10))
    with pytest.raises(StoreError) as e:
        open_bundle(tar, tmp_path / "d", Store(tmp_path / "store").ensure())
    assert e.value.slug == "disk-full"
