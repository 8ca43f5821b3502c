"""`tunekit inspect` through the real command line, on a project of light targets that is built once."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tunekit.cli import asking
from tunekit.errors import ActionError
from tunekit.question import Question, Subject

TOML = """
[dataset.chat]
source = "path:chat.jsonl"
format = "chat"
map = "ops.py:kept"
[dataset.pieces]
source = "path:pieces.jsonl"
format = "segments"
require_end = false
[dataset.prompts]
source = "path:prompts.jsonl"
format = "prompt"
[dataset.numbers]
source = "path:numbers.jsonl"
[dataset.odd]
source = "path:odd.jsonl"
format = "chat"
[dataset.never]
source = "path:chat.jsonl"
format = "chat"

[tokenizer.t]
data = ["dataset:chat"]
vocab_size = 330
chat_template = "chatml"
[model.m]
config = { model_type = "llama", hidden_size = 32, num_hidden_layers = 2, num_attention_heads = 2 }
tokenizer = "tokenizer:t"

[run.sft]
method = "sft"
model = "model:m"
data = ["dataset:chat", "dataset:pieces"]
sequence_len = 64
overlong = "split"
[run.stream]
method = "sft"
model = "model:m"
data = ["dataset:pieces"]
eval_data = ["dataset:chat"]
streaming = true
overlong = "split"
max_steps = 1
[dataset.long]
source = "path:long"
format = "completion"
[run.mixed]
method = "sft"
model = "model:m"
data = ["dataset:long", { dataset = "dataset:chat", train_on = "all" }, "dataset:never"]
streaming = true
overlong = "split"
sequence_len = 64
max_steps = 1
[run.odd]
method = "sft"
model = "model:m"
data = ["dataset:odd"]
[dataset.pairs]
source = "path:pairs.jsonl"
format = "preference"
[run.dpo]
method = "dpo"
model = "model:m"
data = ["dataset:pairs"]
[run.never]
method = "sft"
model = "model:m"
data = ["dataset:never"]
[run.grpo]
method = "grpo"
model = "model:m"
data = ["dataset:prompts"]
rewards = [{ fn = "ops.py:reward" }]
[eval.loss]
model = "model:m"
data = ["dataset:chat"]
"""
# Whatever imports this is caught: inspect never does.
OPS = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
def kept(row): return row
def reward(completions, **_): return [0.0 for _ in completions]
"""
BUILT = ["dataset:chat", "dataset:prompts", "dataset:numbers", "run:sft#tokens", "run:odd#tokens", "eval:loss#tokens",
         "run:stream#tokens", "run:dpo#tokens"]  # fmt: skip


def turns(i: int) -> list[dict[str, str]]:
    question = {"role": "user", "content": f"word {i}? <|im_end|>"}
    return [question] if i == 7 else [question, {"role": "assistant", "content": f"it is {i * i}\n" + "word " * i}]


ODD = [
    "a",
    "word",
    " ",
    "  ",
    "\n",
    "\t",
    "é",
    "漢字",
    "👩‍🚀",
    "\u202e",
    "\x1b[31m",
    "<|im_end|>",
    "⟦",
    "⟧⟨",
    "␣↵",
    "<b>",
]


def odd_turns(seed: int) -> list[dict[str, str]]:
    """Conversations of all that is hard to show."""
    dice = random.Random(seed)
    said = ["".join(dice.choices(ODD, k=dice.randint(1, 9))) + "." for _ in range(2 * dice.randint(1, 3))]
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(said)]


def write(project) -> None:
    project.rows("odd.jsonl", [{"messages": odd_turns(i)} for i in range(60)])
    project.rows("chat.jsonl", [{"messages": turns(i), "tag": "even" if i % 2 == 0 else "odd"} for i in range(30)])
    edge = {"segments": [{"text": "wo", "train": False}, {"text": "rd word", "train": True}]}
    project.rows("pieces.jsonl", [edge] * 3)
    (project.root / "long").mkdir()
    project.rows("long/a.jsonl", [{"text": f"word {i}" + " word" * (i % 90)} for i in range(700)])
    project.rows("long/b.jsonl", [{"text": f"Other {i}"} for i in range(700)])
    project.rows("prompts.jsonl", [{"prompt": f"say {i}", "answer": i} for i in range(4)])
    project.rows("numbers.jsonl", [{"n": i} for i in range(3)])
    project.rows("pairs.jsonl", [{"prompt": f"word {i}", "chosen": " it is", "rejected": " word"} for i in range(4)])
    project.write("ops.py", OPS)
    project.manifest(TOML)


