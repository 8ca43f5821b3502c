"""What is taken from `trl.experimental`, which may move or go in any release of TRL: nothing else imports from it."""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.metadata import version
from typing import Any

from tunekit.errors import ActionError


def experimental(module: str, *names: str) -> tuple[Any, ...]:
    """`names` of `trl.experimental.<module>`. ActionError `trl-moved` if this TRL has them elsewhere, or not at all."""
    where = f"trl.experimental.{module}"
    try:
        with warnings.catch_warnings():
            # That it is experimental is why this file exists; the version is bounded in pyproject.toml.
            warnings.filterwarnings("ignore", message="You are importing from 'trl.experimental'")
            found = import_module(where)
            return tuple(getattr(found, name) for name in names)
    except (ImportError, AttributeError) as e:
        raise ActionError(
            f"TRL {version('trl')} has no {', '.join(names)} in {where}: {e}",
            slug="trl-moved",
            hint="this method was written for TRL 1.16, where it is experimental: install trl>=1.16,<1.17",
        ) from e
