"""`python -P -m tunekit.engine.talk PARENT`: a model that answers (tunekit.completion), in a process of its own.

It runs no code of a project: models that bring their own are refused when they are loaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import msgspec

from tunekit.completion import Asked, Opening
from tunekit.errors import ActionError, TunekitError
from tunekit.lifeline import die_with

LONGEST = 256  # tokens of a completion, where nobody said how many

Say = Callable[[dict[str, Any]], None]


def serve(lines: IO[bytes], say: Say) -> None:
    """Open the model that the first line names, then answer line by line."""
    with reported(say, fatal=True):
        speaker = Speaker(msgspec.json.decode(lines.readline(), type=Opening))
        say({"type": "ready", **speaker.described()})
        for line in lines:
            with reported(say, fatal=False):
                speaker.answer(msgspec.json.decode(line, type=Asked), say)
                say({"type": "end"})


class reported:
    """Turns an error with a name into an answer."""

    def __init__(self, say: Say, *, fatal: bool) -> None:
        self._say, self._fatal = say, fatal

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, at: Any) -> bool:
        if not isinstance(error, TunekitError):
            return False
        said = {"slug": error.slug, "message": error.message, "hint": error.hint}
        self._say({"type": "error", **said, "fatal": self._fatal})
        return True


class Speaker:
    """A policy with its vocabulary. Raises ActionError: `not-generative`, and those of loading."""

    def __init__(self, opening: Opening) -> None:
        check_generative(opening)
        import torch

        from tunekit.data.vocabulary import open_vocabulary
        from tunekit.engine.generation import stop_ids_of
        from tunekit.engine.loading import load_policy

        torch.set_num_threads(opening.cpus)
        config = _object(Path(opening.base) / "config.json")
        # As stored, but for float16, which the CPU computes poorly in.
        dtype = "bfloat16" if config.get("dtype", config.get("torch_dtype")) == "bfloat16" else "float32"
        self._loaded = load_policy(opening.base, opening.adapter or None, dtype=dtype, trainable=False)
        if torch.cuda.is_available():
            self._loaded.model.to("cuda")  # type: ignore[arg-type]
        vocabulary = open_vocabulary(opening.base)
        self._vocabulary = vocabulary._replace(template=None) if opening.raw else vocabulary
        self._stop_ids = stop_ids_of(self._loaded.base, self._loaded.tokenizer)

    def described(self) -> dict[str, Any]:
        config: Any = self._loaded.base.config
        return {
            "template": self._vocabulary.template is not None,
            "context": getattr(config.get_text_config(), "max_position_embeddings", None) or 0,
            "device": self._loaded.base.device.type,
            "dtype": self._loaded.dtype,
        }

    def answer(self, asked: Asked, say: Say) -> None:
        """Every completion of the prompts, in order. Raises ActionError: `context-too-long`, and those of prompts."""
        from tunekit.engine.generation import Embedded, Sampling
        from tunekit.engine.prompts import prompt_of

        prompts = [prompt_of({"prompt": p}, self._vocabulary, f"prompt {i}") for i, p in enumerate(asked.prompts)]
        sampling = Sampling(
            max_tokens=asked.max_tokens or LONGEST, stop_ids=self._stop_ids, n=asked.n, temperature=asked.temperature,
            top_p=asked.top_p, top_k=asked.top_k, min_p=asked.min_p, repetition_penalty=asked.repetition_penalty,
        )  # fmt: skip
        model, tokenizer = self._loaded.model, self._loaded.tokenizer
        streamer = Pieces(self._text, say) if asked.stream else None
        with Embedded(model, tokenizer, batch_size=asked.batch, streamer=streamer) as engine:
            for row, prompt in enumerate(prompts):  # one at a time: an answer depends on no other prompt
                room = sampling.max_tokens if asked.max_tokens else self._room(len(prompt.ids))
                (found,) = engine.generate([prompt.ids], sampling._replace(seed=asked.seed + row, max_tokens=room))
                for one in found:
                    say({
                        "type": "completion", "row": row, "text": self._text(one.token_ids),
                        "tokens": len(one.token_ids), "finished": one.finished,
                    })  # fmt: skip

    def _room(self, taken: int) -> int:
        """Tokens of a completion where nobody said how many. A prompt that fills the context is an error."""
        context = getattr(self._loaded.base.config.get_text_config(), "max_position_embeddings", None)
        return max(1, min(LONGEST, context - taken)) if context else LONGEST

    def _text(self, ids: list[int]) -> str:
        found: Any = self._loaded.tokenizer.decode(ids, skip_special_tokens=True)
        return str(found)


class Pieces:
    """Transformers' streamer: text as it is made, without half a character."""

    def __init__(self, text: Callable[[list[int]], str], say: Say) -> None:
        self._text, self._say = text, say
        self._ids: list[int] | None = None  # None: the prompt comes first
        self._shown = 0

    def put(self, value: Any) -> None:
        if self._ids is None:
            self._ids = []
            return
        self._ids += value.flatten().tolist()
        text = self._text(self._ids)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            self._tell(text)

    def end(self) -> None:
        self._tell(self._text(self._ids or []))

    def _tell(self, text: str) -> None:
        if len(text) > self._shown:
            self._say({"type": "piece", "text": text[self._shown :]})
            self._shown = len(text)


def check_generative(opening: Opening) -> None:
    """ActionError `not-generative` for weights that score texts and write none: a reward model, a classifier."""
    task = _object(Path(opening.adapter) / "adapter_config.json").get("task_type") if opening.adapter else None
    names = _object(Path(opening.base) / "config.json").get("architectures") or []
    if task not in (None, "CAUSAL_LM") or any("Classification" in str(name) for name in names):
        what = task or ", ".join(map(str, names))
        raise ActionError(
            f"these weights write no text ({what})", slug="not-generative", hint="`generate` takes a language model"
        )


def _object(file: Path) -> dict[str, Any]:
    from tunekit.data.vocabulary import read_object

    return read_object(file)


def main() -> None:
    die_with(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks decides what Ctrl-C means
    fd = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    with contextlib.suppress(BrokenPipeError), os.fdopen(fd, "w", encoding="utf-8", buffering=1) as out:
        serve(sys.stdin.buffer, lambda answer: print(json.dumps(answer, ensure_ascii=True), file=out))
    os._exit(0)  # the training stack would take its time to be taken down


if __name__ == "__main__":
    main()
