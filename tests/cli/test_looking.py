"""Verbs that only look: plan, status, why, graph, query, show, log, path, diff."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tunekit.cli import log
from tunekit.store import leases
from tunekit.store.store import Store


def snapshot(root: Path) -> dict[str, float]:
    return {
        os.path.join(d, n): os.lstat(os.path.join(d, n)).st_mtime_ns for d, ds, fs in os.walk(root) for n in ds + fs
    }


def test_a_log_is_followed_while_the_lease_is_held(tmp_path, capsys, monkeypatch):
    key = "sha256:" + "7" * 64
    store = Store(tmp_path / "store").ensure()
    lease = leases.acquire(store, key)
    path = tmp_path / "log.txt"
    path.write_text("one\n")
    rounds = iter(["two\n", "three\n"])

    def pause(_: float) -> None:
        with open(path, "a") as f:
            text = next(rounds)
            f.write(text)
        if text == "three\n":
            lease.release()

    monkeypatch.setattr("tunekit.cli.log.time.sleep", pause)
    log._print(path, lambda: leases.held(store, key))
    assert capsys.readouterr().out == "one\ntwo\nthree\n"


class TestPlan:
    def test_says_state_and_reason(self, fresh, call):
        said = call(fresh, "plan")
        assert said.code == 0
        assert said.out.splitlines()[0] == "3 to run, 0 fresh"
        assert "run  dataset:a  (never built)" in said.out
        assert "depends on dataset:a" in said.out

    def test_names_the_change(self, copied, call):
        toml = copied / "tunekit.toml"
        toml.write_text(toml.read_text().replace("k = 2", "k = 7"))
        assert "dataset:b  (args.k: 2 → 7)" in call(copied, "plan").out

    def test_of_an_override(self, built, call):
        said = call(built, "plan", "--set", "dataset:b.args.k=9")
        assert "args.k: 2 → 9" in said.out
        assert "nothing to do" in call(built, "plan").out

    def test_json(self, copied, call):
        (copied / "ops.py").write_text("def f(row, k):\n    return row\n")
        body = call(copied, "plan", "--json").json
        assert body["schema"] == "tunekit/plan/1"
        assert (body["run"], body["fresh"], body["targets"]) == (1, 2, ["dataset:b"])
        b = body["actions"][-1]
        assert (b["label"], b["state"], b["run"], b["needs"]) == ("dataset:b", "stale", True, ["dataset:a"])
        assert [r["text"] for r in b["reasons"]] == ["ops.py edited"]
        assert body["actions"][0]["reasons"] == []

    def test_a_dry_run_is_a_plan(self, built, call):
        assert call(built, "build", "--dry-run").out == call(built, "plan").out

    def test_unknown_label(self, built, call):
        said = call(built, "plan", "dataset:bb")
        assert said.code == 2
        assert "error[unknown-label]" in said.err and "did you mean `dataset:b`?" in said.err


@pytest.mark.parametrize("words", [["plan"], ["status"], ["status", "--all"], ["why", "dataset:b"], ["graph"]])
def test_nothing_is_written(fresh, call, words):
    before = snapshot(fresh)
    assert call(fresh, *words).code == 0
    assert snapshot(fresh) == before
    store = Path(os.environ["TUNEKIT_STORE"])
    assert not [p for p in store.rglob("*") if p.is_file() and p.name != "layout"]


class TestStatus:
    def test_fresh(self, built, call):
        said = call(built, "status", "--check")
        assert said.code == 0
        assert "fresh" in said.out and "dataset:a" not in said.out

    def test_all_lists_key_and_age(self, built, call):
        lines = call(built, "status", "--all").out.splitlines()
        assert lines[0] == "2 fresh"
        assert lines[2].split()[:2] == ["fresh", "dataset:b"] and "just now" in lines[2]

    def test_check_of_stale_is_4(self, copied, call):
        (copied / "a.jsonl").write_text('{"text": "other"}\n')
        said = call(copied, "status", "--check")
        assert said.code == 4
        assert "stale" in said.out and "dataset:b" in said.out
        assert "error[stale]: 2 of 2 targets are not fresh" in said.err

    def test_json(self, built, call):
        body = call(built, "status", "--json").json
        assert body["schema"] == "tunekit/status/1"
        assert (body["fresh"], body["stale"], body["drift"]) == (2, 0, [])
        assert {t["label"]: t["state"] for t in body["targets"]} == {"dataset:a": "fresh", "dataset:b": "fresh"}
        assert all(t["key"].startswith("sha256:") and t["built"] for t in body["targets"])

    def test_unchanged_is_answered_without_a_plan(self, built, call, monkeypatch):
        monkeypatch.setattr("tunekit.cli.status.unchanged", lambda root, store, labels, drift: {"x": "y", "z": "y"})
        monkeypatch.setattr("tunekit.cli.status._planned", None)
        assert call(built, "status").out == "fresh: 2 targets and all that they need\n"

    def test_targets_outside_the_default_are_counted(self, fresh, call):
        toml = fresh / "tunekit.toml"
        toml.write_text(toml.read_text().replace('"light"', '"light"\ndefault = ["dataset:a"]'))
        assert "1 more outside [project] default" in call(fresh, "status").out
        assert "outside" not in call(fresh, "status", "dataset:b").out

    def test_the_remote_is_asked_as_a_plan_asks_it(self, built, fresh, call, monkeypatch, tmp_path):
        """What another machine pushed is not stale in CI."""
        monkeypatch.setenv("TUNEKIT_REMOTE", str(tmp_path / "remote"))
        assert call(fresh, "build", "--trust", "--offline").code == 0 and call(fresh, "push").code == 0
        monkeypatch.setenv("TUNEKIT_STORE", str(tmp_path / "other"))
        body = call(fresh, "status", "--check", "--json").json
        assert (body["fresh"], body["remote"], body["stale"]) == (0, 2, 0)
        assert {t["state"] for t in body["targets"]} == {"remote"}
        said = call(fresh, "status", "--check")
        assert said.code == 0 and said.out.startswith("0 fresh, 2 at the remote\n"), said
        assert call(fresh, "status", "--check", "--offline").code == 4

    def test_drift(self, copied, call):
        packages = '[environment.default.packages]\nmsgspec = "0.0.1"\n'
        (copied / "tunekit.lock").write_text(f'version = 1\n[environment.default]\npython = "3.11.1"\n{packages}')
        assert "environment: msgspec" in call(copied, "status", "--all").out


class TestWhy:
    def test_fresh_has_preimage_and_attempt(self, built, call):
        out = call(built, "why", "dataset:b").out
        for text in ("dataset:b: fresh", "key  sha256:", "args.k  2", "from  dataset:a  ", "ops.py  ", "pyarrow  "):
            assert text in out
        assert "by attempt 20" in out

    def test_stale_says_why(self, copied, call):
        toml = copied / "tunekit.toml"
        toml.write_text(toml.read_text().replace("k = 2", "k = 3"))
        out = call(copied, "why", "dataset:b").out
        assert out.startswith("dataset:b: stale\n  args.k: 2 → 3\n") and "args.k  3" in out and "by attempt" not in out

    def test_of_a_fetch(self, built, call):
        out = call(built, "why", "dataset:a#fetch").out
        assert "source  path:a.jsonl" in out and "tree    sha256:" in out

    def test_json(self, built, call):
        body = call(built, "why", "dataset:b", "--json").json
        assert body["schema"] == "tunekit/why/1"
        assert body["preimage"]["fields"]["args"] == {"k": 2}
        assert body["inputs"]["from"][0]["label"] == "dataset:a" and body["made"]["attempt"]


class TestGraph:
    def test_tree(self, built, call):
        assert call(built, "graph").out == "dataset:b\n└─ dataset:a\n   └─ dataset:a#fetch\n"
        assert call(built, "graph", "--targets").out == "dataset:b\n└─ dataset:a\n"

    def test_dot_and_mermaid(self, built, call):
        assert '"dataset:a" -> "dataset:b";' in call(built, "graph", "--format", "dot").out
        mermaid = call(built, "graph", "dataset:a", "--format", "mermaid").out
        assert mermaid.splitlines() == [
            "flowchart LR",
            '  n0["dataset:a#35;fetch"]',
            '  n1["dataset:a"]',
            "  n0 --> n1",
        ]

    def test_json(self, built, call):
        body = call(built, "graph", "--json").json
        assert body["schema"] == "tunekit/graph/1"
        assert body["actions"][-1] == {"label": "dataset:b", "kind": "dataset", "needs": ["dataset:a"]}


class TestQuery:
    @pytest.mark.parametrize(
        ("words", "labels"),
        [
            (["deps", "dataset:b"], ["dataset:a#fetch", "dataset:a"]),
            (["deps(dataset:b)"], ["dataset:a#fetch", "dataset:a"]),
            (["deps", "dataset:b", "--targets"], ["dataset:a"]),
            (["rdeps", "dataset:a#fetch"], ["dataset:a", "dataset:b"]),
            (["somepath(dataset:b,", "dataset:a#fetch)"], ["dataset:b", "dataset:a", "dataset:a#fetch"]),
            (["somepath", "dataset:a", "dataset:b"], []),
        ],
    )
    def test_answers(self, built, call, words, labels):
        assert call(built, "query", *words).out.splitlines() == labels

    def test_json(self, built, call):
        body = call(built, "query", "rdeps", "dataset:a", "--json").json
        assert body == {"schema": "tunekit/query/1", "query": "rdeps", "of": ["dataset:a"], "labels": ["dataset:b"]}

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["dep", "dataset:a"], "did you mean `deps`?"),
            (["deps"], "deps takes one label, not 0"),
            (["somepath", "dataset:a"], "somepath takes two labels, not 1"),
        ],
    )
    def test_errors(self, built, call, words, told):
        said = call(built, "query", *words)
        assert said.code == 2 and "error[bad-query]" in said.err and told in said.err


class TestResults:
    def test_show(self, built, call):
        out = call(built, "show", "dataset:b").out
        for text in (
            "artifact  sha256:",
            "dataset.json",
            "args.k  2",
            "\nledger\n  kept ",
            "from: dataset:a",
            "path:a.jsonl",
        ):
            assert text in out

    def test_show_json(self, built, call):
        body = call(built, "show", "dataset:b", "--json").json
        assert body["schema"] == "tunekit/show/1"
        assert body["current"] and body["state"] == "fresh"
        assert list(body["sources"]) == ["path:a.jsonl"]
        assert body["artifacts"]["main"]["files"][-1]["path"] == "dataset.json"
        assert [a["label"] for a in body["provenance"]] == ["dataset:a", "dataset:a#fetch"]

    def test_show_an_attempt_and_an_older_result(self, built, copied, call):
        first = call(built, "diff", "dataset:b", "--json").json["old"]
        assert "args.k  1" in call(built, "show", "dataset:b", "--attempt", first["attempt"]).out
        assert "args.k  1" in call(built, "show", "dataset:b", "--attempt", first["key"][:20]).out
        toml = copied / "tunekit.toml"
        toml.write_text(toml.read_text().replace("k = 2", "k = 8"))
        assert "its result of an earlier key" in call(copied, "show", "dataset:b").out

    def test_log(self, built, call):
        assert call(built, "log", "dataset:b", "-f").out.count("seen {") == 2

    def test_log_of_a_failed_action(self, copied, call):
        (copied / "ops.py").write_text("def f(row, k):\n    print('going down')\n    raise ValueError('no')\n")
        assert call(copied, "build", "--trust").code == 1
        assert "going down" in call(copied, "log", "dataset:b").out
        assert "= help: tunekit log dataset:b" in call(copied, "path", "dataset:b").err
        assert call(copied, "clean").out.count("/staging/") == 1

    def test_path(self, built, call):
        said = call(built, "path", "dataset:b")
        assert (Path(said.out.strip()) / "dataset.json").is_file()
        assert call(built, "path", "dataset:b@main", "--json").json["path"] == said.out.strip()

    def test_path_builds_nothing(self, fresh, copied, call):
        said = call(fresh, "path", "dataset:a")
        assert said.code == 2
        assert "error[not-built]: dataset:a has no result: never built" in said.err
        assert "tunekit build dataset:a" in said.err
        toml = copied / "tunekit.toml"
        toml.write_text(toml.read_text().replace("k = 2", "k = 8"))
        assert call(copied, "path", "dataset:b").code == 2

    def test_path_of_an_output_that_is_not_there(self, built, call):
        said = call(built, "path", "dataset:b@best")
        assert said.code == 2 and "error[unknown-output]" in said.err

    def test_diff(self, built, call):
        out = call(built, "diff", "dataset:b").out
        assert "args.k: 1 → 2" in out and "the artifacts differ" in out
        body = call(built, "diff", "dataset:a", "dataset:b", "--json").json
        assert body["schema"] == "tunekit/diff/1"
        assert "ops.py added" in [c["text"] for c in body["key"]]

    def test_diff_by_attempt(self, built, call):
        found = call(built, "diff", "dataset:b", "--json").json
        old, new = found["old"]["attempt"], found["new"]["attempt"]
        again = call(built, "diff", "dataset:b", new, old, "--json").json
        assert (again["old"]["attempt"], again["new"]["attempt"]) == (new, old)

    def test_diff_errors(self, built, call):
        assert "has 1 result(s), not two" in call(built, "diff", "dataset:a").err
        assert "error[unknown-attempt]" in call(built, "diff", "dataset:a", "1999").err
        assert call(built, "diff", "dataset:a", "a", "b", "c").code == 2
