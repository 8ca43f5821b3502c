"""Questions with answers to choose from: evaluation by log-likelihood.

row    `{prompt, choices: [text], answer}`; `answer` is the number of the right one, from 0, its text, or its letter
form   choices, the same; `answer` is the number
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tunekit.data.columns import Row
from tunekit.data.formats.fault import Fault, shown, text
from tunekit.data.formats.naming import Naming

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def normaliser(naming: Naming) -> Callable[[Row], Row]:
    prompt_name, choices_name, answer_name = (f"`{naming.names[n]}`" for n in ("prompt", "choices", "answer"))

    def normalise(row: Row) -> Row:
        prompt = text(naming.need(row, "prompt"), prompt_name, naming.hint)
        given = naming.need(row, "choices")
        if not isinstance(given, list) or len(given) < 2:
            raise Fault(f"{choices_name} is {shown(given)}, not a list of two or more", naming.hint)
        choices = [text(c, f"{choices_name} {i}", naming.hint) for i, c in enumerate(given)]
        answer = number_of(naming.need(row, "answer"), choices)
        if answer is None:
            said = f"{answer_name} is {shown(row.get(naming.names['answer']))}"
            raise Fault(f"{said}, which is none of {len(choices)} choices: no number, text or letter", naming.hint)
        return naming.made(row, {"prompt": prompt, "choices": choices, "answer": answer}, naming.names)

    return normalise


def number_of(answer: Any, choices: list[str]) -> int | None:
    """Which choice an answer names. Its text goes before its letter: a choice may be called `B`."""
    if isinstance(answer, int) and not isinstance(answer, bool):
        return answer if 0 <= answer < len(choices) else None
    if not isinstance(answer, str):
        return None
    if answer in choices:
        return choices.index(answer)
    letter = LETTERS.find(answer.strip().upper()) if len(answer.strip()) == 1 else -1
    return letter if 0 <= letter < len(choices) else None
