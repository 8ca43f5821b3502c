"""The store: what goes in comes out, the same is kept once, and it opens only where it can be used."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunekit.errors import StoreError
from tunekit.hashing import hex_of, sha256_bytes
from tunekit.parts import Made, listed
from tunekit.store import artifacts, disk, leases, records
from tunekit.store.shelf import StoreShelf
from tunekit.store.store import Store, default_root

names = st.from_regex(r"[a-zé .-]{1,8}", fullmatch=True).filter(lambda n: n.strip(". ") == n)
trees = st.dictionaries(
    st.lists(names, min_size=1, max_size=3).map("/".join), st.tuples(st.binary(max_size=40), st.booleans()), max_size=5
)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store").ensure()


def fill(folder, tree):
    folder.mkdir(parents=True)
    for path, (data, executable) in tree.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        file.chmod(0o755 if executable else 0o644)


def contents(folder):
    found = {}
    for place, _, files in os.walk(folder):
        for name in files:
            path = Path(place, name)
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trees)
def test_what_goes_in_comes_out(store, tmp_path_factory, tree):
    paths = list(tree)
    if any(a != b and (b + "/").startswith(a + "/") for a in paths for b in paths):
        return  # a file cannot be a folder
    place = tmp_path_factory.mktemp("tree")
    fill(place / "a", tree)
    fill(place / "b", dict(reversed(tree.items())))
    digest = artifacts.seal(store, place / "a")
    assert artifacts.seal(store, place / "b") == digest, "the same files are the same artifact"
    entries = artifacts.read_tree(store, digest)
    assert {e.path: (e.size, e.executable) for e in entries} == {p: (len(d), x) for p, (d, x) in tree.items()}
    wanted = {p: d for p, (d, _) in tree.items()}
    assert contents(artifacts.view(store, digest)) == wanted
    artifacts.copy_out(store, digest, place / "out")
    assert contents(place / "out") == wanted
    for path, (_, executable) in tree.items():
        assert os.access(place / "out" / path, os.W_OK)
        assert bool((place / "out" / path).stat().st_mode & 0o100) == executable


def test_objects_are_read_only_and_shared(store, tmp_path):
    fill(tmp_path / "a", {"x": (b"same", False), "y": (b"same", False)})
    artifacts.seal(store, tmp_path / "a")
    target = store.object(sha256_bytes(b"same"))
    assert target.stat().st_mode & 0o777 == 0o444
    assert len(list((store.root / "objects").rglob("*"))) == 2  # one file, in one folder


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_an_artifact_holds_plain_files_only(store, tmp_path, kind):
    fill(tmp_path / "a", {"x": (b"1", False)})
    (tmp_path / "a" / "bad").symlink_to("/etc/passwd") if kind == "link" else os.mkfifo(tmp_path / "a" / "bad")
    with pytest.raises(StoreError, match="bad is not a plain file"):
        artifacts.seal(store, tmp_path / "a")


PUBLISH = """
import sys
from pathlib import Path
from tunekit.hashing import sha256_bytes
from tunekit.store import artifacts, records
from tunekit.store.store import Store
root, me = Path(sys.argv[1]), sys.argv[2]
store = Store(root / "store").ensure()
key = sha256_bytes(b"the key")
for n in range(40):
    folder = root / f"{me}-{n}"
    folder.mkdir()
    for i in range(3):
        (folder / f"f{i}").write_bytes(b"%d %d" % (n, i) * 50)
    tree = artifacts.seal(store, folder)
    artifacts.view(store, tree)
