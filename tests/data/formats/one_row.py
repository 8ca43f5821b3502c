"""One row at a time through a format, as the dataset room does it."""

from __future__ import annotations

from typing import Any

import pytest

from tunekit.data.formats.choose import choose
from tunekit.data.formats.fault import Fault


def made(format: str, row: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The row of the form; it is checked that making it again changes nothing."""
    choice = choose(format, fields, row)
    (normal,) = choice.maker()(row)
    assert choose(choice.form, {}, normal).maker()(normal) == [normal]
    return normal


def fault(format: str, row: dict[str, Any], **fields: Any) -> Fault:
    """What is wrong with a row; there is always a way out."""
    with pytest.raises(Fault) as e:
        choose(format, fields, row).maker()(row)
    assert e.value.reason and e.value.hint, e.value.reason
    return e.value


USER = {"role": "user", "content": "hi"}
BOT = {"role": "assistant", "content": "hello"}
WORSE = {"role": "assistant", "content": "what"}
