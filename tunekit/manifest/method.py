"""The methods in reach of a project: the registered ones, and files of its own (`method = "methods/mine.py"`)."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any, NamedTuple

from tunekit import kinds
from tunekit.errors import Problem, nearest
from tunekit.foreign import CODE_BYTES, Unfit, inside, python_of, read_plain
from tunekit.manifest.convert import Place
from tunekit.manifest.literal import Declared, Flaw, read_spec
from tunekit.spec import Spec

_RUN = "define `def run(request, events):` at the top of the file; it returns role → directory"


class Method(NamedTuple):
    """`struct`: its settings, as a run declares them."""

    kind: kinds.Kind
    struct: type[Spec]


class Methods:
    """Finds the method of a table. A file is read once, and what is wrong in it is said once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[str, Method | None] = {}
        self.files: list[Path] = []

    def find(self, table: dict[str, Any], place: Place, problems: list[Problem]) -> Method | None:
        """The method that a table names, or None with the problems appended."""
        name = table.get("method")
        if isinstance(name, str) and name.endswith(".py"):
            file = os.path.normpath(name)
            if file not in self._read:
                self._read[file] = self._of_file(file, place, problems)
            return self._read[file]
        kind = kinds.METHODS.get(f"run.{name}")
        if kind is not None:
            return Method(kind, kind.spec_type())
        message = f"unknown method `{name}`" if name else "`method` is missing"
        slug, key = ("unknown-method", "method") if name else ("missing-key", "")
        known = [kind.removeprefix("run.") for kind in kinds.METHODS]
        problems.append(place.problem(slug, message, key, nearest(str(name), known)))
        return None

    def _of_file(self, file: str, place: Place, problems: list[Problem]) -> Method | None:
        path = self._root / file
        try:
            if not inside(self._root, path):
                message, hint = f"`{file}` is outside the project", "copy it into the project"
                problems.append(place.problem("path-outside-project", message, "method", hint))
                return None
            source = read_plain(path, CODE_BYTES)
        except Unfit as e:
            problems.append(place.problem("bad-code", f"`{file}` {e}", "method"))
            return None
        except (OSError, ValueError):
            beside = [*self._root.glob("*.py"), *self._root.glob("[!.]*/*.py")]
            known = [str(p.relative_to(self._root)) for p in beside]
            hint = nearest(file, known) if known else "it is a path in the project"
            problems.append(place.problem("missing-file", f"`{file}` does not exist", "method", hint))
            return None
        self.files.append(path)
        found = read_method(source, file)
        if isinstance(found, Method):
            return found
        problems += [Problem(f.slug, f"{file}: {f.message}", file, f.line, "", f.key, f.hint) for f in found]
        return None


def read_method(source: bytes, file: str) -> Method | list[Flaw]:
    """The method in a file's bytes, read and never run; or everything that is wrong with it."""
    try:
        return _read(python_of(source, file), file)
    except SyntaxError as e:
        return [Flaw("bad-code", f"not Python: {e.msg}", e.lineno or 0)]
    except (ValueError, RecursionError) as e:
        return [Flaw("bad-code", f"not Python that can be read: {e}", 0)]


def _read(tree: ast.Module, file: str) -> Method | list[Flaw]:
    kind_by_base = {f"{k.room}.spec.{k.struct}": k for k in (kinds.ROWS, *kinds.METHODS.values())}
    bases = {full: kind.spec_type() for full, kind in kind_by_base.items()}
    declared = read_spec(tree, bases, {"FILE": file})
    flaws = _run_of(tree) + (declared if isinstance(declared, list) else [])
    if flaws or not isinstance(declared, Declared):
        return flaws
    return Method(kinds.of_file(kind_by_base[declared.base], file), declared.struct)


def _run_of(tree: ast.Module) -> list[Flaw]:
    """Whether the file has a `run` that takes a request and events."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "run":
            args = node.args
            least = len(args.posonlyargs) + len(args.args) - len(args.defaults)
            most = len(args.posonlyargs) + len(args.args)
            needed = [a for a, default in zip(args.kwonlyargs, args.kw_defaults, strict=True) if default is None]
            if needed or least > 2 or (most < 2 and not args.vararg):
                return [Flaw("method-no-run", "`run` does not take (request, events)", node.lineno, "", _RUN)]
            return []
        if isinstance(node, ast.ImportFrom) and "run" in [a.asname or a.name for a in node.names]:
            return []
    return [Flaw("method-no-run", "it has no function `run`", 0, "", _RUN)]
