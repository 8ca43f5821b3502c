"""Plain text.

row    `{text}`
form   completion `{text}`; it is never cut here: what is longer than a sequence is the run's `overlong`
"""

from __future__ import annotations

from collections.abc import Callable

from tunekit.data.columns import Row
from tunekit.data.formats.fault import text
from tunekit.data.formats.naming import Naming


def normaliser(naming: Naming) -> Callable[[Row], Row]:
    name = f"`{naming.names['text']}`"

    def normalise(row: Row) -> Row:
        return naming.made(row, {"text": text(naming.need(row, "text"), name, naming.hint)}, ("text",))

    return normalise


def detect(row: Row) -> list[dict[str, str]]:
    return [{}] if isinstance(row.get("text"), str) else []
