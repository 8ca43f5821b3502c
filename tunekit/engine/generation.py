"""Generation engines behind one small interface: token ids in, token ids and log-probabilities out.

The contract, the same for every engine (one test runs against all of them):

- An engine is a context manager: what it holds (a server, GPU memory) exists between enter and exit.
- `weights` names what it generates with; whoever consumes completions compares it (decision 4).
- A log-probability is that of the sampled token under the *whole* vocabulary at the sampling temperature:
  log_softmax(logits / temperature), before top-k, top-p, min-p and the repetition penalty narrow the choice. This is
  what a trainer recomputes with a forward pass. Greedy decoding (temperature 0) counts as temperature 1.
- The stop token that ended a completion is its last token. `finished` is False where `max_tokens` ended it.
- Equal prompts, settings and weights give equal completions, and the process's own random state is left as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import torch
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.generation.logits_process import (
    LogitsProcessor,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
)

from tunekit.errors import ActionError


class Sampling(NamedTuple):
    """How tokens are chosen. `temperature` 0: the likeliest token; `top_k` 0, `top_p` 1, `min_p` 0: no limit."""

    max_tokens: int
    stop_ids: tuple[int, ...]
    n: int = 1  # completions a prompt
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0


class Completion(NamedTuple):
    """One completion: as many log-probabilities as tokens."""

    token_ids: list[int]
    logprobs: list[float]
    finished: bool


class Engine(Protocol):
    """See the module's contract."""

    @property
    def weights(self) -> str:
        """Identity of the weights that the next call generates with."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    def generate(self, prompts: list[list[int]], sampling: Sampling) -> list[list[Completion]]:
        """`sampling.n` completions for each prompt, in order. ActionError `context-too-long`."""
        ...


class Embedded:
    """Transformers' `generate` on a model in this process, in left-padded batches; no server and no second copy.

    `model`: a causal language model, PEFT-wrapped or not, in any mode: dropout and gradient checkpointing are off
    while it generates. `batch_size`: sequences at once (None: all). `streamer`: one of Transformers, for one sequence.
    Not for weights that are sharded over processes.
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        weights: str = "",
        batch_size: int | None = None,
        streamer: Any = None,
    ) -> None:
        # Adapter layers are injected into the base model, so it generates with them and without PEFT's wrapper, which
        # would bring its own generation config along.
        self._model: Any = model.get_base_model() if isinstance(model, PeftModel) else model
        self._pad_id = _pad_id(tokenizer)
        self._batch_size = batch_size
        self._streamer = streamer
        self.weights = weights

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        return None

    def generate(self, prompts: list[list[int]], sampling: Sampling) -> list[list[Completion]]:
        check_context(self._model, prompts, sampling.max_tokens)
        rows = [ids for ids in prompts for _ in range(sampling.n)]
        size = self._batch_size or max(1, len(rows))
        done: list[Completion] = []
        with self._prepared(), _seeded(sampling.seed, self._model.device):
            for start in range(0, len(rows), size):
                done += self._batch(rows[start : start + size], sampling)
        return [done[i : i + sampling.n] for i in range(0, len(done), sampling.n)]

    @contextmanager
    def _prepared(self) -> Iterator[None]:
        """Evaluation mode, and a generation config of our own: what ours leaves unset, Transformers would otherwise
        take from the one stored with the model (a top_k of 20, a penalty)."""
        training, stored = self._model.training, self._model.generation_config
        self._model.eval()
        self._model.generation_config = GenerationConfig()
        try:
            yield
        finally:
            self._model.generation_config = stored
            self._model.train(training)

    def _batch(self, rows: list[list[int]], sampling: Sampling) -> list[Completion]:
        """One call of `generate`: B rows, prompts padded on the left to P."""
        device = self._model.device
        width = max(len(ids) for ids in rows)
        ids_BP = torch.tensor([[self._pad_id] * (width - len(ids)) + ids for ids in rows], device=device)
        padding_B = torch.tensor([width - len(ids) for ids in rows], device=device)
        mask_BP = (torch.arange(width, device=device)[None, :] >= padding_B[:, None]).long()
        recorder = _Recorder(sampling.temperature)
        processors = LogitsProcessorList([recorder])
        if sampling.repetition_penalty != 1.0:  # ours, to come after the recorder
            penalty = RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty, prompt_ignore_length=padding_B)
            processors.append(penalty)
        out_BL = self._model.generate(
            input_ids=ids_BP,
            attention_mask=mask_BP,
            generation_config=self._config(sampling),
            logits_processor=processors,
            streamer=self._streamer,
        )
        new_BT = out_BL[:, width:]
        return _cut(new_BT.tolist(), recorder.finish(new_BT).tolist(), frozenset(sampling.stop_ids))

    def _config(self, sampling: Sampling) -> GenerationConfig:
        shared: dict[str, Any] = {
            "max_new_tokens": sampling.max_tokens,
            "eos_token_id": list(sampling.stop_ids) or None,
            "pad_token_id": self._pad_id,
            "use_cache": True,
            "disable_compile": True,
        }
        if sampling.temperature == 0.0:
            return GenerationConfig(do_sample=False, **shared)
        return GenerationConfig(
            do_sample=True,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p or None,
            **shared,
        )


