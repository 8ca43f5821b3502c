"""Supervised fine-tuning: token parts and a policy in, its trained weights out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
from trl import SFTConfig

from tunekit.engine.best import Best, BestKeeper, copy_weights
from tunekit.engine.determinism import make_deterministic
from tunekit.engine.effective import effective_settings
from tunekit.engine.isolation import check_isolation
from tunekit.engine.loading import Loaded, load_run
from tunekit.engine.resume import train_dir
from tunekit.engine.rows import Tokens
from tunekit.engine.saving import save_run
from tunekit.engine.stream import Stream
from tunekit.engine.training import train
from tunekit.methods.evaluated import evals_of
from tunekit.methods.sft.batches import Counts, Feed, feed_of
from tunekit.methods.sft.dataset import Documents, documents_of, ledger, views, warn_of_lengths
from tunekit.methods.sft.spec import Sft
from tunekit.methods.sft.stream import StreamFeed, open_stream, stream_feed
from tunekit.methods.sft.trainer import TokenLossTrainer, make_trainer
from tunekit.methods.spec import items_of
from tunekit.protocol import Events, Request

# TRL counts these from zero in every process; ours are `batches.Counts`.
_RESTARTS = ("num_tokens",)


class Kept(Protocol):
    """Of a spec: which weights its run's label names."""

    @property
    def keep(self) -> Literal["last", "best"]: ...


def run(request: Request, events: Events) -> dict[str, str]:
    """Inputs: `base`, maybe `adapter` (continued), `tokens`. Outputs: main, last, and best where evaluated."""
    return train_sft(msgspec.convert(request.spec, Sft), request, events)


def train_sft(
    spec: Sft,
    request: Request,
    events: Events,
    trainer_class: Callable[..., TokenLossTrainer] = TokenLossTrainer,
    config: type[SFTConfig] = SFTConfig,
    **settings: Any,
) -> dict[str, str]:
    """A run by a spec (of a subclass, maybe) and a trainer (with another loss, maybe): what a method of a project or
    of another package is made of. `config`, `settings`: of the trainer's arguments, where it has more.

    Raises ActionError `packing-not-honoured`, and with the slugs of loading, views, arguments, training and saving.
    """
    determinism = make_deterministic(spec.seed)
    trained, evaluated = _opened(spec, request, events)
    loaded = load_run(spec, request)
    make_feed: Callable[..., Feed | StreamFeed] = stream_feed if spec.streaming else feed_of
    feed = make_feed(spec, loaded.attn, trained)
    trainer = make_trainer(spec, loaded, request, feed, evaluated, trainer_class, config, **settings)
    keeper = BestKeeper(train_dir(request.staging), lambda path: save_run(loaded, request, path))
    if evaluated:
        trainer.add_callback(keeper)
    events.effective(**effective_settings(spec, loaded, determinism), batches=feed.described())
    if feed.collate.layout != "padded":
        check_isolation(loaded, feed.sample(), feed.collate, events)
    history = train(trainer, spec, loaded, request, events, drop=_RESTARTS)
    events.effective(summary=_summary(trainer, history, keeper.best) | feed.ended(trainer.state.global_step, events))
    return outputs_of(spec, loaded, request, keeper.best, trainer.state.global_step)


def _opened(spec: Sft, request: Request, events: Events) -> tuple[Documents | Stream, Documents | None]:
    """What is trained on, and what the evaluation loss is taken of."""
    if spec.streaming and not spec.eval_data:
        return open_stream(spec, request, events), None
    tokens = Tokens(request.one("tokens").path)
    trained, evaluated, val = views(spec, tokens)
    eval_items = evals_of(spec)
    told = {"eval_data": ledger(eval_items, evaluated)}
    if val:
        told["val"] = ledger(items_of(spec), val)
    held_out = documents_of(tokens, evaluated + val) if evaluated + val else None
    if spec.streaming:
        events.effective(ledger=told)  # that of `data` follows when it was read
        warn_of_lengths(spec, eval_items, evaluated, events)
        return open_stream(spec, request, events), held_out
    events.effective(ledger={"data": ledger(items_of(spec), trained), **told})
    warn_of_lengths(spec, [*items_of(spec), *eval_items], [*trained, *evaluated], events)
    return documents_of(tokens, trained), held_out


def outputs_of(spec: Kept, loaded: Loaded, request: Request, best: Best | None, steps: int) -> dict[str, str]:
    """The weights as they are now, and the best ones (which may be the same), by role."""
    out = Path(request.out)
    save_run(loaded, request, out / "last")
    roles = {"main": "last", "last": "last"}
    if best:
        if best.step == steps:
            roles["best"] = "last"
        else:
            copy_weights(best.path, out / "best")
            roles["best"] = "best"
    return roles | {"main": roles[spec.keep]}


def _summary(trainer: TokenLossTrainer, history: list[dict[str, float]], best: Best | None) -> dict[str, Any]:
    latest: dict[str, float] = {}
    for point in history:
        latest |= point
    totals = Counts(*(int(sum(point.get(name, 0) for point in history)) for name in Counts._fields))
    return {
        **{name: latest[name] for name in ("loss", "eval_loss", "mean_token_accuracy") if name in latest},
        **({"best_eval_loss": best.loss, "best_step": best.step} if best else {}),
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        **totals._asdict(),
        # The share of what the model computed that were tokens of rows.
        "fill": round(totals.tokens / max(1, totals.tokens + totals.padding_tokens), 6),
    }