record = {"key": key, "attempt": me, "label": "dataset:x", "preimage": {}, "outputs": {"main": tree}, "effective": {}}
print(tree, records.add(store, record)["attempt"])
"""


def test_processes_that_publish_the_same_at_once_agree(tmp_path):
    runs = [
        subprocess.Popen([sys.executable, "-c", PUBLISH, str(tmp_path), f"p{i}"], stdout=subprocess.PIPE, text=True)
        for i in range(4)
    ]
    said = {run.communicate()[0].strip() for run in runs}
    assert [run.returncode for run in runs] == [0, 0, 0, 0]
    assert len(said) == 1, "one artifact, one selected attempt"
    store = Store(tmp_path / "store")
    assert len(records.attempts(store, sha256_bytes(b"the key"))) == 4
    assert not list(store.tmp.iterdir()) and not list((store.root / "quarantine").iterdir())
    for path in (store.root / "objects").glob("??/*"):
        assert sha256_bytes(path.read_bytes()) == "sha256:" + path.name


def record(key, attempt, tree, **more):
    return {
        "key": key,
        "attempt": attempt,
        "label": "x:y",
        "preimage": {},
        "outputs": {"main": tree},
        "effective": {},
    } | more


KEY, TREE, OTHER = (sha256_bytes(x) for x in (b"key", b"tree", b"other"))


def test_the_first_success_is_selected_and_all_are_kept(store):
    assert records.lookup(store, KEY) is None
    assert records.add(store, record(KEY, "2020-a", TREE))["attempt"] == "2020-a"
    assert records.add(store, record(KEY, "2021-b", OTHER))["attempt"] == "2020-a"
    assert records.lookup(store, KEY)["outputs"] == {"main": TREE}
    assert [r["attempt"] for r in records.attempts(store, KEY)] == ["2020-a", "2021-b"]
    records.select(store, record(KEY, "2021-b", OTHER))
    assert records.lookup(store, KEY)["attempt"] == "2021-b"
    records.select(store, record(KEY, "2021-b", OTHER))  # again: nothing changes, nothing is left behind
    name = store.record(KEY).name
    assert names_of(store) == [name, f"{name}.2020-a.json", f"{name}.2021-b.json"]


def test_a_link_to_an_object_is_that_object_and_other_links_are_none(store, tmp_path):
    """An artifact takes a file from another one without touching it: a new hard link would change its ctime."""
    fill(tmp_path / "a", {"one": (b"1", False)})
    artifacts.seal(store, tmp_path / "a")
    held = store.object(sha256_bytes(b"1"))
    before = held.stat()
    fill(tmp_path / "b", {"two": (b"2", False)})
    (tmp_path / "b" / "one").symlink_to(held)
    digest = artifacts.seal(store, tmp_path / "b")
    assert contents(artifacts.view(store, digest)) == {"one": b"1", "two": b"2"}
    fill(tmp_path / "plain", {"one": (b"1", False), "two": (b"2", False)})
    assert artifacts.seal(store, tmp_path / "plain") == digest
    assert (held.stat().st_ctime_ns, held.stat().st_nlink) == (before.st_ctime_ns, before.st_nlink)
    for target in (tmp_path / "a" / "one", store.object(sha256_bytes(b"lost")), tmp_path / held.name, store.root):
        fill(tmp_path / f"c{target.name}", {})
        (tmp_path / f"c{target.name}" / "link").symlink_to(target)
        with pytest.raises(StoreError, match="link is not a plain file"):
            artifacts.seal(store, tmp_path / f"c{target.name}")


def names_of(store):
    return sorted(p.name for p in store.record(KEY).parent.iterdir())


def attempt_of(store, name):
    return store.record(KEY).with_name(f"{store.record(KEY).name}.{name}.json")


def test_a_crash_between_the_two_names_loses_nothing(store, monkeypatch):
    """Its result counts as soon as the key names it; the attempt's own name comes after."""

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(os, "rename", killed)
        records.add(store, record(KEY, "a", TREE))
    assert not attempt_of(store, "a").exists()
    assert records.lookup(store, KEY)["attempt"] == "a" and records.any_of(store, KEY)
    assert [r["attempt"] for r in records.attempts(store, KEY)] == ["a"]
    assert records.add(store, record(KEY, "b", OTHER))["attempt"] == "a"
    assert [r["attempt"] for r in records.attempts(store, KEY)] == ["a", "b"]


def test_a_selected_record_that_cannot_be_read_gives_way(store):
    records.add(store, record(KEY, "a", TREE))
    store.record(KEY).unlink()
    store.record(KEY).write_bytes(b"{")
    assert records.lookup(store, KEY)["attempt"] == "a"
    assert store.record(KEY).samefile(attempt_of(store, "a")), "mended"


@pytest.mark.parametrize("many", [1, 100])
def test_the_list_of_parts(store, many):
    """A short one is in the record, a long one beside it: who reads it sees no difference."""
    made = [Made(KEY, TREE, sha256_bytes(b"%d" % i)) for i in range(many)]
    records.add(store, record(KEY, "a", TREE), Made.write(made))
    found = records.lookup(store, KEY)
    assert listed(records.parts_list(store, found)) == made and ("made" in found) == (many == 1)
    assert [r["attempt"] for r in records.attempts(store, KEY)] == ["a"]
    records.add(store, record(OTHER, "a", TREE))
    assert listed(records.parts_list(store, records.lookup(store, OTHER))) == []


GARBAGE = [b"", b"{", b"[]", b"null", b"\xff", b'{"schema": "tunekit/record/1"}', b'{"schema": "tunekit/record/9"}']


