"""The JSON schema of tunekit.toml, from the specs that read it."""

from __future__ import annotations

from typing import Any

import msgspec

from tunekit import kinds
from tunekit.label import NAME
from tunekit.manifest.profile import Profile
from tunekit.manifest.project import ProjectSettings
from tunekit.manifest.remote import RemoteSettings

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
# A project's own method has its settings in a file, which no schema of a package knows.
_OWN = {
    "type": "object",
    "properties": {"method": {"type": "string", "pattern": r"\.py$", "description": "A file of the project."}},
    "required": ["method"],
}
_NAME = "^" + NAME.pattern.replace(r"\Z", "$")


def manifest_schema() -> dict[str, Any]:
    """One schema for a whole file; a table whose kind has several methods may be any of them."""
    kinds.load_entry_points()
    targets = {name: k.spec_type() for name, k in kinds.TARGETS.items()}
    methods = {name: k.spec_type() for name, k in kinds.METHODS.items()}
    structs = [ProjectSettings, RemoteSettings, Profile, *targets.values(), *methods.values()]
    refs, components = msgspec.json.schema_components(structs, ref_template="#/$defs/{name}")
    of = dict(zip(structs, refs, strict=True))
    for struct in methods.values():
        _with_recipe(components[struct.__name__])
    for struct in targets.values():
        _with_matrix(components[struct.__name__])
    tables = {name: _named(of[struct]) for name, struct in targets.items()}
    tables["run"] = _named({"anyOf": [*(of[struct] for struct in methods.values()), _OWN]})
    return {
        "$schema": _DRAFT,
        "title": "tunekit.toml",
        "type": "object",
        "properties": {
            "project": of[ProjectSettings],
            "remote": of[RemoteSettings],
            "environment": _named(of[Profile]),
            **tables,
        },
        "additionalProperties": False,
        "$defs": components,
    }


def _named(table: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "patternProperties": {_NAME: table}, "additionalProperties": False}


def _with_recipe(component: dict[str, Any]) -> None:
    """A run may leave to its recipe whatever it would have to say itself."""
    recipe = {"type": "string", "description": "A recipe of `recipes/` or of the shipped library."}
    component["properties"] = {"recipe": recipe, **component["properties"]}
    required = component.pop("required", [])
    component["anyOf"] = [{"required": ["recipe"]}, {"required": ["method", *required]}]
    _with_matrix(component)


def _with_matrix(component: dict[str, Any]) -> None:
    """A table may leave to its matrix whatever it would have to say itself."""
    lists = {"type": "array", "minItems": 1}
    matrix = {"type": "object", "minProperties": 1, "additionalProperties": lists}
    component["properties"] |= {"matrix": matrix | {"description": "A target for every combination (docs/sweeps.md)."}}
    ways = component.pop("anyOf", [{"required": component.pop("required", [])}])
    component["anyOf"] = [*ways, {"required": ["matrix"]}]
