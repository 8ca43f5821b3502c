"""`tunekit build --summary FILE`: where the page goes, and where its records are."""

from __future__ import annotations

import argparse
from pathlib import Path

from tunekit.cli.command import project_root
from tunekit.errors import UsageError
from tunekit.manifest.remote import chosen_remote, said
from tunekit.report.summary import Summary


def summing(args: argparse.Namespace) -> Summary:
    """The page of this build. UsageError `missing-file` or `cannot-write`, before anything is built."""
    file = Path(args.summary).absolute()
    if not file.parent.is_dir():
        raise UsageError(f"there is no folder {file.parent}", slug="missing-file")
    try:
        file.open("a").close()
    except OSError as e:
        raise UsageError(f"{file} cannot be written: {e.strerror}", slug="cannot-write") from e
    return Summary(file, _link(project_root(args)))


def _link(root: Path) -> str:
    """Where records lie behind a URL that a browser opens; empty where they do not."""
    remote = chosen_remote(root) if said(root) else None
    return f"{remote.url.rstrip('/')}/ac/" if remote and remote.url.startswith(("http://", "https://")) else ""
