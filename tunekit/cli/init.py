"""`tunekit init`: a new project that builds as it stands."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from tunekit.cli.command import new_parser
from tunekit.errors import UsageError

_TEMPLATE = Path(__file__).parent / "template"
# template → where it goes
_FILES = {
    "tunekit.toml": "tunekit.toml",
    "rows.py": "rows.py",
    "data/notes.jsonl": "data/notes.jsonl",
    "gitignore.txt": ".gitignore",
    "README.md": "README.md",
}
_NAMED = ("tunekit.toml", "README.md")  # with the project's name filled in


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "init",
        "Make a project that builds in about a minute on a CPU with nothing downloaded: a dataset, a vocabulary,\n"
        "a small new model, a training run and an eval. Its folder is trusted. No file is overwritten.",
        "tunekit init my-project && cd my-project && tunekit build\ntunekit init --recipe dpo-lora prefer",
    )
    p.add_argument("target", nargs="?", default=".", metavar="DIR")
    p.add_argument(
        "--recipe", metavar="NAME", help="a run by this recipe, too, small enough for a CPU; `list` names them"
    )
    return p


def run(args: argparse.Namespace) -> int:
    from tunekit.build import trust
    from tunekit.cli import started

    if args.recipe == "list":
        print(*started.recipes(), sep="\n")
        return 0
    more, label = started.section(args.recipe) if args.recipe else ("", "")
    root = Path(args.folder, args.target).absolute()
    taken = [name for name in _FILES.values() if (root / name).exists() and name != ".gitignore"]
    if taken:
        hint = "tunekit add dataset NAME SOURCE" if "tunekit.toml" in taken else "name a new folder"
        raise UsageError(f"{root} has {', '.join(taken)} already", slug="not-empty", hint=hint)
    name = _name_of(root)
    for source, target in _FILES.items():
        text = (_TEMPLATE / source).read_text(encoding="utf-8")
        _write(root / target, text.format(name=name) if source in _NAMED else text)
    if more:
        (root / "made.py").write_text((_TEMPLATE / "made.py").read_text(encoding="utf-8"), encoding="utf-8")
        with (root / "tunekit.toml").open("a", encoding="utf-8") as file:
            file.write(more)
    trust.trust_folder(root)
    print(f"{root}: a project that builds; its code is trusted")
    print("next: " + (f"cd {args.target} && " if args.target != "." else "") + f"tunekit build {label}".rstrip())
    return 0


def _name_of(root: Path) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", root.resolve().name.lower()).strip("-_") or "project"


def _write(path: Path, text: str) -> None:
    """A new file; a .gitignore that is there gets our line if it lacks it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(text, encoding="utf-8")
        return
    old = path.read_text(encoding="utf-8")
    if text.strip() not in old.splitlines():
        path.write_text(old + ("" if old.endswith("\n") or not old else "\n") + text, encoding="utf-8")
