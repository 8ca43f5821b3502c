"""Tools and calls of them. They are kept as JSON text: a table in a column would lose the order of keys and could
not tell a missing key from null, and templates print both."""

from __future__ import annotations

import json
from typing import Any

from tunekit.data.columns import Row
from tunekit.data.formats.fault import Fault, shown, text

_CALL = 'a call is {"type": "function", "function": {"name": "…", "arguments": {…} or JSON text}}'
_TOOLS = 'tools are [{"type": "function", "function": {"name": "…", "parameters": {…}}}], or JSON text of that'


def calls_of(calls: Any, where: str) -> list[Row] | None:
    """The calls of a message with their `arguments` as JSON text; None if there are none. Raises Fault."""
    if not isinstance(calls, list):
        raise Fault(f"{where} is {shown(calls)}, not a list", _CALL)
    return [_call(call, f"{where} call {number}") for number, call in enumerate(calls)] or None


def _call(call: Any, where: str) -> Row:
    if not isinstance(call, dict):
        raise Fault(f"{where} is {shown(call)}, not a table", _CALL)
    outer = {key: value for key, value in call.items() if value is not None}
    if "function" in outer:
        function = outer.pop("function")
    else:  # the short way: {name, arguments}
        function = {key: outer.pop(key) for key in ("name", "arguments") if key in outer}
    if not isinstance(function, dict):
        raise Fault(f"{where} `function` is {shown(function)}, not a table", _CALL)
    inner = {key: value for key, value in function.items() if value is not None}
    text(inner.get("name"), f"{where} `name`", _CALL)
    arguments = inner.get("arguments", {})
    if isinstance(arguments, str):
        if not isinstance(_loaded(arguments, f"{where} `arguments`", _CALL), dict):
            raise Fault(f"{where} `arguments` is {shown(arguments)}, not JSON text of a table", _CALL)
    elif isinstance(arguments, dict):
        arguments = _dumped(arguments, f"{where} `arguments`", _CALL)
    else:
        raise Fault(f"{where} `arguments` is {shown(arguments)}, not a table", _CALL)
    return {"type": "function"} | outer | {"function": inner | {"arguments": arguments}}


def tools_of(tools: Any, where: str) -> str | None:
    """JSON text of the list of tools; None if there are none. Raises Fault."""
    if tools == "":
        return None
    found = _loaded(tools, where, _TOOLS) if isinstance(tools, str) else tools
    if found == []:
        return None
    if not isinstance(found, list) or not all(isinstance(tool, dict) for tool in found):
        raise Fault(f"{where} is {shown(found)}, not a list of tables", _TOOLS)
    if isinstance(tools, str):
        return tools
    return _dumped([_tool(tool, f"{where} tool {number}") for number, tool in enumerate(found)], where, _TOOLS)


def _tool(tool: Row, where: str) -> Row:
    """A tool whose `parameters` are JSON text, as some datasets have them, has them as a table."""
    function = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("parameters"), str):
        return tool
    parameters = _loaded(function["parameters"], f"{where} `parameters`", _TOOLS)
    return tool | {"function": function | {"parameters": parameters}}


def _loaded(value: str, where: str, hint: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as e:
        raise Fault(f"{where} is {shown(value)}, not JSON: {e}", hint) from e


def _dumped(value: Any, where: str, hint: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as e:
        raise Fault(f"{where} cannot be written as JSON: {e}", hint) from e
