"""TOML, the lock, code that is read and never run, labels and sources: what a stranger's project is declared in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cases import many, soup, tried
from hypothesis import given
from hypothesis import strategies as st

from tunekit.errors import DeclarationError, Problems, SourceError, TunekitError, UsageError
from tunekit.label import parse_label
from tunekit.lockfile import dump_lock, load_lock
from tunekit.manifest.method import Method, read_method
from tunekit.manifest.project import load
from tunekit.manifest.scope import build_graph
from tunekit.plan.closure import closure
from tunekit.sources.locator import parse_locator

ROOT = Path(__file__).parents[2]
TOML = [p.read_bytes() for p in (*ROOT.glob("targets/*.toml"), *ROOT.glob("recipes/*.toml"), ROOT / "tunekit.toml")]
TOML += [(ROOT / "tests/e2e/project/tunekit.toml").read_bytes()]
CODE = [(ROOT / "targets" / name).read_bytes() for name in ("rewards.py", "verse.py")]
CODE += [b"""from dataclasses import dataclass
from typing import Annotated, Literal
from tunekit.methods.sft.run import run as base
from tunekit.methods.sft.spec import Sft
from tunekit.spec import semantic

class Mine(Sft, frozen=True):
    a: Annotated[float, semantic("doc", ge=0.0)] = 0.1
    b: Annotated[Literal["x", "y"], semantic("doc")] = "x"
    c: Annotated[list[int] | None, semantic("doc")] = None

def run(request, events):
    return base(request, events)
"""]  # fmt: skip


def declared(root: Path) -> None:
    problems = Problems()
    manifest = load(root, [], problems)
    build_graph(manifest, problems)


@many
@given(data=soup(TOML))
def test_toml(folder, data):
    for name in ("a.jsonl", "m.py"):
        (folder / name).touch()
    (folder / "tunekit.toml").write_bytes(data)
    tried(lambda: declared(folder), DeclarationError)
    (folder / "tunekit.toml").write_text('[project]\nname = "p"\n[dataset.a]\nsource = "path:a.jsonl"\n')
    (folder / "targets").mkdir(exist_ok=True)
    (folder / "targets" / "x.toml").write_bytes(data)
    tried(lambda: declared(folder), DeclarationError)
    (folder / "targets" / "x.toml").unlink()


@many
@given(text=st.text() | st.sampled_from([t.decode(errors="replace") for t in TOML]), value=st.text())
def test_overrides(folder, text, value):
    (folder / "a.jsonl").touch()
    (folder / "tunekit.toml").write_text('[project]\nname = "p"\n[dataset.a]\nsource = "path:a.jsonl"\n')
    for override in (text, f"dataset:a.{value}", f"dataset:a.limit={value}", f"dataset:a.{value}={text[:200]}"):
        problems = Problems()
        tried(lambda override=override, p=problems: build_graph(load(folder, [override], p), p),
              (UsageError, DeclarationError))  # fmt: skip


@many
@given(data=soup([(ROOT / "tunekit.lock").read_bytes()]))
def test_lock(folder, data):
    """What is read can be written, and is read again as the same."""
    path = folder / "tunekit.lock"
    path.write_bytes(data)
    lock = tried(lambda: load_lock(path), TunekitError)
    if lock is not None:
        path.write_text(dump_lock(lock), encoding="utf-8")
        assert load_lock(path) == lock


@pytest.mark.parametrize("place", [3, *(pytest.param(n, marks=pytest.mark.long) for n in (0, 1, 2, 4, 5, 6, 7))])
def test_every_byte_of_a_lock(folder, place):
    """No single flipped bit gives another pin: it is refused, or it is in a name, a version, or white space."""
    good = (ROOT / "tunekit.lock").read_bytes()
    path = folder / "tunekit.lock"
    path.write_bytes(good)
    before = load_lock(path)
    for at in range(place, len(good), 8):
        path.write_bytes(good[:at] + bytes([good[at] ^ (1 << (at % 7))]) + good[at + 1 :])
        lock = tried(lambda: load_lock(path), TunekitError)
        if lock is None:
            continue
        for source, block in lock.sources.items():
            if source in before.sources:
                assert (block.tree, block.files) == (before.sources[source].tree, before.sources[source].files), at


@many
@given(data=soup(CODE))
def test_code_that_is_only_read(folder, data):
    found = tried(lambda: read_method(data, "m.py"), ())
    assert isinstance(found, Method) or all(flaw.message for flaw in found)
    (folder / "m.py").write_bytes(data)
    files, _ = tried(lambda: closure(folder, "m.py"), DeclarationError) or (["m.py"], [])
    assert files[0] == "m.py"


FIELDS = {
    "source": '[dataset.a]\nsource = "path:{}"\n',
    "locator": '[dataset.a]\nsource = "{}"\n',
    "map": '[dataset.a]\nsource = "path:a.jsonl"\nmap = "{}.py:f"\n',
    "files": '[dataset.a]\nsource = "path:a.jsonl"\nmap = "m.py:f"\nfiles = ["{}"]\n',
    "include": '[project]\nname = "p"\ninclude = ["{}"]\n[dataset.a]\nsource = "path:a.jsonl"\n',
    "method": '[dataset.a]\nsource = "path:a.jsonl"\n[run.x]\nmethod = "{}.py"\nmodel = "model:m"\ndata = []\n',
    "recipe": '[dataset.a]\nsource = "path:a.jsonl"\n[run.x]\nrecipe = "{}"\nmodel = "model:m"\ndata = []\n',
    "template": '[dataset.a]\nsource = "path:a.jsonl"\n[tokenizer.t]\ndata = []\nchat_template = "{}.jinja"\n',
    "name": '[dataset."{}"]\nsource = "path:a.jsonl"\n',
    "default": '[project]\nname = "p"\ndefault = ["{}"]\n[dataset.a]\nsource = "path:a.jsonl"\n',
}
NAMES = [
    "", " ", ".", "..", "/", "//", "~", "~root", "$HOME", "%s", "{}", "-", "--help", "*", "**", "**/*", "***", "[",
    "[!", "[]", "a\\u0000b", "a\\nb", "a\\tb", "a\\u001bb", "a\\\\b", "C:\\\\x", "x" * 255, "x" * 256, "x" * 5000,
    "ü" * 200, "a/" * 2100 + "b", "../" * 2000, "a/../../b", "a/../b", "./a", "a//b", "a/.", "a/..", "/proc/self/mem",
    "/dev/zero", "con", "nul", "\u00e9", "e\u0301", "\u202egpj.exe", "\ufeff", "\u2028", "\U0001f600", "sub", "sub/..",
    "loop/loop/loop", "fifo", "a.jsonl/b",
]  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
def test_names_that_files_have_or_cannot_have(tmp_path, field):
    for name in ("a.jsonl", "m.py", "\u00e9", "x" * 255, "e\u0301"):
        (tmp_path / name).write_text("def f(r): return r\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    for name in NAMES:
        text = FIELDS[field].replace("{}", name)
        (tmp_path / "tunekit.toml").write_text(text if "[project]" in text else '[project]\nname = "p"\n' + text)
        tried(lambda: declared(tmp_path), DeclarationError)


@many
@given(text=st.text() | st.from_regex(r"[a-z]+:[\w./@#*?\[\]-]{0,40}"))
def test_labels_and_sources(text):
    tried(lambda: parse_label(text), ())
    tried(lambda: parse_locator(text), SourceError)
