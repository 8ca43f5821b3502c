"""A prompt and the answer that it should have: feature matching (EBFT), and rewards that compare.

row    `{prompt, ground_truth, system?, …}`, or a conversation `{messages}`, of which one answer is the truth.
       `turns`: `first` (the turns behind it stay as `remaining_turns`), `last`, or `all` (one row for each answer).
       `thinking`: `keep`, or `drop` what stands between <think> and </think> and the white space around it
form   ground_truth `{prompt, ground_truth, remaining_turns?, …}`: the prompt as in `prompt`, the truth a string
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tunekit.data.columns import Row
from tunekit.data.formats.chat import names_of
from tunekit.data.formats.dialogue import open_ended, prompt_of, with_system
from tunekit.data.formats.fault import Fault, text
from tunekit.data.formats.messages import Messages
from tunekit.data.formats.naming import Naming

TAKEN = ("prompt", "ground_truth", "remaining_turns", "system")
_THINKING = re.compile(r"<think>.*?</think>\s*", re.DOTALL)
_PAIRS = (("input", "output"), ("question", "answer"))


def maker(naming: Naming) -> Callable[[Row], list[Row]]:
    """A row to rows: of a conversation with `turns = "all"` as many as it has answers, else one."""
    messages = Messages(naming.fields)
    cut = _Cut(naming, messages)

    def make(row: Row) -> list[Row]:
        if cut.meant(row):
            return cut(row)
        truth = text(naming.need(row, "ground_truth"), f"`{naming.names['ground_truth']}`", naming.hint)
        rest = naming.find(row, "remaining_turns")
        made = {
            "prompt": prompt_of(row, naming, messages),
            "ground_truth": text(cut.thought(truth), f"`{naming.names['ground_truth']}` without its thinking"),
            "remaining_turns": messages(rest, f"`{naming.names['remaining_turns']}`") if rest else None,
        }
        return [naming.made(row, made, TAKEN)]

    return make


class _Cut:
    """Conversations to prompts and truths."""

    def __init__(self, naming: Naming, messages: Messages) -> None:
        self._naming = naming
        self._messages = messages

    def meant(self, row: Row) -> bool:
        """Whether the truth is to be cut out of a conversation."""
        return self._naming.find(row, "ground_truth") is None and self._naming.find(row, "messages") is not None

    def __call__(self, row: Row) -> list[Row]:
        """Raises Fault where no turn, or the first one, is an answer."""
        name = f"`{self._naming.names['messages']}`"
        turns = self._messages(self._naming.find(row, "messages"), name)
        answers = [i for i, turn in enumerate(turns) if turn["role"] == "assistant"]
        if not answers:
            raise Fault(f"{name} has no answer (no turn of an assistant)", "drop such rows with a `map`")
        if answers[0] == 0:
            raise Fault(f"{name} begins with an answer", "drop it with a `map`: there is no prompt to it")
        which = {"first": answers[:1], "last": answers[-1:], "all": answers}[self._naming.choices["turns"]]
        return [self._row(row, turns, i, f"{name} turn {i}") for i in which]

    def _row(self, row: Row, turns: list[Row], answer: int, where: str) -> Row:
        rest = turns[answer + 1 :] if self._naming.choices["turns"] == "first" else []
        made = {
            "prompt": open_ended(with_system(row, self._naming, turns[:answer]), f"what comes before {where}"),
            "ground_truth": text(self._truth(turns[answer], where), where),
            "remaining_turns": rest or None,
        }
        return self._naming.made(row, made, ("messages", "system"))

    def _truth(self, turn: Row, where: str) -> str:
        """The whole answer as text: thinking that has a field of its own is put back in front."""
        if "tool_calls" in turn:
            raise Fault(f"{where} calls a tool, which is no text to compare with", 'use turns = "last", or a `map`')
        content, thinking = turn["content"] or "", turn.get("reasoning_content")
        if thinking and self._naming.choices["thinking"] == "keep":
            return f"<think>\n{thinking}\n</think>\n\n{content}"
        return self.thought(content)

    def thought(self, answer: str) -> str:
        if self._naming.choices["thinking"] == "keep":
            return answer
        return _THINKING.sub("", answer).strip() if _THINKING.search(answer) else answer


def detect(row: Row) -> list[dict[str, str]]:
    prompt = row.get("prompt")
    if not isinstance(row.get("ground_truth"), str):
        return []
    names = {} if isinstance(prompt, str) else names_of(prompt)
    return [] if names is None else [names]


def detect_pair(row: Row) -> list[dict[str, str]]:
    return [
        {"prompt": prompt, "ground_truth": answer}
        for prompt, answer in _PAIRS
        if isinstance(row.get(prompt), str) and isinstance(row.get(answer), str)
    ]
