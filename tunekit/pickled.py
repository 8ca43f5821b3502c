"""Weights that are pickles: the one rule by which every source refuses them, and what to do instead.

Unpickling runs whatever code the file names. The rule is asked wherever the files behind a model become known: when the
declaration is read (`path:`, and a file that the source itself names), when a source is locked, and in the worker.
"""

from __future__ import annotations

from collections.abc import Iterable

SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_READ = (".safetensors", ".gguf")
SLUG = "pickle-weights"
HINT = (
    "convert them once, in a process of its own: `python -m tunekit.engine.unpickle FOLDER NEW-FOLDER`, and use the "
    "new folder by `path:`"
)


def pickled_weights(names: Iterable[str]) -> list[str]:
    """Those of a model's files that are pickled weights, if it has no others: weights that are read make them moot."""
    lower = {name: name.lower() for name in names}
    if any(low.endswith(_READ) for low in lower.values()):
        return []
    return sorted(name for name, low in lower.items() if low.endswith(SUFFIXES))


def message(what: str, pickled: list[str]) -> str:
    some = ", ".join(pickled[:3]) + (" …" if len(pickled) > 3 else "")
    return f"{what}: weights are pickled ({some}), and unpickling can run any code"
