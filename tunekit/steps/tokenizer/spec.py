"""A tokenizer: taken from a source, or trained on a dataset's text."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from tunekit.derive import Edge, Scope, action_of
from tunekit.inside import pin_faults
from tunekit.label import Label
from tunekit.spec import PRIVATE, Spec, operational, semantic
from tunekit.templates import template_fault


class Tokenizer(Spec, frozen=True, kw_only=True):
    """Vocabulary, special tokens and chat template. The artifact loads with `AutoTokenizer.from_pretrained`."""

    source: Annotated[str, semantic("Where `tokenizer.json` comes from; empty: train one on `data`.")] = ""
    pin: Annotated[
        bool, operational("Say that `path:` or `git:file:` leaves the project; it is locked by its content.")
    ] = False
    data: Annotated[list[str], semantic("Datasets whose text a new vocabulary is learnt from.")] = []
    algorithm: Annotated[Literal["bpe"], semantic("Byte-level byte-pair encoding (Sennrich et al. 2016).")] = "bpe"
    vocab_size: Annotated[int, semantic("Size of a trained vocabulary, special tokens included.", ge=257)] = 4096
    individual_digits: Annotated[bool, semantic("Every digit is a token of its own.")] = False
    eos_token: Annotated[str, semantic("Ends a document or a turn.")] = "<|im_end|>"
    bos_token: Annotated[str, semantic("Starts a document; empty: none.")] = ""
    pad_token: Annotated[str, semantic("Padding; never the end-of-text token.")] = "<|pad|>"
    special_tokens: Annotated[list[str], semantic("Further tokens that text never merges into.")] = msgspec.field(
        default_factory=lambda: ["<|im_start|>"]
    )
    chat_template: Annotated[
        str, semantic("Jinja text, a `.jinja` file of the project, or a name (`chatml`, …); empty: the source's own.")
    ] = ""
    private: Annotated[bool | None, operational(PRIVATE)] = None

    def checks(self) -> list[tuple[str, str, str]]:
        out = pin_faults(self.source, self.pin)
        if bool(self.source) == bool(self.data):
            out.append(("source", "a tokenizer has either `source` or `data`", "give exactly one of them"))
        if self.pad_token == self.eos_token:
            out.append(("pad_token", "pad and eos are the same token: the end would never be learnt", "use another"))
        fault = template_fault(self.chat_template)
        if fault is not None:
            out.append(("chat_template", *fault))
        return out


def derive(label: Label, spec: Tokenizer, scope: Scope) -> None:
    inputs: dict[str, list[Edge]] = {}
    files: list[str] = []
    if spec.source:
        inputs["source"] = [scope.source(label, spec.source, "source")]
    if spec.data:
        inputs["data"] = [scope.dataset(text, "data") for text in spec.data]
    if spec.chat_template.endswith(".jinja"):
        files.append(scope.file(spec.chat_template, "chat_template"))
    drop = ("source", "data") + (("chat_template",) if files else ())
    scope.add(action_of(label, "tokenizer", spec, drop=drop, inputs=inputs, files=files, packages=["tokenizers"]))