@pytest.fixture(scope="module")
def built(module_project):
    write(module_project)
    done = module_project.build(*BUILT)
    assert "run:sft#tokens" in done.ran, done.err
    return module_project


@pytest.fixture
def copied(built, project):
    """The built project with a store of its own: edit and build it."""
    shutil.copytree(built.root, project.root, symlinks=True, dirs_exist_ok=True)
    shutil.copytree(built.store, project.store, symlinks=True)
    return project


def failed(done, slug: str) -> str:
    assert f"error[{slug}]" in done.err, done.err
    assert done.code in (1, 2)
    return done.err


def looked(project, *words: str) -> str:
    done = project.run("inspect", *words)
    assert done.code == 0, done.err
    return done.out


def as_json(project, *words: str):
    return json.loads(looked(project, *words, "--json"))


def read_back(drawn: str) -> tuple[str, str]:
    """The text of a row that was drawn without colours, and what of it is in the marks."""
    shown = drawn.rstrip("\n").removesuffix("↵").replace("↵\n", "\n") + "\n"
    shown = re.sub("[⟨⟩]", "", shown).translate({ord("␣"): " ", ord("⇥"): "\t"})
    plain = re.sub("[⟦⟧]", "", shown)
    unwritten = [
        re.sub(r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})", lambda m: chr(int(m[1] or m[2], 16)), text)
        for text in (plain, "".join(re.findall("⟦([^⟧]*)⟧", shown)))
    ]
    return unwritten[0], unwritten[1]


def test_both_answers_of_a_pair_are_shown(built):
    out = looked(built, "run:dpo", "--limit", "1")
    chosen, rejected = out.split("dataset:pairs as run:dpo reads it")[1:]
    assert chosen.startswith(" (chosen)") and "word 0⟦␣it is⟨<|im_end|>⟩⟧" in chosen
    assert rejected.startswith(" (rejected)") and "word 0⟦␣word⟨<|im_end|>⟩⟧" in rejected


class TestDataset:
    def test_columns_ledger_and_rows(self, built):
        out = looked(built, "dataset:chat", "--limit", "2")
        assert re.search(r"rows +30 in 1 chunk", out)
        assert "columns  all 30 rows" in out
        assert re.search(r"messages +list +1 … 2 items, median 2 +▕▁█▏", out)
        assert re.search(r"messages\[\]\.role +string +user 30, assistant 29", out)
        assert re.search(r"tag +string +even 15, odd 15", out)
        assert "ledger of dataset:chat" in out and re.search(r"read +30", out)
        assert "row 0\n  messages:\n    user: word 0? <|im_end|>\n    assistant: it is 0↵\n  tag: even\n" in out
        assert "row 15\n" in out and out.count("\nrow ") == 2

    def test_json(self, built):
        body = as_json(built, "dataset:chat", "--limit", "3")
        assert (body["schema"], body["label"], body["with"]) == ("tunekit/inspect/1", "dataset:chat", "")
        (found,) = body["datasets"]
        assert found["subject"]["rows"] == 30 and found["digest"].startswith("sha256:")
        assert [s["row"] for s in found["samples"]] == [0, 10, 20]
        assert found["samples"][1]["fields"]["messages"][0] == turns(10)[0]
        assert found["ledgers"]["dataset:chat"]["kept"] == 30

    def test_rows_by_number_are_all_that_is_shown(self, built):
        out = looked(built, "dataset:chat", "--row", "9", "--row", "2")
        assert re.findall(r"^row (\d+)", out, re.M) == ["2", "9"]
        assert "columns" not in out and "ledger" not in out
        assert "its rows are 0 to 29" in failed(built.run("inspect", "dataset:chat", "--row", "30"), "no-such-row")
        failed(built.run("inspect", "dataset:chat", "--row", "-1"), "no-such-row")

    def test_grep(self, built):
        body = as_json(built, "dataset:chat", "--grep", "it is 1", "--limit", "3")
        (found,) = body["datasets"]
        assert [s["row"] for s in found["samples"]] == [1, 4, 10]
        assert found["searched"] == {"rows": 30, "found": 3, "stopped": True}
        out = looked(built, "dataset:chat", "--grep", "IT IS 16\n", "-i")
        assert re.findall(r"^row (\d+)", out, re.M) == ["4"]
        assert out.endswith("1 row found  30 rows searched\n")
        assert "0 rows found" in looked(built, "dataset:chat", "--grep", "IT IS 16\n")
        assert "--row N" in failed(built.run("inspect", "dataset:numbers", "--grep", "1"), "nothing-to-search")

    def test_long_rows_are_cut_around_what_was_looked_for(self, copied):
        copied.rows("numbers.jsonl", [{"text": "a" * 9000 + "NEEDLE" + "b" * 9000}])
        copied.build("dataset:numbers")
        out = looked(copied, "dataset:numbers", "--grep", "NEEDLE")
        assert "NEEDLE" in out and len(out) < 6000 and "cut; --full shows all of it" in out
        out = looked(copied, "dataset:numbers", "--row", "0", "--full")
        assert "a" * 9000 + "NEEDLE" in out and "cut" not in out

    def test_statistics_are_of_a_sample_unless_all_are_wanted(self, copied, monkeypatch):
        copied.rows("numbers.jsonl", [{"n": i} for i in range(10_050)])
        copied.build("dataset:numbers")
        out = looked(copied, "dataset:numbers", "--limit", "0")
        assert "columns  10,000 of 10,050 rows, evenly spread; --all: every row" in out
        assert "columns  all 10,050 rows" in looked(copied, "dataset:numbers", "--limit", "0", "--all")


