"""Recipes: reusable settings of a run. A project's own `recipes/` win over the shipped library."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import tunekit
from tunekit.errors import Problem, nearest
from tunekit.kinds import target_kinds
from tunekit.label import parse_label
from tunekit.manifest.convert import Place
from tunekit.manifest.toml import Document, read, read_inside


class Recipe(NamedTuple):
    name: str
    document: Document
    path: Path


def shipped_folder() -> Path:
    """The library: in the wheel `tunekit/_recipes`, in a checkout the top-level `recipes/`."""
    package = Path(tunekit.__file__).parent
    inside = package / "_recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def load_recipes(root: Path, problems: list[Problem]) -> dict[str, Recipe]:
    """All recipes in reach, by name."""
    found: dict[str, Recipe] = {}
    for folder in (shipped_folder(), root / "recipes"):
        for path in sorted(folder.glob("*.toml")):
            name = f"recipes/{path.name}"
            document = read_inside(root, path, problems) if folder == root / "recipes" else read(path, name, problems)
            if document is not None:
                found[path.stem] = Recipe(path.stem, document, path)
                _no_labels(document, problems)
    return found


def _no_labels(document: Document, problems: list[Problem]) -> None:
    for key, value in document.values.items():
        for text in _labels_in(value):
            problems.append(
                Place(document, ()).problem(
                    "label-in-recipe", f"a recipe never names a label (`{text}`)", key, "name it in the target"
                )
            )


def _labels_in(value: Any) -> list[str]:
    if isinstance(value, str):
        label = parse_label(value)
        return [value] if label and label.kind in target_kinds() else []
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for item in inner for text in _labels_in(item)]


def merged(recipe: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """The recipe under the target: tables merge deeply, everything else of the target replaces."""
    out = dict(recipe)
    for key, value in table.items():
        below = out.get(key)
        out[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return out


def find(name: Any, recipes: dict[str, Recipe], place: Place, problems: list[Problem]) -> Recipe | None:
    if isinstance(name, str) and name in recipes:
        return recipes[name]
    problems.append(
        place.problem("unknown-recipe", f"there is no recipe `{name}`", "recipe", nearest(str(name), list(recipes)))
    )
    return None
