"""The project as declared: settings, and every target of every TOML file as a typed spec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from tunekit import kinds, variables
from tunekit.errors import Problem, UsageError, nearest
from tunekit.foreign import Unfit, toml_of
from tunekit.label import NAME, Label, parse_label
from tunekit.manifest.convert import Place, convert
from tunekit.manifest.find import MANIFEST
from tunekit.manifest.matrix import Groups, Raw, expand
from tunekit.manifest.method import Methods
from tunekit.manifest.profile import read_profiles
from tunekit.manifest.recipe import Recipe, find, load_recipes, merged
from tunekit.manifest.remote import remote_table
from tunekit.manifest.toml import Document, non_finite, read_inside
from tunekit.spec import Spec, operational


class ProjectSettings(Spec, frozen=True, kw_only=True):
    """The `[project]` table."""

    name: Annotated[str, operational("Name of the project.")]
    include: Annotated[list[str], operational("Globs of further TOML files.")] = msgspec.field(
        default_factory=lambda: ["targets/*.toml"]
    )
    default: Annotated[
        list[str], operational("What `tunekit build` builds; empty: everything that nothing else uses.")
    ] = []
    pass_env: Annotated[
        list[str],
        operational("Environment variables (tokens, say) that its actions get besides what every worker gets."),
    ] = []
    environment: Annotated[
        Literal["recorded", "strict"],
        operational("`strict`: numeric settings enter the keys of all targets, too; else the record has them."),
    ] = "recorded"

    def checks(self) -> list[tuple[str, str, str]]:
        hint = "a name, like WANDB_API_KEY: its value comes from your shell and is written nowhere"
        return [
            ("pass_env", f"`{name}` is not the name of a variable", hint)
            for name in self.pass_env
            if not variables.NAME.match(name)
        ]


class Target(NamedTuple):
    """`recipe`: name of the one it uses; `inherited`: keys that come from that and not from the target itself."""

    label: Label
    spec: Spec
    place: Place
    kind: kinds.Kind
    inherited: frozenset[str] = frozenset()
    recipe: str = ""


class Manifest(NamedTuple):
    """`files`: the TOML that was read, `folders`: where more of it would be found, `code`: the methods that were read
    (all of it for the state cache). Where something is wrong: `sources` of targets that have no spec, with their
    places; `whole`: whether every file could be read, so that its labels are known. `groups`: tables with a matrix, and
    the labels of their points."""

    root: Path
    settings: ProjectSettings
    targets: dict[str, Target]
    recipes: dict[str, Recipe]
    files: list[Path]
    folders: list[Path]
    sources: list[tuple[str, Place]]
    whole: bool
    code: list[Path] = []
    profiles: dict[str, str] = {}
    groups: Groups = {}


def load(root: Path, overrides: list[str], problems: list[Problem]) -> Manifest:
    """Read every TOML file of the project. Problems are appended; what could be read is returned."""
    kinds.load_entry_points()
    first = read_inside(root, root / MANIFEST, problems)
    settings = _settings(first, problems) if first else _NO_SETTINGS
    documents, files, folders, whole = _documents(root, first, settings.include, problems)
    recipes = load_recipes(root, problems)
    raw = _tables(documents, problems)
    _override(raw, overrides)
    raw, groups = expand(raw, problems)
    profiles = read_profiles(documents, problems)
    methods = Methods(root)
    targets: dict[str, Target] = {}
    sources: list[tuple[str, Place]] = []
    for label, (values, where) in raw.items():
        target = _target(label, values, where, recipes, methods, problems)
        if target is not None:
            targets[str(label)] = target
        elif isinstance(values.get("source"), str):
            sources.append((values["source"], where))
    _check_recipes(recipes, methods, problems)
    if first and whole:
        _check_default(settings.default, [*map(str, raw), *groups], Place(first, ("project",)), problems)
    files += [r.path for r in recipes.values()]
    folders += [root / "recipes"]
    problems[:] = list(dict.fromkeys(problems))  # the points of a matrix have most of theirs in common
    return Manifest(root, settings, targets, recipes, files, folders, sources, whole, methods.files, profiles, groups)


_NO_SETTINGS = ProjectSettings(name="")


def _settings(first: Document, problems: list[Problem]) -> ProjectSettings:
    """The `[project]` table. One that is wrong is read as far as it can be, so that the rest is checked as well."""
    table = first.values.get("project")
    if not isinstance(table, dict):
        hint = '[project]\nname = "…"'
        problems.append(Place(first, ()).problem("missing-key", "there is no [project] table", hint=hint))
        return _NO_SETTINGS
    settings = convert(table, ProjectSettings, Place(first, ("project",)), problems)
    if isinstance(settings, ProjectSettings):
        return settings
    include = {"include": table["include"]} if "include" in table else {}
    rest = convert({"name": "", **include}, ProjectSettings, Place(first, ()), [])
    return rest if isinstance(rest, ProjectSettings) else _NO_SETTINGS


def _documents(
    root: Path, first: Document | None, include: list[str], problems: list[Problem]
) -> tuple[list[Document], list[Path], list[Path], bool]:
    """The documents, their files, the folders they were looked for in, and whether all could be read."""
    documents, files, folders, whole = [first] if first else [], [root / MANIFEST], [], first is not None
    place = Place(first or Document(MANIFEST, {}, ""), ("project",))
    for pattern in include:
        if pattern.startswith("/") or ".." in pattern.split("/"):
            message = f"include `{pattern}` leaves the project"
            problems.append(place.problem("path-outside-project", message, "include"))
            continue
        folders.append((root / pattern).parent)
        try:
            paths = sorted(path for path in root.glob(pattern) if path not in files)
        except (ValueError, NotImplementedError, IndexError, OSError, RuntimeError) as e:  # of pathlib, all
            problems.append(place.problem("bad-value", f"include `{pattern}`: {e}", "include"))
            continue
        for path in paths:
            document = read_inside(root, path, problems)
            if document is not None:
                documents.append(document)
                files.append(path)
            else:
                whole = False
    return documents, files, folders, whole


_RESERVED = {"store"}


def _tables(documents: list[Document], problems: list[Problem]) -> Raw:
    """Every `[kind.name]` table, once."""
    raw: Raw = {}
    for document in documents:
        for kind, tables in document.values.items():
            top = Place(document, (kind,))
            if kind in ("project", "environment"):
                continue
            if kind == "remote":
                if document is documents[0]:
                    remote_table(document, problems)
                else:
                    hint = f"say it once, in {MANIFEST}"
                    problems.append(top.problem("wrong-place", f"[remote] stands in {MANIFEST} only", hint=hint))
                continue
            if kind in _RESERVED:
                message = f"[{kind}] is kept for a later version: nothing reads it yet"
                problems.append(top.problem("table-not-yet", message, hint="remove it: it has no effect"))
                continue
            if kind not in kinds.target_kinds() or not isinstance(tables, dict):
                hint = nearest(kind, [*kinds.target_kinds(), "project"])
                problems.append(top.problem("unknown-kind", f"`{kind}` is not a kind of target", hint=hint))
                continue
            for name, values in tables.items():
                _add(Label(kind, name), values, Place(document, (kind, name)), raw, problems)
    return raw


def _add(label: Label, values: Any, place: Place, raw: Raw, problems: list[Problem]) -> None:
    if not NAME.match(label.name):
        problems.append(
            place.problem(
                "bad-name", f"`{label.name}` is not a name", hint="lower-case letters, digits, - and _, at most 64"
            )
        )
    elif not isinstance(values, dict):
        hint = f"[{label.kind}.<name>] is a table"
        problems.append(place.problem("wrong-type", f"`{label}` is not a table", hint=hint))
    elif label in raw:
        other = raw[label][1]
        at = f"{other.document.name}:{other.document.line(other.path)}"
        problems.append(place.problem("duplicate-target", f"{label} is declared twice", hint=f"the other one: {at}"))
    else:
        raw[label] = (values, place)


def _override(raw: Raw, overrides: list[str]) -> None:
    """`--set run:x.key=value`: the value is TOML, or else a string."""
    import tomllib

    for text in overrides:
        where, eq, value = text.partition("=")
        target, _, path = where.rpartition(".") if where.count(".") == 1 else where.partition(".")
        label = parse_label(target)
        if not eq or label is None or not path:
            raise UsageError(f"--set {text}: not of the form run:x.key=value")
        if label not in raw:
            raise UsageError(f"--set {text}: there is no {label}", hint=nearest(str(label), [str(x) for x in raw]))
        try:
            parsed = toml_of(f"v = {value}".encode())["v"]
        except Unfit as e:
            raise UsageError(f"--set {where}: it {e}", slug="bad-value") from None
        except (tomllib.TOMLDecodeError, KeyError):
            parsed = value
        if non_finite(parsed):
            raise UsageError(f"--set {text}: inf and nan are not settings", slug="non-finite")
        values, place = raw[label]
        for key in reversed(path.split(".")):
            parsed = {key: parsed}
        raw[label] = (merged(values, parsed), place)


def _check_default(default: list[str], known: list[str], place: Place, problems: list[Problem]) -> None:
    for text in default:
        label = parse_label(text)
        if label is None or label.target not in known:
            hint = nearest(text, known)
            problems.append(place.problem("unknown-label", f"there is no `{text}`", "default", hint))


def _target(
    label: Label,
    values: dict[str, Any],
    place: Place,
    recipes: dict[str, Recipe],
    methods: Methods,
    problems: list[Problem],
) -> Target | None:
    inherited, name = frozenset[str](), ""
    if label.kind != "run":
        kind = kinds.TARGETS[label.kind]
        struct = kind.spec_type()
    else:
        if "recipe" in values:
            recipe = find(values["recipe"], recipes, place, problems)
            rest = {k: v for k, v in values.items() if k != "recipe"}
            if recipe is None:
                return None
            inherited, name = frozenset(recipe.document.values) - set(rest), recipe.name
            values = merged(recipe.document.values, rest)
        found = methods.find(values, place, problems)
        if found is None:
            return None
        kind, struct = found
        values = _for_struct(values, kind)
    spec = convert(values, struct, place, problems)
    return Target(label, spec, place, kind, inherited, name) if spec is not None else None


def _for_struct(values: dict[str, Any], kind: kinds.Kind) -> dict[str, Any]:
    """A run's table for its struct: the file of a project's method is in its kind, and its struct has the base's."""
    return {k: v for k, v in values.items() if not (kind.file and k == "method")}


def _check_recipes(recipes: dict[str, Recipe], methods: Methods, problems: list[Problem]) -> None:
    """A recipe is checked whether a target uses it or not: known keys with right types, nothing required."""
    from tunekit.spec import fields_of

    for recipe in recipes.values():
        place = Place(recipe.document, ())
        method = methods.find(recipe.document.values, place, problems)
        if method is None:
            continue
        kind, spec_type = method
        required = {n for n, i in fields_of(spec_type).items() if i.required}
        found: list[Problem] = []
        convert(_for_struct(recipe.document.values, kind), spec_type, place, found)
        problems.extend(
            p for p in found if not (p.slug == "missing-key" and any(f"`{n}`" in p.message for n in required))
        )
