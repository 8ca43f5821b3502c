"""A run on pairs, or on rows of another form: token parts and a model in, its trained weights out."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any, Protocol

from tunekit.engine.best import Best, BestKeeper
from tunekit.engine.determinism import make_deterministic
from tunekit.engine.effective import effective_settings
from tunekit.engine.loading import Loaded, load_run
from tunekit.engine.resume import train_dir
from tunekit.engine.rows import Tokens
from tunekit.engine.saving import save_run
from tunekit.engine.training import train
from tunekit.errors import ActionError
from tunekit.methods.evaluated import Evaluated
from tunekit.methods.pairwise.dataset import PairCollator, open_pairs
from tunekit.methods.pairwise.spec import PairRun
from tunekit.methods.sft.run import outputs_of
from tunekit.protocol import Events, Request

NEVER = 10**9


class Make(Protocol):
    """Of a method: its trainer, on rows as `open_rows` gave them."""

    def __call__(self, loaded: Loaded, trained: Any, evaluated: Any) -> Any: ...


def train_pairs(
    spec: PairRun, request: Request, events: Events, make: Make, load: Callable[[Any, Request], Loaded] = load_run
) -> dict[str, str]:
    """As `train_rows`, on pairs."""
    return train_rows(spec, request, events, make, load, open_pairs)


class Open(Protocol):
    """Of a form of rows: what is trained on, and what is evaluated."""

    def __call__(self, spec: Any, tokens: Tokens, events: Events) -> tuple[Sized, Sized | None]: ...


def train_rows(
    spec: Evaluated,
    request: Request,
    events: Events,
    make: Make,
    load: Callable[[Any, Request], Loaded],
    open_rows: Open,
) -> dict[str, str]:
    """Inputs: `base`, maybe `adapter` (continued), `tokens`. Outputs: main, last, and best where evaluated.

    Raises ActionError with the slugs of loading, rows, arguments, training and saving.
    """
    determinism = make_deterministic(spec.seed)
    trained, evaluated = open_rows(spec, Tokens(request.one("tokens").path), events)
    loaded = load(spec, request)
    trainer = make(loaded, trained, evaluated)
    keeper = BestKeeper(train_dir(request.staging), lambda path: save_run(loaded, request, path))
    if evaluated:
        trainer.add_callback(keeper)
    rows = {"train": len(trained), "evaluated": len(evaluated) if evaluated else 0}
    events.effective(**effective_settings(spec, loaded, determinism), rows=rows)
    history = train(trainer, spec, loaded, request, events)
    events.effective(summary=summary_of(history, trainer.state, keeper.best))
    return outputs_of(spec, loaded, request, keeper.best, trainer.state.global_step)


def summary_of(history: list[dict[str, float]], state: Any, best: Best | None) -> dict[str, Any]:
    """The last value of every figure, and where the run ended."""
    latest: dict[str, Any] = {}
    for point in history:
        latest |= point
    for name in ("step", "grad_norm", "learning_rate"):
        latest.pop(name, None)
    chosen = {"best_eval_loss": best.loss, "best_step": best.step} if best else {}
    counts = {"steps": state.global_step, "epochs": state.epoch, "tokens": int(state.num_input_tokens_seen)}
    return {**latest, **chosen, **counts}


def plain_arguments(evaluated: Sized | None, spec: Evaluated, request: Request) -> dict[str, Any]:
    """Of every trainer here."""
    return {
        "output_dir": str(train_dir(request.staging)),
        "remove_unused_columns": False,
        # At its interval and, by Transformers' default flow, after the last step.
        "eval_strategy": "no" if evaluated is None else "steps",
        "eval_steps": spec.eval_steps or NEVER,
    }


def arguments_of(evaluated: Sized | None, spec: PairRun, request: Request) -> dict[str, Any]:
    """Of TRL's trainers on pairs. Dropout is the adapter's setting: TRL would switch it off."""
    return plain_arguments(evaluated, spec, request) | {"disable_dropout": False, "max_length": spec.sequence_len}


def pair_trainer(trainer: Any, loaded: Loaded, args: Any, trained: Any, evaluated: Any) -> Any:
    """One of TRL's trainers that take rows as they are. Raises ActionError `trainer-refused`."""
    try:
        return trainer(
            model=loaded.model,
            args=args,
            data_collator=PairCollator(trained.tokens.pad_token_id),
            train_dataset=trained,
            # Transformers wants one where there are evaluations; what is evaluated is `evaluated`.
            eval_dataset=evaluated,
            processing_class=loaded.tokenizer,
            evaluated=evaluated,
        )
    except ValueError as e:
        raise ActionError(f"TRL refuses these settings: {e}", slug="trainer-refused") from e
