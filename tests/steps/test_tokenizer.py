"""The tokenizer room: copies, trains, and is what Transformers takes it for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunekit.data.encoder import Encoder
from tunekit.data.vocabulary import open_vocabulary
from tunekit.errors import ActionError
from tunekit.protocol import Input
from tunekit.steps.tokenizer.run import run
from tunekit.templates import TEMPLATES

TEXTS = [{"text": f"the number {i} is {i * 37} and the next number is {i + 1}"} for i in range(80)]
FILES = {"tokenizer.json", "tokenizer_config.json"}


def trained(room, data: list[Input], **spec) -> Path:
    return room(run, {"data": ["dataset:d"], "vocab_size": 320} | spec, {"data": data}).main


def test_a_trained_vocabulary(room, dataset):
    out = trained(room, [dataset(TEXTS, "completion", 50)], chat_template="chatml")
    assert {p.name for p in out.iterdir()} == FILES | {"chat_template.jinja"}
    vocabulary = open_vocabulary(out)
    tokenizer = vocabulary.tokenizer
    assert vocabulary.size == 320 and tokenizer.get_vocab_size() == 320
    assert [tokenizer.id_to_token(i) for i in range(3)] == ["<|pad|>", "<|im_end|>", "<|im_start|>"]
    assert (vocabulary.bos_id, vocabulary.eos_id, vocabulary.pad_id) == (None, 1, 0)
    text = "any text: naïve 🙂\n\n\tx"
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text
    assert "model_max_length" not in json.loads((out / "tokenizer_config.json").read_text())


def test_text_of_every_shape_and_every_chunk_is_learnt(room, dataset):
    word = "zyx" * 4
    shapes = [
        dataset([{"text": "a"}, {"text": word}, {"text": word}], "completion", 1),
        dataset([{"messages": [{"role": "user", "content": word}] * 2}], "chat"),
        dataset([{"prompt": word}, {"prompt": word}], "prompt", 1),
        dataset([{"prompt": [{"role": "user", "content": word}] * 2}], "prompt"),
    ]
    for data in shapes:
        tokenizer = open_vocabulary(trained(room, [data])).tokenizer
        assert len(tokenizer.encode(word).ids) == 1


def test_individual_digits(room, dataset):
    data = [dataset([{"text": "2024 2024 2024"}], "completion")]
    whole = open_vocabulary(trained(room, data)).tokenizer.encode("2024").ids
    single = open_vocabulary(trained(room, data, individual_digits=True)).tokenizer.encode("2024").ids
    assert len(whole) < 4 == len(single)


def test_a_small_text_gives_fewer_tokens_with_a_warning(room, dataset):
    data = {"data": [dataset([{"text": "ab"}], "completion")]}
    ran = room(run, {"data": ["dataset:d"], "vocab_size": 4000}, data)
    assert ran.said.warnings() == ["vocabulary-smaller"]
    assert ran.said.effective()["vocab_size"] == 256 + 3


@pytest.mark.parametrize(
    ("rows", "spec", "slug"),
    [
        (TEXTS, {"vocab_size": 258}, "vocabulary-too-small"),
        ([{"x": 1}], {}, "no-text"),
        (TEXTS, {"chat_template": "{% for %}"}, "bad-template"),
        (TEXTS, {"chat_template": "nope.jinja"}, "no-template-file"),
    ],
)
def test_what_cannot_be_made(room, dataset, rows, spec, slug):
    with pytest.raises(ActionError) as e:
        trained(room, [dataset(rows)], **spec)
    assert e.value.slug == slug


def test_a_template_file_of_the_project(room, dataset, tmp_path):
    (tmp_path / "code" / "t").mkdir()
    (tmp_path / "code" / "t" / "my.jinja").write_text("{{ messages[0].content }}")
    out = trained(room, [dataset(TEXTS)], chat_template="t/my.jinja")
    assert (out / "chat_template.jinja").read_text() == "{{ messages[0].content }}"


def test_a_source_is_copied_by_allow_list(room, dataset, source, chatml):
    files = {p.name: p.read_text() for p in Path(chatml.path).iterdir()}
    given = source(files | {"model.safetensors": "x", "README.md": "x", "special_tokens_map.json": "{}"})
    out = room(run, {"source": "path:x"}, {"source": [given]}).main
    assert {p.name for p in out.iterdir()} == set(files) | {"special_tokens_map.json"}
    assert all((out / name).read_text() == text for name, text in files.items())


def test_a_source_whose_pad_is_its_eos_can_be_given_another(room, source, chatml):
    files = {p.name: p.read_text() for p in Path(chatml.path).iterdir()}
    config = json.loads(files["tokenizer_config.json"]) | {"pad_token": "<|im_end|>", "chat_template": "old"}
    given = source(files | {"tokenizer_config.json": json.dumps(config)})
    kept = open_vocabulary(room(run, {"source": "path:x"}, {"source": [given]}).main)
    assert kept.pad_id == kept.eos_id  # as its makers have it: padding hides no label
    spec = {"source": "path:x", "pad_token": "<|im_start|>", "chat_template": "chatml"}
    out = room(run, spec, {"source": [given]}).main
    assert open_vocabulary(out).tokens["pad_token"] == "<|im_start|>"
    assert "chat_template" not in json.loads((out / "tokenizer_config.json").read_text())
    with pytest.raises(ActionError) as e:
        room(run, spec | {"pad_token": "<|nope|>"}, {"source": [given]})
    assert e.value.slug == "unknown-special-token"


def test_a_source_without_a_fast_tokenizer(room, source):
    with pytest.raises(ActionError) as e:
        room(run, {"source": "path:x"}, {"source": [source({"vocab.json": "{}"})]})
    assert e.value.slug == "no-tokenizer" and "AutoTokenizer" in e.value.hint


SCRIPT = """
import sys
from tunekit.protocol import Events, Request
from tunekit.steps.tokenizer.run import run
from tunekit.templates import TEMPLATES
text = open(sys.argv[1]).read()
run(Request.from_json(text), Events("x", -1))
"""


def test_bytes_are_the_same_in_another_process(room, dataset, tmp_path):
    data = dataset(TEXTS, "completion", 30)
    here = trained(room, [data], bos_token="<s>")
    digests = {tuple((here / name).read_bytes() for name in sorted(FILES))}
    for seed in ("0", "4711"):
        out = tmp_path / f"out-{seed}"
        request = {
            **{"protocol": 1, "action": "tokenizer:t", "key": "", "kind": "tokenizer", "code": {}, "code_root": ""},
            **{"staging": "", "store": "", "resources": {}, "seed": 0, "provenance": {}, "out": str(out)},
            "spec": {"data": ["dataset:d"], "vocab_size": 320, "bos_token": "<s>"},
            "inputs": {"data": [data._asdict()]},
        }
        file = tmp_path / f"request-{seed}.json"
        file.write_text(json.dumps(request))
        env = {**os.environ, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": "1" if seed == "0" else "2"}
        subprocess.run([sys.executable, "-c", SCRIPT, str(file)], env=env, check=True, cwd=Path(__file__).parents[2])
        digests.add(tuple((out / "main" / name).read_bytes() for name in sorted(FILES)))
    assert len(digests) == 1


LLAMA_LIKE = """{{- bos_token }}
{%- set ns = namespace(system='') %}
{%- for m in messages %}
    {%- if m.role == 'system' %}
        {%- set ns.system = m.content | trim %}
        {%- continue %}
    {%- endif %}
    {{- '<|im_start|>' + m['role'] + '\\n' + (ns.system if loop.index0 <= 1 else '') }}
    {%- if m.role == 'assistant' %}
        {%- generation %}{{ m.content | trim }}<|im_end|>{% endgeneration %}
    {%- else %}
        {{- m.content | trim + '<|im_end|>' }}{{ {'a': '<é>'} | tojson(indent=1) }}
    {%- endif %}
    {% if m.name is defined %}{{ m.name }}{% endif %}
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@pytest.mark.torch
@pytest.mark.oracle
@pytest.mark.parametrize("template", ["chatml", LLAMA_LIKE], ids=["chatml", "llama-like"])
def test_transformers_agrees(room, dataset, template):
    from transformers import AutoTokenizer

    out = trained(room, [dataset(TEXTS)], chat_template=template, bos_token="<s>")
    oracle = AutoTokenizer.from_pretrained(out)
    vocabulary = open_vocabulary(out)
    assert vocabulary.template is not None
    assert (oracle.bos_token_id, oracle.eos_token_id, oracle.pad_token_id) == (
        vocabulary.bos_id,
        vocabulary.eos_id,
        vocabulary.pad_id,
    )
    assert len(oracle) == vocabulary.size and oracle.clean_up_tokenization_spaces is False
    conversations = [
        [{"role": "system", "content": " be  brief\n"}, {"role": "user", "content": "what is 7 ?"}],
        [{"role": "user", "content": "é🙂 <b>"}, {"role": "assistant", "content": " 4 \n", "name": None}],
        [{"role": r, "content": f"{r} {i}"} for i, r in enumerate(["user", "assistant", "tool", "assistant"])],
    ]
    for messages in conversations:
        for prompt in (False, True):
            text = oracle.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
            assert vocabulary.template.render(messages, prompt) == text
        ids = oracle.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
        (encoded,) = Encoder(vocabulary, "chat", "all").encode([{"messages": messages}])
        assert encoded.input_ids == ids
    (completion,) = Encoder(vocabulary, "completion", "all").encode([{"text": "the number 7 , is"}])
    assert completion.input_ids == [*oracle("the number 7 , is")["input_ids"], oracle.eos_token_id]
    assert oracle.decode(completion.input_ids, skip_special_tokens=True) == "the number 7 , is"