class TestWithAReader:
    def test_trained_tokens_are_marked(self, built):
        out = looked(built, "dataset:chat", "--with", "run:sft", "--row", "3")
        assert "dataset:chat as run:sft reads it" in out
        want = (
            "  ⟨<|im_start|>⟩user↵\n  word 3?␣⟨<|im_end|>⟩⟨<|im_end|>⟩↵\n  ⟨<|im_start|>⟩assistant↵\n"
            "  ⟦it is 9↵\n  word word word␣⟨<|im_end|>⟩⟧↵\n"
        )
        assert want in out

    def test_tokens_are_those_that_are_stored(self, built):
        from tunekit.data.tokenset import open_tokens

        folder = built.run("path", "run:sft#tokens").out.strip()
        stored = list(open_tokens(folder).items[0].rows())
        (found,) = as_json(built, "dataset:chat", "--with", "run:sft", "--limit", "100")["datasets"]
        shown = [
            tuple(zip(*[(i, flag == "trained") for _, ids, flag, _ in s["pieces"] for i in ids], strict=True))
            for s in found["samples"]
            if not s["left_out"]
        ]
        assert len(shown) == 29 and shown == [tuple(map(tuple, row)) for row in stored]
        assert found["tokens"]["tokens"] == sum(len(ids) for ids, _ in stored)
        assert found["tokens"]["spreads"]["trained"]["max"] == max(sum(on) for _, on in stored)

    def test_what_is_shown_is_the_text_of_the_row_and_what_is_trained(self, built):
        """The law, through the real rooms: pieces put together are what the template prints, character for character,
        and what stands in the marks is what is labelled."""
        (found,) = as_json(built, "run:odd", "--limit", "60")["datasets"]
        lines = looked(built, "run:odd", "--limit", "60")
        assert len(found["samples"]) == 60 and not re.search("[\x00-\x09\x0b-\x1f\u202e]", lines)
        for sample, drawn in zip(found["samples"], re.split(r"\n\nrow \d+ .*\n", lines)[1:], strict=True):
            turns = odd_turns(sample["row"])
            text = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in turns)
            assert "".join(piece[0] for piece in sample["pieces"]) == text
            trained = "".join(piece[0] for piece in sample["pieces"] if piece[2] == "trained")
            assert trained == "".join(turn["content"] + "<|im_end|>" for turn in turns[1::2])
            assert read_back("\n".join(line.removeprefix("  ") for line in drawn.split("\n"))) == (text, trained)

    def test_figures_ledger_and_template(self, built):
        out = looked(built, "dataset:chat", "--with", "run:sft", "--limit", "0")
        assert re.search(r"^  rows +29$", out, re.M)
        assert re.search(r"tokens +[\d,]+, of them [\d,]+ trained \(\d+\.\d%\)", out)
        assert re.search(r"longest +row 29", out)
        assert re.search(r'too long +\d+ rows \(sequence_len = 64, overlong = "split"\)', out)
        assert "ledger of run:sft#tokens" in out and re.search(r"unlabelled_rows +7", out)
        assert "\nchat template" in out

    def test_a_row_that_is_left_out_says_so_and_is_shown(self, built):
        out = looked(built, "dataset:chat", "--with", "run:sft", "--row", "7")
        assert "0 trained; left out: no token of it would be trained" in out
        assert "word 7?␣⟨<|im_end|>⟩⟨<|im_end|>⟩" in out and "⟦" not in out.partition("row 7")[2]

    def test_tokens_across_an_edge_are_marked(self, built):
        out = looked(built, "dataset:pieces", "--with", "run:sft", "--row", "0")
        assert re.search(r"^  ⟪word⟫⟦␣word⟧$", out, re.M)

    def test_a_reader_alone_is_all_that_it_reads(self, built):
        body = as_json(built, "run:sft", "--limit", "1")
        assert [d["subject"]["label"] for d in body["datasets"]] == ["dataset:chat", "dataset:pieces"]
        assert body == {**as_json(built, "run:sft#tokens", "--limit", "1"), "label": "run:sft"}
        (found,) = as_json(built, "eval:loss")["datasets"]
        assert found["reader"] == "eval:loss" and found["tokens"]["rows"] == 29

    def test_of_a_stream_what_it_scores_is_shown(self, built):
        kept, found = as_json(built, "run:stream", "--limit", "1")["datasets"]
        assert kept["subject"]["label"] == "dataset:chat" and kept["tokens"]["rows"] == 29
        assert found["subject"]["label"] == "dataset:pieces" and found["tokens"]["rows"] == 3
        said = "tokens are made while run:stream trains, and not kept"
        assert said in looked(built, "run:stream") and said not in looked(built, "dataset:chat", "--with", "run:stream")
        err = failed(built.run("inspect", "dataset:odd", "--with", "run:stream"), "not-read")
        assert "it reads dataset:chat, dataset:pieces" in err

    def test_streamed_rows_have_the_tokens_and_masks_that_a_run_which_keeps_them_has(self, built):
        """The oracles are the artifacts of run:sft and eval:loss."""
        (kept,) = as_json(built, "dataset:pieces", "--with", "run:sft")["datasets"]
        (found,) = as_json(built, "dataset:pieces", "--with", "run:stream")["datasets"]
        assert found["samples"] == kept["samples"] and len(found["samples"]) == 3
        assert found["tokens"]["labelled"] == kept["tokens"]["labelled"] > 0
        assert found["subject"]["whole"] and found["digest"].startswith("sha256:")
        (kept,) = as_json(built, "dataset:chat", "--with", "run:sft", "--limit", "30")["datasets"]
        (found,) = as_json(built, "dataset:never", "--with", "run:mixed", "--limit", "30")["datasets"]
        assert [{**s, "left_out": ""} for s in found["samples"]] == [{**s, "left_out": ""} for s in kept["samples"]]
        assert [s["row"] for s in found["samples"] if s["left_out"]] == [7]
        assert found["template"] == kept["template"]

    def test_streamed_rows_that_are_built_first_have_the_masks_of_the_run(self, built):
        (found,) = as_json(built, "dataset:chat", "--with", "run:mixed", "--row", "3")["datasets"]
        (sample,) = found["samples"]
        assert sample["trained"] == sample["tokens"] and sample["fields"]["tag"] == "odd"

    def test_of_a_stream_the_first_rows_are_read_and_no_more(self, built):
        """A broken file behind them is never met; nothing is written, and no code runs."""
        file = built.root / "long" / "c.jsonl"
        file.write_text("no row\n")
        (built.root / "ran").unlink(missing_ok=True)
        tree = sorted(p for p in built.store.rglob("*"))
        try:
            out = looked(built, "dataset:long", "--with", "run:mixed", "--limit", "2")
        finally:
            file.unlink()
        assert "rows      1,000: the first ones, a sample" in re.sub(r" {2,}", "      ", out)
        assert "at most 1,000 or 4.2 MB; the run mixes, cuts and packs them" in re.sub(r"\s+", " ", out)
        assert re.findall(r"^row (\d+) +\d+ tokens, \d+ trained", out, re.M) == ["0", "500"] and "⟦" in out
        assert re.search(r"too long +\d+ rows \(sequence_len = 64", out)
        assert sorted(p for p in built.store.rglob("*")) == tree and not (built.root / "ran").exists()

    def test_streamed_rows_by_number_and_by_text(self, built):
        what = ("dataset:long", "--with", "run:mixed")
        out = looked(built, *what, "--row", "999", "--row", "2")
        assert re.findall(r"^row (\d+)", out, re.M) == ["2", "999"] and "Other 299" in out
        err = failed(built.run("inspect", *what, "--row", "1000"), "beyond-sample")
        assert "rows 0 to 999 are looked at" in err and "tunekit inspect dataset:long --row 1000" in err
        failed(built.run("inspect", "dataset:pieces", "--with", "run:stream", "--row", "3"), "no-such-row")
        (found,) = as_json(built, *what, "--grep", "other", "-i", "--limit", "2")["datasets"]
        assert [s["row"] for s in found["samples"]] == [700, 701]
        assert found["searched"] == {"rows": 1000, "found": 2, "stopped": True}
        (found,) = as_json(built, *what, "--grep", "other")["datasets"]
        assert found["samples"] == [] and not found["searched"]["stopped"]

    def test_a_page_of_a_stream(self, built, tmp_path):
        looked(built, "dataset:long", "--with", "run:mixed", "--html", str(tmp_path / "page.html"))
        page = (tmp_path / "page.html").read_text()
        assert "the first ones, a sample" in page and page.count("not kept") == 1

    def test_a_stream_is_not_read_to_its_end(self, built):
        err = failed(built.run("inspect", "dataset:long", "--with", "run:mixed", "--all"), "streamed")
        assert "--all would read it to its end" in err
        failed(built.run("inspect", "run:mixed", "--diff"), "streamed")

    def test_prompts_are_shown_as_the_template_prints_them(self, built):
        """The weights are not built: the tokenizer is that which they will carry."""
        (found,) = as_json(built, "run:grpo", "--limit", "1")["datasets"]
        text = "".join(piece[0] for piece in found["samples"][0]["pieces"])
        assert text == "<|im_start|>user\nsay 0<|im_end|>\n<|im_start|>assistant\n"
        assert found["samples"][0]["trained"] == 0 and found["prompts"]["looked"] == 4
        assert "max_prompt_length = 512" in looked(built, "run:grpo")

    def test_colour(self, built):
        done = built.start("inspect", "dataset:chat", "--with", "run:sft", "--row", "3", FORCE_COLOR="1")
        out, err = done.communicate(timeout=60)
        assert done.returncode == 0, err
        assert "\x1b[30;42mit is 9↵\x1b[0m" in out and "⟦" not in out and "\x1b[1;35m<|im_start|>\x1b[0m" in out
        done = built.start("inspect", "dataset:chat", "--with", "run:sft", "--row", "3", NO_COLOR="1")
        assert "\x1b" not in done.communicate(timeout=60)[0]

    def test_an_earlier_result_says_so(self, copied):
        copied.rows("chat.jsonl", [{"messages": turns(3), "tag": "odd"}])
        out = looked(copied, "dataset:chat")
        assert "dataset:chat is stale: this is its result of an earlier key" in out and "30 in 1 chunk" in out
        copied.build("dataset:chat")
        out = looked(copied, "dataset:chat", "--with", "run:sft")
        assert "run:sft#tokens is made of an earlier result of dataset:chat (tunekit build run:sft#tokens)" in out
        assert "30 in 1 chunk" in out


