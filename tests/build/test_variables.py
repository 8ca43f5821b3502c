"""What a worker finds in its environment: what the stack needs and the project declares, and no secret of the shell."""

from __future__ import annotations

import json

import pytest

from tunekit import variables

SECRETS = {
    "HF_TOKEN": "hf_secret1", "AWS_SECRET_ACCESS_KEY": "secret2", "AWS_ACCESS_KEY_ID": "secret3",
    "WANDB_API_KEY": "secret4", "OPENAI_API_KEY": "secret5", "GITHUB_TOKEN": "secret6", "SSH_AUTH_SOCK": "secret7",
    "HTTPS_PROXY": "http://user:secret8@proxy", "PIP_INDEX_URL": "https://user:secret9@index", "MY_OWN": "secret10",
    "VLLM_API_KEY": "secret11", "CONDA_TOKEN": "secret12", "TUNEKIT_TRUST": "1", "GOOGLE_APPLICATION_CREDENTIALS": "/s",
}  # fmt: skip
NEEDED = {
    "CUDA_VISIBLE_DEVICES": "0", "NCCL_DEBUG": "INFO", "TORCH_LOGS": "all", "LC_CTYPE": "C.UTF-8", "TZ": "UTC",
    "TMPDIR": "/tmp", "SSL_CERT_FILE": "/ca.pem", "ROCM_PATH": "/rocm", "OMP_NUM_THREADS": "2",
}  # fmt: skip
LOOK = """
import json, os
def f(row):
    return {"env": json.dumps(dict(os.environ)), "proc": open("/proc/self/environ").read().replace(chr(0), chr(10))}
"""


def look(project, *words: str, **env: str):
    """A build whose map writes down what it finds: its environment, and the record."""
    from tunekit.data.rowset import open_dataset
    from tunekit.store.records import lookup
    from tunekit.store.store import Store

    project.rows("a.jsonl", [{"x": 1}])
    project.write("m.py", LOOK)
    run = project.start("build", "--json", *words, **env)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, out + err
    (row,) = open_dataset(project.root / ".tunekit/out/dataset/a").iter_rows()
    return row, lookup(Store(project.store), project.plan()["dataset:a"].key)


TARGET = '[dataset.a]\nsource = "path:a.jsonl"\nmap = "m.py:f"\n'


def test_no_secret_gets_in(project):
    project.manifest(TARGET)
    row, record = look(project, **SECRETS, **NEEDED)
    found = json.loads(row["env"])
    assert not SECRETS.keys() & found.keys()
    assert not [s for s in SECRETS.values() if "secret" in s and (s in row["env"] or s in row["proc"])]
    assert {k: found[k] for k in NEEDED if k != "OMP_NUM_THREADS"} | {"OMP_NUM_THREADS": "2"} == NEEDED
    assert {"PATH", "HOME", "PYTHONHASHSEED"} <= found.keys() and "variables" not in record["environment"]


def test_what_the_project_declares_gets_in_and_is_written_nowhere(project):
    project.manifest('[project]\nname = "p"\npass_env = ["WANDB_API_KEY", "NOT_SET"]\n' + TARGET)
    project.write("m.py", LOOK)
    row, record = look(project, **SECRETS)
    found = json.loads(row["env"])
    assert (
        found["WANDB_API_KEY"] == SECRETS["WANDB_API_KEY"] and not (SECRETS.keys() - {"WANDB_API_KEY"}) & found.keys()
    )
    assert SECRETS["WANDB_API_KEY"] not in row["proc"], "the nursery has none: it is handed to the action alone"
    assert record["environment"]["variables"] == ["WANDB_API_KEY"]
    files = [p for folder in (project.root, project.store) for p in folder.rglob("*") if p.is_file()]
    data = {p for p in files if SECRETS["WANDB_API_KEY"].encode() in p.read_bytes()}
    assert all(p.resolve().parent.parent.name == "objects" for p in data), "but in the rows that the map made of it"


