"""gc keeps what lives, frees what does not, and never hurries."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tunekit.build import history
from tunekit.errors import LockError, StoreError
from tunekit.lockfile import Archive, FileEntry, ResultBlock, block_of, empty_lock, save_lock
from tunekit.parts import Made
from tunekit.plan.state import State
from tunekit.protocol import Input, Request
from tunekit.share import gc
from tunekit.share.roots import KEPT, live
from tunekit.store import artifacts, records
from tunekit.store.in_use import Announcer, in_use
from tunekit.store.store import Store

DAY = 86400.0


def key(n: int) -> str:
    return f"sha256:{n:064x}"


class World:
    """A store with one registered project, and results put into it by hand."""

    def __init__(self, tmp_path: Path) -> None:
        self.store = Store(tmp_path / "store").ensure()
        self.root = tmp_path / "project"
        self.root.mkdir()
        (self.root / "tunekit.toml").write_text("[project]\nname = 'x'\n")
        (self.store.root / "roots" / "one").write_text(f"{self.root}\n")
        self._scratch = tmp_path / "scratch"

    def artifact(self, text: str) -> str:
        self._scratch.mkdir(exist_ok=True)
        (self._scratch / "file").write_text(text)
        digest = artifacts.seal(self.store, self._scratch)
        (self._scratch / "file").unlink()
        artifacts.view(self.store, digest)
        return digest

    def result(self, n: int, label: str = "dataset:a", parts: str = "", *, told: bool = True) -> dict[str, Any]:
        """A record of key `n`; `told`: in the project's history."""
        record = {
            "key": key(n),
            "attempt": f"20260101T000000-{n:08x}",
            "label": label,
            "preimage": {},
            "effective": {},
            "outputs": {"main": self.artifact(f"result {n}")},
            "log": artifacts.add_bytes(self.store, f"log {n}".encode()),
            "metrics": "",
        }
        record = records.add(self.store, record, parts)
        if told:
            history.append(self.root, label, record, "built")
        return record

    def there(self, digest: str) -> bool:
        entries = artifacts.read_tree(self.store, digest)
        return entries is not None and all(self.store.object(e.digest).is_file() for e in entries)

    def has_log(self, record: dict[str, Any]) -> bool:
        return self.store.object(record["log"]).is_file()

    def later(self, seconds: float) -> gc.Plan:
        """What a collection with a grace of a day would do after a while."""
        return gc.plan(self.store, DAY, time.time() + seconds)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_history_keeps_the_newest_results_with_their_logs(world: World):
    made = [world.result(n) for n in range(KEPT + 3)]
    gc.collect(world.store, 0)
    assert [world.there(r["outputs"]["main"]) for r in made] == [False] * 3 + [True] * KEPT
    assert [world.has_log(r) for r in made] == [False] * 3 + [True] * KEPT
    assert records.lookup(world.store, key(0))["outputs"] == made[0]["outputs"]  # the tombstone stays


def test_what_no_history_names_is_dead(world: World):
    kept, lost = world.result(1), world.result(2, told=False)
    before = world.later(2 * DAY)
    assert {d.path.partition("/")[0] for d in before.dead} == {"objects", "trees", "views"}
    gc.collect(world.store, 0)
    assert world.there(kept["outputs"]["main"]) and not world.there(lost["outputs"]["main"])
    assert not world.store.view(lost["outputs"]["main"]).exists()


def test_links_promoted_results_and_the_state_are_roots(world: World):
    linked, promoted, fresh = (world.result(n, told=False) for n in (1, 2, 3))
    out = world.root / ".tunekit" / "out" / "dataset"
    out.mkdir(parents=True)
    (out / "a").symlink_to(world.store.view(linked["outputs"]["main"]))
    lock = empty_lock()
    lock.results.append(ResultBlock("dataset:a", promoted["key"], promoted["attempt"], promoted["outputs"]))
    save_lock(lock, world.root / "tunekit.lock")
    state = State(world.root)
    state.memo, state.dirty = {"dataset:a": ["", fresh["key"], fresh["outputs"]]}, True
    state.save()
    gc.collect(world.store, 0)
    assert all(world.there(r["outputs"]["main"]) for r in (linked, promoted, fresh))
    assert world.has_log(promoted) and not world.has_log(linked)


