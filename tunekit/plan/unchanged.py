"""The no-op: is everything that was asked for complete, and has nothing changed since? Stats only, nothing read."""

from __future__ import annotations

import os
from pathlib import Path

from tunekit.plan.state import State, site_signature


def unchanged(root: Path, store: Path, request: list[str], *, drift: bool = True) -> dict[str, str] | None:
    """What was asked for (label → its view), if it was complete when it was last built and *nothing* has changed
    since: no watched file, no object of a result, no link in `out/`. Then there is nothing to plan. Else None.
    `drift=False`: nor does what is installed differ from the lock."""
    state = State.load(root, glance=True)
    done = state.done.get(" ".join(request))
    if done is None or state.changed or state.store != str(store):
        return None
    if not drift and state.packages.get("drift"):
        return None
    base = str(store / "objects") + "/"
    stat = os.stat
    try:
        shown = [state.views[view.rpartition("/")[2]] for view in done.values()]
        for names in (*shown, *state.trees.values()):
            for name, sig in names.items():
                s = stat(base + name)
                if f"{s.st_ino}:{s.st_size}:{s.st_mtime_ns}:{s.st_ctime_ns}" != sig:
                    return None
        for link, view in done.items():
            if os.readlink(root / link) != view:
                return None
    except (OSError, KeyError):
        return None
    return done if state.packages.get("site") == site_signature() else None
