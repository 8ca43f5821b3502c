"""Prompts to be answered: reinforcement learning, and evals with a scorer.

row    `{prompt, system?, …}`; the prompt is text or messages
form   prompt `{prompt, …}`: a string, or messages. All other columns stay, for the rewards
"""

from __future__ import annotations

from collections.abc import Callable

from tunekit.data.columns import Row
from tunekit.data.formats.chat import names_of
from tunekit.data.formats.dialogue import prompt_of
from tunekit.data.formats.messages import Messages
from tunekit.data.formats.naming import Naming

QUESTIONS = ("prompt", "input", "question", "instruction")


def normaliser(naming: Naming) -> Callable[[Row], Row]:
    messages = Messages(naming.fields)

    def normalise(row: Row) -> Row:
        return naming.made(row, {"prompt": prompt_of(row, naming, messages)}, ("prompt", "system"))

    return normalise


def detect(row: Row) -> list[dict[str, str]]:
    """`prompt` without a completion, or a question that has an answer beside it."""
    if "prompt" in row:
        return [] if isinstance(row.get("completion"), str) else questions(row)[:1]
    return [{"prompt": "question"}] if isinstance(row.get("question"), str) and "answer" in row else []


def questions(row: Row) -> list[dict[str, str]]:
    """The columns that hold a prompt, each with the names of its messages."""
    out = []
    for column in QUESTIONS:
        value = row.get(column)
        names = {} if isinstance(value, str) and value else names_of(value)
        if names is not None:
            out.append({"prompt": column, **names})
    return [found for found in out if found["prompt"] == "prompt"] or out
