"""Rows that are tokens already.

row    `{input_ids, labels?, attention_mask?}`, lists of numbers of one length. A label is -100 (not trained) or the
       token of its own place; without labels all are trained. Places with attention 0 at either end are padding
form   tokens `{input_ids, labels}`, without padding
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tunekit.data.columns import Row
from tunekit.data.formats.fault import Fault, shown
from tunekit.data.formats.naming import Naming

IGNORED = -100
TAKEN = ("input_ids", "labels", "attention_mask")


def normaliser(naming: Naming) -> Callable[[Row], Row]:
    ids_name, labels_name, mask_name = (f"`{naming.names[n]}`" for n in TAKEN)

    def normalise(row: Row) -> Row:
        ids = _numbers(naming.need(row, "input_ids"), ids_name)
        bad = next((i for i, token in enumerate(ids) if not 0 <= token < 2**31), None)
        if bad is not None:
            raise Fault(f"{ids_name} has {shown(ids[bad])} at {bad}, which is no token", naming.hint)
        given, mask = naming.find(row, "labels"), naming.find(row, "attention_mask")
        labels = list(ids) if given is None else _parallel(given, ids, labels_name, ids_name)
        if mask is not None:
            start, stop = _real(_parallel(mask, ids, mask_name, ids_name), mask_name)
            if given is not None and any(label != IGNORED for label in labels[:start] + labels[stop:]):
                raise Fault(f"{labels_name} trains on padding ({mask_name} is 0 there)", "set those labels to -100")
            ids, labels = ids[start:stop], labels[start:stop]
        for place, (token, label) in enumerate(zip(ids, labels, strict=True)):
            if label not in (IGNORED, token):
                raise Fault(
                    f"{labels_name} is {label} at {place}, where {ids_name} is {token}",
                    "a label is -100 or the token of its own place (nothing is shifted)",
                )
        return naming.made(row, {"input_ids": ids, "labels": labels}, TAKEN)

    return normalise


def _numbers(value: Any, name: str) -> list[int]:
    if not isinstance(value, list) or not value or not all(type(item) is int for item in value):
        raise Fault(f"{name} is {shown(value)}, not a list of whole numbers")
    return value


def _parallel(value: Any, ids: list[int], name: str, ids_name: str) -> list[int]:
    numbers = _numbers(value, name)
    if len(numbers) != len(ids):
        raise Fault(f"{name} has {len(numbers)} items and {ids_name} {len(ids)}", "they are parallel")
    return numbers


def _real(mask: list[int], name: str) -> tuple[int, int]:
    """Where the ones are. Raises Fault if there is a hole in them, or none."""
    if 1 not in mask:
        raise Fault(f"{name} has no 1 in it")
    start, stop = mask.index(1), len(mask) - mask[::-1].index(1)
    if any(bit != 1 for bit in mask[start:stop]) or any(mask[:start] + mask[stop:]):
        raise Fault(f"{name} is not ones with zeros around them", "one row is one text: cut packed rows with a `map`")
    return start, stop


def detect(row: Row) -> list[dict[str, str]]:
    ids = row.get("input_ids")
    return [{}] if isinstance(ids, list) and ids and type(ids[0]) is int else []