@pytest.mark.parametrize("data", GARBAGE)
def test_an_unreadable_entry_is_a_miss(store, data):
    records.add(store, record(KEY, "a", TREE))
    attempt_of(store, "a").chmod(0o644)
    attempt_of(store, "a").write_bytes(data)  # `selected` is the same file
    assert records.lookup(store, KEY) is None
    assert records.add(store, record(KEY, "b", TREE))["attempt"] == "b"
    assert records.lookup(store, KEY)["attempt"] == "b"


def test_every_flipped_byte_of_an_entry_is_a_miss_or_harmless(store):
    """Never another exception, never another key's record, never a digest that is none."""
    records.add(store, record(KEY, "a", TREE))
    file = attempt_of(store, "a")
    good = file.read_bytes()
    file.chmod(0o644)
    for i in range(len(good)):
        file.write_bytes(good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :])
        found = records.lookup(store, KEY)
        assert found is None or (found["key"] == KEY and hex_of(found["outputs"].get("main", TREE)))


@pytest.mark.parametrize("data", [*GARBAGE, b'{"output": 3}', b'[["x", 1, false]]', b"[[[]]]"])
def test_parts(store, tmp_path, data):
    fill(tmp_path / "a", {"x": (b"1", False)})
    fill(tmp_path / "b", {"x": (b"2", False)})
    one, two = (artifacts.seal(store, tmp_path / name) for name in "ab")
    assert records.part_output(store, KEY) is None
    records.add_part(store, KEY, TREE)
    assert records.part_output(store, KEY) is None, "of an artifact that is not there, nothing is written"
    records.add_part(store, KEY, one)
    records.add_part(store, KEY, one)
    assert records.part_output(store, KEY) == one and StoreShelf(store).find(KEY).output == one
    records.add_part(store, KEY, two)
    assert records.part_output(store, KEY) == two, "only a part that is lost is made again"
    store.part(KEY).unlink()
    store.part(KEY).write_bytes(data)
    assert StoreShelf(store).find(KEY) is None
    records.add_part(store, KEY, one)
    assert records.part_output(store, KEY) == one
    assert [p.name for p in store.part(KEY).parent.iterdir()] == [store.part(KEY).name]


def test_a_tree_that_has_no_room_for_another_name_is_copied(store, tmp_path, monkeypatch):
    fill(tmp_path / "a", {"x": (b"1", False)})
    tree = artifacts.seal(store, tmp_path / "a")

    def no_more(*_):
        raise OSError(errno.EMLINK, "Too many links")

    with monkeypatch.context() as m:
        m.setattr(os, "link", no_more)
        records.add_part(store, KEY, tree)
    assert records.part_output(store, KEY) == tree and store.tree(tree).stat().st_nlink == 1


@pytest.mark.parametrize("damage", [b"", b"[", b"[]", b'[["x", 1, false, "sha256:00"]]', b"null", b"[[1]]", b"3"])
def test_a_tree_that_is_not_its_name_is_put_away(store, tmp_path, damage):
    fill(tmp_path / "a", {"x": (b"1", False)})
    digest = artifacts.seal(store, tmp_path / "a")
    store.tree(digest).unlink()
    store.tree(digest).write_bytes(damage)
    assert artifacts.read_tree(store, digest) is None
    assert not store.tree(digest).exists() and len(list((store.root / "quarantine").iterdir())) == 1
    with pytest.raises(StoreError, match="not in the store"):
        artifacts.view(store, digest)


@pytest.mark.parametrize("damage", ["file", "elsewhere", "gone", "more", "copy"])
def test_a_view_that_somebody_edited_is_made_anew(store, tmp_path, damage):
    """A `sed -i` in a view puts a file in the place of a link: no worker may read it."""
    fill(tmp_path / "a", {"x": (b"1", False), "d/y": (b"2", False)})
    digest = artifacts.seal(store, tmp_path / "a")
    view = artifacts.view(store, digest)
    inode = view.stat().st_ino
    assert artifacts.view(store, digest).stat().st_ino == inode
    if damage != "more":
        (view / "d/y").unlink()
    if damage == "file":
        (view / "d/y").write_bytes(b"3")
    elif damage == "copy":
        (view / "d/y").write_bytes(b"2")
    elif damage == "elsewhere":
        (view / "d/y").symlink_to("/etc/passwd")
    elif damage == "more":
        (view / "tokenizer_config.json").write_text("{}")
    assert contents(artifacts.view(store, digest)) == {"x": b"1", "d/y": b"2"}
    assert artifacts.view(store, digest).stat().st_ino != inode


