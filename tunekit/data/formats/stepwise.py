"""Reasoning step by step with a verdict on each: process reward models.

row    `{prompt, completions: [text], labels: [true or false]}`, as many labels as steps
form   stepwise, the same; labels 1 and 0 become true and false
"""

from __future__ import annotations

from collections.abc import Callable

from tunekit.data.columns import Row
from tunekit.data.formats.fault import Fault, flag, shown, text
from tunekit.data.formats.naming import Naming


def normaliser(naming: Naming) -> Callable[[Row], Row]:
    steps_name, labels_name = (f"`{naming.names[n]}`" for n in ("completions", "labels"))

    def normalise(row: Row) -> Row:
        prompt = text(naming.need(row, "prompt"), f"`{naming.names['prompt']}`", naming.hint)
        steps, labels = naming.need(row, "completions"), naming.need(row, "labels")
        for value, name in ((steps, steps_name), (labels, labels_name)):
            if not isinstance(value, list) or not value:
                raise Fault(f"{name} is {shown(value)}, not a list of steps", naming.hint)
        if len(steps) != len(labels):
            raise Fault(f"{steps_name} has {len(steps)} steps and {labels_name} {len(labels)} labels", naming.hint)
        made = {
            "prompt": prompt,
            "completions": [text(s, f"{steps_name} step {i}", naming.hint, empty=True) for i, s in enumerate(steps)],
            "labels": [flag(v, f"{labels_name} step {i}", naming.hint) for i, v in enumerate(labels)],
        }
        return naming.made(row, made, ("prompt", "completions", "labels"))

    return normalise


def detect(row: Row) -> list[dict[str, str]]:
    lists = isinstance(row.get("completions"), list) and isinstance(row.get("labels"), list)
    return [{}] if lists and isinstance(row.get("prompt"), str) else []
