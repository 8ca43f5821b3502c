"""What can go wrong, once.

TunekitError                 exit  what
├── DeclarationError            2  the TOML, the labels or the command line; carries *all* problems found
├── UsageError                  2  a verb was called with words that do not fit
├── LockError                   3  the lock is missing something, or differs
├── StaleError                  4  `status --check`
├── GateError                   5  a published artifact did not pass a gate
├── TrustError                  6  code of a project that nobody said yes to
├── ActionError                 1  a worker failed; carries the slug and the log
├── StoreError                  1  the store cannot be used
├── SourceError                 1  bytes could not be fetched or are not what the lock says
└── RemoteError                 1  the remote cache could not be used (a build goes on, unless `--require-remote`)

Anything else that escapes is a bug: exit 70.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Self


class Problem(NamedTuple):
    """One thing that is wrong in a file: what, where, why, and the way out."""

    slug: str
    message: str
    file: str = ""
    line: int = 0
    table: str = ""
    key: str = ""
    hint: str = ""

    def render(self) -> str:
        where = _shown(self.file) + (f":{self.line}" if self.line else "")
        at = _shown(" ".join(x for x in (f"[{self.table}]" if self.table else "", self.key) if x))
        head = f"error[{self.slug}]: {_shown(self.message)}"
        lines = [head]
        if where or at:
            lines.append(f"  --> {where}" + (f"  {at}" if at else ""))
        if self.hint:
            lines.append(f"  = help: {_shown(self.hint)}")
        return "\n".join(lines)


_LENGTH = 4000  # characters of a message that are shown


def _shown(text: str) -> str:
    """Text of a stranger's file, as it may go to a terminal: no control characters but line ends, and an end."""
    if text.isprintable() and len(text) <= _LENGTH:
        return text
    cut = text if len(text) <= _LENGTH else text[:_LENGTH] + f"… ({len(text)} characters)"
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in cut)


class Problems(list[Problem]):
    """All that is wrong in a project, up to a number that nobody reads to the end.

    Raises DeclarationError with what there is when it is full: a file of a million mistakes has an end, too.
    """

    LIMIT = 1000

    def append(self, problem: Problem) -> None:
        self.extend([problem])

    def extend(self, problems: Iterable[Problem]) -> None:
        super().extend(problems)
        if len(self) >= self.LIMIT:
            more = Problem("too-many-problems", f"there may be more than these {self.LIMIT}", hint="mend these first")
            raise DeclarationError([*dict.fromkeys(self[: self.LIMIT]), more])

    def __iadd__(self, problems: Iterable[Problem]) -> Self:  # type: ignore[override,misc]
        self.extend(problems)
        return self


class TunekitError(Exception):
    """A mistake or a failure with a name; `render()` is what a person sees."""

    exit_code = 1
    slug = "failed"

    def __init__(self, message: str, *, slug: str = "", hint: str = "", **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.slug = slug or type(self).slug
        self.hint = hint
        self.data = data

    @property
    def problems(self) -> list[Problem]:
        return [Problem(self.slug, self.message, hint=self.hint)]

    def render(self) -> str:
        return "\n".join(p.render() for p in self.problems)


class UsageError(TunekitError):
    exit_code = 2
    slug = "usage"


class DeclarationError(TunekitError):
    exit_code = 2
    slug = "declaration"

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(f"{len(problems)} problem(s) in the declaration")
        self._problems = problems

    @property
    def problems(self) -> list[Problem]:
        return self._problems


class LockError(TunekitError):
    exit_code = 3
    slug = "lock-out-of-date"


class StaleError(TunekitError):
    exit_code = 4
    slug = "stale"


class GateError(TunekitError):
    exit_code = 5
    slug = "gate-failed"


class TrustError(TunekitError):
    exit_code = 6
    slug = "not-trusted"


class ActionError(TunekitError):
    slug = "action-failed"


class StoreError(TunekitError):
    slug = "store"


class SourceError(TunekitError):
    slug = "source"


class RemoteError(TunekitError):
    slug = "remote"


def nearest(word: str, choices: list[str]) -> str:
    """`did you mean` text for a misspelt word, or the list of valid words (the first 20)."""
    import difflib

    close = difflib.get_close_matches(word[:200], choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    more = f" and {len(choices) - 20} more" if len(choices) > 20 else ""
    return "valid: " + ", ".join(sorted(choices)[:20]) + more if choices else ""
