"""A run or an eval as a reader of datasets: its tokens by their record, or the rows and the tokenizer that it reads."""

from __future__ import annotations

from typing import Any, NamedTuple

from tunekit.cli.reading import Found, attempt_of, find, lines_of, need_record, record_of
from tunekit.derive import Action, Edge
from tunekit.errors import StoreError, UsageError
from tunekit.hashing import digest_of, short
from tunekit.plan.planner import Planner
from tunekit.question import Subject
from tunekit.report.look.blocks import Head
from tunekit.store import artifacts

ANSWERS = ("chosen", "rejected")  # of a pair: each is a subject of its own
READERS = ("run", "eval")
_LONGEST = ("sequence_len", "max_prompt_length")


class Shown(NamedTuple):
    """A subject, and what is said of it."""

    subject: Subject
    head: Head


def shown_as(
    subject: Subject, digest: str, remarks: list[str], ledgers: dict[str, Any], reader: str = "", bound: str = ""
) -> Shown:
    title = f"{subject.label} as {reader} reads it" if reader else subject.label
    if subject.settings.get("reads") in ANSWERS:
        title += f" ({subject.settings['reads']})"
    return Shown(subject, Head(title, digest, reader, remarks, ledgers, bound))


def tokens_of(reader: Found) -> str:
    """The label of the reader's tokens; empty if it reads rows as they are."""
    edges = reader.node.action.inputs.get("tokens")
    return edges[0].action if edges else ""


def check_read(planner: Planner, reader: Found, dataset: str) -> None:
    """UsageError `not-read`, before anything is said of what is built."""
    kept, streamed = _kept(planner, reader), streamed_by(reader.node.action)
    if dataset and dataset not in (*kept, *streamed):
        hint = f"it reads {', '.join(dict.fromkeys([*kept, *streamed])) or 'no dataset'}"
        raise UsageError(f"{reader.label} does not read {dataset}", slug="not-read", hint=hint)


def check_kept(planner: Planner, reader: Found, dataset: str) -> None:
    """UsageError `streamed` where nothing is kept that could be compared."""
    kept, streamed = _kept(planner, reader), streamed_by(reader.node.action)
    if streamed and (dataset in streamed or not kept) and dataset not in kept:
        message = f"{reader.label} makes the tokens of {', '.join(streamed)} while it trains, and keeps none"
        hint = f"tunekit inspect {dataset or reader.label} without --diff shows what its first rows become"
        raise UsageError(message, slug="streamed", hint=hint)


def _kept(planner: Planner, reader: Found) -> list[str]:
    """The datasets whose rows, or tokens of them, lie in the store for the reader; of a stream those of `eval_data`."""
    tokens, own = tokens_of(reader), reader.node.action
    if not tokens and own.spec.get("streaming"):
        return []
    action = planner.graph.actions[tokens] if tokens else own
    return [edge.action for edge in action.inputs.get("data", [])]


def streamed_by(action: Action) -> list[str]:
    """The datasets of which the reader makes tokens as it goes."""
    edges = action.inputs.get("data", []) if action.spec.get("streaming") else []
    return list(dict.fromkeys(edge.action.partition("#")[0] for edge in edges))


def with_reader(planner: Planner, reader: Found, dataset: str) -> list[Shown]:
    """The datasets that a run or an eval reads, or the one; none of a stream. UsageError `not-read`, `not-built`."""
    check_read(planner, reader, dataset)
    kept = _kept(planner, reader)
    if streamed_by(reader.node.action) and (not kept or (dataset and dataset not in kept)):
        return []
    tokens = tokens_of(reader)
    if not tokens:
        return _as_they_are(planner, reader, dataset)
    found = find(planner, tokens)
    record = need_record(found)
    made = of_tokens(planner, reader, record, dataset, earlier(found, record))
    if not made:
        message = f"{tokens} was built before {reader.label} read {dataset}"
        raise UsageError(message, slug="not-built", hint=f"tunekit build {tokens}")
    return made


def of_tokens(
    planner: Planner, reader: Found, record: dict[str, Any], dataset: str, remarks: list[str] | None = None
) -> list[Shown]:
    """The datasets behind a record of tokens, exactly those that it was made of."""
    made = folder(planner, record["label"], record["outputs"]["main"])
    (tokenizer,) = record["inputs"]["tokenizer"]
    words = folder(planner, tokenizer["label"], tokenizer["digest"])
    longest, bound = bound_of(reader.node.action)
    out = []
    for item, data in enumerate(record["inputs"]["data"]):
        label, digest = data["label"], data["digest"]
        if dataset not in ("", label):
            continue
        where = folder(planner, label, digest)
        settings = record["spec"]["items"][item]
        subject = Subject(label, where, made, item, words, settings, longest, _recipe(record["preimage"], item))
        ledgers = ledger_of(_maker(planner, label, digest)) | _ledger_of_reader(reader, label)
        later = _later(planner, record["label"], label, digest)
        out.append(shown_as(subject, digest, [*(remarks or []), *later], ledgers, reader.label, bound))
    return out


