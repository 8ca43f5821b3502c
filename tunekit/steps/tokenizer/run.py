"""A tokenizer artifact: the allow-listed files of a source, or a vocabulary learnt from datasets."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from tunekit.data.library import template_text
from tunekit.data.rowset import write_index
from tunekit.data.template import ChatTemplate
from tunekit.data.vocabulary import TOKENIZER_FILES, open_vocabulary, read_object, special_tokens
from tunekit.errors import ActionError
from tunekit.protocol import Events, Request
from tunekit.steps.tokenizer.spec import Tokenizer
from tunekit.steps.tokenizer.train import train
from tunekit.templates import TEMPLATES

_TEMPLATE = "chat_template.jinja"


def run(request: Request, events: Events) -> dict[str, str]:
    """Write the artifact and open it once, so that a broken one is an error here and not in a consumer.

    Raises ActionError (`no-tokenizer`, `vocabulary-too-small`, `bad-template`, `no-template-file`, …).
    """
    spec = msgspec.convert(request.spec, Tokenizer)
    out = Path(request.out) / "main"
    out.mkdir(parents=True)
    if spec.data:
        _train(request, spec, out, events)
    else:
        _copy(Path(request.one("source").path), out)
        _override_tokens(request, out)
    text = _template_text(spec.chat_template, request.code_root)
    if text:
        _put_template(text, out)
    vocabulary = open_vocabulary(out)
    events.effective(vocab_size=vocabulary.size, special_tokens=vocabulary.tokens)
    return {"main": "main"}


def _train(request: Request, spec: Tokenizer, out: Path, events: Events) -> None:
    wanted = [spec.pad_token, spec.bos_token, spec.eos_token, *spec.special_tokens]
    wanted += TEMPLATES.get(spec.chat_template, ())  # else its markers would be pieces that text can merge into
    tokenizer = train(spec, [token for token in dict.fromkeys(wanted) if token], request.inputs["data"], events)
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    named = {"eos_token": spec.eos_token, "pad_token": spec.pad_token, "bos_token": spec.bos_token}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    write_index(out / "tokenizer_config.json", config | {name: text for name, text in named.items() if text})


def _copy(source: Path, out: Path) -> None:
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)


def _override_tokens(request: Request, out: Path) -> None:
    """Tokens that the target names itself replace the source's (a source whose pad is its eos needs that)."""
    named = {name: request.spec[name] for name in ("eos_token", "bos_token", "pad_token") if name in request.spec}
    if not named:
        return
    for file in (out / "tokenizer_config.json", out / "special_tokens_map.json"):
        if file.is_file() or file.name == "tokenizer_config.json":
            body = {name: value for name, value in read_object(file).items() if name not in named}
            write_index(file, body | {name: text for name, text in named.items() if text})


def _template_text(chosen: str, code_root: str) -> str:
    """The template that the target asks for; "" for the source's own."""
    if not chosen.endswith(".jinja"):
        return template_text(chosen)
    file = Path(code_root) / chosen
    if not file.is_file():
        raise ActionError(f"there is no template file {chosen}", slug="no-template-file")
    return file.read_text(encoding="utf-8")


def _put_template(text: str, out: Path) -> None:
    """One template, in its own file: one in the config as well would leave it open which counts."""
    config = out / "tokenizer_config.json"
    body = read_object(config)
    ChatTemplate(text, special_tokens(body))  # compiles, or says where it does not
    if body.pop("chat_template", None) is not None:
        write_index(config, body)
    (out / _TEMPLATE).write_text(text, encoding="utf-8")
