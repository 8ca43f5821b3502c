"""Verbs around a project: init, trust, lock, env, export, clean."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import tunekit
from tunekit.cli.main import VERBS, run

LOCK = """\
version = 1

[environment.default]
python = "3.11.0"

[environment.default.packages]
msgspec = "0.0.1"
no-such-package = "1.0"
"""


class TestInit:
    def test_makes_a_valid_trusted_project(self, fresh, call):
        said = call(fresh, "init", "New Project")
        root = fresh / "New Project"
        assert said.code == 0 and "tunekit build" in said.out
        assert (root / ".gitignore").read_text() == ".tunekit/\n"
        assert 'name = "new-project"' in (root / "tunekit.toml").read_text()
        plan = call(root, "plan", "--json").json
        assert plan["targets"] == ["eval:heldout"]
        assert {a["kind"] for a in plan["actions"]} >= {"dataset", "tokenizer", "tokens", "model", "run.sft", "eval"}
        assert {a["state"] for a in plan["actions"]} == {"stale"}
        files = call(root, "trust", "--list", "--json").json["files"]
        assert [(f["path"], f["trusted"]) for f in files] == [("rows.py", True)]

    def test_its_data_builds(self, fresh, call):
        assert call(fresh, "init", "p").code == 0
        assert call(fresh / "p", "build", "dataset:train").code == 0
        body = call(fresh / "p", "show", "dataset:train", "--json").json
        assert body["record"]["effective"]["ledger"]["kept"] == 40

    @pytest.mark.long
    @pytest.mark.torch
    def test_builds_as_it_stands(self, fresh, call):
        """A minute: the whole chain, and the model as files."""
        assert call(fresh, "init", "p").code == 0
        assert call(fresh / "p", "build").code == 0
        again = call(fresh / "p", "build", "--json").out.splitlines()
        assert json.loads(again[-1])["executed"] == []
        assert call(fresh / "p", "show", "eval:heldout", "--json").json["record"]["effective"]["summary"]["loss"] < 5.5
        assert call(fresh / "p", "export", "run:sft", str(fresh / "out")).code == 0
        assert {"config.json", "model.safetensors", "README.md"} <= {p.name for p in (fresh / "out").iterdir()}

    def test_overwrites_nothing(self, fresh, call):
        said = call(fresh, "init")
        assert said.code == 2 and "has tunekit.toml already" in said.err
        (fresh / "p").mkdir()
        (fresh / "p" / ".gitignore").write_text("*.pt")
        assert call(fresh, "init", "p").code == 0
        assert (fresh / "p" / ".gitignore").read_text() == "*.pt\n.tunekit/\n"


class TestTrust:
    def test_by_content(self, fresh, call):
        assert call(fresh, "build").code == 6
        listed = call(fresh, "trust", "--list")
        assert listed.out.startswith("  not trusted  ") and listed.out.endswith("  ops.py\n")
        assert call(fresh, "trust").out.endswith("trusted: 1 file\n")
        assert call(fresh, "trust").out.endswith("all code of this project is trusted\n")
        (fresh / "ops.py").write_text("def f(row, k):\n    return row\n")
        assert "not trusted" in call(fresh, "trust", "--list").out

    def test_a_folder_with_later_edits(self, fresh, call):
        assert call(fresh, "trust", "--always").code == 0
        (fresh / "ops.py").write_text("def f(row, k):\n    return row\n")
        assert "not trusted" not in call(fresh, "trust", "--list").out

    def test_asks_on_a_terminal(self, fresh, call, monkeypatch):
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", lambda _: "n")
        said = call(fresh, "trust")
        assert said.code == 6 and "nothing was trusted" in said.err
        monkeypatch.setattr("builtins.input", lambda _: "y")
        assert call(fresh, "trust").code == 0


class TestLock:
    def test_pins_the_environment_and_checks(self, fresh, call):
        assert call(fresh, "lock", "--check").code == 3
        assert not (fresh / "tunekit.lock").exists()
        assert call(fresh, "lock").out == "tunekit.lock written: 0 sources\n"
        assert call(fresh, "lock").out == "tunekit.lock is up to date: 0 sources\n"
        body = call(fresh, "lock", "--check", "--json").json
        assert body == {"schema": "tunekit/lock-check/1", "ok": True, "missing": [], "gone": [], "recipes": []}

    def test_build_locked_refuses_what_the_check_refuses(self, fresh, call):
        said = call(fresh, "build", "--locked", "--trust")
        assert said.code == 3 and "does not pin the environment" in said.err and not (fresh / ".tunekit/out").exists()
        assert call(fresh, "lock").code == 0
        assert call(fresh, "build", "--locked", "--trust").code == 0
        lock = (fresh / "tunekit.lock").read_text()
        (fresh / "tunekit.lock").write_text(re.sub(r'msgspec = ".*"', 'msgspec = "0.0.1"', lock))
        assert call(fresh, "build", "--locked").code == 0, "nothing runs: it does not matter where"
        said = call(fresh, "build", "--locked", "--set", "dataset:b.limit=1")
        assert said.code == 3 and "error[environment-drift]" in said.err and "msgspec" in said.err
        (fresh / "tunekit.lock").unlink()
        assert call(fresh, "build", "--locked").code == 3

    def test_a_source_that_is_not_pinned(self, fresh, call):
        assert call(fresh, "lock").code == 0
        toml = fresh / "tunekit.toml"
        toml.write_text(toml.read_text().replace("path:a.jsonl", "pypi:corpus@1.0#a.jsonl"))
        said = call(fresh, "lock", "--check")
        assert said.code == 3 and "does not pin pypi:corpus@1.0#a.jsonl" in said.err
        plan = call(fresh, "plan")
        assert "unlocked  dataset:a#fetch  (pypi:corpus@1.0#a.jsonl is not in tunekit.lock)" in plan.out
        assert "blocked" in plan.out
        assert call(fresh, "lock", "--offline").code == 1

    def test_drops_what_nothing_names(self, fresh, call):
        from tunekit.lockfile import FileEntry, block_of, empty_lock, save_lock

        lock = empty_lock()
        lock.sources["pypi:old@1#x"] = block_of("pypi:old@1#x", "1", None, [FileEntry("x", 1, "sha256:" + "0" * 64)])
        save_lock(lock, fresh / "tunekit.lock")
        said = call(fresh, "lock", "--check")
        assert said.code == 3 and "pins pypi:old@1#x, which nothing names" in said.err
        assert call(fresh, "lock", "--json").json["removed"] == ["pypi:old@1#x"]

    def test_upgrade_of_what_is_no_source(self, fresh, call):
        said = call(fresh, "lock", "--upgrade", "pypi:x")
        assert said.code == 2 and "error[unknown-source]" in said.err

    def test_upgrade_of_a_target_without_a_pin(self, fresh, call):
        (fresh / "tunekit.toml").write_text('[project]\nname = "p"\n[dataset.a]\nsource = "path:a.jsonl"\n')
        (fresh / "a.jsonl").write_text('{"x": 1}\n')
        said = call(fresh, "lock", "--upgrade", "dataset:a")
        assert said.code == 2 and "dataset:a reads no source that needs a pin" in said.err

    def test_check_and_upgrade_are_not_one_call(self, fresh, call):
        said = call(fresh, "lock", "--check", "--upgrade")
        assert said.code == 2 and "error[usage]" in said.err and not (fresh / "tunekit.lock").exists()


class TestEnv:
    def test_shows_drift(self, fresh, call):
        (fresh / "tunekit.lock").write_text(LOCK)
        out = call(fresh, "env").out
        assert "no-such-package  1.0  not installed" in out and "msgspec          0.0.1  installed: " in out
        body = call(fresh, "env", "--json").json
        assert body["packages"][-1] == {"name": "no-such-package", "locked": "1.0", "installed": None}

    def test_errors(self, fresh, call):
        assert call(fresh, "env").code == 3
        (fresh / "tunekit.lock").write_text(LOCK)
        assert "did you mean `default`?" in call(fresh, "env", "--profile", "defult").err

    def test_constraints_need_the_standard_library_only(self, fresh):
        (fresh / "tunekit.lock").write_text(LOCK)
        code = (
            f"import sys; sys.path.insert(0, {str(Path(tunekit.__file__).parents[1])!r}); "
            "sys.argv = ['tunekit', 'env', '--constraints']; from tunekit.__main__ import main; main()"
        )
        command = [sys.executable, "-I", "-S", "-c", code]
        done = subprocess.run(command, cwd=fresh, capture_output=True, text=True, check=True)
        assert done.stdout == "msgspec==0.0.1\nno-such-package==1.0\n"


class TestExport:
    def test_real_files_and_a_card(self, built, tmp_path, call):
        target = tmp_path / "out"
        said = call(built, "export", "dataset:b", str(target), "--json")
        assert said.code == 0 and said.json["schema"] == "tunekit/export/1"
        assert sorted(said.json["files"]) == sorted(
            str(p.relative_to(target)) for p in target.rglob("*") if p.is_file()
        )
        assert not any(p.is_symlink() for p in target.rglob("*"))
        text = (target / "README.md").read_text()
        assert text.startswith("# dataset:b\n") and "- `path:a.jsonl`: `sha256:" in text and "Unknown." in text
        (target / "dataset.json").write_text("{}")  # writable

    def test_refuses_a_folder_that_is_not_empty(self, built, tmp_path, call):
        (tmp_path / "x").write_text("mine")
        said = call(built, "export", "dataset:b", str(tmp_path))
        assert said.code == 2 and "error[not-empty]" in said.err
        assert call(built, "export", "dataset:b", str(tmp_path / "x")).code == 2

    def test_what_is_not_built(self, fresh, tmp_path, call):
        assert call(fresh, "export", "dataset:b", str(tmp_path / "out")).code == 2
        assert not (tmp_path / "out").exists()


class TestClean:
    def test_is_dry_unless_told(self, copied, call):
        dry = call(copied, "clean")
        assert dry.out.count("would remove") == 2 and (copied / ".tunekit" / "state").is_dir()
        body = call(copied, "clean", "--yes", "--json").json
        assert body["schema"] == "tunekit/clean/1" and len(body["paths"]) == 2
        assert sorted(p.name for p in (copied / ".tunekit").iterdir()) == [".gitignore", "history.jsonl"]
        assert "nothing to do" in call(copied, "build").out
        assert call(copied, "clean", "--yes").code == 0

    def test_of_a_project_that_does_not_parse(self, copied, call):
        (copied / "tunekit.toml").write_text("[project\n")
        assert call(copied, "clean").out.count("would remove") == 2


class TestStoreVerbs:
    def test_gc_says_roots_and_bytes(self, fresh, call):
        assert call(fresh, "build", "--trust").code == 0
        out = call(fresh, "gc").out
        assert f"root  {fresh}  4 artifacts" in out or f"root  {fresh}  3 artifacts" in out
        assert "nothing to free" in out
        (fresh / "tunekit.toml").write_text("[project\n")  # a project that does not parse keeps its results too
        assert call(fresh, "gc", "--yes", "--grace", "0").code == 0
        assert call(fresh, "verify").code == 0
        (fresh / "tunekit.toml").unlink()
        body = call(Path(fresh), "gc", "--yes", "--grace", "0", "--json").json
        assert body["schema"] == "tunekit/gc/1" and body["roots"][0]["there"] is False
        assert body["bytes"]["dead"] > 0
        assert call(fresh, "verify", "--json").json["objects"] <= 2  # the logs of runs are gone with their project

    def test_gc_of_a_bad_grace(self, fresh, call):
        assert "error[bad-grace]" in call(fresh, "gc", "--grace", "soon").err

    def test_verify_finds_a_bad_object_and_build_mends_it(self, fresh, call, monkeypatch):
        assert call(fresh, "build", "dataset:a", "--trust").code == 0
        view = Path(call(fresh, "path", "dataset:a").out.strip())
        bad = (view / "dataset.json").resolve()
        bad.chmod(0o644)
        bad.write_bytes(bad.read_bytes()[:-1] + b" ")
        said = call(fresh, "verify")
        assert said.code == 1 and f"objects/{bad.name}" in said.err and "1 bad" in said.out
        assert call(fresh, "verify").code == 0
        gone = call(fresh, "path", "dataset:a")
        assert gone.code == 1 and "error[missing-artifact]" in gone.err
        assert call(fresh, "build", "dataset:a", "--trust").code == 0
        assert json.loads((view / "dataset.json").read_text())["rows"] == 2


class TestRebuild:
    def test_the_same_bytes(self, copied, call):
        body = call(copied, "verify", "--rebuild", "dataset:a", "--trust", "--json").json
        assert body["schema"] == "tunekit/verify-rebuild/1" and body["same_bytes"] and body["old"] != body["new"]

    def test_other_bytes_are_1_and_change_nothing(self, fresh, call):
        (fresh / "ops.py").write_text("import os\ndef f(row, k):\n    return {**row, 'n': os.urandom(4).hex()}\n")
        assert call(fresh, "build", "--trust").code == 0
        path = call(fresh, "path", "dataset:b").out
        said = call(fresh, "verify", "--rebuild", "dataset:b", "--trust")
        assert said.code == 1 and said.out.endswith("same key; the artifacts differ\nNOT reproduced: other bytes\n")
        assert call(fresh, "path", "dataset:b").out == path
        assert "attempts of this key" in call(fresh, "show", "dataset:b").out

    def test_needs_a_result(self, fresh, call):
        assert "error[not-built]" in call(fresh, "verify", "--rebuild", "dataset:b").err


@pytest.mark.parametrize("verb", ["plan", "lock", "clean", "trust", "env"])
def test_outside_a_project(tmp_path, call, verb):
    said = call(tmp_path, verb)
    assert said.code == 2 and "error[no-project]" in said.err and "tunekit init" in said.err


def test_help_has_examples_for_every_verb(capsys):
    """And each of them is a line that the verb takes."""
    for verb, (module, _) in VERBS.items():
        parser = import_module(f"tunekit.cli.{module}").parser()
        assert "examples:\n  tunekit" in parser.format_help(), verb
        for command in re.findall(rf"tunekit {verb}\b(.*)", parser.epilog):
            words = re.split(r"\s{3,}\(| && | \| | > |\)$", command)[0]  # up to a remark or the shell's part
            parser.parse_args(shlex.split(words))
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(f"\n  {verb} " in listed for verb in VERBS)


def test_no_verb_imports_torch():
    """Every module of the ground floor, and what it imports, in a process of its own."""
    code = (
        "import sys, importlib\n"
        "from tunekit.cli.main import VERBS\n"
        "for module, _ in VERBS.values(): importlib.import_module('tunekit.cli.' + module).parser()\n"
        "slow = {'rich', 'tomlkit', 'msgspec', 'torch', 'transformers', 'pyarrow'} & set(sys.modules)\n"
        "assert not slow, slow\n"
        "from tunekit.report import live, plan, record, card, difference, schema, reference, export\n"
        "schema.manifest_schema(), reference.toml_reference()\n"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
