"""What the code writes about itself is what is shipped."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from tunekit.report.reference import toml_reference, type_text
from tunekit.report.schema import manifest_schema
from tunekit.spec import PositiveInt

ROOT = Path(__file__).parents[2]


def test_the_reference_is_up_to_date():
    """If not: `tunekit docs toml > docs/reference.md`."""
    assert (ROOT / "docs" / "reference.md").read_text(encoding="utf-8") == toml_reference()


def test_types_in_words():
    assert type_text(PositiveInt | None) == "integer ≥ 1"
    assert type_text(list[str] | str) == "list of string or string"
    assert type_text(dict[str, str]) == "table of string"


class TestDocs:
    def test_topics(self, tmp_path, call):
        out = call(tmp_path, "docs", "--list").out
        found = [line.split()[0] for line in out.splitlines()]
        assert found == ["inspect", "labels", "methods", "start", "store", "toml", "trust", "verbs"]
        for line in out.splitlines():
            assert call(tmp_path, "docs", line.split()[0]).out.startswith("# ")
        assert call(tmp_path, "docs").out.startswith("# How tunekit works")

    def test_unknown_topic(self, tmp_path, call):
        assert "did you mean `store`?" in call(tmp_path, "docs", "stor").err


class TestSchema:
    def test_names_every_kind_and_key(self, tmp_path, call):
        body = json.loads(call(tmp_path, "schema").out)
        assert {"project", "dataset", "tokenizer", "model", "adapter", "merge", "eval", "run"} <= set(
            body["properties"]
        )
        sft = body["$defs"]["Sft"]
        assert {"recipe", "method", "learning_rate", "gates"} <= set(sft["properties"])
        assert sft["additionalProperties"] is False
        matrix = [{"required": ["matrix"]}]
        assert sft["anyOf"] == [{"required": ["recipe"]}, {"required": ["method", "model", "data"]}, *matrix]

    def test_every_reference_resolves(self):
        body = manifest_schema()
        refs: list[str] = []

        def walk(value: object) -> None:
            if isinstance(value, dict):
                refs.extend(v for k, v in value.items() if k == "$ref")
                for item in value.values():
                    walk(item)
            elif isinstance(value, list):
                for item in value:
                    walk(item)

        walk(body)
        assert refs and all(r.removeprefix("#/$defs/") in body["$defs"] for r in refs)
        msgspec.json.encode(body)


@pytest.mark.parametrize("name", ["README.md", "tunekit.toml"])
def test_the_template_has_no_leftovers(name):
    text = (ROOT / "tunekit" / "cli" / "template" / name).read_text()
    assert "{name}" in text and text.format(name="x").count("{{") == 0