class TestErrors:
    def test_not_built(self, built):
        assert "tunekit build dataset:never" in failed(built.run("inspect", "dataset:never"), "not-built")
        assert "tunekit build run:never#tokens" in failed(built.run("inspect", "run:never"), "not-built")

    def test_wrong_kind(self, built):
        assert "tunekit show model:m" in failed(built.run("inspect", "model:m"), "wrong-kind")
        failed(built.run("inspect", "dataset:chat", "--with", "tokenizer:t"), "wrong-kind")
        failed(built.run("inspect", "run:sft", "--with", "eval:loss"), "wrong-kind")

    def test_a_reader_of_other_datasets(self, built):
        err = failed(built.run("inspect", "dataset:prompts", "--with", "run:sft"), "not-read")
        assert "it reads dataset:chat, dataset:pieces" in err
        failed(built.run("inspect", "dataset:chat", "--with", "run:grpo"), "not-read")
        failed(
            built.run("inspect", "dataset:chat", "--with", "run:never"), "not-read"
        )  # before it is said not to be built

    def test_unknown_labels(self, built):
        assert "did you mean `dataset:chat`?" in failed(built.run("inspect", "dataset:chatt"), "unknown-label")
        failed(built.run("inspect", "chat"), "unknown-label")

    def test_words_that_do_not_go_together(self, built):
        failed(built.run("inspect", "dataset:chat", "--row", "1", "--grep", "x"), "usage")
        failed(built.run("inspect", "dataset:chat", "--html", "x.html", "--json"), "usage")
        failed(built.run("inspect", "dataset:chat", "--limit", "-1"), "usage")
        err = failed(built.run("inspect", "run:sft", "--row", "1"), "usage")
        assert "tunekit inspect dataset:chat --with run:sft --row 1" in err

    def test_an_artifact_that_is_gone(self, copied):
        """First the tokenizer, then the rows."""
        for label in ("dataset:chat", "tokenizer:t"):
            folder = Path(copied.run("path", label).out.strip())
            for link in [p for p in folder.rglob("*") if p.is_file()]:
                link.resolve().unlink()
            err = failed(copied.run("inspect", "dataset:chat", "--with", "run:sft"), "missing-artifact")
            assert f"{label} was built, but its files" in err and f"tunekit build {label}" in err

    def test_a_chunk_that_is_no_arrow_file(self, copied):
        folder = Path(copied.run("path", "dataset:prompts").out.strip())
        (chunk,) = (folder / "chunks").iterdir()
        real = chunk.resolve()
        size = real.stat().st_size
        real.chmod(0o644)
        real.write_bytes(b"x" * size)
        with pytest.raises(ActionError) as caught:
            list(asking.ask(Question([Subject("dataset:prompts", str(folder))])))
        assert caught.value.slug == "bad-chunk"

    def test_a_reader_that_dies(self, monkeypatch):
        monkeypatch.setattr(asking, "environment", lambda: {"PYTHONPATH": "/nowhere"})
        monkeypatch.setattr(asking.sys, "executable", "/bin/false")
        with pytest.raises(ActionError) as caught:
            list(asking.ask(Question([])))
        assert caught.value.slug == "inspect-died" and "status 1" in caught.value.message


