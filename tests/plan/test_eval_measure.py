"""What an eval measures decides its actions and its key; rows that it cannot measure are refused."""

from pathlib import Path

import pytest
from keys_of import SAMPLE, keys_of, manifest_of, write_sample

from tunekit.errors import DeclarationError

CHOICES = """
[dataset.quiz]
source = "path:prompts.jsonl"
format = "choices"
[eval.quiz]
model = "model:tiny"
data = ["dataset:quiz"]
"""


def test_choices(tmp_path: Path) -> None:
    write_sample(tmp_path)
    (tmp_path / "tunekit.toml").write_text(SAMPLE["tunekit.toml"] + CHOICES + 'measure = "choices"\n')
    keys = keys_of(manifest_of(tmp_path))
    assert "eval:quiz#tokens" not in keys and "eval:loss#tokens" in keys
    (tmp_path / "tunekit.toml").write_text(SAMPLE["tunekit.toml"] + CHOICES + 'measure = "choices"\nlimit = 3\n')
    assert keys_of(manifest_of(tmp_path))["eval:quiz"] != keys["eval:quiz"]
    (tmp_path / "tunekit.toml").write_text(SAMPLE["tunekit.toml"] + CHOICES + 'measure = "choices"\nsequence_len = 9\n')
    assert keys_of(manifest_of(tmp_path))["eval:quiz"] == keys["eval:quiz"], "there is nothing to cut"


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        (CHOICES, "wrong-format"),  # of a loss
        (CHOICES.replace('"choices"', '"prompt"') + 'measure = "choices"\n', "wrong-format"),
        (CHOICES + 'measure = "choices"\nscorer = "rewards.py:right"\n', "bad-value"),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, text: str, slug: str) -> None:
    write_sample(tmp_path)
    (tmp_path / "tunekit.toml").write_text(SAMPLE["tunekit.toml"] + text)
    with pytest.raises(DeclarationError) as found:
        manifest_of(tmp_path)
    assert [p.slug for p in found.value.problems] == [slug]
