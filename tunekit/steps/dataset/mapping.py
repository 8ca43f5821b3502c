"""What becomes of one row that was read: the rows that `map` makes of it, each of the declared shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tunekit.data.columns import Row
from tunekit.data.formats import fault_of
from tunekit.errors import ActionError
from tunekit.steps.dataset.spec import Dataset
from tunekit.usercode import load_function

Where = Callable[[int], str]  # the number of a row among all that are read → what errors call it


class Mapping:
    """Depends on the spec, the code and the row, and on nothing before it: what it makes is kept by the row's bytes."""

    def __init__(self, spec: Dataset, code_root: str, where: Where) -> None:
        self._name = spec.map
        self._function: Callable[..., Any] | None = load_function(code_root, spec.map) if spec.map else None
        self._args: dict[str, Any] = {} if spec.source.startswith("make:") else spec.args
        self._shape = spec.format
        self.where = where

    @property
    def one_to_one(self) -> bool:
        """Whether every row makes exactly one."""
        return self._function is None

    def changes(self, shape: str) -> bool:
        """Whether rows of a dataset of this shape may come out as others."""
        return not self.one_to_one or self._shape not in (shape, "rows")

    def of(self, row: Row, number: int) -> list[Row]:
        """The rows made of row `number`. Raises ActionError (`map-failed`, `map-result`, `wrong-shape`)."""
        made = [row] if self._function is None else self._mapped(row, number)
        for item in made:
            fault = fault_of(self._shape, item)
            if fault:
                where = self.where(number)
                raise ActionError(
                    f"{where} is not a `{self._shape}` row: {fault.reason}", slug="wrong-shape", hint=fault.hint
                )
        return made

    def _mapped(self, row: Row, number: int) -> list[Row]:
        assert self._function is not None
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