def test_declaring_changes_no_key(project):
    project.manifest(TARGET)
    before = look(project)[1]["key"]
    project.manifest('[project]\nname = "p"\npass_env = ["MY_OWN"]\n' + TARGET)
    done = project.build()
    assert done.code == 0 and done.ran == [] and project.plan()["dataset:a"].key == before


def test_a_variable_is_trusted_for_one_folder(project, make_project):
    """A stranger's TOML may ask for a token: it is listed, and trusted, like the code that would get it."""
    project.trust = False
    project.manifest(TARGET)
    project.rows("a.jsonl", [{"x": 1}])
    project.write("m.py", LOOK)
    assert project.run("trust").code == 0 and project.build().code == 0
    project.write("m.py", LOOK + "#\n")
    assert project.run("trust").code == 0
    project.manifest('[project]\nname = "p"\npass_env = ["GITHUB_TOKEN"]\n' + TARGET)
    done = project.build()
    assert done.code == 6 and "$GITHUB_TOKEN" in done.err and "m.py" not in done.err
    assert "$GITHUB_TOKEN" in project.run("trust", "--list").out
    assert project.run("trust").code == 0 and project.build().code == 0
    other = make_project("other")
    other.trust = False
    for name in ("tunekit.toml", "m.py", "a.jsonl"):
        other.write(name, (project.root / name).read_text())
    other.write("m.py", LOOK + "##\n")
    assert other.run("trust").code == 0
    again = make_project("again", "store2")
    again.trust = False
    for name in ("tunekit.toml", "m.py", "a.jsonl"):
        again.write(name, (project.root / name).read_text())
    done = again.build()
    assert done.code == 6 and "$GITHUB_TOKEN" in done.err, "the code is trusted by its content, the token is not"


@pytest.mark.parametrize("code", ['os.environ["WANDB_API_KEY"]', '{}["WANDB_API_KEY"]'])
def test_code_that_misses_one_is_told_the_way(project, code):
    project.manifest(TARGET)
    project.rows("a.jsonl", [{"x": 1}])
    project.write("m.py", f"import os\ndef f(row):\n    return {{'x': {code}}}\n")
    (failed,) = [e for e in project.build().events if e["type"] == "failed"]
    assert failed["slug"] == "map-failed" and 'pass_env = ["WANDB_API_KEY"]' in failed["hint"]


@pytest.mark.parametrize("name", ["", "A=B", "1A", "A B", "ü", "A\\n"])
def test_bad_names(project, name):
    project.manifest(f'[project]\nname = "p"\npass_env = ["{name}"]\n[dataset.a]\nsource = "path:a.jsonl"\n')
    project.rows("a.jsonl", [{"x": 1}])
    assert [p.slug for p in project.problems()] == ["bad-value"]


def test_a_long_value(project, monkeypatch):
    monkeypatch.setenv("MY_OWN", "x" * 100_000)
    project.manifest('[project]\nname = "p"\npass_env = ["MY_OWN"]\n' + TARGET)
    project.rows("a.jsonl", [{"x": 1}])
    project.write("m.py", LOOK)
    assert project.build().code == 0


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("hf:a/b", {"HF_TOKEN", "HTTPS_PROXY"}),
        ("pypi:a@1", {"PIP_INDEX_URL", "HTTPS_PROXY"}),
        ("s3://bucket/x", {"AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "HTTPS_PROXY"}),
        ("gs://bucket/x", {"GOOGLE_APPLICATION_CREDENTIALS", "HTTPS_PROXY"}),
        ("git:https://host/x", {"SSH_AUTH_SOCK", "HTTPS_PROXY"}),
        ("https://host/x", {"HTTPS_PROXY"}),
        ("path:a.jsonl", set()),
        ("", set()),
    ],
)
def test_a_fetch_gets_what_its_scheme_needs(source, wanted):
    assert variables.of_action(SECRETS, source, []).keys() == wanted
    assert variables.of_action(SECRETS, source, ["MY_OWN", "NONE"]).keys() == wanted | {"MY_OWN"}
