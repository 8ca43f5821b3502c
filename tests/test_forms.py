"""What may be declared of a format, and who takes which form."""

from __future__ import annotations

import typing

import pytest

from tunekit.data.formats.choose import _NORMALISERS
from tunekit.forms import ACCEPTS, CONSUMERS, FORMATS, FORMS, Reads, fields_faults, form_of, refusal
from tunekit.steps.dataset.spec import Format


def test_every_format_is_declared_made_and_of_a_form():
    assert typing.get_args(Format) == ("auto", *FORMATS) and {*_NORMALISERS, "ground_truth"} == FORMATS.keys()
    assert {f.form for f in FORMATS.values()} == FORMS.keys()
    assert FORMS.keys() <= FORMATS.keys(), "rows of a form can be declared as what they are"
    assert {form for forms in ACCEPTS.values() for form in forms} <= FORMS.keys()


def test_the_form_of_a_declaration():
    assert form_of("alpaca", {}) == "chat" and form_of("alpaca", {"template": "alpaca"}) == "segments"
    assert form_of("bradley_terry", {}) == "preference" and form_of("auto", {}) == "auto"


@pytest.mark.parametrize(
    ("format", "fields", "slug", "words"),
    [
        ("chat", {"mesages": "x"}, "unknown-key", ("`mesages` is not a field of", "did you mean `messages`?")),
        ("completion", {"role": "x"}, "unknown-key", ("`role`", "valid: text")),
        ("chat", {"messages": {"a": "b"}}, "wrong-type", ("`messages` is {'a': 'b'}, not a name", "")),
        ("chat", {"messages": ""}, "wrong-type", ("not a name", "")),
        ("chat", {"roles": "user"}, "wrong-type", ("`roles` is not a table", "human")),
        ("chat", {"roles": {"ai": "asistant"}}, "bad-value", ("`ai` is to be `asistant`", "did you mean `assistant`?")),
        ("alpaca", {"template": "chatml"}, "bad-value", ("`template` is `chatml`", "did you mean `chat`?")),
        ("ground_truth", {"turns": "some"}, "bad-value", ("`turns` is `some`", "valid: all, first, last")),
        ("preference", {"chosen": "a", "rejected": "a"}, "bad-value", ("two fields are the column `a`", "")),
        ("rows", {"text": "a"}, "bad-value", ('no meaning with format = "rows"', "")),
        ("auto", {"text": "a"}, "bad-value", ('no meaning with format = "auto"', "say which format")),
    ],
)  # fmt: skip
def test_wrong_fields(format, fields, slug, words):
    (found,) = fields_faults(format, fields)
    assert found.slug == slug and words[0] in found.message and words[1] in found.hint


def test_good_fields_and_all_that_is_wrong_at_once():
    good = {"messages": "data.turns", "role": "from", "roles": {"ai": "assistant"}, "train": "mask"}
    assert fields_faults("chat", good) == fields_faults("auto", {}) == []
    assert len(fields_faults("chat", {"a": "b", "role": {}, "roles": {"x": "y"}})) == 3


def test_who_takes_what():
    assert refusal("loss", "dataset:a", "chat") is None and refusal("loss", "dataset:a", "auto") is None
    refused = refusal("loss", "dataset:a", "preference")
    assert refused.slug == "wrong-format" and "dataset:a has `preference` rows; loss needs `chat`" in refused.message
    assert "[dataset.a]" in refused.hint and '"alpaca"' in refused.hint
    assert refusal("generation", "dataset:a", "ground_truth") is None
    assert {CONSUMERS[reads] for reads in typing.get_args(Reads)} == ACCEPTS.keys() - {
        "generation",
        "pretraining",
        "choosing",
    }
