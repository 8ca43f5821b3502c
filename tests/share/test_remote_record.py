"""Records and lists of files on their way: what leaves names no machine, what comes in is checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunekit.hashing import sha256_bytes, tree_digest
from tunekit.plan.preimage import action_key
from tunekit.share.remote import read_hints
from tunekit.share.remote_record import Machine, Unfit, incoming, outgoing
from tunekit.share.remote_tree import entries_of, tree_blob
from tunekit.store.artifacts import Entry

DIGEST = "sha256:" + "ab" * 32
IMAGE = {"kind": "dataset", "version": 1, "fields": {"map": "m.py:f"}, "inputs": {}, "code": {}, "packages": {}}
RECORD = {
    "key": action_key(IMAGE), "attempt": "20261124T205159-836281312-7c20c8d6", "label": "dataset:x", "kind": "dataset",
    "preimage": IMAGE, "inputs": {}, "source": "", "outputs": {"main": DIGEST}, "spec": {}, "effective": {},
    "warnings": [], "gates": [], "parts": {}, "environment": {"packages": {}}, "started": 1.5, "seconds": 2,
    "log": DIGEST, "metrics": "", "made": "[]",
}  # fmt: skip
HERE = Machine(["/home/jo", "/tmp"], ["s3cr3t-s3cr3t"])


def sent(**more) -> bytes:
    data = outgoing({**RECORD, **more}, HERE)
    assert isinstance(data, bytes)
    return data


def test_what_goes_out_comes_in():
    back = incoming(sent(), RECORD["key"])
    assert back == {**{k: v for k, v in RECORD.items() if k != "made"}, "log": ""}


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("/home/jo/a/b.txt: no", "…/b.txt: no"),
        ("at /mnt/x/y", "at …/y"),
        ("path:/srv/rows/a.jsonl", "path:…/a.jsonl"),
        ("token s3cr3t-s3cr3t!", "token ***!"),
        ("https://host/a/b", "https://host/a/b"),
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("1/2/3 and/or x", "1/2/3 and/or x"),
        ("</think>", "</think>"),
        ("in /tmp", "in …"),
    ],
)
def test_texts_are_scrubbed(text, becomes):
    assert HERE.scrubbed(text) == becomes


@given(
    st.lists(st.from_regex(r"[A-Za-z0-9_.@+-]{1,12}", fullmatch=True), min_size=2, max_size=5),
    st.text(" (=:'\"", max_size=3),
)
def test_no_absolute_path_is_left(steps, before):
    path = "/" + "/".join(steps)
    found = HERE.scrubbed(before + path)
    assert found.endswith(steps[-1]) and "/".join(steps[:-1]) + "/" not in found.removeprefix("…/")


@pytest.mark.parametrize("value", ["/home/jo/x", "s3cr3t-s3cr3t"])
def test_a_key_that_names_this_machine_stays(value):
    image = {**IMAGE, "fields": {"args": {"f": value}}}
    found = outgoing({**RECORD, "preimage": image, "key": action_key(image)}, HERE)
    assert isinstance(found, Unfit) and found.why.startswith("its settings name ") and "s3cr3t" not in found.why


def test_this_machine_is_known(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh")
    found = Machine.here(tmp_path)
    assert str(tmp_path) in found.folders and str(Path.home()) in found.folders and "hf_abcdefgh" in found.secrets


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": DIGEST}, {"attempt": "../../x"}, {"attempt": ""}, {"outputs": {}}, {"outputs": {"main": "x"}},
        {"outputs": {"main": "sha256:../x"}}, {"preimage": {**IMAGE, "version": 2}}, {"label": 1},
        {"metrics": "sha256:x"}, {"environment": []}, {"environment": {}}, {"schema": "tunekit/record/2"},
    ],
)  # fmt: skip
def test_a_record_that_is_none_is_refused(wrong):
    assert incoming(json.dumps({**json.loads(sent()), **wrong}).encode(), RECORD["key"]) is None


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    ).map(lambda v: json.dumps(v).encode())
)
def test_any_bytes_are_answered(data):
    assert incoming(data, RECORD["key"]) is None
    assert entries_of(data, DIGEST) is None
    assert all(len(made) == 3 for made in read_hints(data))


NAMES = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}", fullmatch=True)
ENTRIES = st.lists(
    st.builds(Entry, NAMES, st.integers(0, 2**40), st.booleans(), st.binary().map(sha256_bytes)),
    unique_by=lambda e: e.path,
)


@given(ENTRIES)
def test_a_list_of_files_is_named_by_its_sha256(entries):
    data, digest = tree_blob(entries), tree_digest(list(entries))
    assert sha256_bytes(data) == digest
    clash = any(a.path.startswith(b.path + "/") for a in entries for b in entries)
    assert entries_of(data, digest) == (None if clash else sorted(entries))


@pytest.mark.parametrize("path", ["../x", "/x", "a/../x", "", "a//b", "a\0b", "a\\b"])
def test_a_list_that_leaves_its_artifact_is_refused(path):
    data = tree_blob([Entry(path, 1, False, DIGEST)])
    assert entries_of(data, sha256_bytes(data)) is None