class TestDiff:
    def test_one_result_is_nothing_to_compare(self, built):
        failed(built.run("inspect", "dataset:chat", "--diff"), "nothing-to-compare")
        failed(built.run("inspect", "run:grpo", "--diff"), "nothing-to-compare")

    def test_rows(self, copied):
        rows = [{"messages": turns(i), "tag": "even" if i % 2 == 0 else "odd"} for i in range(30)]
        rows[3]["messages"][1]["content"] = "it is nine"
        del rows[20]
        rows.insert(
            10,
            {
                "messages": [{"role": "user", "content": "all new"}, {"role": "assistant", "content": "yes"}],
                "tag": "odd",
            },
        )
        copied.rows("chat.jsonl", rows)
        copied.build("dataset:chat")
        out = looked(copied, "dataset:chat", "--diff")
        assert "rows  30 → 30 rows\n  1 added, 1 removed, 1 edited; 28 the same" in out
        assert "rows: edited row 3\n  messages[1].content\n  - it is 9\n  - word word word␣\n  + it is nine\n" in out
        assert "rows: added row 10\n  + messages:\n  +   user: all new\n" in out
        assert "rows: removed row 20\n" in out
        (found,) = as_json(copied, "dataset:chat", "--diff", "--limit", "2")["datasets"]
        assert [(c["what"], c["before"], c["after"]) for c in found["changes"]] == [
            ("edited", 3, 3),
            ("added", None, 10),
        ]
        assert found["changes"][0]["leaves"] == [["messages[1].content", "it is 9\nword word word ", "it is nine"]]

    def test_the_result_before_is_the_last_one_that_differs(self, copied):
        """Back to what it was: nothing runs, and still the last two results are compared."""
        before = (copied.root / "numbers.jsonl").read_text()
        copied.rows("numbers.jsonl", [{"n": 0}, {"n": 1}, {"n": 2}, {"n": 3}])
        copied.build("dataset:numbers")
        assert "1 added, 0 removed" in looked(copied, "dataset:numbers", "--diff")
        (copied.root / "numbers.jsonl").write_text(before)
        assert copied.build("dataset:numbers").ran in ([], ["dataset:numbers#fetch"])
        assert "0 added, 1 removed" in looked(copied, "dataset:numbers", "--diff")

    def test_masks_alone(self, copied):
        toml = (copied.root / "tunekit.toml").read_text()
        old = 'data = ["dataset:chat", "dataset:pieces"]'
        assert old in toml
        new = 'data = [{ dataset = "dataset:chat", train_on = "all" }, "dataset:pieces"]'
        (copied.root / "tunekit.toml").write_text(toml.replace(old, new))
        copied.build("run:sft#tokens")
        chat, pieces = as_json(copied, "run:sft", "--diff", "--limit", "1")["datasets"]
        assert "settings changed too (tunekit diff run:sft#tokens)" in chat["remarks"]
        assert chat["rows_compared"]["same"] == 30 and pieces["tokens_compared"]["edited"] == 0
        # row 7 had no trained token and has some now
        found = chat["tokens_compared"]
        assert (found["before"], found["after"], found["added"], found["masks_only"]) == (29, 30, 1, 29)
        (change,) = chat["changes"]
        assert change["of"] == "tokens"
        shown = {what: "".join(p[0] for p in run) for what, run in change["runs"] if what != "skipped"}
        assert shown["removed"] == shown["added"].replace("", "")
        out = looked(copied, "dataset:chat", "--with", "run:sft", "--diff", "--limit", "1")
        assert "29 edited (29 of them in what is trained only)" in out
        assert re.search(r"- .*user\[|^  - ⟨<\|im_start\|>", out, re.M)

    def test_tokens_of_rows_that_changed(self, copied):
        """The tokenizer is the same: tokens of other rows are not even looked at."""
        rows = [
            {"segments": [{"text": f"say {i}: ", "train": False}, {"text": f"{i} it is", "train": True}]}
            for i in range(4)
        ]
        copied.rows("pieces.jsonl", rows[:3])
        copied.build("run:sft#tokens")
        rows[1]["segments"][1]["text"] = "one"
        copied.rows("pieces.jsonl", rows)
        copied.build("run:sft#tokens")
        chat, pieces = as_json(copied, "run:sft", "--diff")["datasets"]
        assert chat["remarks"] == pieces["remarks"] == chat["changes"] == []
        assert chat["tokens_compared"]["same"] == 29
        found = pieces["tokens_compared"]
        assert [found[name] for name in ("before", "after", "same", "edited", "added")] == [3, 4, 2, 1, 1]
        assert [(c["of"], c["what"], c["after"]) for c in pieces["changes"]] == [
            ("rows", "edited", 1), ("rows", "added", 3), ("tokens", "edited", 1), ("tokens", "added", 3),
        ]  # fmt: skip

    def test_another_template_changes_all_tokens(self, copied):
        toml = (copied.root / "tunekit.toml").read_text()
        new = toml.replace(
            'data = ["dataset:chat", "d', 'data = [{ dataset = "dataset:chat", chat_template = "zephyr" }, "d'
        )
        (copied.root / "tunekit.toml").write_text(new)
        copied.build("run:sft#tokens")
        out = looked(copied, "dataset:chat", "--with", "run:sft", "--diff", "--limit", "1")
        assert "settings changed too" in out and "0 added, 0 removed, 29 edited; 0 the same" in out
        assert "  - ⟨<|im_start|>⟩\n  + <|\n  user\n" in out

    def test_a_dataset_that_is_new(self, copied):
        toml = (copied.root / "tunekit.toml").read_text()
        (copied.root / "tunekit.toml").write_text(
            toml.replace('["dataset:chat", "dataset:pieces"]', '["dataset:chat", "dataset:never"]')
        )
        copied.build("run:sft#tokens")
        (found,) = as_json(copied, "run:sft", "--diff")["datasets"]
        remarks = ["dataset:never is new in run:sft", "dataset:pieces is no longer read by run:sft"]
        assert found["subject"]["label"] == "dataset:chat" and found["remarks"] == remarks  # its own settings stay
        assert found["tokens_compared"]["same"] == 29