def _recipe(image: dict[str, Any], item: int) -> str:
    """A digest of all that the tokens of a row depend on beside the row."""
    inputs = {role: digests for role, digests in image["inputs"].items() if role != "data"}
    fields = {**image["fields"], "items": image["fields"]["items"][item]}
    return digest_of({**image, "inputs": inputs, "fields": fields}, "tunekit/recipe/1")


def _as_they_are(planner: Planner, reader: Found, dataset: str) -> list[Shown]:
    """Rows of a reader without tokens (GRPO, an eval with a scorer), with the tokenizer of its base."""
    inputs = reader.node.action.inputs
    words = tokenizer_of(planner, inputs["base"][0])
    longest, bound = bound_of(reader.node.action)
    out = []
    for edge in inputs.get("data", []):
        if dataset not in ("", edge.action):
            continue
        found = find(planner, edge.action)
        record = need_record(found)
        digest = record["outputs"][edge.output or "main"]
        subject = Subject(edge.action, folder(planner, edge.action, digest), tokenizer=words, longest=longest)
        out.append(shown_as(subject, digest, earlier(found, record), ledger_of(record), reader.label, bound))
    return out


def tokenizer_of(planner: Planner, edge: Edge) -> str:
    """The tokenizer of a policy: weights carry a copy, so where they are not built, that of what they are made of.

    UsageError `not-built`.
    """
    first = edge
    while True:
        record = record_of(find(planner, edge.action))
        tree = record["outputs"].get(edge.output or "main") if record else None
        files = artifacts.read_tree(planner.store, tree) if tree else None
        if tree and any(file.path == "tokenizer.json" for file in files or []):
            return folder(planner, edge.action, tree)
        inputs = planner.graph.actions[edge.action].inputs
        further = inputs.get("tokenizer") or inputs.get("base")
        if not further:
            need_record(find(planner, first.action))
            message = f"the policy of {first.action} has no tokenizer in the store any more"
            raise StoreError(message, slug="missing-artifact", hint=f"tunekit build {first.action}")
        (edge,) = further


def folder(planner: Planner, label: str, digest: str) -> str:
    """The artifact as a directory of the store. StoreError `missing-artifact`."""
    if not planner.presence.present(digest):
        message = f"{label} was built, but its files ({short(digest)}) are not in the store any more"
        raise StoreError(message, slug="missing-artifact", hint=f"tunekit build {label}")
    return str(artifacts.view(planner.store, digest))


def earlier(found: Found, record: dict[str, Any]) -> list[str]:
    """A remark, if this is not the result of the label as it is declared now."""
    if record["key"] == found.node.key:
        return []
    return [f"{found.label} is {found.node.state}: this is its result of an earlier key (tunekit why {found.label})"]


def ledger_of(record: dict[str, Any] | None) -> dict[str, Any]:
    """What became of a dataset's rows, by its label."""
    found = record["effective"].get("ledger") if record else None
    return {record["label"]: found} if record and found else {}


def _ledger_of_reader(reader: Found, dataset: str) -> dict[str, Any]:
    """What became of the dataset's rows in the run itself, if it is built: of rows that were too long."""
    record = reader.planner.results.record(reader.node.key) if reader.node.key else None
    found = record["effective"].get("ledger") if record else None
    counts = [line for part in (found or {}).values() for line in part if line.get("dataset") == dataset]
    return {reader.label: {k: v for k, v in counts[0].items() if k != "dataset"}} if counts else {}


def bound_of(action: Action) -> tuple[int, str]:
    """The longest sequence and its setting in words; 0 where the reader has no such bound."""
    from tunekit.kinds import kind_of
    from tunekit.spec import fields_of

    fields = fields_of(kind_of(action.kind).spec_type())
    found = {name: action.spec.get(name, fields[name].default) for name in (*_LONGEST, "overlong") if name in fields}
    for name in _LONGEST:
        if isinstance(found.get(name), int):
            policy = f', overlong = "{found["overlong"]}"' if "overlong" in found else ""
            return found[name], f"{name} = {found[name]}{policy}"
    return 0, ""


def _later(planner: Planner, tokens: str, label: str, digest: str) -> list[str]:
    """A remark, if the dataset has a newer result than the one that the tokens were made of."""
    node = planner.nodes.get(label)
    if node is None or node.outputs is None or node.outputs.get("main") == digest:
        return []
    return [f"{tokens} is made of an earlier result of {label} (tunekit build {tokens})"]


def _maker(planner: Planner, label: str, digest: str) -> dict[str, Any] | None:
    """The record of this result of a label, by the history."""
    for line in reversed(lines_of(planner.inputs.root, label)):
        if line["outputs"].get("main") == digest:
            return attempt_of(planner.store, line["key"], line["attempt"])
    return None