def test_small_files_and_torn_objects(store):
    digest = artifacts.add_bytes(store, b"log")
    for torn in (b"", b"lo", b"lxg", b"logs"):
        store.object(digest).unlink()
        store.object(digest).write_bytes(torn)
        assert artifacts.add_bytes(store, b"log") == digest
        assert store.object(digest).read_bytes() == b"log"


def test_a_torn_object_is_replaced_when_its_bytes_come_again(store, tmp_path):
    fill(tmp_path / "a", {"x": (b"whole", False)})
    digest = artifacts.seal(store, tmp_path / "a")
    target = store.object(sha256_bytes(b"whole"))
    target.unlink()
    target.write_bytes(b"who")
    fill(tmp_path / "b", {"x": (b"whole", False)})
    assert artifacts.seal(store, tmp_path / "b") == digest and target.read_bytes() == b"whole"


def test_write_new_is_all_or_nothing(store, monkeypatch):
    """A full disk gives short writes before it gives errors."""
    written = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: written(fd, bytes(data)[:3]))
    assert disk.write_new(store.root / "f", b"0123456789", store.tmp)
    assert (store.root / "f").read_bytes() == b"0123456789"

    def full(fd, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        disk.write_new(store.root / "g", b"x", store.tmp)
    assert not (store.root / "g").exists() and not list(store.tmp.iterdir())


def test_leases(store):
    lease = leases.acquire(store, KEY)
    assert leases.held(store, KEY) and leases.acquire(store, KEY) is None
    lease.release()
    assert not leases.held(store, KEY)
    with open(store.root / "layout") as file:  # takes the number that the lease had
        lease.release()
        assert file.read()
    first, second = leases.acquire(store, KEY), leases.acquire(store, OTHER)
    assert first and second, "keys do not wait for each other"
    first.release()
    assert not leases.held(store, KEY) and leases.held(store, OTHER)
    second.release()


def test_a_lease_ends_with_its_process(store):
    hold = "import sys, time; from pathlib import Path; from tunekit.store import leases; from tunekit.store.store "
    hold += "import Store; x = leases.acquire(Store(Path(sys.argv[1])), sys.argv[2]); print(bool(x), flush=True); "
    with subprocess.Popen(
        [sys.executable, "-c", hold + "time.sleep(60)", str(store.root), KEY], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "True\n"
        assert leases.held(store, KEY) and leases.acquire(store, KEY) is None
        holder.kill()
        holder.wait()
    again = leases.acquire(store, KEY)
    assert again is not None
    again.release()


def test_one_holder_at_a_time(store):
    inside, most = 0, 0

    def work(_):
        nonlocal inside, most
        for _ in range(50):
            while (lease := leases.acquire(store, KEY)) is None:
                pass
            inside += 1
            most = max(most, inside)
            inside -= 1
            lease.release()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert most == 1


def test_opening(tmp_path, monkeypatch):
    store = Store(tmp_path / "s").ensure()
    assert store.ensure() is store and (tmp_path / "s" / "layout").read_text() == "2\n"
    (tmp_path / "s" / "layout").write_text("1\n")
    with pytest.raises(StoreError) as failed:
        store.ensure()
    assert failed.value.slug == "store-layout" and "layout 1" in failed.value.message
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be"):
        Store(tmp_path / "file" / "s").ensure()
    monkeypatch.setenv("TUNEKIT_STORE", "~/x")
    assert default_root().is_absolute() and "~" not in str(default_root())
    monkeypatch.delenv("TUNEKIT_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "tunekit"


def test_a_record_takes_an_empty_file_that_is_there(store):
    store.record(KEY).parent.mkdir()
    blank = store.tmp / "blank"
    blank.touch()
    inode = blank.stat().st_ino
    records.add(store, record(KEY, "a", TREE), "", str(blank))
    (found,) = records.attempts(store, KEY)
    path = store.record(KEY)
    assert found == records.lookup(store, KEY)
    assert (path.stat().st_ino, path.stat().st_nlink, path.stat().st_mode & 0o777) == (inode, 2, 0o444)
    assert not blank.exists()


@pytest.mark.parametrize("how", ["gone", "written", "linked", "symlink"])
def test_a_blank_that_is_not_ours_alone_is_left_alone(store, how):
    blank, other = store.tmp / "blank", store.tmp / "other"
    other.touch()
    if how == "written":
        blank.write_text("printed late")
    elif how == "linked":
        blank.hardlink_to(other)
    elif how == "symlink":
        blank.symlink_to(other)
    records.add(store, record(KEY, "a", TREE), "", str(blank))
    assert records.lookup(store, KEY)["attempt"] == "a"
    assert other.read_text() == ""
    assert how != "written" or blank.read_text() == "printed late"
