"""Functions of the project, loaded by path from the snapshot in the store, never from the workspace."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from tunekit.errors import ActionError

_LOADED: dict[tuple[str, str], ModuleType] = {}


def split_path(text: str) -> tuple[str, str]:
    """`file.py:function` → the two; ("", "") if it is not of that form."""
    file, colon, function = text.rpartition(":")
    return (file, function) if colon and file.endswith(".py") and function.isidentifier() else ("", "")


def load_function(code_root: str, text: str) -> Callable[..., Any]:
    """The function behind `file.py:function`. `code_root` comes first on sys.path while it is imported, so
    that the file's own project imports resolve inside the snapshot.

    Raises ActionError (`code-import-failed`, `code-no-function`).
    """
    file, function = split_path(text)
    path = Path(code_root) / file
    module = _LOADED.get((code_root, file)) or _import(path, file, code_root)
    found: Any = vars(module).get(function)
    if not callable(found):
        raise ActionError(f"{file} has no function `{function}`", slug="code-no-function")
    return found  # a class is callable, too


def _import(path: Path, file: str, code_root: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("tunekit_user_" + path.stem, path)
    if spec is None or spec.loader is None:
        raise ActionError(f"{file} cannot be imported", slug="code-import-failed")
    module = importlib.util.module_from_spec(spec)
    for entry in (str(path.parent), code_root):
        if entry not in sys.path:
            sys.path.insert(0, entry)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as e:
        raise ActionError(
            f"importing {file} raised {type(e).__name__}: {e}",
            slug="code-import-failed",
            hint="the log has the traceback",
        ) from e
    _LOADED[code_root, file] = module
    return module
