"""A better and a worse answer: DPO and its kin, and reward models.

row    `{prompt, chosen, rejected, system?, tools?}`. An answer is text, one message or messages. Without a prompt,
       `chosen` and `rejected` are whole conversations and what they share is the prompt; with one, they may be
       whole conversations too, which must begin with it.
       bradley_terry: `{system?, input, chosen, rejected}`, texts
form   preference `{prompt, chosen, rejected, tools?}`: all three strings, or all three messages
"""

from __future__ import annotations

from collections.abc import Callable

from tunekit.data.columns import Row
from tunekit.data.formats.chat import COLUMNS, names_of
from tunekit.data.formats.dialogue import as_messages, dialogue, with_system
from tunekit.data.formats.fault import text
from tunekit.data.formats.messages import Messages
from tunekit.data.formats.naming import Naming
from tunekit.data.formats.prompt import questions
from tunekit.data.formats.tools import tools_of

_ANSWERS = (("chosen", "rejected"), ("chosen_response", "rejected_response"))


def normaliser(naming: Naming) -> Callable[[Row], Row]:
    messages = Messages(naming.fields)

    def normalise(row: Row) -> Row:
        made = dialogue(row, naming, messages, ("chosen", "rejected"))
        tools = naming.find(row, "tools")
        made["tools"] = None if tools is None else tools_of(tools, f"`{naming.names['tools']}`")
        return naming.made(row, made, ("prompt", "chosen", "rejected", "system", "tools"))

    return normalise


def bradley_terry(naming: Naming) -> Callable[[Row], Row]:
    """Rows of a reward model's chat template: always conversations."""

    def said(row: Row, column: str) -> str:
        return text(naming.need(row, column), f"`{naming.names[column]}`", naming.hint, empty=column != "input")

    def normalise(row: Row) -> Row:
        prompt = with_system(row, naming, as_messages(said(row, "input"), "user"))
        answers = {name: as_messages(said(row, name), "assistant") for name in ("chosen", "rejected")}
        return naming.made(row, {"prompt": prompt, **answers}, ("input", "chosen", "rejected", "system"))

    return normalise


def detect(row: Row) -> list[dict[str, str]]:
    for chosen, rejected in _ANSWERS:
        if row.get(chosen) is not None and row.get(rejected) is not None:
            return [{**found, "chosen": chosen, "rejected": rejected} for found in _prompts(row, row[chosen])]
    return []


def _prompts(row: Row, answer: object) -> list[dict[str, str]]:
    """Where the prompt may stand; in the answers themselves if nowhere else."""
    found = questions(row)
    if not found:
        lists = [(column, names_of(row.get(column))) for column in COLUMNS]
        found = [{"prompt": column, **names} for column, names in lists if names is not None]
    names = names_of([answer] if isinstance(answer, dict) else answer)
    return [{**prompt, **(names or {})} for prompt in found] or ([names] if names is not None else [])
