"""`tunekit add`: a dataset or a model more in tunekit.toml. The rest of the file stays as it is, byte for byte."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from tunekit.cli.command import new_parser, project_root
from tunekit.errors import DeclarationError, Problems, SourceError, UsageError, nearest
from tunekit.label import NAME, Label


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "add",
        "Add a target to tunekit.toml (or --file). What would not be a valid project is refused; nothing is written.",
        "tunekit add dataset notes path:data/notes.jsonl --format completion\n"
        "tunekit add dataset books pypi:corpus@1.2#data/books.jsonl --set limit=500\n"
        "tunekit add model tiny path:models/tiny --set dtype=bfloat16",
    )
    p.add_argument("kind", choices=["dataset", "model"])
    p.add_argument("name", metavar="NAME")
    p.add_argument("source", metavar="SOURCE")
    p.add_argument(
        "--format",
        default="",
        help="row format of a dataset: auto, chat, completion, … (docs/formats.md)",
    )
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", help="further keys")
    p.add_argument("--file", default="tunekit.toml", help="which TOML file of the project")
    return p


def run(args: argparse.Namespace) -> int:
    root = project_root(args)
    if not NAME.match(args.name):
        hint = "lower-case letters, digits, - and _, at most 64; the first is a letter or a digit"
        raise UsageError(f"`{args.name}` is not a name", slug="bad-name", hint=hint)
    if args.format and args.kind != "dataset":
        raise UsageError("--format is for datasets", hint="tunekit add --help")
    if not args.source.startswith("make:"):
        _check_form(args.source)
    values = {"source": args.source, **({"format": args.format} if args.format else {}), **_settings(args.settings)}
    label = Label(args.kind, args.name)
    path = root / args.file
    _check(root, label, values, args.file)
    text = path.read_bytes().decode() if path.exists() else ""
    _write(path, appended(text, args.kind, args.name, values))
    print(f"{label} added to {args.file}")
    return 0


def _check_form(source: str) -> None:
    """A source that this version cannot read is not added, though it may be declared."""
    from tunekit.sources.locator import parse_locator

    try:
        parse_locator(source)
    except SourceError as e:
        raise UsageError(e.message, slug=e.slug, hint=e.hint) from e


def _settings(pairs: list[str]) -> dict[str, Any]:
    """`key=value` with a TOML value, or else a string."""
    import tomllib

    out: dict[str, Any] = {}
    for pair in pairs:
        key, eq, value = pair.partition("=")
        if not eq or not key.isidentifier():
            raise UsageError(f"--set {pair}: not of the form key=value")
        try:
            out[key] = tomllib.loads(f"v = {value}")["v"]
        except tomllib.TOMLDecodeError:
            out[key] = value
    return out


def _check(root: Path, label: Label, values: dict[str, Any], file: str) -> None:
    """Raises DeclarationError with every problem of the project as it would be."""
    from tunekit import kinds
    from tunekit.manifest.convert import Place, convert
    from tunekit.manifest.project import Target, load
    from tunekit.manifest.scope import build_graph
    from tunekit.manifest.toml import Document

    problems = Problems()
    manifest = load(root, [], problems)
    if problems:
        raise DeclarationError(problems)
    if str(label) in manifest.targets:
        place = manifest.targets[str(label)].place
        at = f"{place.document.name}:{place.document.line(place.path)}"
        raise UsageError(f"{label} is declared already, in {at}", slug="duplicate-target", hint="use another name")
    read = [str(p.relative_to(root)) for p in manifest.files if p.is_relative_to(root)]
    if file not in read and not any(Path(file).match(pattern) for pattern in manifest.settings.include):
        raise UsageError(f"{file} is not a file of this project", slug="unknown-file", hint=nearest(file, read))
    kind = kinds.TARGETS[label.kind]
    place = Place(Document(file, {}, ""), (label.kind, label.name))
    spec = convert(values, kind.spec_type(), place, problems)
    if spec is None:
        raise DeclarationError(problems)
    targets = {**manifest.targets, str(label): Target(label, spec, place, kind)}
    build_graph(manifest._replace(targets=targets), problems)


def appended(text: str, kind: str, name: str, values: dict[str, Any]) -> str:
    """The file with one table more at its end. UsageError `cannot-add` if TOML does not allow it there."""
    import tomllib

    import tomlkit

    beside = tomllib.loads(text).get(kind, {})
    if isinstance(beside, dict) and name in beside:
        raise UsageError(f"[{kind}.{name}] cannot stand here twice", slug="cannot-add", hint="choose another name")
    table = tomlkit.table()
    for key, value in values.items():
        table.add(key, value)
    parent = tomlkit.table(is_super_table=True)
    parent.add(name, table)
    document = tomlkit.document()
    document.add(kind, parent)
    gap = "" if not text else ("\n" if text.endswith("\n") else "\n\n")
    out = text + gap + tomlkit.dumps(document)
    try:
        found = tomllib.loads(out)[kind][name]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as e:
        message = f"[{kind}.{name}] cannot stand at the end of this file: {e}"
        raise UsageError(message, slug="cannot-add", hint=f"write `{kind}` as [{kind}.<name>] tables") from e
    assert found == values
    return out


def _write(path: Path, text: str) -> None:
    """The whole file at once: an editor or a build never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    spare = path.with_name(f".{path.name}.{os.getpid()}")
    spare.write_bytes(text.encode())
    if path.exists():
        os.chmod(spare, path.stat().st_mode & 0o777)
    os.replace(spare, path)
