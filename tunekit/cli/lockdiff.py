"""`tunekit lock diff`: what changed in the lock, in words, before anything is rebuilt. Writes nothing."""

from __future__ import annotations

import argparse

from tunekit.cli.command import print_json
from tunekit.errors import UsageError


def diff(args: argparse.Namespace, words: list[str]) -> int:
    from tunekit.build.lockdiff import lock_difference
    from tunekit.build.revision import lock_of
    from tunekit.cli.reading import read_planner
    from tunekit.report.contents import Made
    from tunekit.report.lockdiff import difference_json, difference_lines

    if len(words) > 1 or args.check or args.offline or args.upgrade is not None:
        raise UsageError("`lock diff` takes one revision or file", hint="tunekit lock diff HEAD~1")
    planner = read_planner(args)
    old, name = lock_of(planner.inputs.root, words[0] if words else "HEAD")
    found, made = lock_difference(old, planner.inputs.lock), Made(planner)
    if args.json:
        print_json("lock-diff", {"against": name, "same": not found, **difference_json(found, made)})
        return 0
    print(f"tunekit.lock against {name}:{'' if found else ' no difference'}")
    for line in difference_lines(found, made):
        print(f"  {line}")
    return 0
