"""Fetch: the files of a pinned source as one artifact."""

from __future__ import annotations

from pathlib import Path

from tunekit.lockfile import SourceBlock
from tunekit.protocol import Events, Request
from tunekit.sources.hub import use_environment
from tunekit.sources.registry import materialise


def run(request: Request, events: Events) -> dict[str, str]:
    """Write the block's files, verified, into `out/main`.

    `request.spec`: `source`, `block` (`SourceBlock.to_json`), `root` (the project), `cache` (directory of
    archives), `offline`, and for a hub `environment` (the user's settings of it). SourceError if the bytes cannot
    be had or are not those of the block.
    """
    spec = request.spec
    block = SourceBlock.from_json(spec["block"])
    use_environment(spec.get("environment", {}))

    def progress(done: int, total: int, unit: str) -> None:
        events.progress(done, total, unit)

    out = Path(request.out) / "main"
    materialise(block, out, root=spec["root"], cache=spec["cache"], offline=spec["offline"], progress=progress)
    if events.shelf is not None:
        for entry in block.files:  # verified as they were written
            events.shelf.hashed(out / entry.path, entry.sha256)
    events.effective(source=block.source, revision=block.revision, files=len(block.files))
    return {"main": "main"}
