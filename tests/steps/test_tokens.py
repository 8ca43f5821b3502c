"""The tokens room: parts, their reuse, the ledger and the gate."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tunekit.data.encoder import Encoder
from tunekit.data.rowset import open_dataset
from tunekit.data.tokenset import open_tokens
from tunekit.data.vocabulary import open_vocabulary
from tunekit.errors import ActionError
from tunekit.hashing import sha256_file
from tunekit.steps.tokens.part import load_ledger, make_part
from tunekit.steps.tokens.run import run

SPEC = {"items": [{"format": "chat"}]}


BASE = ["sha256:" + "b" * 64]


def files_of(ran) -> dict[str, bytes]:
    return {str(p.relative_to(ran.main)): p.read_bytes() for p in sorted(ran.main.rglob("*")) if p.is_file()}


@pytest.fixture
def vocabulary_of(chatml):
    return open_vocabulary(chatml.path)


@pytest.fixture
def no_encoding(monkeypatch):
    """Whoever tokenizes now fails."""

    def refuse(*_):
        raise AssertionError("tokenized although the part was there")

    return lambda: monkeypatch.setattr(Encoder, "encode", refuse)


@pytest.mark.parametrize("chunk_rows", [None, 16])
def test_rows_come_back_with_labels(room, dataset, chatml, chat_rows, chunk_rows):
    data = dataset(chat_rows, "chat", chunk_rows)
    ran = room(run, SPEC, {"data": [data], "tokenizer": [chatml]})
    tokens = open_tokens(ran.main)
    (item,) = tokens.items
    encoded = list(Encoder(open_vocabulary(chatml.path), "chat", "assistant").encode(chat_rows))
    assert list(item.rows()) == [(e.input_ids, e.labelled) for e in encoded]
    assert list(item.row_numbers()) == list(range(30))
    assert (item.row_count, item.shape, item.train_on) == (30, "chat", "assistant")
    assert item.tokens == sum(len(e.input_ids) for e in encoded)
    assert item.labelled == sum(sum(e.labelled) for e in encoded)
    assert [p.first_row for p in item.parts] == ([0, 16] if chunk_rows else [0])
    for part in item.parts:
        assert sha256_file(ran.main / "parts" / f"{part.digest[7:]}.arrow") == part.digest
    assert {p.name for p in ran.main.iterdir()} == {"tokens.json", "parts"}
    assert tokens.pad_token_id is not None and tokens.pad_token_id != tokens.eos_token_id
    assert tokens.vocab_size == open_vocabulary(chatml.path).size


def test_parts_are_kept_and_a_second_run_tokenizes_nothing(room, dataset, chatml, chat_rows, no_encoding):
    inputs = {"data": [dataset(chat_rows, "chat", 8)], "tokenizer": [chatml]}
    first = room(run, SPEC, inputs, BASE)
    assert len(first.parts()) == len(open_dataset(inputs["data"][0].path).chunk_list) == 4
    no_encoding()
    second = room(run, SPEC, inputs, BASE)
    assert not second.parts() and [e["output"] for e in second.parts(made=False)] == [
        e["output"] for e in first.parts()
    ]
    assert files_of(second) == files_of(first)


def test_only_the_missing_part_is_made_and_its_place_may_change(room, dataset, chatml, chat_rows):
    room(run, SPEC, {"data": [dataset(chat_rows[8:], "chat", 8)], "tokenizer": [chatml]}, BASE)
    inputs = {"data": [dataset(chat_rows, "chat", 8)], "tokenizer": [chatml]}
    ran = room(run, SPEC, inputs, BASE)
    assert len(ran.parts()) == 1 and len(ran.parts(made=False)) == 3
    (item,) = open_tokens(ran.main).items
    assert list(item.row_numbers()) == list(range(30))
    assert files_of(ran) == files_of(room(run, SPEC, inputs))


def test_rows_of_a_changed_chunk_are_copied(room, dataset, chatml, chat_rows, monkeypatch):
    mute = {"messages": [{"role": "user", "content": "hi"}]}
    rows = [*chat_rows[:20], mute]
    first = room(run, SPEC, {"data": [dataset(rows, "chat", 10)], "tokenizer": [chatml]}, BASE)
    edited = [chat_rows[25], mute, *rows[1:4], *rows[5:], rows[7]]
    inputs = {"data": [dataset(edited, "chat", 7)], "tokenizer": [chatml]}
    asked: list[int] = []
    original = Encoder.encode

    def encode(self, rows, numbers=None):
        asked.extend(numbers)
        return original(self, rows, numbers)

    monkeypatch.setattr(Encoder, "encode", encode)
    ran = room(run, SPEC, inputs, BASE, first)
    assert asked == [0] and sum(e["copied"] for e in ran.parts()) == len(edited) - 1
    clean = room(run, SPEC, inputs)
    assert files_of(ran) == files_of(clean) and ran.said.effective() == clean.said.effective()


def test_a_chunk_that_comes_twice_is_made_once(room, dataset, chatml, chat_rows):
    inputs = {"data": [dataset(chat_rows[:2] * 2, "chat", 2)], "tokenizer": [chatml]}
    ran = room(run, SPEC, inputs, BASE)
    assert len(ran.parts()) == 1
    (item,) = open_tokens(ran.main).items
    assert item.row_count == 4 and list(item.row_numbers()) == [0, 1, 2, 3]


def test_what_a_killed_attempt_left_is_replaced_and_never_written_into(vocabulary_of, dataset, chat_rows, tmp_path):
    directory, artifact = tmp_path / "part", tmp_path / "artifact.arrow"
    directory.mkdir()
    artifact.write_bytes(b"an artifact's bytes")
    (directory / "tokens.arrow").hardlink_to(artifact)
    ((_, table),) = open_dataset(dataset(chat_rows, "chat").path).own_chunks()
    ledger, _ = make_part(directory, table, Encoder(vocabulary_of, "chat", "assistant"), 0)
    assert artifact.read_bytes() == b"an artifact's bytes"
    assert sha256_file(directory / "tokens.arrow") == ledger.digest == load_ledger(directory / "ledger.json").digest


def test_items_have_their_own_settings(room, dataset, chatml, chat_rows):
    spec = {"items": [{"format": "chat", "train_on": "all"}, {}, {"format": "completion"}]}
    chat = dataset(chat_rows, "chat")
    texts = dataset([{"text": "it is 4"}, {"text": "it is 9"}], "completion", 1)
    ran = room(run, spec, {"data": [chat, chat, texts], "tokenizer": [chatml]})
    everything, turns, completions = open_tokens(ran.main).items
    assert everything.labelled == everything.tokens == turns.tokens > turns.labelled
    assert completions.labelled == completions.tokens and completions.row_count == 2
    ratios = [i["supervised_ratio"] for i in ran.said.effective()["items"]]
    assert ratios[0] == ratios[2] == 1.0 and 0 < ratios[1] < 1
    ratio, ends = ran.said.of("gate")
    assert ratio["name"] == "supervised_ratio" and ratio["passed"] and ratio["wanted"] == "> 0"
    assert ends["name"] == "end_of_turn" and ends["passed"]
    assert [m["ended_ratio"] for m in ends["measured"]] == [1.0]  # of the turns; `all` and completions have none


def test_an_item_of_auto_takes_the_form_that_the_dataset_says(room, dataset, chatml, chat_rows):
    texts = dataset([{"text": "it is 4"}], "completion")
    spec = {"items": [{"format": "auto"}, {"format": "auto", "train_on": "all"}]}
    ran = room(run, spec, {"data": [dataset(chat_rows, "chat"), texts], "tokenizer": [chatml]})
    declared = {"items": [{}, {"format": "completion", "train_on": "all"}]}
    same = room(run, declared, {"data": [dataset(chat_rows, "chat"), texts], "tokenizer": [chatml]})
    assert [i.shape for i in open_tokens(ran.main).items] == ["chat", "completion"]
    assert (ran.main / "tokens.json").read_bytes() == (same.main / "tokens.json").read_bytes()


def test_a_form_that_a_loss_cannot_read_is_named(room, dataset, chatml):
    data = dataset([{"prompt": "a", "chosen": "b", "rejected": "c"}], "preference")
    with pytest.raises(ActionError) as e:
        room(run, {"items": [{"format": "auto"}]}, {"data": [data], "tokenizer": [chatml]})
    assert e.value.slug == "wrong-format" and '"bradley_terry"' not in e.value.hint
    assert e.value.message.startswith("dataset:d1 has `preference` rows; loss needs `chat` or `completion`")


def test_rows_without_a_label_are_left_out_aloud(room, dataset, chatml, chat_rows):
    mute = {"messages": [{"role": "user", "content": "hi"}]}
    ran = room(run, SPEC, {"data": [dataset([mute, *chat_rows[:3], mute], "chat", 2)], "tokenizer": [chatml]})
    (item,) = open_tokens(ran.main).items
    left = {"read": 5, "kept": 3, "straddling": 0, "unlabelled": 2, "unlabelled_rows": [0, 4]}
    assert left.items() <= item.ledger.items() and (item.ledger["turns"], item.ledger["ended"]) == (3, 3)
    assert list(item.row_numbers()) == [1, 2, 3] and ran.said.warnings() == ["unlabelled"]


def test_no_label_at_all_is_an_error(room, dataset, chatml):
    mute = {"messages": [{"role": "user", "content": "hi"}]}
    with pytest.raises(ActionError, match="none of its 2 rows") as e:
        room(run, SPEC, {"data": [dataset([mute] * 2, "chat")], "tokenizer": [chatml]})
    assert e.value.slug == "no-labels"


def test_an_error_names_the_row_of_the_dataset(room, dataset, chatml, chat_rows):
    (Path(chatml.path) / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ raise_exception('no 5') if '5' in m.content }}{{ m.content }}{% endfor %}"
    )
    data = dataset(chat_rows, "chat", 4)
    with pytest.raises(ActionError, match=f"^{data.label}: row 5: the chat template refuses"):
        room(run, SPEC, {"data": [data], "tokenizer": [chatml]})
    data = data._replace(origins=[[0, "a.jsonl", 0], [3, "b.jsonl", 0]])
    words = re.escape(f"{data.label}: row 5 (b.jsonl, its row 2): the chat template refuses")
    for cpus in (1, 2):
        with pytest.raises(ActionError, match="^" + words):
            room(run, SPEC, {"data": [data], "tokenizer": [chatml]}, cpus=cpus)


def test_a_template_that_prints_the_date_says_so(room, dataset, chatml, chat_rows):
    file = Path(chatml.path) / "chat_template.jinja"
    file.write_text("{{ strftime_now('%d %b %Y') }}" + file.read_text())
    ran = room(run, SPEC, {"data": [dataset(chat_rows, "chat")], "tokenizer": [chatml]})
    assert ran.said.warnings() == ["template-clock"]
    ids = next(open_tokens(ran.main).items[0].rows())[0]
    assert open_vocabulary(chatml.path).tokenizer.decode(ids).startswith("26 Jul 2024")


def test_roles_and_templates_are_an_items_own(room, dataset, chatml, chat_rows):
    data = dataset(chat_rows, "chat")
    text = (Path(chatml.path) / "chat_template.jinja").read_text().replace("<|im_start|>", "|")
    items = [{"roles": ["user"]}, {"chat_template": "chatml"}, {"chat_template": text, "train_on": "all"}]
    ran = room(run, {"items": items}, {"data": [data] * 3, "tokenizer": [chatml]})
    asked, answered, other = open_tokens(ran.main).items
    vocabulary = open_vocabulary(chatml.path)
    text = vocabulary.tokenizer.decode(next(other.rows())[0], skip_special_tokens=False)
    assert text.startswith("|user\nwhat is 0<|im_end|>") and "template-differs" in ran.said.warnings()
    assert asked.tokens == answered.tokens and asked.parts[0].digest != answered.parts[0].digest
    ids, flags = next(asked.rows())
    kept = [i for i, on in zip(ids, flags, strict=True) if on]
    assert vocabulary.tokenizer.decode(kept, skip_special_tokens=False) == "what is 0<|im_end|>"


def test_a_named_template_that_is_the_tokenizers_own_is_no_other(room, dataset, chatml, chat_rows):
    inputs = {"data": [dataset(chat_rows, "chat")], "tokenizer": [chatml]}
    ran = room(run, {"items": [{"chat_template": "chatml"}]}, inputs)
    assert ran.said.warnings() == []


def test_turns_must_end(room, dataset, chatml, chat_rows):
    """A template that ends turns with a token that generation does not stop at: the model would never stop."""
    text = (Path(chatml.path) / "chat_template.jinja").read_text().replace("<|im_end|>", "<|pad|>")
    data = dataset(chat_rows, "chat")
    with pytest.raises(ActionError, match="no trained turn ends with a token that generation stops at") as e:
        room(run, {"items": [{"chat_template": text}]}, {"data": [data], "tokenizer": [chatml]})
    assert e.value.slug == "no-end-of-turn" and "eos_token" in e.value.hint and "require_end" in e.value.hint
    spec = {"items": [{"chat_template": text, "require_end": False}]}
    ran = room(run, spec, {"data": [data], "tokenizer": [chatml]})
    (item,) = open_tokens(ran.main).items
    assert item.ledger["reasons"]["no-end"] == {"count": 30, "rows": list(range(20))}
    assert (item.ledger["turns"], item.ledger["ended"]) == (30, 0) and "no-end" in ran.said.warnings()


def test_the_ledger_lists_straddling_tokens_and_reasons(room, dataset, chatml):
    def row(first: str, second: str) -> dict:
        parts = [{"text": first, "train": False}, {"text": second, "train": None}]
        answer = {"role": "assistant", "content": first + second, "parts": parts, "reasoning_content": None}
        return {"messages": [{"role": "user", "content": "?", "parts": None, "reasoning_content": "x"}, answer]}

    rows = [row("it is", " so"), row("it ", "is 4"), row("so ", "is it")]
    ran = room(run, SPEC, {"data": [dataset(rows, "chat", 2)], "tokenizer": [chatml]})
    (item,) = open_tokens(ran.main).items
    assert item.ledger["straddling"] == 2 == item.ledger["reasons"]["straddling"]["count"]
    assert item.ledger["reasons"]["edge-space"] == {"count": 2, "rows": [1, 2]}
    tokenizer = open_vocabulary(chatml.path).tokenizer
    found = [tokenizer.decode([list(item.rows())[row][0][token]]) for row, token in item.ledger["straddling_tokens"]]
    assert [row for row, _ in item.ledger["straddling_tokens"]] == [1, 2] and found == [" is", " is"]
    assert {"edge-space", "reasoning-dropped"} <= set(ran.said.warnings())


ASKED = {"text": "it is", "train": False}


@pytest.mark.parametrize(
    ("shape", "row", "labelled"),
    [
        ("segments", {"segments": [ASKED, {"text": " 4", "train": True}], "end": True}, " 4<|im_end|>"),
        ("segments", {"segments": [ASKED, {"text": " 4<|im_end|>", "train": True}], "end": False}, " 4<|im_end|>"),
        ("tokens", {"input_ids": [5, 6, 7, 1], "labels": [-100, -100, 7, 1]}, None),
        ("tokens", {"input_ids": [5, 6, 7, 1], "labels": None}, None),
    ],
)  # fmt: skip
def test_rows_without_a_template(room, dataset, chatml, shape, row, labelled):
    ran = room(run, {"items": [{"format": shape}]}, {"data": [dataset([row], shape)], "tokenizer": [chatml]})
    ((ids, flags),) = open_tokens(ran.main).items[0].rows()
    kept = [i for i, on in zip(ids, flags, strict=True) if on]
    if labelled is None:
        assert ids == row["input_ids"] and kept == [i for i in row["labels"] or ids if i != -100]
    else:
        assert open_vocabulary(chatml.path).tokenizer.decode(kept, skip_special_tokens=False) == labelled
        assert open_tokens(ran.main).items[0].ledger["ended"] == 1


@pytest.mark.parametrize(
    ("shape", "row", "slug"),
    [
        ("segments", {"segments": []}, "bad-segments"),
        ("segments", {"segments": [{"text": "x", "train": None}]}, "bad-segments"),
        ("tokens", {"input_ids": [1, 9999], "labels": [1, 9999]}, "token-out-of-range"),
        ("tokens", {"input_ids": [1, 2], "labels": [2, -100]}, "bad-labels"),
        ("tokens", {"input_ids": [1, 2], "labels": [1]}, "bad-labels"),
    ],
)
def test_bad_rows_without_a_template(room, dataset, chatml, shape, row, slug):
    with pytest.raises(ActionError, match="row 0: ") as e:
        room(run, {"items": [{"format": shape}]}, {"data": [dataset([row], shape)], "tokenizer": [chatml]})
    assert e.value.slug == slug


SCRIPT = """
import json, sys
from tunekit.protocol import Events, Request
from tunekit.steps.tokens.run import run
run(Request.from_json(open(sys.argv[1]).read()), Events("x", -1))
"""


def test_bytes_are_the_same_in_another_process(room, dataset, chatml, chat_rows, tmp_path):
    data = dataset(chat_rows, "chat", 16)
    here = room(run, SPEC, {"data": [data], "tokenizer": [chatml]}).main
    out = tmp_path / "elsewhere" / "out"
    out.mkdir(parents=True)
    request = {
        "protocol": 1,
        "action": "run:x#tokens",
        "key": "",
        "kind": "tokens",
        "spec": SPEC,
        "inputs": {"data": [data._asdict()], "tokenizer": [chatml._asdict()]},
        "code": {},
        "code_root": "",
        "staging": str(tmp_path / "elsewhere"),
        "out": str(out),
        "store": "",
        "resources": {"cpus": 1},
        "seed": 0,
        "provenance": {},
    }
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request))
    env = {**os.environ, "PYTHONHASHSEED": "4711", "RAYON_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", SCRIPT, str(file)], env=env, check=True, cwd=Path(__file__).parents[2])
    there = out / "main"
    assert (there / "tokens.json").read_bytes() == (here / "tokens.json").read_bytes()
    assert {p.name for p in (there / "parts").iterdir()} == {p.name for p in (here / "parts").iterdir()}
    assert len(open_dataset(data.path).chunk_list) == 2


def _pair(i: int) -> dict:
    answers = {"chosen": f"it is {i}", "rejected": f"it is {i + 1}"}
    return {"prompt": [{"role": "user", "content": f"what is {i}"}]} | {
        name: [{"role": "assistant", "content": text}] for name, text in answers.items()
    }


def test_a_pair_is_two_items_and_its_parts_are_shared(room, dataset, chatml, no_encoding):
    spec = {"items": [{"format": "preference", "reads": reads} for reads in ("chosen", "rejected")]}
    rows = [_pair(i) for i in range(20)]
    data = dataset(rows, "preference", 8)
    bases = [BASE[0], "sha256:" + "c" * 64]
    ran = room(run, spec, {"data": [data, data], "tokenizer": [chatml]}, bases)
    chosen, rejected = open_tokens(ran.main).items
    assert (chosen.reads, rejected.reads) == ("chosen", "rejected")
    assert list(chosen.row_numbers()) == list(rejected.row_numbers()) == list(range(20))
    for item in (chosen, rejected):
        encoded = Encoder(open_vocabulary(chatml.path), "preference", reads=item.reads).encode(rows)
        assert list(item.rows()) == [(e.input_ids, e.labelled) for e in encoded]
    assert [i["reads"] for i in ran.said.effective()["items"]] == ["chosen", "rejected"]
    no_encoding()
    assert files_of(room(run, spec, {"data": [data, data], "tokenizer": [chatml]}, bases)) == files_of(ran)


def test_verdicts_are_kept_beside_the_tokens_and_copied_with_their_rows(room, dataset, chatml):
    rows = [
        {"prompt": f"what is {i}", "completions": ["it is", f"{i}"], "labels": [True, i % 2 == 0]} for i in range(12)
    ]
    spec = {"items": [{"format": "stepwise", "reads": "steps"}]}
    first = room(run, spec, {"data": [dataset(rows, "stepwise", 5)], "tokenizer": [chatml]}, BASE)
    verdicts = [v for _, t in open_tokens(first.main).items[0].tables() for v in t.column("verdicts").to_pylist()]
    assert verdicts == [[True, i % 2 == 0] for i in range(12)]
    edited = [*rows[1:4], {"prompt": "what", "completions": ["it"], "labels": [False]}, *rows[4:]]
    inputs = {"data": [dataset(edited, "stepwise", 6)], "tokenizer": [chatml]}
    again = room(run, spec, inputs, BASE, first)
    assert sum(e["copied"] for e in again.parts()) == 11 and files_of(again) == files_of(room(run, spec, inputs))


def test_rows_are_read_by_whom_they_are_for(room, dataset, chatml):
    data = dataset([{"prompt": "what", "completion": "it", "label": True}], "unpaired")
    for reads, words in (("loss", "loss needs `chat`"), ("chosen", "pairs needs `preference`")):
        with pytest.raises(ActionError, match=words) as found:
            room(run, {"items": [{"format": "auto", "reads": reads}]}, {"data": [data], "tokenizer": [chatml]})
        assert found.value.slug == "wrong-format"
