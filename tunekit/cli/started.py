"""The run that `tunekit init --recipe` adds: a recipe on rows of the form that its method reads, for a CPU."""

from __future__ import annotations

import tomllib

from tunekit.errors import UsageError, nearest
from tunekit.manifest.recipe import shipped_folder

# Method → (name, function of made.py, format) of its rows; None: the notes that the template's own run reads.
_ROWS = {
    **dict.fromkeys(("dpo", "ipo", "orpo", "simpo", "reward"), ("pairs", "pairs", "preference")),
    "kto": ("verdicts", "verdicts", "unpaired"),
    "prm": ("steps", "steps", "stepwise"),
    "grpo": ("questions", "prompts", "prompt"),
    **dict.fromkeys(("sft", "pretrain", "distill"), None),
}
_MORE = {
    "grpo": 'rewards = [{ fn = "made.py:brief", weight = 1.0 }]\nnum_generations = 4\nmax_completion_length = 16\n',
    "distill": 'teacher = "run:sft"\nsequence_len = 128\noverlong = "split"\n',
    "pretrain": "sequence_len = 128\n",
    "sft": 'sequence_len = 128\noverlong = "split"\n',
}
_TEXT = """
# -- {comment}
# The recipe's settings are for a real model: the lines below the blank one make it small. Replace made.py by your rows.

[run.{method}]
recipe = "{recipe}"
model = "{model}"
data = ["dataset:{data}"]

batch_size = 8
max_steps = 10
{more}"""
_DATASET = """
[dataset.{name}]
source = "make:made.py:{function}"
args = {{ n = 64 }}
format = "{format}"
"""


def recipes() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in shipped_folder().glob("*.toml"))


def section(recipe: str) -> tuple[str, str]:
    """What it adds to `tunekit.toml`, and the label of its run. UsageError `unknown-recipe`."""
    if recipe not in recipes():
        raise UsageError(f"there is no recipe `{recipe}`", slug="unknown-recipe", hint=nearest(recipe, recipes()))
    written = (shipped_folder() / f"{recipe}.toml").read_text(encoding="utf-8")
    method = tomllib.loads(written)["method"]
    rows = _ROWS[method]
    dataset = _DATASET.format(name=rows[0], function=rows[1], format=rows[2]) if rows else ""
    name = "more" if method == "sft" else method  # the template has a run:sft, which others start from
    comment = written.partition("\n")[0].lstrip("# ")
    text = _TEXT.format(
        comment=comment,
        method=name,
        recipe=recipe,
        model="model:tiny" if method in ("sft", "pretrain", "distill") else "run:sft",
        data=rows[0] if rows else "train",
        more=_MORE.get(method, "sequence_len = 128\n"),
    )
    return dataset + text, f"run:{name}"
