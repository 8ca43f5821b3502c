"""What counts once an action has ended well: the attempt that it made, or another one of its key."""

from __future__ import annotations

from typing import Any, NamedTuple

from tunekit.build.agreement import agreement, agrees
from tunekit.build.finish import early
from tunekit.errors import LockError
from tunekit.lockfile import ResultBlock
from tunekit.plan.planner import Planner
from tunekit.store import records


class Outcome(NamedTuple):
    """`record`: the result. `warning`: `(slug, message)` where a person should know more; empty slug: nothing."""

    record: dict[str, Any]
    warning: tuple[str, str] = ("", "")


def outcome(planner: Planner, made: dict[str, Any], selected: dict[str, Any]) -> Outcome:
    """`made` was published, and `selected` is the store's record of its key. LockError `result-differs` if the lock
    promotes a result that is lost, and these are other bytes."""
    name = made["attempt"]
    promoted = planner.results.promoted(made["key"])
    if promoted is not None:
        return _held_to(planner, made, promoted)
    if selected["attempt"] != name and not _present(planner, selected):  # its own bytes were sealed just now
        records.select(planner.store, made)  # the first result's objects are lost, and these are other bytes
        return Outcome(
            made, ("other-bytes", f"its result was lost, and it came out differently: attempt {name} counts now")
        )
    if early(selected) and not early(made):
        records.select(planner.store, made)  # trained in full (`--force`): it counts from now on
        return Outcome(made)
    return Outcome(selected, _another(selected, made))


def _held_to(planner: Planner, made: dict[str, Any], promoted: ResultBlock) -> Outcome:
    """The promoted result, if its bytes are there (made just now, maybe)."""
    found = planner.results.record(made["key"])
    if found is not None and _present(planner, found):
        return Outcome(found, _another(found, made))
    raise LockError(
        f"{promoted.label}: tunekit.lock promotes attempt {promoted.attempt}, whose bytes are not here; attempt "
        f"{made['attempt']} was made and kept, with {agrees(promoted, made)}",
        slug="result-differs",
        hint=f"tunekit promote {promoted.label} --attempt {made['attempt']}   (or get the promoted bytes)",
    )


def _another(result: dict[str, Any], made: dict[str, Any]) -> tuple[str, str]:
    """An attempt beside the result."""
    if result["attempt"] == made["attempt"] or result["outputs"] == made["outputs"]:
        return ("", "")
    name, kept = made["attempt"], result["attempt"]
    message = f"attempt {name} gave {agreement(result, made)}; the result stays attempt {kept}"
    return ("another-attempt", f"{message} (tunekit promote {made['label']} --attempt {name})")


def _present(planner: Planner, record: dict[str, Any]) -> bool:
    return all([planner.presence.present(tree) for tree in record["outputs"].values()])
