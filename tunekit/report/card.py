"""A model card from provenance: nothing in it was typed by hand, and what is not known is said to be unknown."""

from __future__ import annotations

import json
from typing import Any

from tunekit.build.finish import early
from tunekit.plan.planner import Planner
from tunekit.report.clock import stamp
from tunekit.report.figures import number, seconds
from tunekit.report.metrics import summary_of
from tunekit.report.provenance import Provenance
from tunekit.report.settings import flat, text

_LICENCE = (
    "Unknown. tunekit does not read licences: those of the base model and of every dataset above apply; "
    "check them before this is published."
)


def card(
    planner: Planner, record: dict[str, Any], digest: str, *,
    adapter: bool, with_base: bool, place: str = "", hidden: set[str] | None = None,
) -> str:  # fmt: skip
    """Markdown with the front matter that the Hugging Face Hub reads. `place`: the repository that it is for (else
    the folder that it lies in); `hidden`: labels that it says nothing of but that there are some."""
    back, unsaid = Provenance(planner), hidden or set()
    behind = [a for a in back.ancestors(record) if a.record is not None]
    chain = [a.record for a in behind if a.record is not None and a.label not in unsaid]
    secret = {a.record["source"] for a in behind if a.record is not None and a.label in unsaid}
    sources = {s: tree for s, tree in back.sources(record).items() if s not in secret}
    made = list({r["label"]: r for r in chain}.values())
    weights = any(r["kind"].startswith("run.") for r in (record, *made)) or record["kind"] in ("model", "merge")
    parts = [
        _front(adapter) if weights else "",
        f"# {record['label']}\n\nMade by tunekit {record['environment']['tunekit']} on {stamp(record['started'])} "
        f"in {seconds(record['seconds'])} (`{record['kind']}`).",
        f"Training was {early(record)}." if early(record) else "",
        _usage(adapter, with_base, place) if weights else "",
        _section("Settings", _rows([(n, v) for n, v in flat(record["spec"]) if not _names(v, unsaid)])),
        _section("Result", [f"- {k}: {number(v)}" for k, v in flat(summary_of(record))]),
        _section("Gates", [f"- {g['name']}: {g['measured']} (wanted {g['wanted']})" for g in record["gates"]]),
        _section("Made from", _chain(made, unsaid) + ["- private data"] * (len(chain) < len(behind))),
        _section("Sources", [f"- `{s}`: `{tree}`" for s, tree in sources.items()]),
        _section("Environment", _environment(record)),
        _section(
            "Identity", [f"- artifact `{digest}`", f"- key `{record['key']}`", f"- attempt `{record['attempt']}`"]
        ),
        _section("Licence", [_LICENCE]),
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def _front(adapter: bool) -> str:
    library = "peft" if adapter else "transformers"
    return f"---\nlibrary_name: {library}\npipeline_tag: text-generation\ntags:\n- tunekit\n---"


def _names(value: Any, labels: set[str]) -> bool:
    """Whether one of the labels stands anywhere in a setting."""
    if isinstance(value, (dict, list)):
        return any(_names(v, labels) for v in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and value.partition("@")[0] in labels


def _usage(adapter: bool, with_base: bool, place: str) -> str:
    here = place or "DIR"
    base = f"{here}/base" if with_base else "BASE"
    if not adapter:
        lines = [
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            f'model = AutoModelForCausalLM.from_pretrained("{here}")',
            f'tokenizer = AutoTokenizer.from_pretrained("{here}")',
        ]
    else:
        lines = [
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            f'base = AutoModelForCausalLM.from_pretrained("{base}")',
            f'model = PeftModel.from_pretrained(base, "{here}")',
            f'tokenizer = AutoTokenizer.from_pretrained("{base}")',
        ]
    notes = [] if place else ["`DIR` is this folder."]
    if adapter and with_base:
        notes.append(
            f'`AutoPeftModelForCausalLM.from_pretrained("{here}")` works as long as it is not moved: '
            "`adapter_config.json` names the base by its absolute path."
        )
    elif adapter:
        notes.append("`BASE` is the base model: see below what it was trained on.")
    return "\n".join(["## Use", "", "```python", *lines, "```", "", " ".join(notes)]).rstrip()


def _section(title: str, lines: list[str]) -> str:
    return f"## {title}\n\n" + "\n".join(lines) if lines else ""


def _rows(values: list[tuple[str, Any]]) -> list[str]:
    return [f"- `{name}`: {text(value)}" for name, value in values]


def _chain(made: list[dict[str, Any]], unsaid: set[str]) -> list[str]:
    """One line a target behind it, nearest first; what a source is comes in its own section."""
    out = []
    for r in made:
        if r["source"]:
            continue
        spec = {name: value for name, value in r["spec"].items() if not _names(value, unsaid)}
        settings = json.dumps(spec, ensure_ascii=False, sort_keys=True)
        short = settings if len(settings) <= 160 else settings[:159] + "…"
        note = f"; {how}" if (how := early(r)) else ""
        out.append(f"- `{r['label']}` ({r['kind']}): `{short}`{note}")
    return out


def _environment(record: dict[str, Any]) -> list[str]:
    env = record["environment"]
    rows = [f"- Python {env['python']}, {env['machine']}", *(f"- {n} {v}" for n, v in env["packages"].items())]
    return rows + ([f"- commit `{env['commit']}`"] if env["commit"] else [])
