"""Instructions with an answer, as Stanford's Alpaca has them.

row    `{instruction, input?, output, system?}`; `input` may be null or empty
form   chat by default: the user says the instruction and, one line below it, the input, in the words of the
       model's own template. With `template = "alpaca"`: segments, in the words that Alpaca was trained with, of
       which the output is trained and the end of the text behind it.

No white space is touched.
"""

from __future__ import annotations

from collections.abc import Callable

from tunekit.data.columns import Row
from tunekit.data.formats.dialogue import with_system
from tunekit.data.formats.fault import Fault, text
from tunekit.data.formats.naming import Naming

TAKEN = ("instruction", "input", "output", "system")
_NAMES = {"input": ("input", "context"), "output": ("output", "response")}

# Stanford Alpaca's words; as in most of what was trained with them since, the answer begins on a line of its own.
WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
WITHOUT_INPUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)


def normaliser(naming: Naming) -> Callable[[Row], Row]:
    words = naming.choices["template"] == "alpaca"

    def column(row: Row, name: str) -> str:
        return text(naming.need(row, name), f"`{naming.names[name]}`", naming.hint, empty=name == "output")

    def normalise(row: Row) -> Row:
        instruction, output = column(row, "instruction"), column(row, "output")
        given = naming.find(row, "input")
        more = "" if given is None else text(given, f"`{naming.names['input']}`", naming.hint, empty=True)
        make = _segments if words else _chat
        return naming.made(row, make(row, naming, instruction, more, output), TAKEN)

    return normalise


def _chat(row: Row, naming: Naming, instruction: str, more: str, output: str) -> Row:
    said = f"{instruction}\n{more}" if more else instruction
    turns = with_system(row, naming, [{"role": "user", "content": said}])
    return {"messages": [*turns, {"role": "assistant", "content": output}]}


def _segments(row: Row, naming: Naming, instruction: str, more: str, output: str) -> Row:
    if naming.find(row, "system"):
        hint = 'say template = "chat", or drop the column with a `map`'
        raise Fault(f"has a `{naming.names['system']}`, which Alpaca's own template has no place for", hint)
    # not str.format: an instruction may hold braces, and is put in once
    head, _, tail = (WITH_INPUT if more else WITHOUT_INPUT).partition("{instruction}")
    before, _, after = tail.partition("{input}") if more else (tail, "", "")
    prompt = head + instruction + before + more + after
    return {"segments": [{"text": prompt, "train": False}, {"text": output, "train": True}], "end": True}


def detect(row: Row) -> list[dict[str, str]]:
    if not isinstance(row.get("instruction"), str):
        return []
    found = {"instruction": "instruction"}
    for field, names in _NAMES.items():
        there = [name for name in names if isinstance(row.get(name), str)]
        if len(there) > 1 or (field == "output" and not there):
            return []
        if there:
            found[field] = there[0]
    return [found]
