"""What an action key is made of."""

from __future__ import annotations

from typing import Any

from tunekit.derive import Action
from tunekit.hashing import digest_of
from tunekit.kinds import Kind

DOMAIN = "tunekit/action/1"
BASE = "tunekit/part-base/1"


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


def part_bases(image: dict[str, Any], kind: Kind) -> list[str]:
    """What the keys of an action's parts have in common (tunekit.parts): one an item, or one; none without parts."""
    if not kind.parts:
        return []
    inputs = {role: digests for role, digests in image["inputs"].items() if role not in kind.parts}
    fields = {name: value for name, value in image["fields"].items() if name not in kind.whole}
    items = fields.pop("items", None)
    common = {**image, "inputs": inputs, "fields": fields}
    if items is None:
        return [digest_of(common, BASE)]
    return [digest_of({**common, "fields": {**fields, "item": item}}, BASE) for item in items]
