"""`python -P -m tunekit.lens PARENT`: one question (tunekit.question) on standard input, answers as JSON lines."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator

import msgspec

from tunekit.errors import TunekitError
from tunekit.lens.compare import compare
from tunekit.lens.look import Answer, look
from tunekit.lifeline import die_with
from tunekit.question import Question

_MEMORY = 8 << 30  # bytes; chunks are mapped, and count nothing
_SECONDS = 600  # of CPU time, for all that one question asks


def answers(question: Question) -> Iterator[Answer]:
    """Of all subjects, one after the other."""
    if question.before:
        for before, after in zip(question.before, question.subjects, strict=True):
            yield from compare(question, before, after)
        return
    for subject in question.subjects:
        yield from look(question, subject)


def main() -> None:
    die_with(int(sys.argv[1]))
    # a template is a program of whoever made the model: it may fill the memory, or never end
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS + 5))
    try:
        for answer in answers(msgspec.json.decode(sys.stdin.buffer.read(), type=Question)):
            _say(answer)
        _say({"type": "end"})
    except TunekitError as e:
        _say({"type": "error", "slug": e.slug, "message": e.message, "hint": e.hint})
    except BrokenPipeError:
        os._exit(1)  # nobody listens any more; a flush at exit would complain of it


def _say(answer: Answer) -> None:
    sys.stdout.write(json.dumps(answer, ensure_ascii=True, allow_nan=False) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