class TestSafety:
    def test_no_code_of_the_project_runs_and_nothing_is_written(self, copied):
        (copied.root / "ran").unlink(missing_ok=True)
        for name in ("json.py", "pyarrow.py", "tokenizers.py", "rich.py"):
            (copied.root / name).write_text("raise SystemExit('code of the project')\n")
        copied.trust = False

        def snapshot() -> dict[str, int]:
            return {str(p): p.lstat().st_mtime_ns for p in [copied.root, *copied.root.rglob("*")]}

        before = snapshot()
        for words in (
            ["dataset:chat"],
            ["run:sft"],
            ["run:grpo"],
            ["run:sft", "--json"],
            ["dataset:chat", "--grep", "it"],
        ):
            process = copied.start("inspect", *words, PYTHONSAFEPATH="1")
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0 and out, err
        assert snapshot() == before

    def test_the_command_loads_no_library_of_data(self, built):
        script = (
            "import sys; from tunekit.cli.main import run; code = run(sys.argv[1:]); "
            "print(code, sorted({'pyarrow', 'tokenizers', 'jinja2', 'numpy', 'torch', 'rich'} & set(sys.modules)))"
        )
        words = ["inspect", "run:sft", "--json", "-C", str(built.root)]
        done = subprocess.run(
            [sys.executable, "-c", script, *words], env=built.environment(), capture_output=True, text=True
        )
        assert done.stdout.splitlines()[-1] == "0 []", done.stdout[-500:] + done.stderr

    def test_the_process_that_reads_loads_neither_torch_nor_pandas(self):
        heavy = {"torch", "transformers", "datasets", "pandas"}
        script = f"import sys, tunekit.lens.__main__; print({heavy} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.stdout.strip() == "set()", done.stdout + done.stderr

    def test_it_does_not_outlive_who_asks(self, built):
        folder = built.run("path", "dataset:chat").out.strip()
        answers = asking.ask(Question([Subject("dataset:chat", folder)], limit=30))
        assert next(answers)["type"] == "subject"
        process = answers.gi_frame.f_locals["process"]
        answers.close()
        assert process.poll() is not None


