"""The implicit `#dequantize` step: a GGUF file as a Transformers model folder, weights as safetensors."""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.derive import Edge, Scope, action_of
from tunekit.label import Label
from tunekit.spec import Spec, semantic

SUFFIX = ".gguf"


class Dequantize(Spec, frozen=True, kw_only=True):
    """Every tensor unpacked in float32, then stored in `dtype`; config, tokenizer and template from the file."""

    dtype: Annotated[Literal["float32", "bfloat16", "float16"], semantic("Stored weights.")] = "float32"
    tokenizer: Annotated[bool, semantic("Whether the file's own tokenizer is taken.")] = True


def is_gguf(source: str) -> bool:
    """Whether a source names a GGUF file, or a glob of such: known without looking at any byte."""
    return source.lower().endswith(SUFFIX)


def dequantized(label: Label, spec: Dequantize, source: Edge, scope: Scope) -> Edge:
    """The step behind a model whose source is a GGUF file. `gguf` decides the values that come out, so its version
    is in the key; equal bytes from another version leave everything downstream fresh."""
    step = Label(label.kind, label.name, step="dequantize")
    return scope.add(action_of(step, "dequantize", spec, inputs={"source": [source]}, packages=["gguf"]))
