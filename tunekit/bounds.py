"""Bounds as people write them: `"> 0.5"`."""

from __future__ import annotations

import operator
import re

_BOUND = re.compile(r"\s*(?P<op><=|>=|<|>|==)\s*(?P<value>[-+0-9.eE]+)\s*\Z")
_OPS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}


def bound(text: str) -> tuple[str, float] | None:
    """`"> 0.5"` → (">", 0.5); None if it is not a bound."""
    m = _BOUND.match(text)
    try:
        return (m["op"], float(m["value"])) if m else None
    except ValueError:
        return None


def holds(found: tuple[str, float], value: float) -> bool:
    """Whether a value keeps a bound; NaN keeps none."""
    return bool(_OPS[found[0]](value, found[1]))
