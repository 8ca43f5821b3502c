"""Supervised fine-tuning: the next-token loss on labelled tokens.

On `completion` rows with full weights: pretraining.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from tunekit.derive import Edge, Scope
from tunekit.label import Label
from tunekit.methods.evaluated import Evaluated, evals_of
from tunekit.methods.spec import DataItem, data_fields, items_of, policy, run_action, start_of, tokens_of
from tunekit.spec import numeric, plain, semantic
from tunekit.steps.files.spec import files_of
from tunekit.steps.tokens.spec import Masking, masks_in_key, token_item

__all__ = ["Sft", "derive", "policy"]


class Sft(Evaluated, frozen=True, kw_only=True):
    """Cross-entropy on the labelled tokens of `chat` or `completion` rows; trained by TRL's SFTTrainer."""

    method: Annotated[Literal["sft"], semantic("This method.")] = "sft"
    sequence_len: Annotated[int, semantic("Longest sequence, in tokens.", ge=8)] = 1024
    overlong: Annotated[
        Literal["error", "split", "truncate", "drop"],
        semantic("Rows longer than sequence_len: fail, or what is done with them (counted in the ledger)."),
    ] = "error"
    packing: Annotated[
        bool,
        semantic("Fill sequences of sequence_len with whole rows that do not see each other; batch_size counts these."),
    ] = False
    padding_free: Annotated[
        bool, numeric("The rows of a forward pass as one sequence without padding; they do not see each other.")
    ] = False
    group_by_length: Annotated[bool, semantic("Rows of about one length in a step, so that padding is short.")] = False
    streaming: Annotated[
        bool, semantic("Rows become tokens while the model trains (docs/streaming.md); needs `max_steps`.")
    ] = False
    buffer_tokens: Annotated[
        int, semantic("With `streaming`: tokens that are gathered, then packed or shuffled together.", ge=1)
    ] = 4_000_000

    def checks(self) -> list[tuple[str, str, str]]:
        out = super().checks()
        ways = {"packing": self.packing, "padding_free": self.padding_free, "group_by_length": self.group_by_length}
        if len(taken := [name for name, on in ways.items() if on]) > 1:
            message = f"`{'` and `'.join(taken)}` are ways to the same end: take one"
            out.append((taken[1], message, "packing leaves the least padding; group_by_length works with every model"))
        return out + (self._stream_faults() if self.streaming else self._stream_settings())

    def _stream_settings(self) -> list[tuple[str, str, str]]:
        if self.buffer_tokens == Sft.__struct_defaults__[Sft.__struct_fields__.index("buffer_tokens")]:
            return []
        return [("buffer_tokens", "only `streaming` has a buffer", "remove it, or set streaming = true")]

    def _stream_faults(self) -> list[tuple[str, str, str]]:
        """A stream has no end and no lengths that are known ahead. (`max_steps`: see `derive`.)"""
        out = []
        if self.group_by_length:
            message = "`group_by_length` needs the lengths of all rows, which a stream does not have"
            out.append(("group_by_length", message, "packing = true leaves less padding"))
        if self.val:
            message = "`val` of a stream: which rows it will have is not known"
            out.append(("val", message, "`eval_data` may be any dataset; `split` cuts one off"))
        if self.overlong == "error":
            message = "a stream would find a row that is too long only after days: say what is done with such rows"
            out.append(("overlong", message, '`overlong = "split"`, "truncate" or "drop"'))
        if self.epochs != 1.0:
            out.append(("epochs", "a stream has no `epochs`", "`max_steps` says how long it is trained on"))
        for item in items_of(self):
            if item.limit:
                message = f"`limit` of {item.dataset}: a stream has no first rows"
                out.append(("data", message, f"set it in [{item.dataset.replace(':', '.', 1)}]"))
        return out


def derive(label: Label, spec: Sft, scope: Scope) -> None:
    derive_with(label, spec, scope, {})


def derive_with(label: Label, spec: Sft, scope: Scope, more: dict[str, list[Edge]], drop: tuple[str, ...] = ()) -> None:
    """Of a method on top of this one: `more` are its further inputs, `drop` the fields that name them."""
    items = items_of(spec)
    evals = evals_of(spec)
    inputs, adapter, tokenizer = start_of(label, spec, scope)
    inputs |= more
    drop, eval_fields = (*drop, "eval_data"), data_fields(evals)
    if not spec.streaming:
        inputs["tokens"] = [tokens_of(label, items + evals, tokenizer, "data", scope)]
        fields = {"data": data_fields(items), "eval_data": eval_fields}
        scope.add(run_action(label, spec, inputs, adapter, drop=drop, fields=fields))
        return
    if spec.max_steps is None:
        hint = "add `max_steps = …`; a step is batch_size sequences of at most sequence_len tokens"
        scope.problem("missing-key", "max_steps", "`streaming` needs `max_steps`: a stream has no end", hint)
    if evals:
        inputs["tokens"] = [tokens_of(label, evals, tokenizer, "eval_data", scope)]
    inputs["tokenizer"] = [tokenizer]
    inputs["data"], told, resolved = _streamed(items, scope)
    fields = {"data": told, "eval_data": eval_fields}
    action = run_action(label, spec, inputs, adapter, drop=drop, fields=fields)
    packages = [*action.packages, "tokenizers", "jinja2", "pyarrow"]
    scope.add(action._replace(packages=packages, spec=action.spec | {"data": plain(resolved)}))


def _streamed(items: list[DataItem], scope: Scope) -> tuple[list[Edge], list[dict[str, Any]], list[DataItem]]:
    """What a run that makes tokens itself reads; what of it is in the key; and what its worker is told: the masks as
    they came out, since it does not see what a dataset says of itself."""
    edges, told, resolved = [], [], []
    for item, own in zip(items, data_fields(items), strict=True):
        masks = token_item(scope, item.dataset, "data", item)
        files = files_of(item.dataset, scope)
        edges.append(files[0] if files else scope.dataset(item.dataset, "data"))
        told.append({**own, "masks": masks_in_key(masks), **({"files": files[1]} if files else {})})
        said = {name: value for name, value in plain(masks).items() if name in Masking.__struct_fields__}
        resolved.append(DataItem(dataset=item.dataset, weight=item.weight, **said))
    return edges, told, resolved
