"""A spec that a file of the project declares, read by `ast`: declaring, planning and locking run no project code.

The declaration is what a built-in method writes, kept to what can be known without running it: one class on top of
the spec of a method, each field `Annotated[type, semantic|numeric|operational("doc", bounds…)] = literal`.
"""

from __future__ import annotations

import ast
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args

import msgspec

from tunekit import spec
from tunekit.spec import FieldInfo, Spec, fields_of

_TYPES: dict[str, Any] = {
    "builtins.bool": bool,
    "builtins.int": int,
    "builtins.float": float,
    "builtins.str": str,
    "tunekit.spec.PositiveInt": spec.PositiveInt,
    "tunekit.spec.PositiveFloat": spec.PositiveFloat,
    "tunekit.spec.Share": spec.Share,
}
_CLASSES = {f"tunekit.spec.{f.__name__}": f for f in (spec.semantic, spec.numeric, spec.operational)}
_BOUNDS = {"ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern"}
_FORM = 'write `name: Annotated[float, semantic("What it does.", ge=0)] = 0.1`'


class Flaw(NamedTuple):
    """What is wrong in the file, and where."""

    slug: str
    message: str
    line: int
    key: str = ""
    hint: str = ""


class Unreadable(Exception):
    """Something that is not known without running the file; the message says what."""


class Declared(NamedTuple):
    """`base`: the key in `bases` of what the class builds on."""

    base: str
    struct: type[Spec]


def read_spec(tree: ast.Module, bases: dict[str, type[Spec]], attributes: dict[str, Any]) -> Declared | list[Flaw]:
    """The one class on top of a base, as a struct. `bases`: full name (`package.module.Class`) → struct;
    `attributes`: what the struct gets as class attributes."""
    names = _names(tree)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    found = [(node, full) for node in classes for b in node.bases if (full := _full(b, names)) in bases]
    if len(found) != 1:
        what = "no class" if not found else "several classes: " + ", ".join(node.name for node, _ in found)
        known = " or ".join(sorted(full.rpartition(".")[2] for full in bases))
        hint = f"declare one class on top of {known}, imported by its name; `tunekit docs methods` has an example"
        line = found[1][0].lineno if found else 0
        return [Flaw("method-no-spec", f"its settings are declared by {what}", line, "", hint)]
    ((node, full),) = found
    fields, flaws = _fields(node, names, bases[full])
    flaws = _header(node) + flaws
    if flaws:
        return flaws
    namespace = {**attributes, "__doc__": ast.get_docstring(node) or ""}
    try:
        struct: Any = msgspec.defstruct(
            node.name, fields, bases=(bases[full],), namespace=namespace, frozen=True, kw_only=True
        )
    except TypeError as e:  # a default that is not empty and can be changed
        return [Flaw("method-field", f"class {node.name}: {e}", node.lineno)]
    return Declared(full, struct)


def _names(tree: ast.Module) -> dict[str, str]:
    """What a name of the file stands for: `package.module.name` if it is imported, "" if the file itself binds it."""
    out: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            out |= {a.asname or a.name: "" if node.level else f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Import):
            for a in node.names:
                top = a.name.partition(".")[0]
                out[a.asname or top] = a.name if a.asname else top
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            out[node.name] = ""
        else:
            bound = [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
            out |= dict.fromkeys(bound, "")
    return out


def _full(node: ast.expr, names: dict[str, str]) -> str:
    """The full name of a name, dotted or not; "" if it is not known."""
    if isinstance(node, ast.Name):
        return names.get(node.id, f"builtins.{node.id}")
    if isinstance(node, ast.Attribute):
        owner = _full(node.value, names)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def _header(node: ast.ClassDef) -> list[Flaw]:
    wrong = [f"`{k.arg or '**'}`" for k in node.keywords if k.arg not in ("frozen", "kw_only")]
    wrong += ["a decorator"] * bool(node.decorator_list) + ["a second base"] * (len(node.bases) > 1)
    hint = f"`class {node.name}({ast.unparse(node.bases[0])}, frozen=True, kw_only=True):`"
    return [Flaw("method-field", f"class {node.name}: {what} is not read", node.lineno, "", hint) for what in wrong]


# -- fields ------------------------------------------------------------------------------------


def _fields(node: ast.ClassDef, names: dict[str, str], base: type[Spec]) -> tuple[list[Any], list[Flaw]]:
    """`(name, type[, default])` of each field, and what is wrong with the others."""
    fields: list[Any] = []
    flaws: list[Flaw] = []
    for item in node.body:
        name = item.target.id if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) else ""
        try:
            if name and isinstance(item, ast.AnnAssign):
                fields.append(_field(name, item, names, fields_of(base).get(name)))
            else:
                _other(item)
        except Unreadable as e:
            flaws.append(Flaw("method-field", f"{name or node.name}: {e}", item.lineno, name, _FORM))
    return fields, flaws


