"""A TOML table to a typed spec, with *every* problem in it, not the first."""

from __future__ import annotations

import typing
from typing import Any, NamedTuple

import msgspec

from tunekit.errors import Problem, nearest
from tunekit.manifest.toml import Document, non_finite
from tunekit.spec import FieldInfo, Spec, fields_of


class Place(NamedTuple):
    """Where a table stands: for messages."""

    document: Document
    path: tuple[str, ...]

    def problem(self, slug: str, message: str, key: str = "", hint: str = "") -> Problem:
        where = (*self.path, key) if key else self.path
        return Problem(slug, message, self.document.name, self.document.line(where), ".".join(self.path), key, hint)


def convert(table: dict[str, Any], spec: type[Spec], place: Place, problems: list[Problem]) -> Spec | None:
    """The spec, or None with the problems appended."""
    known = fields_of(spec)
    before = len(problems)
    values: dict[str, Any] = {}
    said = False
    for key, value in table.items():
        info = known.get(key)
        if info is None:
            problems.append(place.problem("unknown-key", f"unknown key `{key}`", key, nearest(key, list(known))))
            continue
        if non_finite(value):  # a problem since it was read: not a second one for the range that it is outside of
            said = True
            continue
        found = _value(value, info, place, problems)
        if found is not _BAD:
            values[key] = found
    for name, info in known.items():
        if info.required and name not in table:
            problems.append(place.problem("missing-key", f"`{name}` is missing: {info.doc}", hint=f"add `{name} = …`"))
    if said or len(problems) > before:
        return None
    try:
        made = msgspec.convert({k: _builtin(v) for k, v in values.items()}, spec)
    except msgspec.ValidationError as e:  # a constraint that only the whole shows
        problems.append(place.problem("wrong-type", str(e)))
        return None
    for key, message, hint in made.checks():
        problems.append(place.problem("bad-value", message, key, hint))
    return made if len(problems) == before else None


_BAD = object()


def _builtin(value: Any) -> Any:
    return msgspec.to_builtins(value) if isinstance(value, (msgspec.Struct, list, dict)) else value


def _value(value: Any, info: FieldInfo, place: Place, problems: list[Problem]) -> Any:
    """One field. Tables whose type is a Struct are checked key by key, also inside lists."""
    struct = _struct_in(info.type)
    inner = Place(place.document, (*place.path, info.name))
    if struct is not None and isinstance(value, dict):
        return convert(value, struct, inner, problems) or _BAD
    if struct is not None and isinstance(value, list):
        items = [convert(v, struct, inner, problems) if isinstance(v, dict) else v for v in value]
        if any(i is None for i in items):
            return _BAD
        value = [_builtin(i) for i in items]
    try:
        return msgspec.convert(value, info.type)
    except msgspec.ValidationError as e:
        message = str(e).replace("`$`", "it").replace(" - at it", "")
        problems.append(place.problem("wrong-type", f"`{info.name}`: {message}", info.name, _way_out(value, info)))
        return _BAD


def _way_out(value: Any, info: FieldInfo) -> str:
    """Of a misspelt word among few, the words; else what the field is for."""
    words = _words(info.type)
    return nearest(value, words) if words and isinstance(value, str) else info.doc


def _words(hint: Any) -> list[str]:
    """Those of `Literal["a", "b"]`, also in `Literal[…] | None`."""
    if typing.get_origin(hint) is typing.Literal:
        return [word for word in typing.get_args(hint) if isinstance(word, str)]
    return next((words for a in typing.get_args(hint) if (words := _words(a))), [])


def _struct_in(hint: Any) -> type[Spec] | None:
    """The Struct a field's tables are of (`Adapter` of `str | Adapter | None`, `Reward` of `list[Reward]`)."""
    if isinstance(hint, type) and issubclass(hint, Spec):
        return hint
    return next((s for a in typing.get_args(hint) if (s := _struct_in(a)) is not None), None)
