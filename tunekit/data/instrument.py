"""Where the text of a rendering comes from, told by the template itself: its loop over the messages.

Every template that we know prints its messages in a `for` loop, the text of a message while the loop is at it.
A call is put into the body of the loops: it prints nothing and notes how far the text is. So the text is what
it would be without, and nothing has to be searched for in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.visitor import NodeTransformer

ENDED = -1

# Their text is collected first and printed later, if at all: a position inside them says nothing.
_COLLECT = (nodes.Macro, nodes.CallBlock, nodes.AssignBlock, nodes.FilterBlock)
_OF_THE_ROW = {"messages", "tools", "documents"}
_PROMPT = "add_generation_prompt"
_STEP = "tunekit_step"
_END = "tunekit_end"


class Step(NamedTuple):
    """Loop `loop` came to message `message` (ENDED: to its end) when the text had `position` characters."""

    loop: int
    message: int
    position: int


_step = partial(tuple.__new__, Step)  # twice as fast as Step(…), and there are some ten in every row


class Recorder:
    """What one rendering notes. An environment has one; a template renders one conversation at a time."""

    def __init__(self) -> None:
        self.position = 0
        self.steps: list[Step] = []
        self.generated: list[tuple[int, int]] = []
        self._at: dict[int, int] = {}

    @staticmethod
    def of(env: jinja2.Environment) -> Recorder:
        """A recorder that the code of `env`'s templates reaches."""
        recorder = Recorder()
        env.filters[_STEP] = recorder.step  # a filter is called without the checks that the sandbox makes of a call
        # (An attribute of the environment, since a filter of a constant would be called when it is compiled.)
        env.extend(tunekit_generated=recorder.generation, **{_END: None})
        return recorder

    def start(self, messages: list[dict[str, Any]]) -> None:
        self.position = 0
        self.steps, self.generated = [], []
        # By identity: loops go over slices of the list and reversed ones, but over these objects.
        self._at = {id(message): number for number, message in enumerate(messages)}

    def step(self, item: Any, loop: int) -> None:
        message = ENDED if item is None else self._at.get(id(item))
        if message is not None:
            self.steps.append(_step((loop, message, self.position)))

    def generation(self, size: int) -> None:
        self.generated.append((self.position, self.position + size))


class Generation(Extension):
    """`{% generation %}`: renders its body. A call block, as in Transformers, so that scoping is the same."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Macro) -> str:
        return caller()

    def _printed(self, caller: Macro) -> str:
        text = caller()
        self.environment.tunekit_generated(len(text))  # type: ignore[attr-defined]
        return text


class _Loops(NodeTransformer):
    """Puts the calls in. Numbers loops in the order of the text."""

    def __init__(self) -> None:
        self.loops = 0
        self.generations = 0

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if isinstance(node, nodes.CallBlock) and _is_generation(node):
            self.generations += 1
            node.call.node.name = "_printed"  # type: ignore[attr-defined]
        return node if isinstance(node, _COLLECT) else super().generic_visit(node, *args, **kwargs)

    def visit_For(self, node: nodes.For) -> Any:
        if node.recursive:
            return node
        number, self.loops = self.loops, self.loops + 1
        self.generic_visit(node)
        if not isinstance(node.target, nodes.Name):
            return node
        line = node.lineno
        node.body.insert(0, _note(line, number, nodes.Name(node.target.name, "load", lineno=line)))
        return [node, _note(line, number, nodes.EnvironmentAttribute(_END, lineno=line))]


def _note(line: int, loop: int, item: nodes.Expr) -> nodes.ExprStmt:
    number = nodes.Const(loop, lineno=line)
    return nodes.ExprStmt(nodes.Filter(item, _STEP, [number], [], None, None, lineno=line), lineno=line)


def _is_generation(node: nodes.CallBlock) -> bool:
    method = node.call.node
    return isinstance(method, nodes.ExtensionAttribute) and method.identifier == Generation.identifier


def instrument(tree: nodes.Template) -> bool:
    """Change a parsed template in place; whether it has `{% generation %}` whose place in the text is known."""
    loops = _Loops()
    loops.visit(tree)
    return loops.generations > 0


def prompt_is_fixed(tree: nodes.Template) -> bool:
    """Whether what is printed after the messages depends on nothing of the row, for all that the template says.

    It is when `add_generation_prompt` is read only after the last loop that prints, and what stands there reads
    no name that has to do with the row.
    """
    loops = [i for i, node in enumerate(tree.body) if isinstance(node, nodes.For) and node.find(nodes.Output)]
    if not loops:
        return False
    before = [node for node in tree.body[: loops[-1] + 1] if not _is_default(node)]
    after = tree.body[loops[-1] + 1 :]
    if _PROMPT in _names(before) or any(isinstance(node, nodes.For) or node.find(nodes.For) for node in after):
        return False
    stored = dict(_stored(tree.body, [], True))
    return all(_fixed(name, stored, set()) for name in _names(after))


def _is_default(node: nodes.Node) -> bool:
    """`{% if not add_generation_prompt is defined %}{% set add_generation_prompt = … %}`: it always is."""
    return (
        isinstance(node, nodes.If)
        and isinstance(node.test, nodes.Not)
        and isinstance(node.test.node, nodes.Test)
        and node.test.node.name == "defined"
        and _names([node]) == {_PROMPT}
    )


def _names(found: list[nodes.Node]) -> set[str]:
    return {name.name for node in found for name in [node, *node.find_all(nodes.Name)] if isinstance(name, nodes.Name)}


def _stored(body: list[nodes.Node], tests: list[nodes.Node], plain: bool) -> Iterator[tuple[str, set[str] | None]]:
    """Every name that a template sets, with the names that it is made of; None: not looked into. A name that is
    set twice is not looked into either."""
    found: dict[str, set[str] | None] = {}

    def put(name: str, made_of: set[str] | None) -> None:
        found[name] = None if name in found else made_of

    for node in body:
        if plain and isinstance(node, nodes.Assign) and isinstance(node.target, nodes.Name):
            put(node.target.name, _names([node.node, *tests]))
        elif plain and isinstance(node, nodes.If):
            for name, made_of in _stored([*node.body, *node.elif_, *node.else_], [*tests, node.test], True):
                put(name, made_of)
        else:
            for target in node.find_all((nodes.Name, nodes.NSRef)):
                if isinstance(target, nodes.NSRef) or (isinstance(target, nodes.Name) and target.ctx != "load"):
                    put(target.name, None)
            for macro in [node, *node.find_all(nodes.Macro)]:
                if isinstance(macro, nodes.Macro):
                    put(macro.name, None)
    yield from found.items()


def _fixed(name: str, stored: dict[str, set[str] | None], seen: set[str]) -> bool:
    if name in _OF_THE_ROW or name in seen:
        return False
    made_of = stored.get(name, set())
    return made_of is not None and all(_fixed(other, stored, seen | {name}) for other in made_of - {name})
