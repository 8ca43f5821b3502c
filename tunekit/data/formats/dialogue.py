"""A prompt and its answers, as text or as messages. One kind for a whole row: all strings or all messages."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from tunekit.data.columns import Row
from tunekit.data.formats.fault import Fault, shown, text
from tunekit.data.formats.messages import Messages
from tunekit.data.formats.naming import Naming


def prompt_of(row: Row, naming: Naming, messages: Messages) -> str | list[Row]:
    """The prompt: a non-empty string, or messages that do not end with an answer. Raises Fault."""
    name = f"`{naming.names['prompt']}`"
    return open_ended(with_system(row, naming, _value(naming.need(row, "prompt"), name, messages)), name)


def open_ended(prompt: str | list[Row], name: str) -> str | list[Row]:
    """A prompt that leaves something to answer. Raises Fault."""
    if isinstance(prompt, list) and prompt[-1]["role"] == "assistant":
        hint = 'cut the last turn with a `map`; for whole conversations there is format = "ground_truth"'
        raise Fault(f"{name} ends with an assistant's turn, so there is nothing left to answer", hint)
    return prompt


def with_system(row: Row, naming: Naming, prompt: str | list[Row]) -> str | list[Row]:
    """The prompt with the text of a `system` column in front. Raises Fault.

    A row that has the column is a conversation, even if it is null there: so all rows of a file are of one kind.
    Where some rows lack the column, `fields` says that it is one of all of them.
    """
    system = naming.find(row, "system")
    if naming.given("system") or naming.has(row, "system"):
        prompt = as_messages(prompt, "user")
    if system is None or isinstance(prompt, str):
        return prompt
    column = naming.names["system"]
    if not text(system, f"`{column}`", empty=True):
        return prompt
    if prompt[0]["role"] == "system":
        raise Fault(f"has a `{column}` column and a system turn", "keep one of them with a `map`")
    return [{"role": "system", "content": system}, *prompt]


def dialogue(row: Row, naming: Naming, messages: Messages, names: tuple[str, ...]) -> Row:
    """`{prompt, **answers}`: one answer or several to the same prompt. Raises Fault.

    A prompt and answers; or conversations with their prompt inside: what they all begin with, up to their first
    difference (of one: up to its last answer). A prompt beside these must be how they begin.
    """
    prompt = naming.find(row, "prompt")
    if prompt is not None:
        prompt = _value(prompt, f"`{naming.names['prompt']}`", messages)
    answers = [_value(naming.need(row, name), f"`{naming.names[name]}`", messages, empty=True) for name in names]
    if all(isinstance(answer, str) for answer in answers) and not isinstance(prompt, list):
        prompt = prompt or naming.need(row, "prompt")  # two texts do not say where the prompt in them ends
        prompt = with_system(row, naming, prompt)
        if isinstance(prompt, str):
            return {"prompt": prompt, **dict(zip(names, answers, strict=True))}
        return {"prompt": prompt, **{n: as_messages(a, "assistant") for n, a in zip(names, answers, strict=True)}}
    asked = None if prompt is None else as_messages(prompt, "user")
    turns = [as_messages(answer, "assistant") for answer in answers]
    if any(t[0]["role"] != "assistant" for t in turns):
        asked, turns = _cut(asked, turns, [f"`{naming.names[name]}`" for name in names])
    elif asked is None:
        naming.need(row, "prompt")
    assert asked is not None
    return {"prompt": with_system(row, naming, asked), **dict(zip(names, turns, strict=True))}


def _cut(asked: list[Row] | None, whole: list[list[Row]], names: list[str]) -> tuple[list[Row], list[list[Row]]]:
    """Conversations to their common prompt and the rest of each."""
    words = " and ".join(names)
    if len(whole) == 1:
        (turns,) = whole
        size = max((i for i, turn in enumerate(turns) if turn["role"] in ("user", "system")), default=-1) + 1
    else:
        shortest = min(len(turns) for turns in whole)
        same = takewhile(lambda turns: all(t == turns[0] for t in turns), zip(*whole, strict=False))
        size = min(sum(1 for _ in same), shortest - 1)
    if not size:
        raise Fault(f"{words} do not begin with the same prompt", "give the prompt a column, or write a `map`")
    prompt, rest = whole[0][:size], [turns[size:] for turns in whole]
    for name, turns in zip(names, rest, strict=True):
        if not turns or turns[0]["role"] != "assistant":
            what = f"a {turns[0]['role']}'s turn" if turns else "no answer"
            raise Fault(
                f"{name} has {what} after the prompt ({size} turns)", "an answer begins with an assistant's turn"
            )
    if asked is not None and prompt[-len(asked) :] != asked:
        raise Fault(
            f"the prompt is {shown(asked[-1]['content'])}, but {words} begin with {shown(prompt[-1]['content'])}",
            "drop the prompt or what is wrong with a `map`",
        )
    return prompt, rest


def as_messages(value: str | list[Row], role: str) -> list[Row]:
    return [{"role": role, "content": value}] if isinstance(value, str) else value


def _value(value: Any, name: str, messages: Messages, *, empty: bool = False) -> str | list[Row]:
    """Text, or messages (one alone is a list of one)."""
    if isinstance(value, str):
        return text(value, name, empty=empty)
    return messages([value] if isinstance(value, dict) else value, name)
