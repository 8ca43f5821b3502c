"""`tunekit doctor`: what this machine can run, and what is missing."""

from __future__ import annotations

import argparse
from typing import Any

from tunekit.cli.command import new_parser, print_json


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "doctor",
        "What this machine can run and what is missing: Python, packages, devices, memory, disk, the store, what the\n"
        "operating system must have, each method and feature. Works outside of a project. Imports no training stack,\n"
        "changes nothing, and prints no value of a variable.",
        "tunekit doctor\ntunekit doctor --all\ntunekit doctor --json | jq '.abilities[] | select(.missing != [])'",
    )
    p.add_argument("-a", "--all", action="store_true", help="list the packages, too, that are as they should be")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    found = examined()
    if args.json:
        print_json("doctor", found)
    else:
        from tunekit.report.doctor.lines import doctor_lines

        print("\n".join(doctor_lines(found, every=args.all)))
    return 0


def examined() -> dict[str, Any]:
    """The answer, as JSON values. `ok`: every package of the base and every needed check."""
    import platform

    import tunekit
    from tunekit.plan.estimate.memory import device
    from tunekit.report.doctor import machine
    from tunekit.report.doctor.packages import BASE, abilities, packages
    from tunekit.store.store import default_root

    asked, checks = packages(), machine.checks()
    sound = all(p.ok for p in asked if p.extra == BASE) and all(c.ok for c in checks if c.needed)
    return {
        "ok": sound,
        "tunekit": tunekit.__version__,
        "python": platform.python_version(),
        "packages": [p._asdict() for p in asked],
        "cpu": machine.cpu(),
        "gpus": [g._asdict() for g in machine.gpus()],
        "memory": device()._asdict(),
        "disk": machine.disk(default_root()),
        "checks": [c._asdict() for c in checks],
        "settings": machine.settings(),
        "abilities": [a._asdict() for a in abilities(asked)],
    }
