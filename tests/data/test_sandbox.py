"""The sandbox answers what jinja2's own answers, for whatever a template asks of a row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Undefined
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from tunekit.data.sandbox import Sandbox

OURS, THEIRS = Sandbox(), ImmutableSandboxedEnvironment()
NAMES = ["role", "items", "get", "pop", "update", "append", "format", "startswith", "mro", "gi_frame", "func_globals"]
NAMES += ["__class__", "__init__", "_x", "tool_calls", "clear", "content", "keys", "index", ""]
VALUES = [{}, {"role": 1, "items": 2, "_x": None, "content": "x", "__init__": 3, "pop": 4}]
VALUES += [[1], "text", 3, None, {1}, int]
VALUES += [Namespace(role=1), lambda: 0, (n for n in ()), "x".format, [].append, dict, Undefined(name="x")]


def _told(env, value, name):
    try:
        found = env.getattr(value, name)
    except Exception as e:
        return type(e), str(e)
    return (type(found), found._undefined_message) if isinstance(found, Undefined) else (type(found), str(found)[:12])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__)
def test_attributes_are_those_of_jinja(value, name):
    for _ in range(2):  # the second time it is known
        assert _told(OURS, value, name) == _told(THEIRS, value, name)


@given(st.dictionaries(st.sampled_from(NAMES), st.integers()), st.text() | st.sampled_from(NAMES))
def test_items_of_a_message(message, name):
    assert _told(OURS, message, name) == _told(THEIRS, message, name)


@pytest.mark.parametrize(
    "hostile",
    ["{{ m.__class__.__mro__ }}", "{{ m.update({'a': 1}) }}", "{{ l.append(1) }}", "{{ m.f.__globals__.x }}"],
)
def test_what_is_unsafe_is_refused(hostile):
    for _ in range(2):
        with pytest.raises(SecurityError):
            OURS.from_string(hostile).render(m={"f": lambda: 0}, l=[])


@pytest.mark.parametrize(
    "asked",
    [
        "{{ m.t.strip() }}|{{ m.t.split('b', 1) }}|{{ m.t.startswith('a') }}|{{ m.t.strip(1) }}",
        "{{ '{0.__class__}'.format(m) }}",
        "{{ '{x.t}'.format_map({'x': m}) }}",
        "{% for x in [1, 2] %}{{ loop.first, loop.index, loop.index0, loop.last, loop.cycle(3, 4) }}{% endfor %}",
        "{% for x in [1, 2] %}{{ loop._iterator }}{% endfor %}",
        "{% set n = namespace(a=1) %}{% for x in [1] %}{% set n.a = m.t.upper() %}{% endfor %}{{ n.a }}{{ n.b }}",
        "{{ namespace(1) }}",
        "{{ m.t() }}",
    ],
)  # fmt: skip
def test_calls_give_what_jinja_gives(asked):
    def told(env):
        try:
            return env.from_string(asked).render(m={"t": " ab "})
        except Exception as e:
            return type(e), str(e)

    assert told(OURS) == told(THEIRS)
