"""Targets to actions: the scope that every room's `derive` talks to, and the graph that comes out."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

from tunekit import pickled
from tunekit.derive import Action, Edge, Policy
from tunekit.errors import DeclarationError, Problem, SourceError, nearest
from tunekit.foreign import CODE_BYTES, Unfit, inside, python_of, read_plain
from tunekit.forms import AUTO, form_of
from tunekit.graph import Graph, ordered, stamp
from tunekit.inside import in_project, is_outside
from tunekit.kinds import kind_of
from tunekit.label import Label, parse_label
from tunekit.manifest.convert import Place
from tunekit.manifest.project import Manifest, Target
from tunekit.sources.files import files_of_path
from tunekit.sources.locator import parse_locator, used_as
from tunekit.spec import Spec, plain
from tunekit.usercode import split_path

_NOWHERE = Edge("")
_MODEL_ROLES = ("model", "run", "merge")


class ProjectScope:
    """The Scope of a manifest. `current` is the target being derived: problems are reported at its keys."""

    def __init__(self, manifest: Manifest, problems: list[Problem]) -> None:
        self.manifest = manifest
        self.problems = problems
        self.actions: dict[str, Action] = {}
        self.code_files: dict[str, Path] = {}
        self.current: Target | None = None
        self._policies: list[str] = []
        self._functions: set[tuple[str, str]] = set()  # found to be there: 10,000 targets may share one
        self._wrong: dict[str, SourceError | None] = {}

    # -- what rooms ask for ------------------------------------------------------------------

    def problem(self, slug: str, key: str, message: str, hint: str = "") -> None:
        assert self.current is not None
        self.problems.append(self.current.place.problem(slug, message, key, hint))

    def add(self, action: Action) -> Edge:
        self.actions[action.label] = action
        return Edge(action.label)

    def dataset(self, text: str, key: str) -> Edge:
        found = self._find(text, key, ("dataset",))
        return Edge(str(found.label)) if found else _NOWHERE

    def dataset_format(self, text: str) -> str:
        found = self.manifest.targets.get(text)
        if found is None or found.label.kind != "dataset":
            return AUTO  # that it is not there is said elsewhere
        declared = vars_of(found.spec)
        return form_of(declared["format"], declared["fields"])

    def dataset_setting(self, text: str, name: str) -> Any:
        found = self.manifest.targets.get(text)
        return vars_of(found.spec).get(name) if found and found.label.kind == "dataset" else None

    def tokenizer(self, text: str, key: str) -> Edge:
        found = self._find(text, key, ("tokenizer",))
        return Edge(str(found.label)) if found else _NOWHERE

    def adapter(self, value: Any, key: str) -> Spec | None:
        if isinstance(value, Spec):
            return value
        found = self._find(value, key, ("adapter",))
        return found.spec if found else None

    def policy(self, text: str, key: str, kinds: tuple[str, ...] = ()) -> Policy:
        found = self._find(text, key, kinds or _MODEL_ROLES)
        if found is None:
            return Policy(_NOWHERE, _NOWHERE)
        if str(found.label) in self._policies:  # a cycle: told by the order of the actions, which needs the edge
            return Policy(Edge(str(found.label)), Edge(str(found.label)))
        asking, self.current = self.current, found  # what is wrong in the other target is said of that one
        self._policies.append(str(found.label))
        try:
            got: Policy = found.kind.spec().policy(found.label, found.spec, self)
        finally:
            self._policies.pop()
            self.current = asking
        if got.judges:
            hint = "name the policy that it was trained from, or another one"
            self.problem("not-a-policy", key, f"{text} says {got.judges} of a text and writes none", hint)
        label = parse_label(text)
        return _with_output(got, label.output, str(found.label)) if label and label.output else got

    def inherited(self, key: str) -> bool:
        return self.current is not None and key in self.current.inherited

    def source(self, label: Label, locator: str, key: str) -> Edge:
        assert self.current is not None
        self.check_source(locator, self.current.place, key)
        if is_outside(locator) and not vars_of(self.current.spec).get("pin"):
            hint = "copy the files into the project, or say `pin = true`: the lock then holds their digests"
            self.problem("path-outside-project", key, f"`{locator}` leaves the project", hint)
        if label.kind == "model" and (found := _pickled(locator, self.manifest.root)):
            self.problem(pickled.SLUG, key, pickled.message(f"`{locator}`", found), pickled.HINT)
        step = str(Label(label.kind, label.name, step="fetch"))
        pinned = used_as(locator, label.kind)
        return self.add(Action(step, "fetch", {"source": pinned}, {}, source=pinned))

    def code(self, text: str, key: str) -> str:
        file, function = split_path(text)
        if not file:
            self.problem("bad-code-path", key, f"`{text}` is not of the form `file.py:function`")
            return ""
        path = self._inside(file, key)
        if path is not None and (file, function) not in self._functions:
            self._has_function(path, file, function, key)
        return file

    def file(self, path: str, key: str) -> str:
        self._inside(path, key)
        return path

    def text(self, path: str, key: str) -> str:
        found = self._inside(path, key)
        if found is None:
            return ""
        self.code_files[path] = found  # so that the graph is made again when the file changes
        try:
            return found.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            self.problem("unreadable-file", key, f"`{path}` is not a text file: {e}")
            return ""

    # -- behind it ---------------------------------------------------------------------------

    def _find(self, text: Any, key: str, allowed: tuple[str, ...]) -> Target | None:
        label = parse_label(text) if isinstance(text, str) else None
        targets = self.manifest.targets
        if label is None:
            example = f"{allowed[0]}:name"
            self.problem("bad-label", key, f"`{text}` is not a label", f"labels look like `{example}`")
        elif label.kind not in allowed:
            self.problem("wrong-kind", key, f"`{text}` is a {label.kind}; here stands {' or '.join(allowed)}")
        elif label.target in self.manifest.groups:
            points = self.manifest.groups[label.target]
            message = f"`{text}` has a matrix: it is {len(points)} targets, and here stands one"
            hint = f'name one, like {points[0]}; or `matrix = {{ {key} = ["{text}"] }}`: one of these for each'
            if points:  # else what is wrong with the matrix is said
                self.problem("matrix-label", key, message, hint)
        elif label.target not in targets:
            same = [t for t in targets if t.partition(":")[0] in allowed]
            wrong = any(f"{p.table}.".startswith(f"{label.kind}.{label.name}.") for p in self.problems)
            if not wrong and self.manifest.whole:  # declared, but wrongly (or maybe in a file that is): said once
                self.problem("unknown-label", key, f"there is no `{label.target}`", nearest(label.target, same))
        elif label.step or label.output not in ("", *targets[label.target].kind.outputs):
            outputs = [f"{label.target}@{x}" for x in targets[label.target].kind.outputs]
            what = f"step `#{label.step}`" if label.step else f"output `@{label.output}`"
            hint = "valid: " + ", ".join([label.target, *outputs])
            self.problem("unknown-output", key, f"{what} of {label.target} is not a result to use", hint)
        else:
            return targets[label.target]
        return None

    def check_source(self, locator: str, place: Place, key: str) -> None:
        """A source's form, and whether the files of a `path:` are there."""
        if locator not in self._wrong:
            self._wrong[locator] = _wrong_source(locator, self.manifest.root)
        if (wrong := self._wrong[locator]) is not None:
            self.problems.append(place.problem(wrong.slug, wrong.message, key, wrong.hint))

    def _inside(self, file: str, key: str) -> Path | None:
        if file in self.code_files:
            return self.code_files[file]
        root = self.manifest.root
        path = root / file
        if "\0" in file:
            self.problem("bad-value", key, "no file has a NUL in its name")
        elif Path(file).is_absolute() or not inside(root, path):
            self.problem("path-outside-project", key, f"`{file}` is outside the project", "copy it into the project")
        elif not os.path.isfile(path):
            names = _beside(path, root)
            self.problem("missing-file", key, f"`{file}` does not exist", nearest(file, names) if names else "")
        else:
            self.code_files[file] = path
            return path
        return None

    def _has_function(self, path: Path, file: str, function: str, key: str) -> None:
        try:
            tree = python_of(read_plain(path, CODE_BYTES), file)
        except Unfit as e:
            self.problem("bad-code", key, f"{file} {e}")
            return
        except SyntaxError as e:
            self.problem("bad-code", key, f"{file}:{e.lineno} is not Python: {e.msg}")
            return
        names = [n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
        imported = [a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names]
        assigned = [t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)]
        if function not in names + imported + assigned:
            self.problem("missing-function", key, f"{file} has no function `{function}`", nearest(function, names))
        else:
            self._functions.add((file, function))