def test_nothing_younger_than_the_grace_is_touched(world: World):
    lost = world.result(1, told=False)
    made = gc.collect(world.store, DAY)
    assert made.dead == [] and world.there(lost["outputs"]["main"])
    assert world.later(DAY / 2).dead == []
    assert world.later(2 * DAY).dead != []


def test_trash_is_emptied_after_the_grace_and_gives_back(world: World, monkeypatch: pytest.MonkeyPatch):
    first, second = world.result(1, told=False), world.result(2, told=False)
    real = time.time
    monkeypatch.setattr("tunekit.share.gc.time.time", lambda: real() + 2 * DAY)
    moved = gc.collect(world.store, DAY)
    assert moved.dead and not world.there(first["outputs"]["main"])
    (batch,) = (world.store.root / "trash").iterdir()
    assert gc.plan(world.store, DAY).expired == []  # not yet
    history.append(world.root, "dataset:a", first, "built")  # wanted again in the meantime
    monkeypatch.setattr("tunekit.share.gc.time.time", lambda: real() + 4 * DAY)
    done = gc.collect(world.store, DAY)
    assert [d.path for d in done.expired] == [f"trash/{batch.name}"] and not batch.exists()
    assert world.there(first["outputs"]["main"]) and not world.there(second["outputs"]["main"])


def test_a_project_that_is_gone_keeps_nothing(world: World):
    result = world.result(1)
    (world.root / "tunekit.toml").unlink()
    made = gc.collect(world.store, 0)
    assert [(r.name, r.there) for r in made.live.roots] == [(str(world.root), False)]
    assert not world.there(result["outputs"]["main"])


def test_a_lock_that_cannot_be_read_stops_the_collection(world: World):
    world.result(1, told=False)
    (world.root / "tunekit.lock").write_text("version = 99\n")
    with pytest.raises(LockError, match=str(world.root)):
        gc.collect(world.store, 0)


def request(n: int, label: str, trees: list[str], parts: str) -> Request:
    inputs = {"from": [Input("", tree, "dataset", "dataset:a") for tree in trees]}
    return Request(label, key(n), "dataset", {}, inputs, {}, "", "", "", "", {}, 0, {}, previous=parts)


def test_a_running_action_keeps_its_staging_and_inputs(world: World):
    needed, code = world.artifact("an input"), world.artifact("code")
    staging, over = world.store.staging(key(7)), world.store.staging(key(8))
    part, other = world.artifact("a part to copy from"), world.artifact("of an action that has ended")
    parts = Made.write([Made("sha256:b", "sha256:c", part)])
    home = world.store.tmp / f"build-{os.getpid()}"
    placed = world.store.object(artifacts.read_tree(world.store, world.artifact("taken from a part"))[0].digest)
    for folder in (staging, over, home):
        folder.mkdir()
    (staging / "out" / "main").mkdir(parents=True)
    (staging / "out" / "main" / "chunk").symlink_to(placed)
    time.sleep(0.2)
    build = Announcer(lambda: home)
    build.keep(code)
    build.begin(request(7, "dataset:b", [needed], parts))
    build.begin(request(8, "dataset:c", [other], ""))
    build.end(key(8))
    after = world.artifact("published, not yet named by a record")
    made = gc.collect(world.store, 0)
    assert "running dataset:b" in [r.name for r in made.live.roots]
    assert all(world.there(d) for d in (needed, code, after, part)) and staging.is_dir()
    assert placed.is_file(), "an unfinished artifact links to it"
    assert not world.there(other), "nothing uses it any more"
    assert [d.path for d in world.later(8 * DAY).dead if "staging" in d.path] == [f"staging/{over.name}"]
    build.close()
    time.sleep(0.2)
    assert gc.collect(world.store, 0).dead and not world.there(after)


