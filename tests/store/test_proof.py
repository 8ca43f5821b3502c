"""Rot that no `stat` shows is found by whoever reads the bytes next."""

from __future__ import annotations

import os
import time

import pytest

from tunekit.errors import ActionError, StoreError
from tunekit.hashing import hex_of
from tunekit.store import artifacts, proof
from tunekit.store.proof import Proof
from tunekit.store.shelf import StoreShelf
from tunekit.store.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store").ensure()


def sealed(store, tmp_path, *sizes: int) -> str:
    folder = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    for i, size in enumerate(sizes):
        (folder / str(i)).write_bytes(os.urandom(size))
    return artifacts.seal(store, folder)


def rot(store, tree: str, number: int = 0) -> str:
    """Flip a bit of a file; its digest."""
    digest = artifacts.read_tree(store, tree)[number].digest
    path = store.object(digest)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 16]))
    return digest


@pytest.mark.parametrize("bound", [0, 1 << 30], ids=["beside", "at once"])
def test_rot_is_put_away_and_told(store, tmp_path, monkeypatch, bound):
    monkeypatch.setattr(proof, "AT_ONCE", bound)
    tree, other = sealed(store, tmp_path, 10, 5000, 0), sealed(store, tmp_path, 3000)
    Proof(store, [tree, other, tree], tmp_path / "marks").end()
    assert {p.name for p in (tmp_path / "marks").glob("*")} == (
        {hex_of(e.digest) for t in (tree, other) for e in artifacts.read_tree(store, t) if e.size > 0}
        if not bound
        else set()
    )
    again = sealed(store, tmp_path, 4000)
    digest = rot(store, again)
    with pytest.raises(ActionError) as failed:
        Proof(store, [tree, again], tmp_path / "marks").end()
    assert failed.value.slug == "corrupt-input" and hex_of(digest)[:12] in failed.value.message
    assert not store.object(digest).exists() and artifacts.whole(store, again) is None
    assert len(list((store.root / "quarantine").iterdir())) == 1
    Proof(store, [tree, other], tmp_path / "marks").end()


def test_a_large_object_is_read_once_a_build(store, tmp_path, monkeypatch):
    monkeypatch.setattr(proof, "AT_ONCE", 0)
    tree = sealed(store, tmp_path, 5000)
    Proof(store, [tree], tmp_path / "marks").end()
    seen = Proof(store, [tree], tmp_path / "marks")
    assert not seen._objects and not seen._helper
    seen.end()
    assert Proof(store, [tree], tmp_path / "of another build")._objects


def test_what_is_copied_out_is_looked_at(store, tmp_path):
    tree = sealed(store, tmp_path, 100, 200)
    artifacts.copy_out(store, tree, tmp_path / "good")
    rot(store, tree, 1)
    with pytest.raises(StoreError) as failed:
        artifacts.copy_out(store, tree, tmp_path / "bad")
    assert failed.value.slug == "corrupt" and len(list((store.root / "quarantine").iterdir())) == 1


def test_what_this_build_has_sealed_is_not_looked_at_again(store, tmp_path):
    old = sealed(store, tmp_path, 5000)
    time.sleep(0.02)  # the clock of files is coarse
    began = time.time_ns()
    time.sleep(0.02)
    new = sealed(store, tmp_path, 6000)
    assert {*Proof(store, [old, new], tmp_path / "marks", began)._objects.values()} == {5000}


def test_a_room_proves_what_it_reads(store, tmp_path):
    tree = sealed(store, tmp_path, 5000, 6000)
    digest = rot(store, tree, 1)
    shelf = StoreShelf(store)
    shelf.prove(tree, ["0", "there is no such file"])
    with pytest.raises(ActionError) as failed:
        shelf.prove(tree, ["0", "1"])
    assert failed.value.slug == "corrupt-input" and not store.object(digest).exists()
