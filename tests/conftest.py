"""What every test shares: an isolated store and configuration, and a factory of small projects.

Nothing here may touch the user's own store: `isolated` is automatic.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

# Before anything imports triton (peft and datasets do): without a GPU the kernels run in its interpreter.
os.environ.setdefault("TRITON_INTERPRET", "1")
os.environ["TRACKIO_DIR"] = "trackio"  # as a nursery has it

# A suite that a script starts in the background ignores Ctrl-C, and so would the builds that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH")


class Done(NamedTuple):
    """One call of the command line."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    def one(self, type: str) -> dict[str, Any]:
        """The only event of a type."""
        (found,) = [e for e in self.events if e["type"] == type]
        return found

    @property
    def ran(self) -> list[str]:
        """Labels that a `build --json` executed."""
        return list(self.one("summary")["executed"])


ONE_RUN = """
[dataset.a]
source = "path:a.jsonl"
format = "completion"
[tokenizer.t]
data = ["dataset:a"]
[model.m]
config = { model_type = "llama" }
tokenizer = "tokenizer:t"
[run.x]
method = "sft"
model = "model:m"
data = ["dataset:a"]
"""


class Project:
    """A project in a temporary folder with a store of its own (or a shared one)."""

    def __init__(self, root: Path, store: Path, config: Path) -> None:
        self.root, self.store, self.config = root, store, config
        self.trust = True
        root.mkdir(parents=True, exist_ok=True)

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return file

    def rows(self, path: str, rows: list[dict[str, Any]]) -> Path:
        return self.write(path, "".join(json.dumps(row) + "\n" for row in rows))

    def manifest(self, text: str) -> Path:
        """`tunekit.toml` with a `[project]` table in front, if it has none."""
        text = textwrap.dedent(text)
        return self.write("tunekit.toml", text if "[project]" in text else f'[project]\nname = "p"\n{text}')

    def one_run(self, more: str = "") -> None:
        """`run:x` of method sft on `model:m`, from one row; `more` follows it in the TOML."""
        self.rows("a.jsonl", [{"text": "x"}])
        self.manifest(ONE_RUN + textwrap.dedent(more))

    def environment(self, **more: str) -> dict[str, str]:
        _same_user(self.config)
        env = {k: v for k in KEPT if (v := os.environ.get(k)) is not None}
        env |= {"TUNEKIT_STORE": str(self.store), "TUNEKIT_CONFIG": str(self.config)}
        return env | ({"TUNEKIT_TRUST": "1"} if self.trust else {}) | more

    def run(self, verb: str, *args: str) -> Done:
        """The command line, in this process."""
        from tunekit.cli.main import run

        out, err = io.StringIO(), io.StringIO()
        with self.inside(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([verb, *args, "-C", str(self.root)])
        return Done(code, out.getvalue(), err.getvalue())

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This process with the project's store, configuration and trust."""
        ours = {k: v for k, v in self.environment().items() if k.startswith("TUNEKIT_")}
        before = {k: os.environ.get(k) for k in ("TUNEKIT_STORE", "TUNEKIT_CONFIG", "TUNEKIT_TRUST")}
        try:
            for name in before:
                os.environ.pop(name, None)
            os.environ.update(ours)
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value

    def build(self, *args: str) -> Done:
        return self.run("build", "--json", *args)

    def start(self, verb: str, *args: str, **env: str) -> subprocess.Popen[str]:
        """The command line as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "tunekit", verb, *args],
            cwd=self.root, env=self.environment(**env), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def planner(self, *overrides: str) -> Any:
        from tunekit.plan.project import open_planner
        from tunekit.store.store import Store

        with self.inside():
            return open_planner(self.root, Store(self.store).ensure(), list(overrides))

    def problems(self) -> list[Any]:
        """What is wrong with the declarations; nothing is cached."""
        from tunekit.errors import DeclarationError
        from tunekit.manifest.project import load
        from tunekit.manifest.scope import build_graph

        found: list[Any] = []
        try:
            build_graph(load(self.root, [], found), found)
        except DeclarationError as e:
            return e.problems
        return found

    def plan(self, *labels: str) -> dict[str, Any]:
        """Planned nodes by label; nothing is run."""
        from tunekit.plan.project import wanted

        planner = self.planner()
        return dict(planner.plan(wanted(planner, list(labels))))

    def outputs(self, *labels: str) -> dict[str, dict[str, str] | None]:
        return {label: node.outputs for label, node in self.plan(*labels).items()}

    def forget(self) -> None:
        """Remove the project's state cache (not its history)."""
        import shutil

        shutil.rmtree(self.root / ".tunekit" / "state", ignore_errors=True)


def _same_user(config: Path) -> None:
    """The token by which a state is known as this user's, also where a test calls the planner in this process."""
    config.mkdir(parents=True, exist_ok=True)
    (config / "token").write_text("of the tests")


_TORCH = re.compile(r"^pytestmark = (\[[^]]*?)?pytest\.mark\.torch\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A module that is marked `torch` as a whole is not even imported by `-m 'not torch'`: it runs without torch."""
    if "not torch" not in config.option.markexpr or collection_path.suffix != ".py":
        return None
    return True if _TORCH.search(collection_path.read_text()) else None


MakeProject = Callable[..., Project]


@pytest.fixture(autouse=True, scope="session")
def isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's store or configuration, whatever it forgets to set."""
    place = tmp_path_factory.mktemp("isolated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNEKIT_STORE", str(place / "store"))
        patch.setenv("TUNEKIT_CONFIG", str(place / "config"))
        _same_user(place / "config")
        patch.delenv("TUNEKIT_TRUST", raising=False)
        yield


@pytest.fixture
def make_project(tmp_path: Path) -> MakeProject:
    """`make_project("name", store="shared")`: projects in one temporary folder."""

    def make(name: str = "project", store: str = "store") -> Project:
        return Project(tmp_path / name, tmp_path / store, tmp_path / "config")

    return make


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    return make_project()


@pytest.fixture(scope="module")
def module_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One project for a whole file: for tests that share a build."""
    place = tmp_path_factory.mktemp("shared")
    return Project(place / "project", place / "store", place / "config")
