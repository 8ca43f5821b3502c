"""Pickled weights are refused by one rule at three doors: the declaration, the lock, the worker."""

from __future__ import annotations

import pytest

from tunekit.pickled import pickled_weights


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["config.json", "pytorch_model.bin"], ["pytorch_model.bin"]),
        (
            ["a/Model.PT", "b.pth", "c.ckpt", "d.pkl", "e.pickle"],
            ["a/Model.PT", "b.pth", "c.ckpt", "d.pkl", "e.pickle"],
        ),
        (["pytorch_model.bin", "model.safetensors"], []),
        (["m.GGUF", "optimizer.pt"], []),
        (["config.json"], []),
    ],
)
def test_the_rule(names, found):
    assert pickled_weights(names) == found


def refusals(done) -> list[str]:
    return [line for line in done.err.splitlines() if "pickle-weights" in line]


def test_a_path_is_refused_when_it_is_declared(project):
    (project.root / "m").mkdir()
    for name in ("config.json", "pytorch_model.bin"):
        (project.root / "m" / name).write_text("{}")
    project.manifest('[model.m]\nsource = "path:m"\n\n[dataset.d]\nsource = "path:m"\n')
    for verb in ("plan", "lock", "build"):
        done = project.run(verb)
        assert done.code == 2 and len(refusals(done)) == 1, done.err
        assert "[model.m] source" in done.err and "tunekit.engine.unpickle" in done.err
    (project.root / "m" / "model.safetensors").write_text("")
    assert project.run("plan").code == 0


@pytest.mark.parametrize("source", ["pypi:demo@1.0#w/model.pt", "hf:org/name#pytorch_model.bin"])
def test_a_file_that_the_source_names(project, source):
    project.manifest(f'[model.m]\nsource = "{source}"\n')
    done = project.run("plan")
    assert done.code == 2 and refusals(done), done.err


def test_what_an_archive_turns_out_to_hold(project, tmp_path, monkeypatch):
    import zipfile

    with zipfile.ZipFile(tmp_path / "demo-1.0-py3-none-any.whl", "w") as z:
        z.writestr("w/config.json", "{}")
        z.writestr("w/pytorch_model.bin", b"\x80\x04.")
    project.env = {"PIP_FIND_LINKS": str(tmp_path), "PIP_NO_INDEX": "1"}
    for name, value in project.env.items():
        monkeypatch.setenv(name, value)
    project.manifest('[model.m]\nsource = "pypi:demo@1.0#w"\n')
    done = project.run("lock")
    assert done.code == 1 and refusals(done), done.err
    assert not (project.root / "tunekit.lock").exists()
