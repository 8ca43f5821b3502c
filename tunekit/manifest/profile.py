"""`[environment.NAME]`: interpreters beside the one that tunekit runs in, where versions need it (vllm)."""

from __future__ import annotations

from typing import Annotated, Any

from tunekit.errors import Problem
from tunekit.label import NAME
from tunekit.manifest.convert import Place, convert
from tunekit.manifest.toml import Document
from tunekit.spec import Spec, operational

DEFAULT = "default"


class Profile(Spec, frozen=True, kw_only=True):
    """One `[environment.NAME]` table."""

    python: Annotated[str, operational("Interpreter, absolute or from the project's folder: `.venv-vllm/bin/python`.")]


def read_profiles(documents: list[Document], problems: list[Problem]) -> dict[str, str]:
    """Name → interpreter as written. It is not looked for here: a clone may not have it."""
    found: dict[str, str] = {}
    for document in documents:
        tables = document.values.get("environment", {})
        top = Place(document, ("environment",))
        if not isinstance(tables, dict):
            problems.append(top.problem("wrong-type", "[environment] is not a table", hint="[environment.vllm]"))
            continue
        for name, table in tables.items():
            python = _one(name, table, found, Place(document, ("environment", name)), problems)
            if python:
                found[name] = python
    return found


def _one(name: str, table: Any, before: dict[str, str], place: Place, problems: list[Problem]) -> str:
    if not isinstance(table, dict):
        hint = '[environment.vllm]\npython = ".venv-vllm/bin/python"'
        problems.append(place.problem("wrong-type", f"`environment.{name}` is not a table", hint=hint))
    elif not NAME.match(name) or name == DEFAULT:
        hint = "`default` is the environment that tunekit itself runs in" if name == DEFAULT else "such as `vllm`"
        problems.append(place.problem("bad-name", f"`{name}` is no name for a further environment", hint=hint))
    elif name in before:
        problems.append(place.problem("duplicate-target", f"environment `{name}` is declared twice", hint="keep one"))
    else:
        profile = convert(table, Profile, place, problems)
        return profile.python if isinstance(profile, Profile) else ""
    return ""