class TestPage:
    def test_one_page(self, built, tmp_path):
        file = tmp_path / "page.html"
        out = looked(built, "run:sft", "--html", str(file))
        assert out.strip() == str(file) and [p.name for p in tmp_path.iterdir() if p.suffix == ".html"] == ["page.html"]
        page = file.read_text(encoding="utf-8")
        assert page.startswith("<!doctype html>") and page.endswith("</body>\n</html>\n")
        assert "<h2>dataset:chat as run:sft reads it</h2>" in page and "<h2>dataset:pieces as run:sft" in page
        assert re.search(r'<span class="trained" title="\d+">it</span>', page)
        assert re.search(r'<span class="straddling" title="\d+">word</span>', page)
        assert "ledger of run:sft#tokens" in page and "▕" in page and "im_start" in page
        assert page.count("<h3>row ") == 30 + 3

    def test_of_what_changed(self, copied, tmp_path):
        copied.rows("numbers.jsonl", [{"n": 0}, {"n": 5}, {"n": 2}])
        copied.build("dataset:numbers")
        looked(copied, "dataset:numbers", "--diff", "--html", str(tmp_path / "page.html"))
        page = (tmp_path / "page.html").read_text()
        assert '<pre class="removed">\n1</pre>\n<pre class="added">\n5</pre>' in page

    def test_a_page_that_fails_leaves_nothing(self, built, tmp_path):
        file = tmp_path / "page.html"
        file.write_text("mine")
        failed(built.run("inspect", "dataset:chat", "--row", "99", "--html", str(file)), "no-such-row")
        assert file.read_text() == "mine" and [p.name for p in tmp_path.iterdir() if p.is_file()] == ["page.html"]
        failed(built.run("inspect", "dataset:chat", "--html", str(tmp_path / "no" / "page.html")), "cannot-write")
        failed(built.run("inspect", "dataset:chat", "--html", str(tmp_path)), "cannot-write")
