"""What a healthy training looks like: one row a rule, by method. `[run.x] health` changes rows (docs/watching.md).

A rule holds one figure of the metrics history against a bound, from step `after` on. It trips when `lasting` points
in a row are out of range; it then warns, or stops the run. `loss/ln(vocabulary)` and `eval_loss/best` are figures that
the watch makes itself: the loss over that of guessing among all tokens, and the newest evaluation loss over the lowest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from tunekit.bounds import bound

Act = Literal["warn", "stop", "off"]
ACTS: tuple[Act, ...] = ("warn", "stop", "off")
UNHEALTHY = "unhealthy"  # the slug of a run that a rule has stopped: exit code 5
FINITE = "finite"  # the bound of a figure that may be any number

TOKENS = ("sft", "pretrain", "distill")
PREFERENCE = ("dpo", "ipo", "kto", "orpo", "simpo")


class Rule(NamedTuple):
    """`methods`: of which it is (none: of all); `metric`: a figure's name, or a pattern with `*`."""

    name: str
    methods: tuple[str, ...]
    metric: str
    wanted: str
    after: int
    lasting: int
    act: Act
    cause: str
    cure: str


# The last row of a name that fits a method counts. Numbers: features S-MON-01 and S-MON-02, and TRL's own guides.
RULES = (
    Rule(
        "not-finite", (), "*", FINITE, 0, 1, "stop",
        "an overflow: the learning rate is too high, or a row of the data has extreme values",
        "lower learning_rate, or add warm-up (warmup_ratio = 0.1); a bfloat16 run may need dtype = \"float32\"",
    ),
    Rule(
        "frozen-gradient", (), "grad_norm", "> 0", 0, 3, "stop",
        "nothing is learnt: no token has a label, or the loss does not depend on what is trained",
        "look at what is trained (`tunekit inspect RUN`) and at the adapter's target_modules",
    ),
    Rule(
        "frozen-gradient", ("grpo",), "grad_norm", "> 0", 0, 20, "stop",
        "every completion of a prompt gets the same reward, so no advantage is left",
        "test the rewards on their own, raise temperature or num_generations, take easier or harder prompts",
    ),
    Rule(
        "exploding-gradient", (), "grad_norm", "<= 100", 10, 3, "warn",
        "the learning rate is too high, or some rows are not what the template expects",
        "lower learning_rate or max_grad_norm, add warm-up, look at the rows of these steps",
    ),
    Rule(
        "exploding-gradient", ("grpo",), "grad_norm", "<= 10", 10, 3, "warn",
        "the learning rate is too high for a policy gradient",
        "lower learning_rate, raise batch_size, set beta = 0.04",
    ),
    Rule(
        "random-loss", TOKENS, "loss/ln(vocabulary)", "< 0.95", 20, 5, "warn",
        "the loss is that of guessing (ln of the vocabulary): the base was never trained, is another one than the "
        "tokenizer's, or the template is one that it has never seen",
        "look at the text that it is trained on (`tunekit inspect RUN`), check model and chat_template",
    ),
    Rule(
        "overfit", (*TOKENS, *PREFERENCE, "reward", "prm"), "eval_loss/best", "< 1.1", 0, 3, "warn",
        "it learns the rows by heart: the evaluation loss rises while the training loss falls",
        'keep = "best", fewer epochs, more data, a lower rank or learning rate',
    ),
    Rule(
        "negative-margins", PREFERENCE, "rewards/margins", "> 0", 50, 20, "warn",
        "rejected answers are preferred: chosen and rejected are swapped, or beta is so small that nothing holds it",
        "look at the pairs (`tunekit inspect DATASET`), raise beta, lower learning_rate",
    ),
    Rule(
        "negative-margins", ("reward",), "margin", "> 0", 50, 20, "warn",
        "rejected answers score higher: chosen and rejected are swapped, or the learning rate is too high",
        "look at the pairs (`tunekit inspect DATASET`), lower learning_rate",
    ),
    Rule(
        "constant-reward", ("grpo",), "frac_reward_zero_std", "< 1", 0, 5, "warn",
        "all completions of every prompt get the same reward: there is no signal",
        "test the rewards on their own, raise temperature or num_generations, take easier or harder prompts",
    ),
    Rule(
        "sparse-reward", ("grpo",), "frac_reward_zero_std", "< 0.8", 20, 10, "warn",
        "most groups teach nothing: their completions all get the same reward",
        "mix in easier prompts, raise num_generations, give partial credit",
    ),
    Rule(
        "dead-reward", ("grpo",), "rewards/*/std", "> 0", 0, 20, "warn",
        "this reward gives every completion the same: a format that nothing meets, or a column that is not there",
        "call it on a few completions by hand; look at the columns that it reads",
    ),
    Rule(
        "entropy-collapse", ("grpo",), "entropy", "> 0.01", 10, 10, "warn",
        "the policy says the same whatever is sampled: nothing new is tried any more",
        "lower learning_rate, raise temperature or epsilon_high, set beta = 0.04",
    ),
    Rule(
        "far-from-reference", ("grpo",), "kl", "< 2", 10, 5, "warn",
        "the policy has left its reference: reward hacking, or a learning rate that is too high",
        "raise beta, lower learning_rate, read the completions",
    ),
    Rule(
        "clipped-updates", ("grpo",), "clip_ratio/region_mean", "< 0.3", 10, 5, "warn",
        "the policy moves so far within a batch that most of its tokens are clipped",
        "lower learning_rate or num_iterations",
    ),
    Rule(
        "truncated-completions", ("grpo",), "completions/clipped_ratio", "< 0.8", 10, 10, "warn",
        "most completions are cut at max_completion_length before they end: rewards see half an answer",
        "raise max_completion_length, or ask for short answers; mask_truncated_completions = true",
    ),
    Rule(
        "stale-rollouts", ("grpo",), "sampling/sampling_logp_difference/mean", "< 1", 10, 5, "warn",
        "the server generates with other weights than those that are trained",
        "synchronise more often",
    ),
)  # fmt: skip

