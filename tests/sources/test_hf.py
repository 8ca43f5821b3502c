"""`hf:` sources against a hub on the loopback interface, through huggingface_hub's real client."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

import pytest

from tunekit.errors import SourceError
from tunekit.lockfile import Lock, dump_lock, load_lock
from tunekit.sources.registry import materialise, resolve

ROWS = '{"text": "one"}\n' * 50
PARQUET = b"PAR1" + bytes(range(256)) * 4000 + b"PAR1"  # opaque here: a large file is only moved


@pytest.fixture
def gsm(hub):
    repo = hub.add("datasets/org/gsm")
    repo.commit({"main/train-0.parquet": PARQUET, "main/test.jsonl": ROWS, "README.md": "# x"}, "v1")
    return repo


def pin(source: str, tmp_path: Path, **more):
    return resolve(source, root=tmp_path, cache=tmp_path / "cache", **more)


def put(block, out: Path, **more) -> dict[str, bytes]:
    materialise(block, out, root=out.parent, cache=out.parent / "cache", **more)
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def refused(call, *words, **more) -> SourceError:
    with pytest.raises(SourceError) as caught:
        call(*words, **more)
    assert caught.value.hint
    return caught.value


def downloads(hub) -> list[str]:
    return [path for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path]


def test_files_come_a_few_at_once(hub, tmp_path):
    """The hub answers a download only when another is asked for: one at a time would wait for ever."""
    repo = hub.add("datasets/org/many")
    files = {f"train-{i}.jsonl": f'{{"text": "{i}"}}\n' * (i + 1) for i in range(4)}
    repo.commit(files)
    together, real = threading.Barrier(2, timeout=20), hub._resolve

    def resolve_file(request, path, token):
        if request.command == "GET":
            together.wait()
        real(request, path, token)

    hub._resolve = resolve_file
    told: list[tuple[int, int, str]] = []
    block = pin("hf:datasets/org/many", tmp_path, progress=lambda *at: told.append(at))
    total = sum(map(len, files.values()))
    assert told[-1] == (total, total, "bytes") and told == sorted(told)
    assert put(block, tmp_path / "out") == {name: text.encode() for name, text in files.items()}


def test_a_lock_holds_the_commit_and_every_digest(hub, gsm, tmp_path):
    block = pin("hf:datasets/org/gsm", tmp_path)
    assert block.revision == gsm.refs["main"] and block.archive is None
    assert {f.path: (f.size, f.sha256.removeprefix("sha256:")) for f in block.files} == {
        "main/test.jsonl": (len(ROWS), hashlib.sha256(ROWS.encode()).hexdigest()),
        "main/train-0.parquet": (len(PARQUET), hashlib.sha256(PARQUET).hexdigest()),
    }
    assert [p.rpartition("/")[2] for p in downloads(hub)] == ["test.jsonl"], "a large file's digest is the hub's word"
    text = dump_lock(Lock({block.source: block}, {}, [], {}))
    (tmp_path / "lock").write_text(text)
    assert load_lock(tmp_path / "lock").sources[block.source] == block
    assert hub.base not in text
    assert put(block, tmp_path / "out") == {"main/test.jsonl": ROWS.encode(), "main/train-0.parquet": PARQUET}
    assert len(downloads(hub)) == 2, "what was fetched to be hashed is not fetched again"


def test_a_model_with_its_index_in_pages(hub, tmp_path):
    shards = {f"model-0000{i}-of-00002.safetensors": bytes([i]) * 1000 for i in (1, 2)}
    index = json.dumps({"weight_map": dict(zip("ab", shards, strict=True))})
    files = {"config.json": "{}", "tokenizer.json": "{}", "model.safetensors.index.json": index, **shards}
    extra = {"pytorch_model.bin": b"\x80", "README.md": "x", "onnx/model.onnx": "x"}
    hub.add("org/m").commit({**files, **extra})
    hub.page = 2
    block = pin("hf:org/m", tmp_path)
    assert {f.path for f in block.files} == set(files)
    assert {p: b.decode() for p, b in put(block, tmp_path / "o").items() if p.endswith("n")}.keys() == {
        "config.json", "tokenizer.json", "model.safetensors.index.json",
    }  # fmt: skip
    assert {f.path for f in pin("hf:tokenizers/org/m", tmp_path).files} == {"tokenizer.json"}


def test_a_tag_that_moves_leaves_the_lock_alone(hub, gsm, tmp_path):
    block = pin("hf:datasets/org/gsm@v1#main/*.jsonl", tmp_path)
    old = gsm.refs["v1"]
    gsm.commit({"main/test.jsonl": "new\n"}, "v1")
    assert put(block, tmp_path / "out") == {"test.jsonl": ROWS.encode()}
    moved = pin("hf:datasets/org/gsm@v1#main/*.jsonl", tmp_path)
    assert block.revision == old and moved.revision == gsm.refs["v1"] != old and moved.tree != block.tree
    assert pin(f"hf:datasets/org/gsm@{old}#main/test.jsonl", tmp_path).tree == block.tree


@pytest.mark.parametrize("name", ["main/train-0.parquet", "main/test.jsonl"])
def test_a_file_replaced_under_the_same_commit(hub, gsm, tmp_path, monkeypatch, name):
    block = pin(f"hf:datasets/org/gsm#{name}", tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "another"))
    hub.replaced[name] = b"x" * block.files[0].size
    found = refused(put, block, tmp_path / "out")
    assert found.slug == "source-changed" and not list((tmp_path / "out").rglob("*.*"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "third"))
    if name.endswith(".jsonl"):
        assert refused(pin, block.source, tmp_path).slug == "hash-mismatch"


def test_a_damaged_cache_is_healed_and_offline_is_named(hub, gsm, tmp_path):
    block = pin("hf:datasets/org/gsm#main/test.jsonl", tmp_path)
    (blob,) = [p for p in (tmp_path / "hub").rglob("blobs/*") if p.is_file()]
    blob.write_bytes(b"?" * len(ROWS))
    assert refused(put, block, tmp_path / "off", offline=True).slug == "source-changed"
    assert put(block, tmp_path / "out") == {"test.jsonl": ROWS.encode()}
    assert put(block, tmp_path / "again", offline=True) == {"test.jsonl": ROWS.encode()}


def test_offline_needs_a_warm_cache_and_a_lock(hub, gsm, tmp_path, monkeypatch):
    block = pin("hf:datasets/org/gsm", tmp_path)
    found = refused(put, block, tmp_path / "cold", offline=True)  # the large file was not fetched
    assert found.slug == "offline" and "train-0.parquet" in found.message
    put(block, tmp_path / "out")
    hub.requests.clear()
    assert put(block, tmp_path / "off", offline=True) == put(block, tmp_path / "on")
    assert refused(pin, block.source, tmp_path, offline=True).slug == "offline"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert refused(pin, block.source, tmp_path).slug == "offline"
    assert put(block, tmp_path / "off2")["main/train-0.parquet"] == PARQUET
    assert not hub.requests


def test_a_connection_cut_in_the_middle_is_resumed(hub, gsm, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 16)  # what it keeps is whole chunks
    block = pin("hf:datasets/org/gsm#main/train-0.parquet", tmp_path)
    hub.cuts = 2
    seen: list[int] = []
    got = put(block, tmp_path / "out", progress=lambda done, total, unit: seen.append(done))
    assert got == {"train-0.parquet": PARQUET}
    ranges = [r for method, path, r in hub.requests if method == "GET" and "/resolve/" in path]
    assert len(ranges) == 3 and ranges[0] == "" and all(r.startswith("bytes=") for r in ranges[1:])
    assert seen == sorted(seen) and seen[-1] == len(PARQUET)


def test_429_waits_as_long_as_it_is_told(hub, gsm, tmp_path):
    hub.failures["/api/datasets/org/gsm/revision"] = [(429, {"Retry-After": "7"})]
    hub.failures["/tree/"] = [(429, {"Retry-After": "5"})]
    hub.failures["GET /datasets/org/gsm/resolve"] = [(429, {"Retry-After": "3"})]
    block = pin("hf:datasets/org/gsm@main#main/test.jsonl", tmp_path)
    assert put(block, tmp_path / "out") == {"test.jsonl": ROWS.encode()}
    assert hub.waits == [7, 6, 4]  # the library adds a second


def test_429_for_ever_is_said(hub, gsm, tmp_path):
    hub.failures["/api/datasets"] = [(429, {"Retry-After": "2"})] * 20
    found = refused(pin, "hf:datasets/org/gsm", tmp_path)
    assert found.slug == "rate-limited" and "hf auth login" in found.hint and hub.waits == [2] * 4
    hub.failures["/api/datasets"] = [(429, {"RateLimit": '"api";r=0;t=290'})]
    found = refused(pin, "hf:datasets/org/gsm", tmp_path)
    assert "290 s" in found.message and hub.waits == [2] * 4


def test_500_twice_then_fine(hub, gsm, tmp_path):
    hub.failures["/api/datasets/org/gsm"] = [(500, {})] * 2
    hub.failures["/tree/"] = [(503, {})]
    hub.failures["HEAD "] = [(500, {})] * 2
    hub.failures["GET /datasets/org/gsm/resolve"] = [(502, {})] * 2
    block = pin("hf:datasets/org/gsm#main/test.jsonl", tmp_path)
    assert put(block, tmp_path / "out") == {"test.jsonl": ROWS.encode()}
    assert not any(hub.failures.values()) and hub.waits


@pytest.mark.parametrize("key", ["/api/", "HEAD ", "GET /datasets/org/gsm/resolve"])
def test_500_for_ever_is_said(hub, gsm, tmp_path, key):
    hub.failures[key] = [(500, {})] * 50
    found = refused(pin, "hf:datasets/org/gsm#main/test.jsonl", tmp_path)
    assert found.slug == "hub-failed" and "500" in found.message and hub.base in found.hint


def test_gated(hub, gsm, tmp_path):
    block = pin("hf:datasets/org/gsm#main/train-0.parquet", tmp_path)
    gsm.gated = True
    for call in (lambda: put(block, tmp_path / "out"), lambda: pin("hf:datasets/org/gsm", tmp_path)):
        found = refused(call)
        assert found.slug == "repository-gated" and f"{hub.base}/datasets/org/gsm" in found.hint


def test_absent_private_and_login(hub, gsm, tmp_path, monkeypatch):
    found = refused(pin, "hf:org/nothing", tmp_path)
    assert found.slug == "repository-not-found" and "hf auth login" in found.hint
    found = refused(pin, "hf:org/gsm", tmp_path)
    assert found.slug == "repository-not-found" and "`hf:datasets/org/gsm`" in found.hint
    hub.private, hub.token = {"datasets/org/gsm"}, "hf_secret"
    assert refused(pin, "hf:datasets/org/gsm", tmp_path).slug == "repository-not-found"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert pin("hf:datasets/org/gsm", tmp_path).files
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "token").write_text("hf_secret")  # where `hf auth login` puts it
    assert pin("hf:datasets/org/gsm", tmp_path).files
    hub.failures["/api/"] = [(403, {}), (401, {"X-Error-Message": "Invalid credentials in Authorization header"})]
    assert [refused(pin, "hf:datasets/org/gsm", tmp_path).slug for _ in range(2)] == ["login-refused"] * 2


def test_a_renamed_repository(hub, gsm, tmp_path):
    block = pin("hf:datasets/org/gsm#main/train-0.parquet", tmp_path)
    hub.moved["datasets/org/gsm"] = "datasets/new/gsm8k"
    hub.repos["datasets/new/gsm8k"] = hub.repos.pop("datasets/org/gsm")
    gsm.name = "datasets/new/gsm8k"
    found = refused(pin, "hf:datasets/org/gsm#main/train-0.parquet", tmp_path)
    assert found.slug == "repository-renamed" and "hf:datasets/new/gsm8k#main/train-0.parquet" in found.hint
    assert put(block, tmp_path / "out") == {"train-0.parquet": PARQUET}, "a lock outlives a new name"


def test_revisions_and_files_that_are_not_there(hub, gsm, tmp_path):
    assert refused(pin, "hf:datasets/org/gsm@v9", tmp_path).slug == "revision-not-found"
    found = refused(pin, "hf:datasets/org/gsm#main/tst.jsonl", tmp_path)
    assert found.slug == "missing-file" and found.hint == "did you mean `main/test.jsonl`?"
    block = pin("hf:datasets/org/gsm#main/train-0.parquet", tmp_path)
    del gsm.commits[block.revision]["main/train-0.parquet"]
    assert refused(put, block, tmp_path / "out").slug == "missing-file"
    del gsm.commits[block.revision]
    assert refused(put, block, tmp_path / "out2").slug == "revision-not-found"
    assert refused(put, block._replace(revision="main"), tmp_path / "out3").slug == "bad-revision"


def test_a_cache_that_cannot_be_used(hub, gsm, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file/hub"))
    found = refused(pin, "hf:datasets/org/gsm", tmp_path)
    assert found.slug == "hub-cache" and "HF_HUB_CACHE" in found.hint


@pytest.mark.parametrize("lie", [{"lfs": {"oid": "zz", "size": 1, "pointerSize": 1}}, {"size": -1}, {"size": "x"}])
def test_a_hub_that_lists_what_cannot_be(hub, gsm, tmp_path, lie):
    hub.lies["main/test.jsonl"] = lie
    assert refused(pin, "hf:datasets/org/gsm", tmp_path).slug == "not-a-hub"


def test_a_branch_with_slashes_and_a_password_in_the_endpoint(hub, gsm, tmp_path, monkeypatch):
    other = gsm.commit({"main/test.jsonl": "x\n"}, "refs/pr/1")
    gsm.commit({"main/test.jsonl": "y\n"})
    assert pin("hf:datasets/org/gsm@refs/pr/1#main/test.jsonl", tmp_path).revision == other
    monkeypatch.setenv("HF_ENDPOINT", hub.base.replace("//", "//user:secret@"))
    found = refused(pin, "hf:datasets/org/nothing", tmp_path)
    assert found.slug == "repository-not-found" and "secret" not in found.render()


def test_no_hub_at_all(hub, gsm, tmp_path, monkeypatch):
    block = pin("hf:datasets/org/gsm#main/train-0.parquet", tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    found = refused(pin, "hf:datasets/org/gsm", tmp_path)
    assert found.slug == "hub-unreachable" and "HF_ENDPOINT" in found.hint
    assert hub.waits == [1, 2], "it gives up soon"
    assert refused(put, block, tmp_path / "out").slug == "hub-unreachable"
    assert sum(hub.waits) < 30, "what the library has tried again is not tried again"
    monkeypatch.setenv("HF_ENDPOINT", hub.base)
    hub.failures["/api/"] = [(200, {"Content-Type": "text/html"})]
    assert refused(pin, "hf:datasets/org/gsm", tmp_path).slug == "not-a-hub"
