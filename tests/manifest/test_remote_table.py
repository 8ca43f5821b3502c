"""The `[remote]` table: read where it stands, refused where it does not belong."""

from __future__ import annotations

import pytest

from tunekit.errors import DeclarationError
from tunekit.manifest.remote import Chosen, chosen_remote

DATA = "[dataset.a]\nsource = 'path:a.jsonl'\n"


def declare(project, text: str) -> None:
    project.rows("a.jsonl", [{"x": 1}])
    project.manifest(text + DATA)


def test_it_is_read(project, monkeypatch):
    declare(project, '[remote]\nurl = "../cache"\nwrite = false\n')
    assert project.problems() == []
    assert chosen_remote(project.root) == Chosen("../cache", read=True, write=False, declared=True)
    monkeypatch.setenv("TUNEKIT_REMOTE", "s3://b/x")
    assert chosen_remote(project.root) == Chosen("s3://b/x", read=True, write=False, declared=False)
    monkeypatch.setenv("TUNEKIT_REMOTE", "")
    assert chosen_remote(project.root) is None


def test_a_project_without_one_has_none(project):
    declare(project, "")
    assert chosen_remote(project.root) is None


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("[remote]\n", "missing-key"),
        ('[remote]\nurl = ""\n', "bad-value"),
        ("[remote]\nurl = 1\n", "wrong-type"),
        ('[remote]\nurl = "s3://"\n', "bad-value"),
        ('[remote]\nurl = "https://me:pw@host/x"\n', "bad-value"),
        ('[remote]\nurl = "/x"\nread = "yes"\n', "wrong-type"),
        ('[remote]\nurl = "/x"\ntoken = "t"\n', "unknown-key"),
    ],
)
def test_what_is_wrong_is_named(project, text, slug):
    declare(project, text)
    (problem,) = project.problems()
    assert (problem.slug, problem.file, problem.table) == (slug, "tunekit.toml", "remote")
    with pytest.raises(DeclarationError):
        chosen_remote(project.root)


def test_it_stands_in_the_first_file_only(project):
    declare(project, "")
    project.write("targets/more.toml", '[remote]\nurl = "/x"\n')
    assert [p.slug for p in project.problems()] == ["wrong-place"]
