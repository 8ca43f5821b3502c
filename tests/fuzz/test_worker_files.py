"""What workers and `inspect` open: tokenizers, configurations, datasets' lists, templates; and what they say."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from cases import many, ran, soup, tried
from hypothesis import given
from hypothesis import strategies as st

from tunekit.build.attempt import Attempt
from tunekit.build.executor import Running
from tunekit.data.rowset import open_dataset
from tunekit.data.template import ChatTemplate, TemplateRefusal
from tunekit.data.vocabulary import open_vocabulary, read_object
from tunekit.errors import ActionError
from tunekit.hashing import sha256_bytes
from tunekit.store.store import Store

ROOT = Path(__file__).parents[2]
TEMPLATES = [p.read_bytes() for p in (ROOT / "tunekit/data/templates").glob("*.jinja")]
ROWS = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
TOKENIZER = {
    "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": {"type": "Whitespace"},
    "added_tokens": [{"id": 0, "content": "<e>", "single_word": False, "lstrip": False, "rstrip": False,
                      "normalized": False, "special": True}],
    "post_processor": None, "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"<e>": 0, "a": 1, "b": 2}, "unk_token": "<e>"},
}  # fmt: skip
BPE = TOKENIZER | {"model": {"type": "BPE", "vocab": {"<e>": 0, "a": 1, "b": 2, "ab": 3}, "merges": [["a", "b"]]}}
CONFIG = {"eos_token": "<e>", "pad_token": {"content": "<e>"}, "chat_template": "{{ messages[0].content }}"}


def encoded(*values) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


@many
@given(tokenizer=soup(encoded(TOKENIZER, BPE)), config=soup(encoded(CONFIG)), which=st.integers(0, 2))
def test_tokenizers(folder, tokenizer, config, which):
    (folder / "tokenizer.json").write_bytes(tokenizer if which != 1 else encoded(TOKENIZER)[0])
    (folder / "tokenizer_config.json").write_bytes(config if which else encoded(CONFIG)[0])
    (folder / "generation_config.json").write_bytes(config)
    found = tried(lambda: open_vocabulary(folder), ActionError)
    if found is not None:
        tried(lambda: found.tokenizer.encode("a b <e>").ids, Exception)
    tried(lambda: read_object(folder / "tokenizer_config.json"), ActionError)


INDEX = {
    "format": 1, "rows": 1, "schema": {"a": "str"}, "shape": "rows", "fields": {},
    "chunks": [{"digest": sha256_bytes(b"x"), "rows": 1, "bytes": 10}],
}  # fmt: skip


@many
@given(data=soup(encoded(INDEX)))
def test_lists_of_datasets(folder, data):
    place = folder / "dataset"
    place.mkdir(exist_ok=True)
    (place / "dataset.json").write_bytes(data)
    tried(lambda: list(open_dataset(place).iter_rows()), ActionError)


@many
@given(data=soup(TEMPLATES))
def test_templates(data):
    text = data.decode(errors="replace")
    template = tried(lambda: ChatTemplate(text, {"bos_token": "<s>", "eos_token": "</s>"}), ActionError)
    if template is not None:
        tried(lambda: template.render(ROWS, add_generation_prompt=True), TemplateRefusal)
        tried(lambda: template.fixed_prompt, ())


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ 'x' * 9999 }}{% endfor %}{% endfor %}",
        "{{ 'x' * 99999999999999 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ 9 ** 9 ** 9 ** '' }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os }}",
        "{{ range(10 ** 9) }}",
        "{{ " + "[" * 5000 + " }}",
        "{% for a in messages %}" * 40 + "{% endfor %}" * 40,
    ],
)
def test_bombs(text):
    with pytest.raises((TemplateRefusal, ActionError)):
        ChatTemplate(text, {}).render(ROWS)


DIGEST = sha256_bytes(b"x")
EVENTS = [
    {"v": 1, "seq": 1, "t": 1.0, "action": "dataset:a", "type": "start", "pid": 7},
    {"type": "progress", "done": 1, "total": 2, "unit": "row"},
    {"type": "metric", "step": 3, "figures": {"loss": 1.5}},
    {"type": "effective", "settings": {"a": {"b": [1, 2]}}},
    {"type": "part", "item": 0, "chunk": DIGEST, "output": DIGEST, "made": False, "rows": 3, "copied": 0},
    {"type": "warning", "slug": "a", "message": "b"},
    {"type": "gate", "name": "a", "passed": True, "measured": 1, "wanted": "> 0"},
    {"type": "done", "outputs": {"main": DIGEST}},
    {"type": "error", "slug": "a", "message": "b", "hint": ""},
]


def judged(folder, data: bytes) -> None:
    """The pipe of an action: what comes of its lines is a record or an error of that action."""
    import os

    read, write = os.pipe()
    os.write(write, data[:60_000] + b"\n")
    os.close(write)
    running = Running("dataset:a", read)
    action = SimpleNamespace(label="dataset:a", source="", inputs={}, kind="dataset", spec={})
    node = SimpleNamespace(action=action, key=DIGEST, bases=[DIGEST], outputs=None, image={})
    store = Store(folder / "store").ensure()
    attempt = Attempt(node, None, running, SimpleNamespace(staging=f"{folder}/work"), 1)
    found, ended = running.read()
    while not ended:
        more, ended = running.read()
        found += more
    running.close()
    heard = [event for event in found if attempt.take(event, store)]
    assert all(json.dumps(event, allow_nan=False) for event in heard)
    planner = SimpleNamespace(store=store, input_digests=lambda action: {})
    record = tried(lambda: attempt.conclude(0, planner, {}), ActionError)
    if record is not None:
        json.dumps(record, allow_nan=False)


@many
@given(data=soup([b"\n".join(encoded(*EVENTS[:-1])), *encoded(*EVENTS)]))
def test_events(folder, data):
    judged(folder, data)


@many
@given(
    event=st.sampled_from(EVENTS),
    name=st.sampled_from(["type", "step", "figures", "settings", "item", "chunk", "output", "outputs", "rows", "done"]),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
)
def test_events_of_other_types(folder, event, name, value):
    lines = [*EVENTS[:-1], event | {name: value}]
    judged(folder, b"\n".join(json.dumps(line).encode() for line in lines))


def test_an_honest_pipe(folder):
    before = ran["read"]
    judged(folder, b"\n".join(encoded(*EVENTS[:-1])))
    assert ran["read"] == before + 1
