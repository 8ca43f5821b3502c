"""Which characters of a rendered conversation are trained: spans whose flag differs from the rest of the text.

An assistant's turn is what the model would write: from the end of the generation prompt to its end-of-turn token.
A turn of another role is its content and its end. Where a template has `{% generation %}`, its author has said it.
docs/masks.md has it all in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from tunekit.data.attribution import Attribution
from tunekit.data.calls import check_calls
from tunekit.data.columns import Row
from tunekit.data.conversation import Conversation, RowFault, Turn
from tunekit.data.marked import Marked, Span
from tunekit.data.pieces import Stretch, edges_of, spaced
from tunekit.data.prefixes import by_prefixes
from tunekit.data.probe import Place, behind_space, core_of, find_any
from tunekit.data.regions import regions_of
from tunekit.data.rendered import Rendered
from tunekit.data.starts import Starts
from tunekit.data.template import ChatTemplate, TemplateRefusal, Trace

TrainOn = Literal["assistant", "last", "all"]


class Masks:
    """Derives what is trained for one template and one choice of roles."""

    def __init__(self, template: ChatTemplate, train_on: TrainOn, roles: Sequence[str]) -> None:
        self._template = template
        self._train_on = train_on
        self._roles = frozenset(roles)
        self._attribution = Attribution(template)
        self._starts = Starts(template)

    def of(self, conversation: Conversation) -> Marked:
        """A conversation's text and spans. Raises RowFault: `template-refused`, `message-dropped`, `no-turn-start`,
        `mask-not-derivable`, `place-lost`, `tool-calls-dropped`, `tools-dropped`."""
        messages, trace = self._render(conversation)
        row = _Spans(self._template, conversation, messages, trace, regions_of(trace, len(messages)))
        check_calls(conversation, trace.text, row.regions)
        base = self._train_on == "all"
        flags = self._flags(conversation.turns)
        odd = [number for number, flag in enumerate(flags) if flag != base]
        runs = {number: edges_of(turn, flags[number]) for number, turn in enumerate(conversation.turns) if turn.parts}
        answers = [number for number in odd if conversation.turns[number].role == "assistant"]
        notes = self._attribution.check(messages, conversation, trace, row.regions, answers)
        spans = self._turns(row, odd, not base, notes)
        notes = notes or []
        for number, stretches in runs.items():
            spans += row.parts(number, stretches)
            notes += spaced(conversation.turns[number], stretches)
        return Marked(trace.text, base, spans, notes)

    def answered(self, conversation: Conversation, first: int) -> Marked:
        """A conversation whose turns from `first` on answer the ones before, of which nothing is trained (they say so
        themselves). With `all`, everything is trained that stands behind the generation prompt. Raises RowFault as
        `of`."""
        if self._train_on != "all":
            return self.of(conversation)
        messages, trace = self._render(conversation)
        row = _Spans(self._template, conversation, messages, trace, regions_of(trace, len(messages)))
        check_calls(conversation, trace.text, row.regions)
        notes = self._attribution.check(messages, conversation, trace, row.regions, [first])
        region = row.regions[first]
        if notes is None or region is None:
            raise RowFault(
                "mask-not-derivable",
                f"turn {first}: the chat template does not show where the answer begins",
                'set another `chat_template` (for instance "chatml")',
            )
        start = self._starts.of(row, first)
        span = Span(start.position, len(trace.text), True, header=region.start if start.loose else None)
        return Marked(trace.text, False, [span], notes if start.whole else [*notes, "off-prompt"])

    def _turns(self, row: _Spans, odd: list[int], train: bool, notes: list[str] | None) -> list[Span]:
        """The spans of whole turns. `notes` None: regions say nothing."""
        roles = [row.conversation.turns[number].role for number in odd]
        assistants = all(role == "assistant" for role in roles)
        if self._template.has_generation and train and assistants:
            return row.generated(odd)
        lost = any(role == "assistant" and row.regions[n] is None for n, role in zip(odd, roles, strict=True))
        if notes is None or lost:
            return self._by_prefixes(row, odd, train)
        return [span for number in odd for span in row.turn(number, train, self._starts, notes)]

    def _by_prefixes(self, row: _Spans, odd: list[int], train: bool) -> list[Span]:
        spans = by_prefixes(self._template, row.conversation, row.messages, row.trace.text, odd, train)
        added = {number: (span.start, span.end) for number, span in zip(odd, spans, strict=True)}
        if self._attribution.is_clean(row.messages, row.conversation, row.trace.text, added):
            return spans
        raise RowFault(
            "mask-not-derivable",
            f"turn {odd[0]}: the chat template prints other messages' text with this one's",
            'set another `chat_template` (for instance "chatml"), or train_on = "all"',
        )

    def _render(self, conversation: Conversation) -> tuple[list[Row], Trace]:
        refusal: TemplateRefusal | None = None
        for messages in conversation.variants():
            try:
                return messages, self._template.trace(messages, tools=conversation.tools)
            except TemplateRefusal as e:
                refusal = refusal or e
        raise RowFault(
            "template-refused",
            f"the chat template refuses the conversation: {refusal}",
            "change the rows with a `map`, or set another `chat_template`",
        )

    def _flags(self, turns: list[Turn]) -> list[bool]:
        """Whether each message is trained: as it says itself, else by its role."""
        by_role = [self._train_on == "all" or turn.role in self._roles for turn in turns]
        if self._train_on == "last":
            last = max((number for number, on in enumerate(by_role) if on), default=-1)
            by_role = [number == last for number in range(len(turns))]
        return [on if turn.train is None else turn.train for turn, on in zip(turns, by_role, strict=True)]


class _Spans(Rendered):
    """The spans of one conversation."""

    def turn(self, number: int, train: bool, starts: Starts, notes: list[str]) -> list[Span]:
        """The span of a whole turn."""
        turn, region = self.conversation.turns[number], self.regions[number]
        if turn.role != "assistant":
            return self._content(number, train)
        assert region is not None
        start = starts.of(self, number)
        if not start.whole:
            notes.append("off-prompt")
        close = _content_end(turn, self.trace.text, start.position)
        return [Span(start.position, region.end, train, True, close, region.start if start.loose else None)]

    def _content(self, number: int, train: bool) -> list[Span]:
        """A turn that no model writes: its content and its end."""
        start, end = core_of(self.conversation.turns[number].texts.get("content", ""))
        if start == end:
            return []
        choices = [[Place(number, "content", start), Place(number, "content", end)]]
        first, last = self._places(choices, f"the content of turn {number}")
        region = self.regions[number]
        return [Span(first, max(last, region.end) if region else last, train, True, last)]

    def parts(self, number: int, runs: dict[str, list[Stretch]]) -> list[Span]:
        """The spans of parts whose flag is not their message's."""
        out: list[Span] = []
        for field, stretches in runs.items():
            text = self.conversation.turns[number].texts[field]
            choices = (
                [Place(number, field, move(text, at)) for start, end, _ in stretches for at in (start, end)]
                for move in (lambda _, at: at, behind_space, lambda text, at: len(text[:at].rstrip()))
            )
            found = self._places(choices, f"the parts of turn {number}, {field},")
            out += [Span(found[2 * i], found[2 * i + 1], train) for i, (_, _, train) in enumerate(stretches)]
        return out

    def _places(self, choices: Iterable[list[Place]], what: str) -> list[int]:
        found = find_any(self.render, self.messages, choices, self.trace.text) or [[]]
        places = [place[0] for place in found if len(place) == 1]
        if len(places) < len(found) or places != sorted(places):
            raise RowFault(
                "place-lost",
                f"{what} cannot be found again in what the chat template prints",
                "give the template the reasoning as `reasoning_content`, and split parts in front of white space",
            )
        return places

    def generated(self, trained: list[int]) -> list[Span]:
        """What the template's author marked, of the turns that are trained. What is marked between messages
        belongs to the one before (Phi-3 prints the end of the text behind the last)."""
        out: list[Span] = []
        whose: list[int] = []
        for start, end in self.trace.generated:
            before = [(region.start, n) for n, region in enumerate(self.regions) if region and region.start <= start]
            if not before:
                raise RowFault(
                    "mask-not-derivable",
                    "what the chat template marks as generated belongs to no message",
                    'set another `chat_template`, or train_on = "all"',
                )
            number = max(before)[1]
            if number in trained:
                if number in whose[-1:]:
                    out[-1] = out[-1]._replace(turn=False)
                out.append(Span(start, end, True, True))
                whose.append(number)
        return out


def _content_end(turn: Turn, text: str, start: int) -> int:
    """Where a turn's own text ends if it is nothing but its content; else its start: an end is looked for from
    there on, and a special token within the content is not it."""
    core = turn.texts.get("content", "").strip()
    at = behind_space(text, start)
    return at + len(core) if core and not turn.calls and text.startswith(core, at) else start
