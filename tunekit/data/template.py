"""Chat templates, rendered as Transformers renders them, with jinja2 alone.

One difference, on purpose: `strftime_now` tells a fixed day. A template that prints today's date would give
other tokens tomorrow; the fixed day is the one that such templates (Llama 3) fall back to themselves.
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

import jinja2
from jinja2.ext import loopcontrols

from tunekit.data.instrument import Generation, Recorder, Step, instrument, prompt_is_fixed
from tunekit.data.sandbox import Sandbox
from tunekit.errors import ActionError

TEMPLATE_DAY = datetime(2024, 7, 26)

LONGEST = 64_000_000  # characters of one conversation: a template is a program of whoever made the model

# What a template may raise on a conversation that it was not written for.
_REFUSALS = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)


class TemplateRefusal(Exception):
    """The template cannot render these messages; `str()` says why."""


class Trace(NamedTuple):
    """A rendering and where its text comes from. `steps`: when a loop came to a message, or ended, in order.
    `generated`: characters [start, end) inside `{% generation %}`."""

    text: str
    steps: list[Step]
    generated: list[tuple[int, int]]


class ChatTemplate:
    """A compiled template and the special tokens that it may print."""

    def __init__(self, text: str, tokens: dict[str, str]) -> None:
        """`tokens`: `bos_token`, `eos_token`, … by name. Raises ActionError (`bad-template`)."""
        self.text = text
        self.tokens = tokens
        self.read_clock = False  # whether any rendering asked for the date
        env = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
        env.filters["tojson"] = _tojson
        env.globals["raise_exception"] = _raise_exception
        env.globals["strftime_now"] = self._strftime_now
        self._recorder = Recorder.of(env)
        try:
            tree = env.parse(text)
            self._prompt_is_fixed = prompt_is_fixed(tree)
            self.has_generation = instrument(tree)
            self._compiled = env.from_string(tree)
        except jinja2.TemplateSyntaxError as e:
            raise ActionError(f"the chat template, line {e.lineno}: {e.message}", slug="bad-template") from e
        except (RecursionError, MemoryError, SyntaxError, ValueError) as e:  # of Python's compiler, too
            raise ActionError(f"the chat template cannot be compiled: {e}", slug="bad-template") from e

    def render(
        self, messages: list[dict[str, Any]], add_generation_prompt: bool = False, tools: list[Any] | None = None
    ) -> str:
        """The conversation as text. Raises TemplateRefusal when the template raises."""
        # A key whose value is None is a key that the row did not have: templates test for presence.
        given = [{k: v for k, v in m.items() if v is not None} for m in messages]
        return self.trace(given, add_generation_prompt, tools).text

    def trace(
        self, messages: list[dict[str, Any]], add_generation_prompt: bool = False, tools: list[Any] | None = None
    ) -> Trace:
        """The conversation as text, exactly as `messages` are given. Raises TemplateRefusal."""
        recorder, pieces = self._recorder, []
        recorder.start(messages)
        context = self._compiled.new_context(
            {
                "messages": messages,
                "tools": tools,
                "documents": None,
                "add_generation_prompt": add_generation_prompt,
                **self.tokens,
            }
        )
        try:
            for piece in self._compiled.root_render_func(context):
                pieces.append(piece)
                recorder.position += len(piece)
                if recorder.position > LONGEST:
                    raise TemplateRefusal(f"it has written {LONGEST:,} characters, and there is no end")
        except _REFUSALS as e:
            raise TemplateRefusal(str(e) or type(e).__name__) from e
        return Trace("".join(pieces), recorder.steps, recorder.generated)

    @cached_property
    def fixed_prompt(self) -> str | None:
        """The generation prompt, if the template shows that it is the same for every conversation; else None."""
        if not self._prompt_is_fixed:
            return None
        try:
            trace = self.trace([{"role": "user", "content": "?"}], add_generation_prompt=True)
        except TemplateRefusal:
            return None
        return trace.text[trace.steps[-1].position :] if trace.steps else None

    def _strftime_now(self, format: str) -> str:
        self.read_clock = True
        return TEMPLATE_DAY.strftime(format)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without jinja2's HTML escapes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
