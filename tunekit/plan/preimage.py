"""What an action key is made of."""

from __future__ import annotations

from typing import Any

from tunekit.derive import Action
from tunekit.hashing import digest_of

DOMAIN = "tunekit/action/1"


def preimage(
    action: Action, version: int, inputs: dict[str, list[str]], code: dict[str, str], packages: dict[str, str]
) -> dict[str, Any]:
    """Everything that may change the output, and nothing else: no label, path of a folder, clock or environment."""
    return {
        "kind": action.kind,
        "version": version,
        "fields": action.fields,
        "inputs": inputs,
        "code": code,
        "packages": packages,
    }


def action_key(image: dict[str, Any]) -> str:
    return digest_of(image, DOMAIN)


def part_key(image: dict[str, Any], role: str, chunk: str, item: Any) -> str:
    """Key of one part: the action's settings for its item with a single chunk in place of the dataset."""
    others = {r: d for r, d in image["inputs"].items() if r != role}
    fields = {**{k: v for k, v in image["fields"].items() if k != "items"}, "item": item}
    return digest_of({**image, "fields": fields, "inputs": {**others, "chunk": chunk}}, "tunekit/part/1")
