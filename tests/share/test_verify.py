"""verify finds what is not what its name says."""

from __future__ import annotations

from tunekit.share.verify import verify
from tunekit.store import artifacts
from tunekit.store.store import Store


def test_bad_objects_and_trees_are_put_aside(tmp_path):
    store = Store(tmp_path / "store").ensure()
    for name in ("good", "bad", "cut"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "f").write_text(name)
        artifacts.seal(store, folder)
    bad = store.object(artifacts.add_bytes(store, b"bad"))
    bad.chmod(0o644)
    bad.write_bytes(b"bda")
    tree = next(p for p in (store.root / "trees").glob("*/*"))
    tree.chmod(0o644)
    tree.write_bytes(tree.read_bytes()[:-3])
    told: list[tuple[int, int]] = []
    found = verify(store, lambda done, total: told.append((done, total)))
    assert sorted(found.bad) == sorted([f"objects/{bad.name}", f"trees/{tree.name}"])
    assert (found.objects, found.trees, told[-1]) == (3, 3, (3, 3))
    assert not bad.exists() and len(list((store.root / "quarantine").iterdir())) == 2
    assert verify(store).bad == []
