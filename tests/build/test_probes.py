"""What build systems get wrong (build-systems §2e): edits that hide, results that were touched, caches that rot.

Every test starts from a built project with nothing to do, does one thing to it, and builds again.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from outside import MAP, snapshot

from tunekit.hashing import sha256_bytes
from tunekit.store import artifacts, records
from tunekit.store.store import Store

LONG = pytest.mark.long  # more of the same
ALL = ["dataset:a#fetch", "dataset:a", "dataset:b", "dataset:c"]


def rows(project, name: str) -> list[dict]:
    from tunekit.data.rowset import open_dataset

    return list(open_dataset(project.root / ".tunekit" / "out" / "dataset" / name).iter_rows())


def objects_of(project, label: str) -> list[Path]:
    store = Store(project.store)
    tree = project.plan()[label].outputs["main"]
    return [store.object(e.digest) for e in artifacts.read_tree(store, tree)]


def overwrite(path: Path, data: bytes) -> None:
    """In place, with the mode and mtime that it had."""
    s = path.stat()
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(s.st_mode & 0o777)
    os.utime(path, ns=(s.st_atime_ns, s.st_mtime_ns))


def test_nothing_to_do_writes_nothing(built):
    before = snapshot(built.root, built.store)
    for args in ((), ("dataset:b",), ("-j1",)):
        assert built.build(*args).code == 0
    assert built.run("build").out in ("nothing to do: 1 target up to date\n", "nothing to do: 1 target is up to date\n")
    for verb in ("plan", "status"):
        built.run(verb)
    after = snapshot(built.root, built.store)
    grown = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
    allowed = {
        "index.json",
        "out",
        "dataset",
        "b",
        "state",
        "views",
        "roots",
    }  # `build dataset:b`: a link, and a request more
    assert {Path(p).name for p in grown} <= allowed | {Path(p).name for p in grown if "/views/" in p}
    before = snapshot(built.root, built.store)
    assert built.build().ran == [] and built.build("dataset:b").ran == []
    assert snapshot(built.root, built.store) == before


@pytest.mark.parametrize("how", ["restored mtime", pytest.param("older mtime", marks=LONG), "rename swap"])
def test_an_edit_is_noticed(built, how):
    source = built.root / "a.jsonl"
    old = source.stat()
    new = source.read_text().replace("3", "9")
    assert len(new) == old.st_size
    if how == "restored mtime":
        source.write_text(new)
        os.utime(source, ns=(old.st_atime_ns, old.st_mtime_ns))
    elif how == "older mtime":
        source.write_text(new)
        os.utime(source, ns=(0, 0))
    else:
        (built.root / "new").write_text(new)
        os.utime(built.root / "new", ns=(old.st_atime_ns, old.st_mtime_ns))
        os.replace(built.root / "new", source)
    assert built.build().ran[:3] == ALL[:3]
    assert [r["x"] for r in rows(built, "c")] == [2, 3]
    built.rows("a.jsonl", [{"x": 1}, {"x": 2}, {"x": 3}])
    assert built.build().ran == [], "back to what it was"


def test_a_touch_is_no_edit(built):
    for path in ("a.jsonl", "m.py", "tunekit.toml"):
        os.utime(built.root / path, ns=(0, 4_000_000_000 * 10**9))  # of the year 2096
    assert built.build().ran == []
    before = snapshot(built.root, built.store)
    assert built.build().ran == []
    assert snapshot(built.root, built.store) == before, "a file of the future is not read for ever"


def test_an_edit_within_the_clock_tick_is_noticed(template, project):
    """Files may change again without a new signature while they are young: such a one is read again."""
    shutil.copytree(template.root, project.root, symlinks=True, dirs_exist_ok=True)
    shutil.copytree(template.store, project.store, symlinks=True)
    assert project.build().ran == []
    from tunekit.plan.state import State, signature

    with project.inside():
        state = State.load(project.root)
    state.watch["a.jsonl"] = signature(str(project.root / "a.jsonl")) + "?"  # as the build saw it a moment ago
    state.digests["a.jsonl"] = sha256_bytes(b"what was there in that moment")
    state.dirty = True
    with project.inside():
        state.save()
    assert project.build().ran == []
    with project.inside():
        again = State.load(project.root)
    assert again.digests["a.jsonl"] == sha256_bytes((project.root / "a.jsonl").read_bytes())


@pytest.mark.parametrize("damage", ["deleted", "elsewhere", "folder", "all of out"])
def test_a_link_in_out_is_mended(built, damage):
    link = built.root / ".tunekit" / "out" / "dataset" / "c"
    right = os.readlink(link)
    link.unlink()
    if damage == "elsewhere":
        link.symlink_to("/etc")
    elif damage == "folder":
        link.mkdir()
        (link / "dataset.json").write_text("{}")
    elif damage == "all of out":
        shutil.rmtree(built.root / ".tunekit" / "out")
    assert built.build().ran == []
    assert os.readlink(link) == right
    assert len(rows(built, "c")) == 2


@pytest.mark.parametrize("damage", ["file", "gone", "whole view", "extra"])
def test_a_view_edited_by_hand_is_mended(built, damage):
    """`sed -i` in `out/` puts a file where a link was: neither people nor the next action may read it."""
    view = Path(os.readlink(built.root / ".tunekit" / "out" / "dataset" / "c"))
    good = (view / "dataset.json").read_bytes()
    if damage == "whole view":
        shutil.rmtree(view)
    elif damage == "extra":
        (view / "chunks" / "more.arrow").write_text("")
    else:
        (view / "dataset.json").unlink()
        if damage == "file":
            (view / "dataset.json").write_text("edited")
    assert built.build().ran == []
    assert (view / "dataset.json").read_bytes() == good and len(list((view / "chunks").iterdir())) == 1


def test_a_worker_never_reads_an_edited_view(built):
    view = built.store / "views" / built.plan()["dataset:b"].outputs["main"][7:]
    (view / "dataset.json").unlink()
    (view / "dataset.json").write_text("edited")
    built.manifest((built.root / "tunekit.toml").read_text() + '[dataset.d]\nfrom = ["dataset:b"]\nlimit = 1\n')
    done = built.build()
    assert done.ran == ["dataset:d"], done.err
    assert rows(built, "d") == [{"x": 2}]


@pytest.mark.parametrize(
    "damage", ["flip", "truncate", "delete", *(pytest.param(d, marks=LONG) for d in ("zero", "longer"))]
)
def test_a_bad_object_is_noticed_put_away_and_made_again(built, damage):
    good = {label: n.outputs for label, n in built.plan().items()}
    path = next(p for p in objects_of(built, "dataset:b") if p.stat().st_size > 300)
    data = path.read_bytes()
    if damage == "delete":
        path.unlink()
    else:
        bad = {
            "flip": data[:-1] + bytes([data[-1] ^ 1]),
            "truncate": data[: len(data) // 2],
            "zero": b"",
            "longer": data + b"x",
        }
        overwrite(path, bad[damage])
    done = built.build("dataset:b", "dataset:c")
    assert done.code == 0 and done.ran == ["dataset:b"], done.err
    assert path.read_bytes() == data
    assert {label: n.outputs for label, n in built.plan().items()} == good
    put_away = list((built.store / "quarantine").iterdir())
    assert len(put_away) == (damage != "delete")
    assert built.build("dataset:b", "dataset:c").ran == []


@pytest.mark.parametrize("data", [b"garbage", None, *(pytest.param(d, marks=LONG) for d in (b"", b"[]"))])
def test_a_bad_tree_is_made_again(built, data):
    path = Store(built.store).tree(built.plan()["dataset:c"].outputs["main"])
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    done = built.build()
    assert done.code == 0 and done.ran == ["dataset:c"], done.err
    assert len(rows(built, "c")) == 2


@pytest.mark.parametrize("data", [b"", b'{"for": []}', b"00000000\nnull", None])
@pytest.mark.parametrize("file", ["index.json", "graph.json"])
def test_the_state_is_only_a_cache(built, file, data):
    path = built.root / ".tunekit" / "state" / file
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    done = built.build()
    assert (done.code, done.ran) == (0, []), done.err
    built.manifest((built.root / "tunekit.toml").read_text().replace("limit = 2", "limit = 1"))
    assert built.plan()["dataset:c"].state == "stale"


def test_a_flipped_bit_of_the_state_is_never_believed(built):
    """Neither a crash nor a wrong answer: the cache is dropped and the store is asked."""
    for name in ("index.json", "graph.json"):
        path = built.root / ".tunekit" / "state" / name
        good = path.read_bytes()
        for i in range(0, len(good), len(good) // 12):
            path.write_bytes(good[:i] + bytes([good[i] ^ 4]) + good[i + 1 :])
            done = built.build()
            assert (done.code, done.ran) == (0, []), f"{name}, byte {i}: {done.err}"


@pytest.mark.parametrize("data", [b"garbage", *(pytest.param(d, marks=LONG) for d in (b"", b"{}"))])
def test_a_bad_entry_is_made_again_with_the_state_gone(built, data):
    key = built.plan()["dataset:c"].key
    selected = Store(built.store).record(key)
    for path in selected.parent.glob(selected.name + "*"):
        path.unlink()
        path.write_bytes(data)
    built.forget()
    done = built.build()
    assert (done.code, done.ran) == (0, ["dataset:c"]), done.err
    assert records.lookup(Store(built.store), key) is not None
    built.forget()
    assert built.build().ran == []


def test_history_is_append_only_and_may_be_torn(built):
    from tunekit.build import history

    before = history.path(built.root).read_bytes()
    with history.path(built.root).open("ab") as f:
        f.write(b'{"torn')
    (built.root / "m.py").write_text(MAP + "# edited\n")
    assert built.build().ran == ["dataset:b"]
    assert history.path(built.root).read_bytes().startswith(before)
    lines = history.read(built.root)
    assert {line["label"] for line in lines} == set(ALL)


def test_another_folder_and_another_project_share_the_work(built, make_project):
    for name in ("elsewhere", "again"):
        other = make_project(name)
        shutil.copytree(built.root, other.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".tunekit"))
        done = other.build()
        assert (done.code, done.ran) == (0, [])
        assert len(rows(other, "c")) == 2
    roots = {p.read_text().strip() for p in (built.store / "roots").iterdir()}
    assert {str(built.root), str(other.root)} <= roots


def test_a_store_of_another_layout_is_refused(built):
    (built.store / "layout").write_text("1\n")
    done = built.build()
    assert done.code == 1 and "error[store-layout]" in done.err


def test_what_left_the_graph_is_not_watched(built):
    """A source that no target names any more may change as it likes."""
    text = (built.root / "tunekit.toml").read_text()
    built.rows("old.jsonl", [{"x": 1}])
    built.write("old.py", MAP)
    built.manifest(text + '[dataset.old]\nsource = "path:old.jsonl"\nmap = "old.py:f"\n')
    assert built.build().ran == ["dataset:old#fetch", "dataset:old"]
    built.manifest(text)
    assert built.build().ran == []
    (built.root / "old.jsonl").unlink()
    (built.root / "old.py").unlink()
    assert built.build().events[0]["type"] == "summary", "the quick way: nothing is planned"


def test_a_new_file_joins_a_glob(built):
    built.rows("more/1.jsonl", [{"x": 1}])
    built.rows("more/.hidden.jsonl", [{"x": 1}])
    built.manifest('[dataset.g]\nsource = "path:more/*.jsonl"\n')
    assert built.build().ran == ["dataset:g#fetch", "dataset:g"]
    assert built.build().ran == []
    built.rows("more/2.jsonl", [{"x": 2}])
    assert built.build().ran == ["dataset:g#fetch", "dataset:g"]
    (built.root / "more" / "2.jsonl").unlink()
    assert built.build().ran == []
    assert rows(built, "g") == [{"x": 1}]


def test_a_state_that_came_with_a_clone_is_not_believed(built):
    """A stranger's `.tunekit/state` that says all is fresh, with the right checksum, but of another user."""
    built.write("m.py", (built.root / "m.py").read_text() + "\n# edited\n")
    index = built.root / ".tunekit" / "state" / "index.json"
    from tunekit.plan import state as of

    with built.inside():
        first, *more = of.read_checked(index)
    glance = json.loads(first) | {"watch": {}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(of, "_token", lambda: "a stranger's")
        of.write_checked(index, of.line_of(glance), *more)
    assert "nothing to do" not in built.run("build").out
