"""What becomes of one row that was read: the rows that `map` makes of it, each made into the form of the format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import Any

from tunekit.data.chunk import Where
from tunekit.data.columns import Row
from tunekit.data.formats.choose import Choice, choose
from tunekit.data.formats.fault import Fault
from tunekit.errors import ActionError
from tunekit.forms import AUTO
from tunekit.hashing import canonical
from tunekit.steps.dataset.spec import Dataset
from tunekit.usercode import load_function


class Mapping:
    """Depends on the spec, the code, the format and the row, and on nothing before it: what it makes is kept by the
    row's bytes. A format of `auto` is what the first row shows (`settle`). `where`: what errors call a row by its
    number among all that are read."""

    def __init__(self, spec: Dataset, code_root: str, where: Where) -> None:
        self.where = where
        self.choice: Choice | None = None if spec.format == AUTO else Choice(spec.format, dict(spec.fields))
        self._make = self.choice.maker() if self.choice else None
        self._name = spec.map
        self._function: Callable[..., Any] | None = load_function(code_root, spec.map) if spec.map else None
        self._args: dict[str, Any] = {} if spec.source.startswith("make:") else spec.args

    @property
    def manner(self) -> str:
        """What the first row has decided, and no setting says: rows that are made under another one differ."""
        return canonical([self.choice.format, self.choice.fields]).decode() if self.choice else AUTO

    @property
    def one_to_one(self) -> bool:
        """Whether every row surely makes exactly one."""
        return self._function is None and self.choice is not None and self.choice.format != "ground_truth"

    def keeps(self, shape: str) -> bool:
        """Whether rows of a dataset of this shape surely come out as they are."""
        return self._function is None and self.choice is not None and self.choice.keeps(shape)

    def settle(self, rows: Iterable[tuple[int, Row]]) -> str:
        """Choose the format by the first row that is made of these; what was seen, in words, else nothing.

        Raises ActionError (`unknown-format`, `ambiguous-format`, and those of `of`).
        """
        for number, row in rows if self.choice is None else ():
            for made in self._mapped(deepcopy(row), number):  # it is mapped again, and a map may change it
                try:
                    self.choice = choose(AUTO, {}, made)
                except Fault as fault:
                    raise self._wrong(fault, number) from None
                self._make = self.choice.maker()
                return self.choice.found
        return ""

    def of(self, row: Row, number: int) -> list[Row]:
        """The rows made of row `number`. Raises ActionError (`map-failed`, `map-result`, `wrong-shape`)."""
        out: list[Row] = []
        for item in self._mapped(row, number):
            assert self._make is not None  # no row is made of any before the format is settled
            try:
                out += self._make(item)
            except Fault as fault:
                raise self._wrong(fault, number) from None
        return out

    def _wrong(self, fault: Fault, number: int) -> ActionError:
        where = self.where(number)
        what = (
            f"{where} is not a `{self.choice.format}` row: {fault.reason}" if self.choice else f"{where} {fault.reason}"
        )
        return ActionError(what, slug=fault.slug, hint=fault.hint)

    def _mapped(self, row: Row, number: int) -> list[Row]:
        if self._function is None:
            return [row]
        try:
            result = self._function(row, **self._args)
            made = list(_results(result))
        except ActionError:
            raise
        except Exception as e:
            raise ActionError(
                f"{self._name} raised {type(e).__name__} on {self.where(number)}: {e}",
                slug="map-failed",
                hint="the log has the traceback; return None to drop a row",
            ) from e
        if not all(_is_row(item) for item in made):
            raise ActionError(
                f"{self._name} returned {type(result).__name__} on {self.where(number)}",
                slug="map-result",
                hint="return a dict with string keys, a list of such dicts, or None to drop the row",
            )
        return made


def _results(result: Any) -> Iterable[Any]:
    if result is None:
        return []
    return result if isinstance(result, (list, Iterator)) else [result]


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)