def _other(item: ast.stmt) -> None:
    """What else may stand in the class: its documentation, and functions that the worker uses."""
    if isinstance(item, ast.FunctionDef) and item.name == "checks":
        raise Unreadable("`checks` would run when the project is read: raise an ActionError in `run` instead")
    if isinstance(item, (ast.FunctionDef, ast.Pass)):
        return
    if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant)):
        raise Unreadable(f"`{ast.unparse(item).splitlines()[0]}` is no field")


def _field(name: str, item: ast.AnnAssign, names: dict[str, str], inherited: FieldInfo | None) -> tuple[Any, ...]:
    hint, meta = _annotation(item.annotation, names)
    if name == "method" or name.startswith("_"):
        raise Unreadable("this name is taken")
    if inherited is not None:
        _like(inherited, hint, meta)
    if item.value is None:
        return (name, Annotated[hint, meta])
    try:
        default = ast.literal_eval(item.value)
    except ValueError:
        raise Unreadable(f"the default `{ast.unparse(item.value)}` is not a literal") from None
    try:
        return (name, Annotated[hint, meta], msgspec.convert(default, Annotated[hint, meta]))
    except (msgspec.ValidationError, TypeError) as e:
        raise Unreadable(f"the default {default!r}: {e}") from None


def _like(inherited: FieldInfo, hint: Any, meta: msgspec.Meta) -> None:
    """A field of the base may get another default, documentation or bounds: what reads it expects the rest."""
    if get_args(inherited.type)[0] != hint or (meta.extra or {})["class"] != inherited.cls:
        raise Unreadable("the base has this field with another type or class")


def _annotation(node: ast.expr, names: dict[str, str]) -> tuple[Any, msgspec.Meta]:
    """`Annotated[type, semantic("…")]` → both."""
    if isinstance(node, ast.Subscript) and _full(node.value, names) == "typing.Annotated":
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else []
        if len(inner) == 2 and isinstance(inner[1], ast.Call) and _full(inner[1].func, names) in _CLASSES:
            hint, meta = _type(inner[0], names), _meta(inner[1], _full(inner[1].func, names))
            try:
                msgspec.json.schema(Annotated[hint, meta])
            except TypeError as e:
                raise Unreadable(str(e)) from None
            return hint, meta
    raise Unreadable("its class (semantic, numeric, operational) is not said beside its type")


def _meta(call: ast.Call, full: str) -> msgspec.Meta:
    try:
        words = [ast.literal_eval(a) for a in call.args]
        bounds = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
    except ValueError:
        raise Unreadable(f"`{ast.unparse(call)}` has something in it that is not a literal") from None
    if len(words) != 1 or not isinstance(words[0], str) or len(bounds) < len(call.keywords) or set(bounds) - _BOUNDS:
        raise Unreadable(f"`{ast.unparse(call)}`: one line of documentation, then {', '.join(sorted(_BOUNDS))}")
    try:
        meta: msgspec.Meta = _CLASSES[full](words[0], **bounds)
    except (TypeError, ValueError) as e:
        raise Unreadable(f"`{ast.unparse(call)}`: {e}") from None
    return meta


def _type(node: ast.expr, names: dict[str, str]) -> Any:
    if isinstance(node, ast.Constant) and node.value is None:
        return None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return Union[_type(node.left, names), _type(node.right, names)]  # noqa: UP007 (of values, not of names)
    if _full(node, names) in _TYPES:
        return _TYPES[_full(node, names)]
    if isinstance(node, ast.Subscript):
        outer = _full(node.value, names)
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if outer == "builtins.list" and len(inner) == 1:
            return list[_type(inner[0], names)]  # type: ignore[misc]
        if outer == "builtins.dict" and len(inner) == 2 and _type(inner[0], names) is str:
            return dict[str, _type(inner[1], names)]  # type: ignore[misc]
        if outer == "typing.Literal" and all(isinstance(i, ast.Constant) for i in inner):
            return Literal[tuple(ast.literal_eval(i) for i in inner)]
    known = "bool, int, float, str, list[…], dict[str, …], Literal[…], … | None, PositiveInt, PositiveFloat, Share"
    raise Unreadable(f"the type `{ast.unparse(node)}` is not one of {known}")
