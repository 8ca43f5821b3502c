"""`tunekit docs`: documentation that comes with the package, and the parts of it that the code itself writes."""

from __future__ import annotations

import argparse
from pathlib import Path

from tunekit.cli.command import new_parser
from tunekit.errors import UsageError, nearest

_FOLDER = Path(__file__).parent / "topics"


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "docs",
        "Documentation in the terminal, as Markdown.",
        "tunekit docs\ntunekit docs toml\ntunekit docs verbs | less",
    )
    p.add_argument("topic", nargs="?", default="start", metavar="TOPIC")
    p.add_argument("--list", action="store_true", help="which topics there are")
    return p


def run(args: argparse.Namespace) -> int:
    if args.list:
        found = topics()
        width = max(map(len, found))
        for name, line in found.items():
            print(f"{name:<{width}}  {line}")
        return 0
    print(text_of(args.topic), end="")
    return 0


def topics() -> dict[str, str]:
    """Topic → its title."""
    written = {p.stem: p.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for p in _FOLDER.glob("*.md")}
    made = {"toml": "every table and key of tunekit.toml", "verbs": "every verb with its flags"}
    return dict(sorted({**written, **made}.items()))


def text_of(topic: str) -> str:
    """The Markdown of a topic. UsageError `unknown-topic`."""
    if topic == "toml":
        from tunekit.report.reference import toml_reference

        return toml_reference()
    if topic == "verbs":
        return _verbs()
    known = topics()
    if topic not in known:
        raise UsageError(f"there is no topic `{topic}`", slug="unknown-topic", hint=nearest(topic, list(known)))
    return (_FOLDER / f"{topic}.md").read_text(encoding="utf-8")


def _verbs() -> str:
    from importlib import import_module

    from tunekit.cli.main import VERBS

    parts = ["# Verbs"]
    for verb, (module, line) in VERBS.items():
        usage = import_module(f"tunekit.cli.{module}").parser().format_help().rstrip()
        parts.append(f"## {verb}: {line}\n\n```text\n{usage}\n```")
    return "\n\n".join(parts) + "\n"
