"""A table with `matrix = { learning_rate = [1e-4, 2e-4], seed = [1, 2] }` → a target for every combination.

`run:x` becomes `run:x.lr-1e-4.seed-1` and so on, each as if it had been written out; nothing of the matrix is in a key.
"""

from __future__ import annotations

import itertools
import re
from decimal import Decimal
from typing import Any, NamedTuple

from tunekit.errors import Problem
from tunekit.label import Label, parse_label
from tunekit.manifest.convert import Place
from tunekit.manifest.recipe import merged

Raw = dict[Label, tuple[dict[str, Any], Place]]
Groups = dict[str, list[str]]  # label of a table with a matrix → labels of its points
MATRIX = "matrix"
MOST = 1000
SHORT = {"learning_rate": "lr"}
_UNFIT = re.compile(r"[^A-Za-z0-9_+.-]+")


class Axis(NamedTuple):
    """One key of a matrix: what is set, and by which names its values go."""

    path: list[str]
    names: list[str]
    values: list[Any]


def expand(raw: Raw, problems: list[Problem]) -> tuple[Raw, Groups]:
    """The tables with every matrix replaced by its points, and which those are. What is wrong with one is a problem,
    and its table then has no points."""
    out: Raw = {}
    groups: Groups = {}
    # Tables whose matrix names another one's label come after it.
    waiting = sorted(raw, key=lambda label: _names_labels(raw[label][0]))
    made: dict[Label, Raw] = {}
    for label in waiting:
        values, place = raw[label]
        points = _points(label, values, place, groups, problems) if MATRIX in values else {label: (values, place)}
        if MATRIX in values:
            groups[str(label)] = [str(point) for point in points]
        made[label] = points
    for label in raw:
        out |= made[label]
    return out, groups


def _names_labels(values: dict[str, Any]) -> bool:
    table = values.get(MATRIX)
    lists = [v for v in table.values() if isinstance(v, list)] if isinstance(table, dict) else []
    return any(isinstance(x, str) and parse_label(x) for values in lists for x in values)


def _points(label: Label, values: dict[str, Any], place: Place, groups: Groups, problems: list[Problem]) -> Raw:
    before = len(problems)
    rest = {k: v for k, v in values.items() if k != MATRIX}
    axes = _axes(values[MATRIX], rest, place, groups, problems)
    count = 1
    for axis in axes:
        count *= len(axis.values)
    if count > MOST:
        hint = "a sweep of that size is better searched than listed"
        problems.append(place.problem("bad-matrix", f"the matrix has {count} points, more than {MOST}", MATRIX, hint))
    if len(problems) > before:
        return {}
    out: Raw = {}
    for chosen in itertools.product(*(range(len(axis.values)) for axis in axes)):
        table, names = rest, []
        for axis, i in zip(axes, chosen, strict=True):
            value = axis.values[i]
            for key in reversed(axis.path):
                value = {key: value}
            table = merged(table, value)
            names.append(axis.names[i])
        out[label._replace(name=".".join([label.name, *names]))] = (table, place)
    return out


def _axes(matrix: Any, rest: dict[str, Any], place: Place, groups: Groups, problems: list[Problem]) -> list[Axis]:
    hint = "matrix = { learning_rate = [1e-4, 2e-4], seed = [1, 2] }"
    if not isinstance(matrix, dict) or not matrix:
        problems.append(place.problem("bad-matrix", "`matrix` is a table of lists", MATRIX, hint))
        return []
    paths = {key: key.split(".") for key in matrix}
    last = [path[-1] for path in paths.values()]
    out = []
    for key, values in matrix.items():
        if not isinstance(values, list) or not values:
            problems.append(place.problem("bad-matrix", f"`matrix.{key}` is not a list with values", MATRIX, hint))
            continue
        if _has(rest, paths[key]):
            message = f"`{key}` is set in the table and in its matrix"
            problems.append(place.problem("bad-matrix", message, key, "say it in one of the two"))
        short = paths[key][-1] if last.count(paths[key][-1]) == 1 else "-".join(paths[key])
        found = [x for value in values for x in _of_group(value, groups)]
        names = [_name(SHORT.get(short, short), value, i) for i, value in enumerate(found)]
        if len(set(names)) < len(names):
            twice = next(n for n in names if names.count(n) > 1)
            message = f"two values of `matrix.{key}` would both be called `{twice}`"
            problems.append(place.problem("bad-matrix", message, MATRIX, "leave one of them out"))
        out.append(Axis(paths[key], names, found))
    return out


def _of_group(value: Any, groups: Groups) -> list[Any]:
    """The points of a label of another matrix; a value as it is."""
    if isinstance(value, str) and (label := parse_label(value)) and label.target in groups:
        return [point + value[len(label.target) :] for point in groups[label.target]]
    return [value]


def _has(table: Any, path: list[str]) -> bool:
    for key in path:
        if not isinstance(table, dict) or key not in table:
            return False
        table = table[key]
    return True


def _name(key: str, value: Any, number: int) -> str:
    """Of a value in a label: `lr-1e-4`, `seed-2`. A label of another point is its point alone; a list or a table is
    its number."""
    if isinstance(value, str) and (label := parse_label(value)):
        _, dot, point = label.name.partition(".")
        return (point if dot else label.name) + (f"-{label.output}" if label.output else "")
    if isinstance(value, (list, dict)):
        return f"{key}-{number}"
    text = _UNFIT.sub("-", written(value)) or "-"
    return f"{key.lower()}-{text}"


def written(value: Any) -> str:
    """A scalar as it is best read: 1e-4, 0.5, 2, true."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, float):
        return str(value)
    plain = f"{Decimal(repr(value)).normalize():f}"
    if len(plain.lstrip("-")) <= 5:
        return plain
    digits, _, exponent = f"{Decimal(repr(value)).normalize():e}".partition("e")
    return f"{digits}e{int(exponent)}"
