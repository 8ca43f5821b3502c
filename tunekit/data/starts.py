"""Where the model's own words begin in an assistant's turn: behind the generation prompt.

The prompt is what the template prints for the messages before the turn and `add_generation_prompt`. Where it says
the same for every conversation it is rendered once, else for the turn. A turn may begin like the prompt and then
leave it (DeepSeek-R1's prompt opens `<think>`, its earlier turns have none): then it begins where it leaves.
"""

from __future__ import annotations

from typing import NamedTuple

from tunekit.data.columns import Row
from tunekit.data.conversation import Conversation, RowFault, Turn
from tunekit.data.probe import Place, behind_space, core_of, find_any
from tunekit.data.regions import Region, end_of, regions_of
from tunekit.data.template import ChatTemplate, TemplateRefusal, Trace


class Start(NamedTuple):
    """`whole`: the turn begins with the whole prompt. `loose`: what follows the common beginning is not the
    message's text but the template's, so the place is only known to lie within a token."""

    position: int
    whole: bool = True
    loose: bool = False


def start_of(
    template: ChatTemplate,
    messages: list[Row],
    conversation: Conversation,
    number: int,
    trace: Trace,
    regions: list[Region | None],
) -> Start:
    """The start of an assistant's turn that has a region. Raises RowFault (`no-turn-start`)."""
    region = regions[number]
    assert region is not None
    text, prompt = trace.text, template.fixed_prompt
    if prompt is not None and text.startswith(prompt, region.start, region.end):
        return Start(region.start + len(prompt))
    common = region.start + _common(text[region.start : region.end], prompt) if prompt else region.start
    if common == region.start:
        found = _behind_prompt(template, messages, conversation, number, trace, regions)
        if isinstance(found, Start):
            return found
        common = found
    if common <= region.start:
        raise RowFault(
            "no-turn-start",
            f"turn {number}: the turn does not begin as the generation prompt does",
            'set `chat_template` to one that prints it (for instance "chatml"), or train_on = "all"',
        )
    return _left(template, messages, conversation, number, trace, common)


def _behind_prompt(
    template: ChatTemplate,
    messages: list[Row],
    conversation: Conversation,
    number: int,
    trace: Trace,
    regions: list[Region | None],
) -> Start | int:
    """The start, from the prompt rendered for this turn; or how far the text is like it."""
    try:
        prompt = template.trace(messages[:number], True, conversation.tools)
    except TemplateRefusal as e:
        message = f"turn {number}: the chat template refuses the messages before it: {e}"
        raise RowFault("no-turn-start", message, 'drop them with a `map`, or train_on = "all"') from e
    region, text = regions[number], trace.text
    assert region is not None
    before = regions_of(prompt, number)[-1] if number else None
    here = regions[number - 1] if number else None
    # From the message before on: part of the prompt may be printed at its end.
    for mine, its in (
        (here.start, before.start) if here and before else (0, 0),
        (region.start, end_of(prompt, region.loop)),
    ):
        rest = prompt.text[its:]
        if text.startswith(rest, mine) and mine + len(rest) >= region.start:
            return Start(mine + len(rest))
        common = mine + _common(text[mine : region.end], rest)
        if common > region.start:
            return common
    return region.start


def _left(
    template: ChatTemplate, messages: list[Row], conversation: Conversation, number: int, trace: Trace, common: int
) -> Start:
    """The start of a turn that leaves the prompt at `common`: there, or at its own text, should that begin like
    the rest of the prompt."""
    turn = conversation.turns[number]
    if _says(turn, trace.text, common):
        return Start(common, whole=False)
    places = [Place(number, field, core_of(said)[0]) for field, said in turn.texts.items() if said.strip()]

    def render(given: list[Row]) -> str:
        return template.trace(given, False, conversation.tools).text

    found = find_any(render, messages, [places], trace.text) if places else None
    first = min((at for places in found or [] for at in places), default=None)
    if first is None or first > common:
        return Start(common, whole=False, loose=True)
    return Start(first, whole=False)


def _says(turn: Turn, text: str, at: int) -> bool:
    """Whether one of the message's texts begins at a place, white space aside."""
    at = behind_space(text, at)
    return any(text.startswith(said.strip(), at) for said in turn.texts.values() if said.strip())


def _common(a: str, b: str) -> int:
    """How many characters two texts have in common at their beginning."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a.startswith(b[:middle]) else (low, middle - 1)
    return low