# What people look at beside loss, gradient norm and learning rate, by method.
OWN = {
    **dict.fromkeys(TOKENS, ("mean_token_accuracy",)),
    **dict.fromkeys(PREFERENCE, ("rewards/margins", "rewards/accuracies")),
    "reward": ("accuracy", "margin"),
    "prm": ("accuracy",),
    "grpo": ("reward", "reward_std", "kl", "entropy", "completions/mean_length"),
}
_CHANGE = re.compile(r"(?P<bound>finite|[<>=]+\s*[-+0-9.eE]+)?\s*(?:after\s+(?P<after>\d+))?\s*"
                     r"(?:for\s+(?P<lasting>\d+))?\s*(?P<act>warn|stop|off)?\Z")  # fmt: skip


def rules_of(method: str, said: str | Mapping[str, str]) -> list[Rule]:
    """The rules of a method as `health` changes them; those that are off are among them. ValueError: see `fault_of`."""
    found = {rule.name: rule for rule in RULES if not rule.methods or method in rule.methods}
    if isinstance(said, str):
        return [rule._replace(act=said) if said in ACTS else rule for rule in found.values()]
    return [changed(rule, said[name]) if name in said else rule for name, rule in found.items()]


def changed(rule: Rule, text: str) -> Rule:
    """A rule with what `"< 50 after 20 for 3 stop"` says of it, every part of which may be left out.
    ValueError if it says nothing, or something else."""
    match = _CHANGE.match(text.strip())
    if not text.strip() or match is None:
        raise ValueError(text)
    new: dict[str, Any] = {}
    if match["bound"]:
        if match["bound"] != FINITE and bound(match["bound"]) is None:
            raise ValueError(text)
        new["wanted"] = match["bound"]
    for name in ("after", "lasting"):
        if match[name]:
            new[name] = int(match[name])
    if match["act"]:
        new["act"] = match["act"]
    if new.get("lasting") == 0:
        raise ValueError(text)
    return rule._replace(**new)


def fault_of(method: str, said: str | Mapping[str, str]) -> tuple[str, str] | None:
    """Why a `health` setting cannot be: message and hint. `method` "rows" (a project's own): it may name any rule."""
    if isinstance(said, str):
        if said in ("", "warn", "stop", "off"):
            return None
        return f"`{said}` is no way to mind health", 'one of "stop", "warn", "off", or a table of rules'
    known = {r.name: r for r in RULES if method == "rows" or not r.methods or method in r.methods}
    for name, text in said.items():
        if name not in known:
            from tunekit.errors import nearest

            return f"`{method}` has no health rule `{name}`", nearest(name, sorted(known))
        try:
            changed(known[name], text)
        except ValueError:
            return f"`{name}`: `{text}` changes no rule", 'for instance "off", "< 50", "< 50 after 20 for 3 stop"'
    return None
