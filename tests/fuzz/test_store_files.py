"""Files of the store and of `.tunekit`: torn by a crash, rotten, poisoned on a remote, or shipped with a clone."""

from __future__ import annotations

import fcntl
import json

import pytest
from cases import many, soup, tried
from hypothesis import given
from hypothesis import strategies as st

from tunekit.build import history, trust
from tunekit.errors import TunekitError
from tunekit.hashing import sha256_bytes
from tunekit.parts import Made
from tunekit.plan import state as of
from tunekit.plan.state import State
from tunekit.share.roots import live
from tunekit.store import artifacts, checked, records
from tunekit.store.store import Store

KEY = sha256_bytes(b"key")
TREE = sha256_bytes(b"tree")
RECORD = {
    "schema": records.SCHEMA, "key": KEY, "attempt": "20260101T000000-1", "label": "dataset:a", "kind": "dataset",
    "preimage": {"fields": {}}, "outputs": {"main": TREE}, "effective": {}, "log": "", "metrics": "", "warnings": [],
}  # fmt: skip
LINE = {"t": 1.0, "label": "dataset:a", "key": KEY, "attempt": "x", "outputs": {"main": TREE}, "how": "built"}


@pytest.fixture(scope="module")
def store(folder):
    return Store(folder / "store").ensure()


def put(path, data: bytes):
    path = type(path)(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return path


@many
@given(data=soup([json.dumps(RECORD).encode()]))
def test_records(store, data):
    """A record is one that we could have written, of this very key; else it is none."""
    for name in ("", ".a.json"):
        put(store.record(KEY).with_name(store.record(KEY).name + name), data)
    found = tried(lambda: records.lookup(store, KEY), ())
    assert found is None or (found["key"] == KEY and isinstance(found["outputs"], dict))
    for record in tried(lambda: records.attempts(store, KEY), ()):
        assert isinstance(record["label"], str)
    put(store.part(KEY), data)
    tried(lambda: records.part_output(store, KEY), ())
    tried(lambda: live(store), TunekitError)


@many
@given(data=soup([json.dumps([["a/b", 3, False, KEY], ["c", 0, True, TREE]]).encode()]))
def test_trees(store, data):
    """A tree is what its name says, or it is put away."""
    digest = sha256_bytes(data)
    path = put(store.tree(digest), data)
    assert tried(lambda: artifacts.read_tree(store, digest), ()) is None
    assert not path.exists(), "into quarantine"
    assert tried(lambda: artifacts.whole(store, digest), ()) is None


@many
@given(data=soup([json.dumps(LINE).encode() + b"\n" + json.dumps(LINE).encode()]))
def test_history(folder, data):
    put(history.path(folder), data)
    for line in tried(lambda: history.read(folder), ()):
        assert isinstance(line["label"], str) and line["key"].startswith("sha256:")


@pytest.fixture(scope="module")
def project_state(module_project):
    """The two files of a state, without their checksums."""
    module_project.rows("a.jsonl", [{"x": 1}])
    module_project.manifest('[dataset.a]\nsource = "path:a.jsonl"\n')
    assert module_project.build().code == 0
    place = module_project.root / ".tunekit" / "state"
    return module_project, {n: checked.unseal((place / n).read_bytes()) for n in ("index.json", "graph.json")}


@many
@given(st.data())
def test_state(project_state, data):
    """Also with a checksum that is right: it is dropped, or it holds what it says; a verb never falls over it."""
    project, good = project_state
    name = data.draw(st.sampled_from(sorted(good)))
    mine = good[name].split(b"\n", 1)[0]
    body = data.draw(soup([good[name], good[name][len(mine) + 1 :]]))
    if data.draw(st.booleans()):
        body = mine + b"\n" + body
    path = project.root / ".tunekit" / "state" / name
    for other, text in good.items():
        put(path.parent / other, checked.seal(text))
    put(path, checked.seal(body) if data.draw(st.booleans()) else body)
    with project.inside():
        tried(lambda: State.load(project.root), ())
        state = tried(lambda: State.load(project.root, glance=True), ())
        tried(lambda: State.load(project.root).load_graph(), ())
    assert isinstance(state, of.State)


IN_USE = [["begin", "dataset:a", KEY, 1.0, [KEY], json.dumps(["", "", KEY])], ["keep", KEY], ["end", KEY]]


@many
@given(data=soup([b"\n".join(json.dumps(line).encode() for line in IN_USE), b"/a/project\n"]))
def test_what_gc_reads(store, data):
    path = put(store.tmp / "build-1" / "in-use", data)
    with open(path) as held:
        fcntl.flock(held, fcntl.LOCK_SH)  # as the build that it is of does
        tried(lambda: live(store), TunekitError)
    root = put(store.root / "roots" / "x", data)
    tried(lambda: live(store), (TunekitError, UnicodeDecodeError))
    root.unlink()


@many
@given(data=soup([b'{"digests": ["%s"], "folders": ["/x"]}' % KEY.encode()]))
def test_trust_is_given_by_a_sound_file_only(folder, monkeypatch_module, data):
    monkeypatch_module.setenv("TUNEKIT_CONFIG", str(folder / "config"))
    put(folder / "config" / "trust.json", data)
    bad = tried(lambda: trust.untrusted(folder / "project", {"m.py": sha256_bytes(b"code")}), ())
    assert bad == {"m.py": sha256_bytes(b"code")}


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@many
@given(data=soup([Made.write([Made(KEY, KEY, TREE)] * 2).encode()]))
def test_lists_of_parts(data):
    tried(lambda: list(Made.read(data.decode(errors="replace"))), (ValueError, TypeError))