def test_a_torn_line_of_a_build_is_no_action_yet(world: World):
    home = world.store.tmp / f"build-{os.getpid()}"
    home.mkdir()
    build = Announcer(lambda: home)
    build.begin(request(7, "dataset:b", [], ""))
    with (home / "in-use").open("ab") as file:
        file.write(b'["begin", "dataset:c", ')
    assert [use.action for use in in_use(world.store)] == ["dataset:b"]
    build.close()
    assert not list(in_use(world.store)), "its build is gone"


def test_failed_staging_stays_a_week(world: World):
    world.store.staging(key(7)).mkdir()
    assert world.later(6 * DAY).dead == []
    assert [d.path for d in world.later(8 * DAY).dead] == [f"staging/{7:064x}"]


def test_folders_of_dead_builds_go_and_those_of_living_ones_stay(world: World):
    dead, alive = world.store.tmp / "build-4194305", world.store.tmp / f"build-{os.getpid()}"
    dead.mkdir()
    alive.mkdir()
    gc.collect(world.store, 0)
    assert not dead.exists() and alive.is_dir()


def test_parts_live_while_their_bytes_do(world: World):
    kept, lost = world.result(1), world.result(2, told=False)
    records.add_part(world.store, key(11), kept["outputs"]["main"])
    records.add_part(world.store, key(12), lost["outputs"]["main"])
    gc.collect(world.store, 0)
    assert records.part_output(world.store, key(11)) and not records.part_output(world.store, key(12))


def test_parts_of_a_living_record_live(world: World):
    """The label's next execution copies rows from them; what their list says stays readable."""
    parts = [world.artifact(f"part {i}") for i in range(3)]
    listed = Made.write([Made(key(5), key(6), part) for part in parts[:2]])
    for i, part in enumerate(parts):
        records.add_part(world.store, key(20 + i), part)
    record = world.result(1, parts=listed)
    gc.collect(world.store, 0)
    assert [world.there(p) for p in parts] == [True, True, False]
    assert records.parts_list(world.store, record) == listed
    assert [bool(records.part_output(world.store, key(20 + i))) for i in range(3)] == [True, True, False]


def test_living_is_asked_of_the_selected_record_too(world: World):
    """The planner answers with a key's first success, even where the project's history names a later attempt."""
    first = world.result(1, told=False)
    second = {**first, "attempt": "20270101T000000-00000000", "outputs": {"main": world.artifact("another")}}
    records.add(world.store, second)
    history.append(world.root, "dataset:a", second, "built")
    found = live(world.store)
    assert {first["outputs"]["main"][7:], second["outputs"]["main"][7:]} <= found.trees


def test_archives_live_while_a_lock_names_them(world: World):
    kept, lost = "a" * 64, "b" * 64
    folder = world.store.root / "archives" / "archives"
    folder.mkdir(parents=True)
    for name in (kept, lost):
        (folder / name).write_text("zip")
    lock = empty_lock()
    archive = Archive("p.whl", 3, f"sha256:{kept}")
    lock.sources["pypi:p#f"] = block_of("pypi:p#f", "1", archive, [FileEntry("f", 1, key(1))])
    save_lock(lock, world.root / "tunekit.lock")
    gc.collect(world.store, 0)
    assert [p.name for p in folder.iterdir()] == [kept]


def test_repositories_live_while_a_lock_names_them(world: World):
    from tunekit.sources.git_repository import folder_name

    kept, lost = "https://host.example/kept.git", "https://host.example/lost.git"
    for url in (kept, lost):
        folder = world.store.root / "archives" / "git" / folder_name(url)
        folder.mkdir(parents=True)
        (folder / "HEAD").write_text("x")
    lock = empty_lock()
    source = f"git:{kept}@main#x"
    lock.sources[source] = block_of(source, "1" * 40, None, [FileEntry("f", 1, key(1))])
    save_lock(lock, world.root / "tunekit.lock")
    gc.collect(world.store, 0)
    assert [p.name for p in (world.store.root / "archives" / "git").iterdir()] == [folder_name(kept)]


def test_a_torn_root_stops_the_collection(world: World):
    (world.store.root / "roots" / "two").write_text("")
    with pytest.raises(StoreError, match="does not name a project"):
        gc.collect(world.store, 0)
