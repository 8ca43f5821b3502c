"""fsspec's other drivers through the same door, and what the store does with files that arrive."""

from __future__ import annotations

import os

import pytest

from tunekit.hashing import sha256_bytes
from tunekit.share.remote_bucket import Bucket
from tunekit.share.remote_place import Item, blob
from tunekit.store.arrivals import Arrivals
from tunekit.store.store import Store


@pytest.fixture(params=["memory", "local"])
def place(request, tmp_path):
    """`memory` puts whole files; `local` (as fsspec's driver sees it) needs a temporary name, as ssh does."""
    found = Bucket("memory://remote" if request.param == "memory" else f"local://{tmp_path}/remote")
    yield found
    if request.param == "memory":
        found._fs.store.clear()


def test_other_drivers(place, tmp_path):
    data = os.urandom(1000)
    (tmp_path / "file").write_bytes(data)
    item = Item(blob(sha256_bytes(data)), str(tmp_path / "file"), len(data), sha256_bytes(data))
    assert place.read([item.name]) == {} and place.sizes([item.name]) == {}
    assert [o.fault for o in place.put([item])] == [""]
    assert place.sizes([item.name]) == {item.name: 1000} and place.read([item.name]) == {item.name: data}
    (came,) = place.get([item._replace(path=str(tmp_path / "back"))])
    assert came.fault == "" and (tmp_path / "back").read_bytes() == data
    assert [place.put_new("ac/k", b"1"), place.put_new("ac/k", b"2")] == [True, False]
    place.replace("parts/p", b"3")
    assert place.read(["ac/k", "parts/p"]) == {"ac/k": b"1", "parts/p": b"3"}
    (lost,) = place.get([Item("cas/none", str(tmp_path / "none"), 1, "sha256:" + "0" * 64)])
    assert lost.lost
    (bad,) = place.put([item._replace(name="cas/bad", digest="sha256:" + "0" * 64)])
    assert bad.fault and place.sizes(["cas/bad"]) == {}


@pytest.mark.parametrize("count", [3, 40])
def test_files_arrive_together(tmp_path, count):
    """Few are flushed one by one, many with their file system; a torn object of a name gives way."""
    store = Store(tmp_path / "store").ensure()
    arrivals = Arrivals(store)
    bodies = [f"file {i}".encode() for i in range(count)]
    torn = store.object(sha256_bytes(bodies[0]))
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"x")
    for body in [*bodies, bodies[-1]]:
        path = arrivals.spare()
        with open(path, "xb") as file:
            file.write(body)
        arrivals.take(path, sha256_bytes(body), len(body))
    assert len(arrivals) == count + 1 and not store.object(sha256_bytes(bodies[1])).exists()
    arrivals.settle()
    assert all(store.object(sha256_bytes(b)).read_bytes() == b for b in bodies)
    assert len(list((store.root / "quarantine").iterdir())) == 1 and not list(store.tmp.iterdir())


def test_what_was_not_settled_is_dropped(tmp_path):
    store = Store(tmp_path / "store").ensure()
    arrivals = Arrivals(store)
    path = arrivals.spare()
    open(path, "xb").close()
    arrivals.take(path, sha256_bytes(b""), 0)
    arrivals.drop()
    assert not list(store.tmp.iterdir()) and len(arrivals) == 0
