"""`tunekit log`: what an action printed."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tunekit.cli.command import new_parser
from tunekit.cli.reading import Found, chosen, find, read_planner, record_of
from tunekit.errors import StoreError, UsageError
from tunekit.store import leases

_PAUSE = 0.2


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "log",
        "The log of an action: of the attempt that runs or failed, else of its newest result.",
        "tunekit log run:sft\ntunekit log run:sft -f\ntunekit log run:sft --attempt 20261124T05",
    )
    p.add_argument("label", metavar="LABEL")
    p.add_argument("-f", "--follow", action="store_true", help="keep printing while the action runs")
    p.add_argument("--attempt", default="", help="(beginning of) an attempt's name or of a key")
    return p


def run(args: argparse.Namespace) -> int:
    found = find(read_planner(args), args.label)
    store = found.planner.store
    if not args.attempt and found.node.key:
        unfinished = store.staging(found.node.key) / "log.txt"
        if unfinished.is_file():
            goes_on = (lambda: leases.held(store, found.node.key)) if args.follow else None
            _print(unfinished, goes_on)
            return 0
    print(_published(found, args.attempt), end="")
    return 0


def _published(found: Found, attempt: str) -> str:
    record = chosen(found, attempt) if attempt else record_of(found)
    if record is None:
        raise UsageError(f"{found.label} never ran", slug="not-built", hint=f"tunekit build {found.label}")
    if not record["log"]:
        print(f"{found.label} printed nothing", file=sys.stderr)
        return ""
    try:
        return found.planner.store.object(record["log"]).read_text(errors="replace")
    except FileNotFoundError:
        raise StoreError(f"the log of {found.label} is not in the store any more", slug="missing-log") from None


def _print(path: Path, goes_on: Callable[[], bool] | None) -> None:
    """Copy the log to stdout; with `goes_on`, as long as that says so."""
    with open(path, errors="replace") as log:
        while True:
            running = goes_on is not None and goes_on()  # before reading: what comes after is in the next round
            while block := log.read(1 << 16):
                sys.stdout.write(block)
            sys.stdout.flush()
            if not running:
                return
            time.sleep(_PAUSE)
