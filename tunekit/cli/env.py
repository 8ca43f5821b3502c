"""`tunekit env`: the locked environment. The standard library is all it needs: `python -m tunekit env --constraints`
works from a clone in a bare interpreter."""

from __future__ import annotations

import argparse

from tunekit.cli.command import new_parser, print_json, project_root
from tunekit.errors import LockError, UsageError, nearest
from tunekit.lockfile import Environment, load_lock


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "env",
        "Locked against installed versions; or the locked ones as constraints for pip.",
        "tunekit env\npython -m tunekit env --constraints > constraints.txt && pip install -c constraints.txt .",
    )
    p.add_argument("--constraints", action="store_true", help="print `name==version` lines")
    p.add_argument("--profile", default="default", help="which [environment.<name>] of tunekit.lock")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    lock = load_lock(project_root(args) / "tunekit.lock")
    profile = lock.environments.get(args.profile)
    if profile is None:
        if lock.environments:
            hint = nearest(args.profile, list(lock.environments))
            raise UsageError(f"tunekit.lock has no environment `{args.profile}`", slug="unknown-profile", hint=hint)
        raise LockError("tunekit.lock pins no environment", slug="unlocked", hint="tunekit lock")
    if args.constraints:
        for name, version in sorted(profile.packages.items()):
            print(f"{name}=={version}")
        return 0
    return _compare(profile, args)


def _compare(profile: Environment, args: argparse.Namespace) -> int:
    import platform

    from tunekit.plan.inputs import installed

    rows = [("python", profile.python, platform.python_version())]
    rows += [(name, want, installed(name)) for name, want in sorted(profile.packages.items())]
    if args.json:
        body = [{"name": n, "locked": want, "installed": None if have == "-" else have} for n, want, have in rows]
        print_json("env", {"profile": args.profile, "packages": body})
        return 0
    width = max(len(name) for name, _, _ in rows)
    for name, want, have in rows:
        note = "" if have == want else ("  not installed" if have == "-" else f"  installed: {have}")
        print(f"{name:<{width}}  {want}{note}")
    differ = sum(want != have for _, want, have in rows)
    print(f"{differ} of {len(rows)} differ from tunekit.lock" if differ else "as in tunekit.lock")
    return 0
