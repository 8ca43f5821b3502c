"""Files that several targets read: an edit reaches every one of them, also when the first one looked at it first."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Files are trusted at once, as they are 2 s after their last change: that is when an edit can be overlooked."""
    monkeypatch.setattr("tunekit.plan.state._RACY", 0)


def rows(project, name: str) -> list[dict]:
    from tunekit.data.rowset import open_dataset

    return list(open_dataset(project.root / f".tunekit/out/dataset/{name}").iter_rows())


@pytest.mark.parametrize("second", ["path:data/a.jsonl", "path:data/*.jsonl", "path:data", "path:data/link.jsonl"])
def test_a_file_of_two_sources(project, second):
    project.rows("data/a.jsonl", [{"x": 1}])
    if "link" in second:
        (project.root / "data/link.jsonl").symlink_to("a.jsonl")
    project.manifest(f'[dataset.a]\nsource = "path:data/a.jsonl"\n[dataset.b]\nsource = "{second}"\nlimit = 5\n')
    assert project.build().code == 0
    assert project.build().ran == []
    project.rows("data/a.jsonl", [{"x": 2}])
    assert {"dataset:a", "dataset:b"} <= {label for label, node in project.plan().items() if node.run}
    assert {"dataset:a", "dataset:b"} <= set(project.build().ran)
    assert rows(project, "a") == rows(project, "b") == [{"x": 2}]
    assert project.build().ran == []


def test_a_helper_of_two_files_that_gets_an_import(project):
    project.rows("a.jsonl", [{"x": 1}])
    project.write("helper.py", "n = 1\n")
    project.write("more.py", "n = 2\n")
    text = ""
    for name in ("one", "two"):
        project.write(f"{name}.py", "from helper import n\ndef f(row): return {'x': n}\n")
        text += f'[dataset.{name}]\nsource = "path:a.jsonl"\nmap = "{name}.py:f"\n'
    project.manifest(text)
    assert project.build().code == 0 and project.build().ran == []
    project.write("helper.py", "from more import n\n")
    assert project.build().code == 0
    assert rows(project, "one") == rows(project, "two") == [{"x": 2}]
    project.write("more.py", "n = 3\n")
    assert set(project.build().ran) == {"dataset:one", "dataset:two"}
    assert rows(project, "one") == rows(project, "two") == [{"x": 3}]


def test_a_map_that_gets_an_import(project):
    project.rows("a.jsonl", [{"x": 1}])
    project.write("m.py", "n = 1\ndef f(row): return {'x': n}\n")
    project.write("more.py", "n = 2\n")
    project.manifest('[dataset.a]\nsource = "path:a.jsonl"\nmap = "m.py:f"\n')
    assert project.build().code == 0 and project.build().ran == []
    project.write("m.py", "from more import n\ndef f(row): return {'x': n}\n")
    assert project.build().ran == ["dataset:a"] and rows(project, "a") == [{"x": 2}]
    project.write("more.py", "n = 3\n")
    assert project.build().ran == ["dataset:a"] and rows(project, "a") == [{"x": 3}]