def vars_of(spec: Spec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in type(spec).__struct_fields__}


def _with_output(got: Policy, output: str, label: str) -> Policy:
    """`run:x@best`: the same policy, with that output of the run."""
    if got.adapter and got.adapter.action == label:
        return got._replace(adapter=Edge(label, output))
    return got._replace(base=Edge(label, output)) if got.base.action == label else got


def _wrong_source(locator: str, root: Path) -> SourceError | None:
    try:
        parse_locator(locator)
        if in_project(locator):  # others may be elsewhere than here: they are looked for when they are locked
            files_of_path(locator, root)
    except SourceError as e:
        return e
    return None


def _pickled(locator: str, root: Path) -> list[str]:
    """Pickled weights that a model's source names, as far as is known without resolving it."""
    try:
        parsed = parse_locator(locator)
        named = parsed.fragment or (locator if "://" in locator else "")
        names = [n for n, _ in files_of_path(locator, root)] if parsed.scheme == "path" else [named]
    except SourceError:  # said already
        return []
    return pickled.pickled_weights(names)


def _cycle_problem(cycle: list[str], targets: dict[str, Target]) -> Problem:
    """At the key of the cycle's first target that names another of its targets (or itself)."""
    names = {label.partition("#")[0] for label in cycle}
    target = targets[cycle[0].partition("#")[0]]
    said = (key for key, value in plain(target.spec).items() if _names_one(value, names))
    message = "targets need each other: " + " → ".join(cycle)
    return target.place.problem("cycle", message, next(said, ""), "one of these must not use the next")


