"""What verbs share: a parser with examples, the project they are run in, JSON output."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from tunekit.errors import UsageError
from tunekit.store.store import Store, default_root


class Parser(argparse.ArgumentParser):
    """argparse with our exit code and form for a wrong flag."""

    def error(self, message: str) -> Any:
        raise UsageError(message, hint=f"{self.prog} --help")


class _Help(argparse.RawDescriptionHelpFormatter):
    """argparse makes one for every argument, and asks `shutil` (with its codecs, 5 ms) for the width each time."""

    def __init__(self, prog: str, width: int | None = None) -> None:
        super().__init__(prog, width=width or _columns() - 2)


def _columns() -> int:
    try:
        return int(os.environ.get("COLUMNS", "")) or 80
    except ValueError:
        pass
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


def new_parser(verb: str, what: str, examples: str) -> argparse.ArgumentParser:
    return Parser(
        prog=f"tunekit {verb}",
        description=what,
        epilog="examples:\n" + "\n".join(f"  {line}" for line in examples.strip().splitlines()),
        formatter_class=_Help,
        allow_abbrev=False,
    )


def project_root(args: argparse.Namespace) -> Path:
    from tunekit.manifest.find import find_root

    return find_root(Path(args.folder).absolute())


def open_store() -> Store:
    return Store(default_root()).ensure()


def print_json(verb: str, body: dict[str, Any]) -> None:
    json.dump({"schema": f"tunekit/{verb}/1", **body}, sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")
