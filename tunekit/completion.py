"""What `tunekit generate` asks of the process that holds the model (`tunekit.engine.talk`), and what that answers.

The first line on its standard input is an `Opening`, each further one an `Asked`; answers are JSON objects, one a line:

    {"type": "ready", "template": whether prompts go through one, "context": tokens, "device", "dtype"}
    {"type": "piece", "text"}                                           with `stream`: text as it is made
    {"type": "completion", "row", "text", "tokens", "finished"}         one a completion, in order
    {"type": "end"}                                                     all of this question is answered
    {"type": "error", "slug", "message", "hint", "fatal"}               instead; the process ends if it is `fatal`
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Opening(NamedTuple):
    """Folders of the store: full weights with their tokenizer, and maybe an adapter on top. `raw`: prompts are text,
    whatever template there is. `cpus`: threads."""

    base: str
    adapter: str = ""
    raw: bool = False
    cpus: int = 1


class Asked(NamedTuple):
    """`prompts`: texts, or lists of messages. `temperature` 0: the likeliest token; `top_k` 0, `top_p` 1, `min_p` 0: no
    limit. `max_tokens` 0: what fits into the context, 256 at most. `n`: completions a prompt. `stream`: of one
    completion, as it is made. `batch`: sequences at once."""

    prompts: list[Any]
    max_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0
    n: int = 1
    batch: int = 8
    stream: bool = False
