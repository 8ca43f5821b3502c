"""jinja2's sandbox as Transformers uses it, with quicker answers: two thirds of a rendering are its checks."""

from __future__ import annotations

from typing import Any

from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

_OF_DICTS = frozenset(dir(dict))
_OF_TEXT = frozenset(name for name in dir(str) if not name.startswith(("_", "format")))
_OF_LOOPS = frozenset({"first", "index", "index0"})
_METHOD: Any = type("".strip)


class Sandbox(ImmutableSandboxedEnvironment):
    """Allows what its base allows, and finds what that finds."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._safe: dict[tuple[type, str], bool] = {}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """An attribute, else an item. A message has no attribute `role`, so nothing needs to fail to find that out."""
        if type(obj) is dict and attribute not in _OF_DICTS:
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        if (type(obj) is str and attribute in _OF_TEXT) or (type(obj) is LoopContext and attribute in _OF_LOOPS):
            return getattr(obj, attribute)
        return super().getattr(obj, attribute)

    def call(  # the base's names begin with two underscores
        self, context: Context, obj: Any, /, *args: Any, **kwargs: Any
    ) -> Any:
        """Methods of a text and `namespace` are safe, and want no context."""
        if obj is Namespace or (type(obj) is _METHOD and type(obj.__self__) is str and obj.__name__ in _OF_TEXT):
            kwargs.pop("_loop_vars", None)
            kwargs.pop("_block_vars", None)
            return obj(*args, **kwargs)
        return super().call(context, obj, *args, **kwargs)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """The base asks for nothing but the type and the name, and asks long."""
        key = (type(obj), attr)
        known = self._safe.get(key)
        if known is None:
            known = self._safe[key] = super().is_safe_attribute(obj, attr, value)
        return known