@pytest.mark.torch
@pytest.mark.oracle
def test_masks_agree_with_generation_blocks(room, dataset, chat_rows):
    """Where a template marks its own turns, the derived mask is the marked one."""
    from transformers import AutoTokenizer

    marked = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
        "{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}"
        "{{ m['content'] + '<|im_end|>' }}{% endif %}"
        "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    out = trained(room, [dataset(chat_rows, "chat", 20)], chat_template=marked)
    oracle = AutoTokenizer.from_pretrained(out)
    rows = [*chat_rows, {"messages": [m for row in chat_rows[:5] for m in row["messages"]]}]
    for row, encoded in zip(rows, Encoder(open_vocabulary(out), "chat", "assistant").encode(rows), strict=True):
        found = oracle.apply_chat_template(row["messages"], return_dict=True, return_assistant_tokens_mask=True)
        assert encoded.input_ids == found["input_ids"]
        assert [int(x) for x in encoded.labelled] == found["assistant_masks"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_named_templates_markers_are_tokens(room, dataset, name):
    """And end turns with a token that generation stops at, if that is the eos token."""
    eos = {"llama3": "<|eot_id|>", "gemma": "<end_of_turn>", "phi3": "<|end|>"}.get(name, "<|im_end|>")
    spec = {"chat_template": name, "eos_token": eos, "bos_token": "<s>"}
    out = trained(room, [dataset(TEXTS, "completion", 50)], **spec)
    vocabulary = open_vocabulary(out)
    assert all(vocabulary.tokenizer.token_to_id(marker) in vocabulary.special_ids for marker in TEMPLATES[name])
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant")] * 2
    (encoded,) = Encoder(vocabulary, "chat").encode([{"messages": turns}])
    assert (encoded.turns, encoded.ended, encoded.straddling) == (2, 2, 0)
