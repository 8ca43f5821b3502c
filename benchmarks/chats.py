"""Real chat rows for benchmarks/data.py: OpenAI's evals, as JSON lines, written and edited line by line.

The rows are those of benchmarks/lengths.py with the roles that chat templates know. When they are used up they come
again, with a number in their first message: no two lines are equal.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import count, islice
from multiprocessing import Process
from pathlib import Path

from lengths import evals

ROLES = {"system", "user", "assistant"}
_TAIL = b'"}]}\n'  # of every line: where an edit goes


def _talks(wheels: Path) -> Iterator[bytes]:
    """Each conversation once."""
    seen = set()
    for turns in evals(wheels):
        if not {role for role, _ in turns} <= ROLES or len(turns) < 2 or not turns[-1][1]:
            continue
        line = _line([{"role": role, "content": content} for role, content in turns])
        if line and hash(line) not in seen:
            seen.add(hash(line))
            yield line


def _line(messages: list[dict[str, str]]) -> bytes:
    try:
        return json.dumps({"messages": messages}, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair
        return b""


def _numbered(line: bytes, number: int) -> bytes:
    messages = json.loads(line)["messages"]
    messages[0]["content"] += f" ({number})"
    return _line(messages)


def lines(wheels: Path, base: Path) -> Iterator[bytes]:
    """Without end. `base`: a file that keeps the distinct ones."""
    if not base.exists():  # in a process of its own: a command that is measured starts with its parent's peak
        maker = Process(target=_write_distinct, args=(wheels, base))
        maker.start()
        maker.join()
    yield from base.open("rb")
    for number in count(1):
        yield from (_numbered(line, number) for line in base.open("rb"))


def _write_distinct(wheels: Path, base: Path) -> None:
    some = list(_talks(wheels))
    random.Random(0).shuffle(some)  # tasks mixed, as in a set for training
    base.write_bytes(b"".join(some))


def write(file: Path, wheels: Path, base: Path, rows: int) -> None:
    with file.open("wb") as out:
        out.writelines(islice(lines(wheels, base), rows))


def write_bytes(file: Path, wheels: Path, base: Path, size: int) -> int:
    """A file of at least `size` bytes; how many rows it has."""
    with file.open("wb") as out:
        for rows, line in enumerate(lines(wheels, base), 1):
            out.write(line)
            if out.tell() >= size:
                return rows
    raise AssertionError("lines have no end")


def texts(file: Path, chats: Path) -> None:
    """The same rows as plain text: what was said, a message a paragraph."""
    with file.open("wb") as out:
        for line in chats.open("rb"):
            said = "\n\n".join(m["content"] for m in json.loads(line)["messages"])
            out.write(json.dumps({"text": said}, ensure_ascii=False).encode() + b"\n")


def edit(file: Path, how: str, rows: int, count: int, seed: int) -> int:
    """Edit `count` of `rows` rows: `contiguous`, `scattered`, or `appended` behind them; how many there are then."""
    drawn = random.Random(seed)
    chosen: range | set[int] = range(0)
    if how == "contiguous":
        start = drawn.randrange(rows - count)
        chosen = range(start, start + count)
    elif how == "scattered":
        chosen = set(drawn.sample(range(rows), count))
    new = file.with_suffix(".new")
    with file.open("rb") as old, new.open("wb") as out:
        held = []
        for number, line in enumerate(old):
            out.write(_edited(line, seed) if number in chosen else line)
            if how == "appended" and number < count:
                held.append(_edited(line, seed))
        out.writelines(held)
    new.rename(file)
    return rows + (count if how == "appended" else 0)


def _edited(line: bytes, seed: int) -> bytes:
    assert line.endswith(_TAIL)
    return line[: -len(_TAIL)] + f" (edit {seed})".encode() + _TAIL