def _names_one(value: Any, names: set[str]) -> bool:
    """Whether one of the labels stands anywhere in a field."""
    if isinstance(value, (dict, list)):
        return any(_names_one(v, names) for v in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and value.partition("@")[0] in names


def _beside(path: Path, root: Path) -> list[str]:
    """Files in the folder of a path, if that is one of the project."""
    folder = path.parent
    if not (os.path.isdir(folder) and inside(root, folder) and ".." not in folder.parts):
        return []
    return [os.path.relpath(p, root) for p in folder.iterdir() if p.is_file()]


def build_graph(manifest: Manifest, problems: list[Problem]) -> tuple[Graph, list[Path]]:
    """The graph, and the code files that it was checked against. Raises DeclarationError with *all* problems."""
    scope = ProjectScope(manifest, problems)
    targets: dict[str, str] = {}
    for text, target in manifest.targets.items():
        if target.label.kind == "adapter":
            continue
        scope.current = target
        target.kind.spec().derive(target.label, target.spec, scope)
        targets[text] = text
    for source, place in manifest.sources:
        if not source.startswith("make:"):
            scope.check_source(source, place, "source")
    actions, cycle = ordered(scope.actions)
    rest = scope.actions
    while cycle:
        problems.append(_cycle_problem(cycle, manifest.targets))
        rest = {label: action for label, action in rest.items() if label not in cycle}
        cycle = ordered(rest)[1]
    if problems:
        raise DeclarationError(list(dict.fromkeys(problems)))
    if manifest.settings.environment == "strict":
        actions = {label: _strict(action) for label, action in actions.items()}
    versions = {a.kind: kind_of(a.kind).version for a in actions.values()}
    stamped = {label: a._replace(stamp=stamp(a, versions[a.kind])) for label, a in actions.items()}
    graph = Graph.of(stamped, targets, versions)
    groups = manifest.groups
    default = [x for text in manifest.settings.default for x in groups.get(text, [text])] or _ends(graph)
    recipes = {t.recipe: manifest.recipes[t.recipe].document.values for t in manifest.targets.values() if t.recipe}
    asked = sorted({*manifest.settings.pass_env})
    whole = graph._replace(default=default, pass_env=asked, recipes=recipes, profiles=manifest.profiles)
    whole = whole._replace(groups=groups)
    return whole, [*manifest.code, *scope.code_files.values()]


def _strict(action: Action) -> Action:
    """With its numeric settings in the key. Defaults are left out, as everywhere."""
    return action._replace(fields=action.fields | action.numeric, numeric={})


def _ends(graph: Graph) -> list[str]:
    """Targets that nothing else reads."""
    users = graph.users()
    return [label for label in graph.targets if not any(u.partition("#")[0] != label for u in users[label])]
