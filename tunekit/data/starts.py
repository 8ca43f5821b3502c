"""Where the model's own words begin in an assistant's turn: behind the generation prompt.

The prompt is what the template prints for the messages before the turn and `add_generation_prompt`. Where it says
the same for every conversation it is rendered once, else for the turn. A turn may begin like the prompt and then
leave it (DeepSeek-R1's prompt opens `<think>`, its earlier turns have none): then it begins where it leaves, but not
before an ordinary answer does.
"""

from __future__ import annotations

from typing import NamedTuple

from tunekit.data.conversation import RowFault, Turn
from tunekit.data.probe import Place, behind_space, core_of, find_any
from tunekit.data.regions import Region, answer_headers, end_of, regions_of
from tunekit.data.rendered import Rendered
from tunekit.data.template import ChatTemplate, TemplateRefusal, Trace


class Start(NamedTuple):
    """`whole`: the turn begins with the whole prompt. `loose`: what follows the common beginning is not the
    message's text but the template's, so the place is only known to lie within a token."""

    position: int
    whole: bool = True
    loose: bool = False


class _Likeness(NamedTuple):
    """The turn is like `prompt` from its region's start on, up to `position`."""

    position: int
    prompt: str


class Starts:
    """Finds starts in conversations of one template."""

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template
        self._headers = answer_headers(template)
        self._known: tuple[Trace | None, list[int | None]] = (None, [])  # of the row at hand

    def of(self, row: Rendered, number: int) -> Start:
        """The start of an assistant's turn that has a region. Raises RowFault (`no-turn-start`)."""
        region = row.regions[number]
        assert region is not None
        text, fixed = row.trace.text, self._template.fixed_prompt
        if fixed is not None and text.startswith(fixed, region.start, region.end):
            return Start(region.start + len(fixed))
        like = None
        if fixed:
            like = _Likeness(region.start + _common(text[region.start : region.end], fixed), fixed)
        if like is None or like.position == region.start:
            found = self._behind_prompt(row, number)
            if isinstance(found, Start):
                return found
            like = found
        start = self._left(row, number, region, like)
        if start is None:
            raise RowFault(
                "no-turn-start",
                f"turn {number}: the turn does not begin as the generation prompt does",
                'set `chat_template` to one that prints it (for instance "chatml"), or train_on = "all"',
            )
        return start

    def _behind_prompt(self, row: Rendered, number: int) -> Start | _Likeness:
        """The start, from the prompt rendered for this turn; or how far the turn is like it."""
        try:
            prompt = self._template.trace(row.messages[:number], True, row.conversation.tools)
        except TemplateRefusal as e:
            message = f"turn {number}: the chat template refuses the messages before it: {e}"
            raise RowFault("no-turn-start", message, 'drop them with a `map`, or train_on = "all"') from e
        region, text = row.regions[number], row.trace.text
        assert region is not None
        before = regions_of(prompt, number)[-1] if number else None
        here = row.regions[number - 1] if number else None
        # From the message before on: part of the prompt may be printed at its end.
        earlier = (here.start, before.start) if here and before else (0, 0)
        best = _Likeness(region.start, "")
        for mine, its in (earlier, (region.start, end_of(prompt, region.loop))):
            rest = prompt.text[its:]
            if text.startswith(rest, mine) and mine + len(rest) >= region.start:
                return Start(mine + len(rest))
            common = mine + _common(text[mine : region.end], rest)
            if common > best.position or (common >= region.start and not best.prompt):
                best = _Likeness(common, rest[region.start - mine :])
        return best

    def _left(self, row: Rendered, number: int, region: Region, like: _Likeness) -> Start | None:
        """The start of a turn that is not like the whole prompt: where it leaves it, or at its own text, should that
        begin like the rest of the prompt; or at its own text behind the prompt, should something stand before it."""
        turn, text = row.conversation.turns[number], row.trace.text
        first = self._own(row)[number]
        if first is not None and like.prompt:
            for position in (first - core_of(_first(turn, text, first))[0], first):
                if text[:position].endswith(like.prompt):
                    return Start(position)
        if first is not None and region.start < first <= like.position:
            return Start(first, whole=False)
        if first is not None and first == behind_space(text, like.position) and like.position > region.start:
            return Start(like.position, whole=False)
        header = min((_common(header, like.prompt) for header in self._headers), default=0)
        if header and like.position >= region.start + header:
            return Start(like.position, whole=False, loose=True)
        return None

    def _own(self, row: Rendered) -> list[int | None]:
        """Where the first of each message's texts begins, white space aside; None if that is not known."""
        if self._known[0] is not row.trace:
            places = [
                [Place(number, field, core_of(said)[0]) for field, said in turn.texts.items() if said.strip()]
                for number, turn in enumerate(row.conversation.turns)
            ]
            choices = [[place for of_one in places for place in of_one]]
            found = find_any(row.render, row.messages, choices, row.trace.text)
            flat = iter(found or [[] for of_one in places for _ in of_one])
            firsts = [min((at for _ in of_one for at in next(flat)), default=None) for of_one in places]
            self._known = (row.trace, firsts)
        return self._known[1]


def _first(turn: Turn, text: str, at: int) -> str:
    """The message's text that begins at a place; "" if none does."""
    return next((said for said in turn.texts.values() if text.startswith(said.strip(), at)), "")


def _common(a: str, b: str) -> int:
    """How many characters two texts have in common at their beginning."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a.startswith(b[:middle]) else (low, middle - 1)
    return low
