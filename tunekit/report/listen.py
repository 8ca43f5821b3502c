"""Who listens to a build: JSON lines, plain lines, or (on a terminal) a live view."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from tunekit.build.builder import Listener


@contextlib.contextmanager
def listener(*, as_json: bool) -> Iterator[Listener]:
    if as_json:
        yield _print
    elif sys.stdout.isatty():
        from tunekit.report.live import LiveView

        with LiveView() as view:
            yield view.take
    else:
        from tunekit.report.lines import Lines

        yield Lines().take


def _print(event: dict[str, Any]) -> None:
    said = {"schema": "tunekit/build/1", **event}
    if event["type"] == "end":
        record = {k: v for k, v in event["record"].items() if k != "made"}  # the store's own list of parts
        said["record"] = record or None  # of a source that was there already
    print(json.dumps(said, ensure_ascii=False), flush=True)
