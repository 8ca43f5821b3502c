"""DVC and Snakemake on the same graph, interleaved with tunekit. Their results are made without them, since a first
`dvc repro` of 1,000 stages takes most of an hour; that each calls all of it up to date is checked before timing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import graphs
import prebuilt
from timing import TUNEKIT, Figure, Project, median

from tunekit.store.store import Store


class Peer(NamedTuple):
    """A tool in its project: what it is called with to build and to say what is stale."""

    name: str
    project: Project
    build: list[str]
    status: list[str]


def table(base: Path, n: int, runs: int) -> str:
    """No-op, status and a rebuild of ten stages at n stages: one row a tool and a case."""
    found = [peer for peer in (_tunekit(base, n), _dvc(base, n), _snakemake(base, n)) if peer]
    out = [f"\n| {n} stages | tool | wall | CPU | times tunekit |", "|---|---|---|---|---|"]
    cases: list[tuple[str, Callable[[Peer], list[str]], bool, int]] = [
        ("no-op build", lambda p: p.build, False, runs),
        ("status", lambda p: p.status, False, runs),
        ("build, one source changed: 10 stages run", lambda p: p.build, True, min(runs, 3)),
    ]
    for what, command, edit, times in cases:
        took: dict[str, list[Figure]] = {peer.name: [] for peer in found}
        for _ in range(times):
            for peer in found:
                os.chdir(peer.project.root)
                if edit:
                    peer.project.edit()
                took[peer.name].append(peer.project.once(command(peer))[0])
        ours = median(took["tunekit"]).wall
        for name, figures in took.items():
            mid = median(figures)
            out.append(f"| {what} | {name} | {mid.wall:.3f} s | {mid.cpu:.3f} s | {mid.wall / ours:.1f} |")
    return "\n".join(out)


def _tunekit(base: Path, n: int) -> Peer:
    project = Project(base / "peer-tunekit", n)
    os.environ["TUNEKIT_STORE"] = str(project.store)
    prebuilt.prebuild(project.root, Store(project.store).ensure())
    os.chdir(project.root)
    project.once([*TUNEKIT, "build"])
    return Peer("tunekit", project, [*TUNEKIT, "build"], [*TUNEKIT, "status"])


def _dvc(base: Path, n: int) -> Peer | None:
    found = _prepared(base, n, "dvc", graphs.dvc)
    if found is None:
        return None
    tool, project = found
    project.once(["/usr/bin/env", "git", "init", "-q"])
    project.once([tool, "init", "-q"])
    project.once([tool, "commit", "-f", "-q"])
    _, said = project.once([tool, "status"])
    assert "up to date" in said, said[-500:]
    return Peer("dvc", project, [tool, "repro", "-q"], [tool, "status", "-q"])


def _snakemake(base: Path, n: int) -> Peer | None:
    found = _prepared(base, n, "snakemake", graphs.snakemake)
    if found is None:
        return None
    tool, project = found
    project.once([tool, "-c2", "-q", "all", "--touch", "all"])
    _, said = project.once([tool, "-n", "all"])
    assert "Nothing to be done" in said, said[-500:]
    return Peer("snakemake", project, [tool, "-c2", "-q", "all"], [tool, "-n", "-q", "all"])


def _prepared(base: Path, n: int, name: str, generate: Callable[[Path, int], None]) -> tuple[str, Project] | None:
    """The tool, and its project with the outputs of all stages; None where it is not installed."""
    tool = os.environ.get(name.upper()) or shutil.which(name)
    if not tool:
        print(f"{name} is not installed: no ratio is claimed")
        return None
    project = Project(base / f"peer-{name}", n, generate)
    project.env["PATH"] = f"{Path(tool).parent}:{os.environ['PATH']}"
    os.chdir(project.root)
    _outputs(project.root, n)
    return tool, project


def _outputs(root: Path, n: int) -> None:
    """What the stages would write, in their order."""
    (root / "out").mkdir(exist_ok=True)
    for _, before, after, number in graphs.stages(n):
        row = json.loads((root / before).read_text())
        (root / after).write_text(json.dumps({"text": f"{row['text']} {number}"}) + "\n")
