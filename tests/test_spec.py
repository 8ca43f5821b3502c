"""The base of every spec: closed, frozen, every field with a class and a line of documentation."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest

from tunekit import kinds
from tunekit.manifest.project import ProjectSettings
from tunekit.methods.spec import DataItem
from tunekit.spec import (
    NUMERIC,
    OPERATIONAL,
    SEMANTIC,
    Spec,
    by_class,
    fields_of,
    numeric,
    operational,
    plain,
    semantic,
)
from tunekit.steps.rewards.spec import Reward
from tunekit.steps.tokens.spec import TokenItem

ROOMS = [k.spec_type() for t in (kinds.TARGETS, kinds.METHODS, kinds.STEPS) for k in t.values()]
SPECS = [*ROOMS, ProjectSettings, DataItem, Reward, TokenItem]


class Inner(Spec, frozen=True, kw_only=True):
    """A table in a table."""

    n: Annotated[int, semantic("N.", ge=1)] = 1


class Example(Spec, frozen=True, kw_only=True, rename={"from_": "from"}):
    """One field of every sort."""

    name: Annotated[str, semantic("Required.")]
    rate: Annotated[float, semantic("Rate.", gt=0)] = 0.5
    from_: Annotated[list[str], semantic("Renamed.")] = []
    inner: Annotated[Inner | None, semantic("Table.")] = None
    micro: Annotated[int, numeric("Micro.")] = 1
    log: Annotated[bool, operational("Log.")] = False


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.__name__)
def test_every_field_of_every_room_is_declared_whole(spec: type[Spec]) -> None:
    assert issubclass(spec, Spec)
    assert spec.__struct_config__.frozen and spec.__struct_config__.forbid_unknown_fields
    assert spec.__doc__, "what it is, in one line"
    for name, info in fields_of(spec).items():
        assert info.cls in (SEMANTIC, NUMERIC, OPERATIONAL)
        assert info.doc.endswith((".", ")")) or info.doc, f"{spec.__name__}.{name} has no documentation"
        assert len(info.doc) > 3
        if not info.required:  # a default is a value that the type allows
            msgspec.convert(plain(info.default), info.type)


def test_default_is_omitted_and_required_is_kept() -> None:
    assert by_class(Example(name="x")) == {SEMANTIC: {"name": "x"}, NUMERIC: {}, OPERATIONAL: {}}
    full = Example(name="x", rate=0.25, from_=["a"], inner=Inner(n=2), micro=4, log=True)
    assert by_class(full) == {
        SEMANTIC: {"name": "x", "rate": 0.25, "from": ["a"], "inner": {"n": 2}},
        NUMERIC: {"micro": 4},
        OPERATIONAL: {"log": True},
    }


def test_an_integer_where_a_float_stands_is_the_same_setting() -> None:
    """`lr = 1` and `lr = 1.0` are one setting: the type decides, not the spelling."""
    for value in (2, 2.0):
        assert by_class(msgspec.convert({"name": "x", "rate": value}, Example))[SEMANTIC]["rate"] == 2.0
        assert isinstance(msgspec.convert({"name": "x", "rate": value}, Example).rate, float)


def test_a_field_without_a_class_is_a_bug() -> None:
    class Bare(Spec, frozen=True, kw_only=True):
        """No class."""

        n: int = 1

    with pytest.raises(TypeError, match=r"Bare\.n has no field class"):
        fields_of(Bare)


def test_specs_are_closed_and_frozen() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"name": "x", "other": 1}, Example)
    with pytest.raises(AttributeError):
        Example(name="x").name = "y"  # type: ignore[misc]