class _Recorder(LogitsProcessor):
    """Notes the log-probability of each sampled token. It is called with the scores for the next token and sees the
    token that was chosen one call later, so no step's scores are kept longer than one step."""

    def __init__(self, temperature: float) -> None:
        self._temperature = temperature or 1.0
        self._scores_BV: torch.Tensor | None = None
        self._chosen: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._scores_BV is not None:
            self._note(input_ids[:, -1])
        self._scores_BV = scores / self._temperature
        return scores

    def finish(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of all generated tokens, (B, T)."""
        if len(self._chosen) < tokens_BT.shape[1]:
            self._note(tokens_BT[:, -1])
        return torch.stack(self._chosen[: tokens_BT.shape[1]], dim=1)

    def _note(self, tokens_B: torch.Tensor) -> None:
        scores_BV = self._scores_BV
        assert scores_BV is not None
        chosen_B = scores_BV.gather(1, tokens_B[:, None])[:, 0]
        self._chosen.append(chosen_B - scores_BV.logsumexp(dim=1))


def _cut(tokens: list[list[int]], logprobs: list[list[float]], stop_ids: frozenset[int]) -> list[Completion]:
    """Drop what a batch pads behind a row's stop token."""
    out = []
    for ids, values in zip(tokens, logprobs, strict=True):
        end = next((i + 1 for i, token in enumerate(ids) if token in stop_ids), None)
        out.append(Completion(ids[:end], values[:end], end is not None))
    return out


def check_context(model: Any, prompts: Iterable[list[int]], max_tokens: int) -> None:
    """ActionError `context-too-long` if a prompt and its completion may not fit into what the model was made for."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    longest = max((len(ids) for ids in prompts), default=0)
    if limit and longest + max_tokens > limit:
        raise ActionError(
            f"a prompt of {longest} tokens and a completion of {max_tokens} do not fit into the context of {limit}",
            slug="context-too-long",
            hint="lower max_completion_length, or leave long prompts out of the dataset",
        )


def stop_ids_of(model: Any, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Every token that ends a completion: the tokenizer's eos and those that the model declares (an end of turn)."""
    declared = model.generation_config.eos_token_id
    ids = [declared] if isinstance(declared, int) else list(declared or [])
    own: Any = tokenizer.eos_token_id
    return tuple(dict.fromkeys(([] if own is None else [own]) + ids))


def _pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Padding is masked, so any token does; ActionError `no-pad-token` if the tokenizer names none to take."""
    for found in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if isinstance(found, int):
            return found
    raise ActionError("the tokenizer has neither a pad_token nor an eos_token", slug="no-pad-token")


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers from `seed` inside, the state as it was outside."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
