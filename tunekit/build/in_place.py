"""The files of a `path:` source for a worker that reads them where they lie: a folder of links, and signatures."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from tunekit.errors import ActionError
from tunekit.plan.planner import Node, Planner
from tunekit.plan.state import ABSENT
from tunekit.protocol import Input
from tunekit.sources.files import files_of_path
from tunekit.sources.path import resolve_path


def reading_of(planner: Planner, node: Node) -> dict[str, Any]:
    """How the files are read, their `signatures` when they were hashed, and `files`: name → path."""
    root = planner.inputs.root
    base = os.path.realpath(root) + "/"
    files = {name: str(file) for name, file in files_of_path(node.action.source, root)}
    watch = planner.state.watch
    signatures = {name: watch.get(file.removeprefix(base), ABSENT).rstrip("?") for name, file in files.items()}
    return {**node.action.spec, "signatures": signatures, "files": files}


def files_in_place(planner: Planner, node: Node, digest: str, folder: Path) -> Input:
    """The input, with links to the files in `folder` under the names that they have in the source's digest.

    `signatures` are those that the files had when they were hashed: the worker holds them against what it reads.
    Raises ActionError (`source-changed`) if other files are there now.
    """
    root, state, source = planner.inputs.root, planner.state, node.action.source
    base = os.path.realpath(root) + "/"
    known = resolve_path(source, root, lambda path: state.digests.get(path.removeprefix(base), "sha256:" + "0" * 64))
    if known.tree != digest:
        raise ActionError(f"`{source}` changed while the build looked at it", slug="source-changed", hint="build again")
    shutil.rmtree(folder, ignore_errors=True)
    reading = reading_of(planner, node)
    for name, file in reading.pop("files").items():
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    return Input(str(folder), digest, node.action.kind, node.action.label, reading=reading)
