"""One answer with a verdict: KTO.

row    `{prompt, completion, label, system?, tools?}`; `label` true (wanted) or false. Without a prompt,
       `completion` is a whole conversation and its last answer is the completion
form   unpaired `{prompt, completion, label, tools?}`: both strings, or both messages
"""

from __future__ import annotations

from collections.abc import Callable

from tunekit.data.columns import Row
from tunekit.data.formats.chat import names_of
from tunekit.data.formats.dialogue import dialogue
from tunekit.data.formats.fault import flag
from tunekit.data.formats.messages import Messages
from tunekit.data.formats.naming import Naming
from tunekit.data.formats.prompt import questions
from tunekit.data.formats.tools import tools_of


def normaliser(naming: Naming) -> Callable[[Row], Row]:
    messages = Messages(naming.fields)

    def normalise(row: Row) -> Row:
        made = dialogue(row, naming, messages, ("completion",))
        made["label"] = flag(naming.need(row, "label"), f"`{naming.names['label']}`", naming.hint)
        tools = naming.find(row, "tools")
        made["tools"] = None if tools is None else tools_of(tools, f"`{naming.names['tools']}`")
        return naming.made(row, made, ("prompt", "completion", "label", "system", "tools"))

    return normalise


def detect(row: Row) -> list[dict[str, str]]:
    if not isinstance(row.get("label"), (bool, int)) or row["label"] not in (0, 1) or row.get("completion") is None:
        return []
    names = names_of(row["completion"])
    return [{**found, **(names or {})} for found in questions(row)] or ([names] if names is not None else [])
