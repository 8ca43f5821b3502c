"""A build reads through the remote: what another machine made is fetched and not executed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tunekit.hashing import sha256_file


def states(project, *args: str) -> dict[str, str]:
    done = project.run("plan", "--json", *args)
    assert done.code == 0, done.err
    (body,) = done.events
    return {a["label"]: "fetch" if a["fetch"] else "run" if a["run"] else a["state"] for a in body["actions"]}


def artifact(project, label: str) -> dict[str, bytes]:
    done = project.run("path", label)
    assert done.code == 0, done.err
    root = Path(done.out.strip())
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def big_object(machines, project, label: str = "dataset:c") -> Path:
    """The blob at the remote of the largest file of a result."""
    names = [
        os.path.basename(os.path.realpath(p)) for p in Path(project.run("path", label).out.strip()).rglob("*.arrow")
    ]
    return machines.remote / "cas" / names[0]


def damage(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_fresh_machine_executes_nothing(machines, pushed):
    yours = machines.make("yours")
    assert states(yours) == {
        "dataset:a#fetch": "fresh", "dataset:a": "remote", "dataset:b": "remote", "dataset:c": "fetch",
    }  # fmt: skip
    assert not list((yours.store / "ac").iterdir())  # a plan writes nothing
    summary = yours.build().one("summary")
    assert summary["executed"] == [] and summary["fetched"] == ["dataset:c"] and summary["fresh"] == 4
    assert artifact(yours, "dataset:c") == artifact(pushed, "dataset:c")
    trees = list((yours.store / "trees").glob("*/*"))
    assert len(trees) == 1  # what nothing reads stayed away
    assert not list((yours.store / "tmp").iterdir())


def test_the_build_after_it_is_a_no_op_that_asks_nobody(machines, pushed, monkeypatch):
    monkeypatch.setattr("tunekit.plan.state._RACY", 0)
    yours = machines.make("yours")
    yours.build()
    shutil.rmtree(machines.remote)
    done = yours.run("build")
    assert (done.code, done.err) == (0, "") and done.out == "nothing to do: 1 target up to date\n"


def test_offline_and_frozen_do_not_look(machines, pushed):
    yours = machines.make("yours")
    assert states(yours, "--offline")["dataset:c"] == "run"
    shutil.rmtree(machines.remote)
    done = yours.build("--offline")
    assert done.ran == machines.labels and done.err == ""
    assert yours.build("--frozen", "--require-remote").code == 2


def test_an_action_that_runs_gets_its_inputs_from_there(machines, pushed):
    """Another `limit`: dataset:c is not to be had, what it reads is."""
    yours = machines.make("yours")
    yours.manifest((yours.root / "tunekit.toml").read_text().replace("limit = 2", "limit = 1"))
    assert states(yours) == {
        "dataset:a#fetch": "fresh", "dataset:a": "remote", "dataset:b": "fetch", "dataset:c": "run",
    }  # fmt: skip
    summary = yours.build().one("summary")
    assert summary["executed"] == ["dataset:c"] and summary["fetched"] == ["dataset:b"]


def test_a_result_whose_key_is_known_late_is_still_found(machines, pushed):
    """dataset:b must run (its entry is gone), and comes out as it was: dataset:c is found at the remote then."""
    entries = {p: p.read_text() for p in (machines.remote / "ac").iterdir()}
    next(p for p, text in entries.items() if json.loads(text)["label"] == "dataset:b").unlink()
    yours = machines.make("yours")
    assert states(yours) == {
        "dataset:a#fetch": "fresh", "dataset:a": "fetch", "dataset:b": "run", "dataset:c": "run",
    }  # fmt: skip
    summary = yours.build().one("summary")
    assert summary["executed"] == ["dataset:b"] and summary["fetched"] == ["dataset:a", "dataset:c"]


def test_what_the_store_lost_comes_back(machines, pushed):
    for folder in ("objects", "trees", "views"):
        shutil.rmtree(pushed.store / folder)
        (pushed.store / folder).mkdir()
    summary = pushed.build().one("summary")
    assert summary["executed"] == [] and summary["fetched"] == ["dataset:c"]


@pytest.mark.parametrize("how", ["other bytes", "cut", "longer", "gone", "empty"])
def test_a_bad_object_is_refused_and_made_anew(machines, pushed, how):
    path = big_object(machines, pushed)
    whole = path.read_bytes()
    bad = {"other bytes": b"x" * len(whole), "cut": whole[:-9], "longer": whole + b"x", "empty": b""}
    damage(path, bad[how]) if how in bad else path.unlink()
    yours = machines.make("yours")
    done = yours.build()
    summary = done.one("summary")
    assert done.code == 0
    assert "dataset:c" in summary["executed"] and artifact(yours, "dataset:c") == artifact(pushed, "dataset:c")
    warning = next(e for e in done.events if e["type"] == "warning")
    assert (warning["slug"], warning["action"]) == ("not-fetched", "dataset:c")
    assert ("warning[remote-poisoned]" in done.err) == (how != "gone")
    assert not list((yours.store / "tmp").iterdir()) and not list((yours.store / "quarantine").iterdir())
    assert yours.run("verify").code == 0


def test_require_remote_stops_at_a_bad_object(machines, pushed):
    damage(big_object(machines, pushed), b"poison")
    done = machines.make("yours").build("--require-remote")
    assert done.code == 1 and "error[remote-poisoned]" in done.err


@pytest.mark.parametrize("body", [b"", b"{}", b"[[[", b"\xff", "another key's"])
def test_a_bad_entry_is_a_miss(machines, pushed, body):
    entries = sorted((machines.remote / "ac").iterdir())
    texts = [p.read_bytes() for p in entries]
    for path, other in zip(entries, texts[1:] + texts[:1], strict=True):
        damage(path, other if body == "another key's" else body)
    yours = machines.make("yours")
    done = yours.build()
    assert done.ran == machines.labels and "warning[remote-poisoned]" in done.err


def test_a_bad_list_of_files_is_refused(machines, pushed):
    for path in machines.objects():
        if path.read_bytes().startswith(b"tunekit/tree/1"):
            damage(path, path.read_bytes().replace(b"dataset.json", b"../data.json"))
    done = machines.make("yours").build()
    assert done.ran == machines.labels and "warning[remote-poisoned]" in done.err


def test_a_remote_that_is_away_slows_nothing_down(machines):
    yours = machines.make("yours", url="/nowhere/at/all")
    done = yours.build()
    assert done.ran == machines.labels
    assert done.err.count("warning[remote-unreachable]") == 1
    assert machines.make("other", url="/nowhere/at/all").build("--require-remote").code == 1


def test_the_environment_names_another_remote_or_none(machines, pushed, monkeypatch):
    yours = machines.make("yours", url="/nowhere")
    monkeypatch.setenv("TUNEKIT_REMOTE", str(machines.remote))
    assert yours.build().one("summary")["fetched"] == ["dataset:c"]
    monkeypatch.setenv("TUNEKIT_REMOTE", "")
    third = machines.make("third")
    assert third.build().ran == machines.labels


def test_read_false_reads_nothing(machines, pushed):
    yours = machines.make("yours")
    yours.manifest((yours.root / "tunekit.toml").read_text().replace("[remote]", "[remote]\nread = false"))
    assert yours.build().ran == machines.labels


def test_a_strangers_remote_is_used_once_it_is_trusted(machines, pushed, monkeypatch):
    """Its results would count for every project of this store."""
    yours = machines.make("yours")
    yours.trust = False
    done = yours.run("plan")
    assert "warning[not-trusted]" in done.err and done.out.startswith("4 to run")
    done = yours.run("pull")
    assert done.code == 6 and str(machines.remote) in done.err
    listed = yours.run("trust", "--list")
    assert "[remote] url" in listed.out and "m.py" in listed.out
    assert yours.run("trust", "--yes").code == 0
    assert yours.build().one("summary")["fetched"] == ["dataset:c"]
    third = machines.make("third")
    third.trust = False
    monkeypatch.setenv("TUNEKIT_REMOTE", str(machines.remote))  # the user said it, not the project
    assert third.build().one("summary")["fetched"] == ["dataset:c"]


def test_a_changed_row_costs_a_row_on_another_machine(machines, tmp_path):
    """The parts travel: of 3 chunks two are taken, in the third all rows but one are copied."""
    rows = 6000
    mine = machines.make("mine", rows=rows)
    mine.build()
    assert mine.run("push").code == 0
    yours = machines.make("yours", rows=rows)
    lines = (yours.root / "a.jsonl").read_text().splitlines(keepends=True)
    lines[1000] = '{"x": 123456}\n'
    (yours.root / "a.jsonl").write_text("".join(lines))
    done = yours.build("dataset:b")
    assert done.ran == ["dataset:a#fetch", "dataset:a", "dataset:b"]
    ends = {e["action"]: e["record"]["parts"] for e in done.events if e["type"] == "end"}
    assert ends["dataset:a"]["rows_made"] == 1 and ends["dataset:b"]["rows_made"] == 1
    assert ends["dataset:b"]["made"] < ends["dataset:b"]["total"]
    alone = machines.make("alone", rows=rows)
    (alone.root / "a.jsonl").write_text("".join(lines))
    alone.build("dataset:b", "--offline")
    assert artifact(alone, "dataset:b") == artifact(yours, "dataset:b")


def test_pull_takes_without_executing(machines, pushed):
    yours = machines.make("yours")
    (body,) = yours.run("pull", "--json").events
    assert body["fetched"] == ["dataset:c"] and body["known"] == ["dataset:a", "dataset:b"] and body["missing"] == {}
    assert yours.build("--offline").ran == []
    (body,) = yours.run("pull", "--json", "--all").events
    assert body["fetched"] == ["dataset:a", "dataset:b"] and body["fresh"] == ["dataset:c"]
    (body,) = yours.run("pull", "--json", "--all").events
    assert body["fetched"] == [] and len(body["fresh"]) == 3


def test_pull_says_what_is_not_to_be_had(machines, pushed):
    yours = machines.make("yours")
    yours.manifest((yours.root / "tunekit.toml").read_text().replace("limit = 2", "limit = 1"))
    done = yours.run("pull")
    assert done.code == 1 and "missing  dataset:c" in done.out
    assert not (yours.root / ".tunekit" / "out").exists()


def test_gc_keeps_what_was_fetched(machines, pushed):
    yours = machines.make("yours")
    yours.run("pull")
    assert yours.run("gc", "--yes", "--grace", "0").code == 0
    assert yours.build("--offline").ran == []


def test_every_blob_is_named_by_its_sha256(machines, pushed):
    assert machines.objects()
    assert all(sha256_file(p) == f"sha256:{p.name}" for p in machines.objects())
    assert not list((machines.remote / "tmp").iterdir()) and not list((pushed.store / "tmp").iterdir())
