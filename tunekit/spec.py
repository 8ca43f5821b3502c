"""The base of every spec, and the three classes of fields.

*semantic*     decides what the artifact is: in the action key
*numeric*      changes bits, not meaning (micro batch, threads, checkpointing): recorded as effective,
               must match to resume a staging state
*operational*  changes neither (logging, progress)

A field is declared as `Annotated[type, semantic("one line of documentation", ge=1)] = default`.
"""

from __future__ import annotations

from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

SEMANTIC, NUMERIC, OPERATIONAL = "semantic", "numeric", "operational"

PRIVATE = "Never pushed, bundled or published; nor what is made from it, unless that says `false`."

# For optional fields: msgspec applies a constraint only to the very type it annotates, not through a union.
PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
PositiveFloat = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One target's settings: immutable, closed, typed."""

    def checks(self) -> list[tuple[str, str, str]]:
        """Constraints between fields: `(key, message, hint)` for each that does not hold."""
        return []


def semantic(doc: str, **constraints: Any) -> msgspec.Meta:
    return msgspec.Meta(description=doc, extra={"class": SEMANTIC}, **constraints)


def numeric(doc: str, **constraints: Any) -> msgspec.Meta:
    return msgspec.Meta(description=doc, extra={"class": NUMERIC}, **constraints)


def operational(doc: str, **constraints: Any) -> msgspec.Meta:
    return msgspec.Meta(description=doc, extra={"class": OPERATIONAL}, **constraints)


class FieldInfo(msgspec.Struct, frozen=True):
    """One field of a spec as people and keys see it."""

    name: str
    type: Any  # without the Annotated wrapper's tunekit part; msgspec constraints kept
    required: bool
    default: Any
    cls: str
    doc: str


_CACHE: dict[type, dict[str, FieldInfo]] = {}


def fields_of(spec: type[msgspec.Struct]) -> dict[str, FieldInfo]:
    """Fields by name, in declaration order. TypeError if a field of a Spec has no class: that is a bug."""
    found = _CACHE.get(spec)
    if found is not None:
        return found
    hints = get_type_hints(spec, include_extras=True)
    out: dict[str, FieldInfo] = {}
    for f in msgspec.structs.fields(spec):
        hint = hints[f.name]
        metas = [a for a in get_args(hint)[1:] if isinstance(a, msgspec.Meta)] if get_origin(hint) is Annotated else []
        extra = {k: v for m in metas for k, v in (m.extra or {}).items()}
        if issubclass(spec, Spec) and "class" not in extra:
            raise TypeError(f"{spec.__name__}.{f.name} has no field class")
        default = f.default if f.default is not msgspec.NODEFAULT else None
        if f.default_factory is not msgspec.NODEFAULT:
            default = f.default_factory()
        out[f.encode_name] = FieldInfo(
            f.encode_name,
            hint,
            f.required,
            default,
            extra.get("class", SEMANTIC),
            next((m.description or "" for m in metas), ""),
        )
    _CACHE[spec] = out
    return out


def plain(value: Any) -> Any:
    """JSON values of a spec (or a part of one), defaults left out, so that a new defaulted field changes no key."""
    if isinstance(value, msgspec.Struct):
        # not by `omit_defaults`, which compares by identity: a default said in TOML is the same setting
        infos, names = fields_of(type(value)), type(value).__struct_fields__
        items = {info.name: (plain(getattr(value, n)), info) for n, info in zip(names, infos.values(), strict=True)}
        return {k: v for k, (v, info) in items.items() if info.required or v != plain(info.default)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return msgspec.to_builtins(value, str_keys=True, order="deterministic")


def by_class(spec: Spec) -> dict[str, dict[str, Any]]:
    """Non-default fields of a spec as JSON values, by class."""
    out: dict[str, dict[str, Any]] = {SEMANTIC: {}, NUMERIC: {}, OPERATIONAL: {}}
    for name, value in plain(spec).items():
        out[fields_of(type(spec))[name].cls][name] = value
    return out
