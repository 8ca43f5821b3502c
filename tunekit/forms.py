"""Formats and forms: how rows may be declared, and the few shapes that come out.

A *format* is what a dataset's rows look like when they are read; a *form* is what they are made into, so that
trainers and masks handle few things. `dataset.json` names the form. docs/formats.md shows a row of each.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

from tunekit.errors import nearest

AUTO = "auto"
Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = get_args(Role)
# Role names that are known without `roles`; none of them means two things.
ROLE_NAMES = {"human": "user", "gpt": "assistant", "model": "assistant", "observation": "tool", "function": "tool"}

# What a message may have; each is a key of `fields` where a format holds messages.
MESSAGE = (
    "role", "content", "reasoning_content", "tool_calls", "tool_call_id", "name", "train", "weight", "train_detail",
)  # fmt: skip

# The columns that make up each form. What else a row has is kept beside them.
FORMS = {
    "chat": ("messages", "tools"),
    "completion": ("text",),
    "segments": ("segments", "end"),
    "prompt": ("prompt",),
    "preference": ("prompt", "chosen", "rejected", "tools"),
    "unpaired": ("prompt", "completion", "label", "tools"),
    "stepwise": ("prompt", "completions", "labels"),
    "ground_truth": ("prompt", "ground_truth", "remaining_turns"),
    "choices": ("prompt", "choices", "answer"),
    "tokens": ("input_ids", "labels"),
    "rows": (),
}


class Format(NamedTuple):
    """One format: the form it becomes, its columns (a key of `fields` each, and by default the name of the
    column), choices (the first is the default), and whether its columns may hold messages."""

    form: str
    columns: tuple[str, ...]
    choices: dict[str, tuple[str, ...]] = {}
    messages: bool = False

    def keys(self) -> list[str]:
        """All that `fields` may name."""
        return [*self.columns, *self.choices, *((*MESSAGE, "roles") if self.messages else ())]


FORMATS = {
    "chat": Format("chat", ("messages", "system", "tools"), messages=True),
    "alpaca": Format("chat", ("instruction", "input", "output", "system"), {"template": ("chat", "alpaca")}),
    "segments": Format("segments", ("segments", "prompt", "completion")),
    "completion": Format("completion", ("text",)),
    "prompt": Format("prompt", ("prompt", "system"), messages=True),
    "preference": Format("preference", ("prompt", "chosen", "rejected", "system", "tools"), messages=True),
    "bradley_terry": Format("preference", ("system", "input", "chosen", "rejected")),
    "unpaired": Format("unpaired", ("prompt", "completion", "label", "system", "tools"), messages=True),
    "stepwise": Format("stepwise", ("prompt", "completions", "labels")),
    "ground_truth": Format(
        "ground_truth",
        ("prompt", "ground_truth", "remaining_turns", "messages", "system"),
        {"turns": ("first", "last", "all"), "thinking": ("keep", "drop")},
        messages=True,
    ),
    "choices": Format("choices", ("prompt", "choices", "answer")),
    "tokens": Format("tokens", ("input_ids", "labels", "attention_mask")),
    "rows": Format("rows", ()),
}

# Which forms a consumer can read. One line for each, and the only place that says so.
ACCEPTS = {
    "loss": ("chat", "completion", "segments", "tokens"),  # the tokens of `run.sft` and of an eval without a scorer
    "pretraining": ("completion", "tokens"),  # `run.pretrain`, unless an item says `train_on`
    "generation": ("prompt", "ground_truth"),  # `run.grpo`, rewards, and an eval with a scorer
    "pairs": ("preference",),  # `run.dpo` and its kin, reward models
    "verdicts": ("unpaired",),  # `run.kto`
    "steps": ("stepwise",),  # process reward models
    "choosing": ("choices",),  # an eval with `measure = "choices"`
}
# What may be read of a row, and who reads it: one text, one of the answers of a pair, an answer or steps with verdicts.
Reads = Literal["loss", "chosen", "rejected", "verdict", "steps"]
CONSUMERS = {"loss": "loss", "chosen": "pairs", "rejected": "pairs", "verdict": "verdicts", "steps": "steps"}


class Refusal(NamedTuple):
    """Why something is wrong, and the way out."""

    slug: str
    message: str
    hint: str = ""


def form_of(format: str, fields: dict[str, Any]) -> str:
    """The form that rows of a declared format get; `auto` while only the rows can tell."""
    if format == AUTO:
        return AUTO
    return "segments" if format == "alpaca" and fields.get("template") == "alpaca" else FORMATS[format].form


def refusal(consumer: str, dataset: str, form: str) -> Refusal | None:
    """Why `consumer` cannot read a dataset of this form; None if it can, or if that is not known yet."""
    accepted = ACCEPTS[consumer]
    if form == AUTO or form in accepted:
        return None
    words = " or ".join(f"`{name}`" for name in accepted)
    return Refusal(
        "wrong-format",
        f"{dataset} has `{form}` rows; {consumer} needs {words} rows",
        f"set `format` in [{dataset.replace(':', '.', 1)}] to what makes such rows: "
        + ", ".join(f'"{name}"' for name, format in FORMATS.items() if format.form in accepted),
    )


def fields_faults(format: str, fields: dict[str, Any]) -> list[Refusal]:
    """All that is wrong with `fields` as they are declared for a format."""
    if format in (AUTO, "rows"):
        hint = 'say which format: `format = "chat"`' if format == AUTO else "remove it, or set `format`"
        return [Refusal("bad-value", f'`fields` has no meaning with format = "{format}"', hint)] if fields else []
    known = FORMATS[format].keys()
    found = [
        Refusal("unknown-key", f"`{key}` is not a field of format `{format}`", nearest(key, known))
        for key in fields
        if key not in known
    ]
    for key, value in fields.items():
        if key in known:
            found += _value_faults(FORMATS[format], key, value)
    columns = [fields[key] for key in FORMATS[format].columns if isinstance(fields.get(key), str)]
    found += [
        Refusal("bad-value", f"two fields are the column `{column}`", "a column is one thing")
        for column in sorted({c for c in columns if columns.count(c) > 1})
    ]
    return found


def _value_faults(format: Format, key: str, value: Any) -> list[Refusal]:
    if key == "roles":
        if not isinstance(value, dict):
            return [Refusal("wrong-type", "`roles` is not a table", 'write roles = { human = "user" }')]
        return [
            Refusal("bad-value", f"roles: `{name}` is to be `{role}`, which is no role", nearest(role, list(ROLES)))
            for name, role in value.items()
            if role not in ROLES
        ]
    if not isinstance(value, str) or not value:
        return [Refusal("wrong-type", f"`{key}` is {value!r}, not a name", f'write {key} = "{key}"')]
    if key in format.choices and value not in format.choices[key]:
        return [Refusal("bad-value", f"`{key}` is `{value}`", nearest(value, list(format.choices[key])))]
    return []
