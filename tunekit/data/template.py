"""Chat templates, rendered as Transformers renders them, with jinja2 alone.

One difference, on purpose: `strftime_now` tells a fixed day. A template that prints today's date would give
other tokens tomorrow; the fixed day is the one that such templates (Llama 3) fall back to themselves.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tunekit.errors import ActionError

TEMPLATE_DAY = datetime(2024, 7, 26)


class TemplateRefusal(Exception):
    """The template cannot render these messages; `str()` says why."""


class _Generation(Extension):
    """`{% generation %}`: renders its body. A call block, as in Transformers, so that scoping is the same."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Macro) -> str:
        return caller()


class ChatTemplate:
    """A compiled template and the special tokens that it may print."""

    def __init__(self, text: str, tokens: dict[str, str]) -> None:
        """`tokens`: `bos_token`, `eos_token`, … by name. Raises ActionError (`bad-template`)."""
        self.text = text
        self.tokens = tokens
        self.read_clock = False  # whether any rendering asked for the date
        env = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        env.filters["tojson"] = _tojson
        env.globals["raise_exception"] = _raise_exception
        env.globals["strftime_now"] = self._strftime_now
        try:
            self._compiled = env.from_string(text)
        except jinja2.TemplateSyntaxError as e:
            raise ActionError(f"the chat template, line {e.lineno}: {e.message}", slug="bad-template") from e

    def render(self, messages: list[dict[str, Any]], add_generation_prompt: bool = False) -> str:
        """The conversation as text. Raises TemplateRefusal when the template raises."""
        # A key whose value is None is a key that the row did not have: templates test for presence.
        given = [{k: v for k, v in m.items() if v is not None} for m in messages]
        try:
            return self._compiled.render(
                messages=given, tools=None, documents=None, add_generation_prompt=add_generation_prompt, **self.tokens
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, IndexError, AttributeError) as e:
            raise TemplateRefusal(str(e) or type(e).__name__) from e

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
