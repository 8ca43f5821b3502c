"""`git:` sources with the real git program: over http from `git http-backend`, from `git daemon`, from `file://`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest
from git_server import CLEAN, GitServer, Repo
from sourced import Sourced

from tunekit.errors import SourceError
from tunekit.hashing import sha256_bytes

FILES = {
    "README.md": "hello\n",
    "data/a.jsonl": '{"text": "a"}\n',
    "data/deep/b.jsonl": b"\0\r\nnot text\n",
    "data/.hidden": "x",
    ".github/ci.yml": "x",
    "run.sh": ("100755", "#!/bin/sh\ntouch /tmp/never\n"),
}
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"


@pytest.fixture
def server(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("GIT_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "home/config"))
    (tmp_path / "served").mkdir()
    found = GitServer(tmp_path / "served")
    quick = types.SimpleNamespace(**{**vars(time), "sleep": found.waits.append})
    monkeypatch.setattr("tunekit.sources.git_repository.time", quick)
    yield found
    found.close()


@pytest.fixture
def place(server, tmp_path):
    class Place(Sourced):
        repo = Repo(tmp_path / "served/n.git")
        url = server.base + "/n.git"
        config = tmp_path / "home/config"

        def whole(self, text: str) -> str:
            return "git:" + self.url + text

    found = Place(tmp_path)
    found.first = found.repo.commit(FILES)
    return found


def test_pin_and_write(place, server):
    block = place.lock("#data")
    assert block.revision == place.first and block.archive is None
    assert [(f.path, f.sha256) for f in block.files] == [
        ("a.jsonl", sha256_bytes(FILES["data/a.jsonl"].encode())),
        ("deep/b.jsonl", sha256_bytes(FILES["data/deep/b.jsonl"])),
    ]
    asked = len(server.requests)
    assert place.write(block, offline=True) == {"a.jsonl": b'{"text": "a"}\n', "deep/b.jsonl": b"\0\r\nnot text\n"}
    assert len(server.requests) == asked, "the cache has it"
    shutil.rmtree(place.cache)
    assert place.write(block) == {"a.jsonl": b'{"text": "a"}\n', "deep/b.jsonl": b"\0\r\nnot text\n"}
    assert place.told[-1][2] == "objects" and place.told[-1][0] == place.told[-1][1] > 0


@pytest.mark.parametrize(
    ("fragment", "wanted"),
    [
        ("", {"README.md", "data/a.jsonl", "data/deep/b.jsonl", "run.sh"}),
        ("#data/a.jsonl", {"a.jsonl"}),
        ("#data/.hidden", {".hidden"}),
        ("#**/*.jsonl", {"data/a.jsonl", "data/deep/b.jsonl"}),
        ("#data/*.jsonl", {"a.jsonl"}),
    ],
)
def test_which_files(place, fragment, wanted):
    assert {f.path for f in place.lock(fragment).files} == wanted


def test_only_what_is_named_is_fetched(place, tmp_path):
    big = os.urandom(1 << 20)
    place.repo.commit({**FILES, "big.bin": big}, parent=place.first)
    block = place.lock("#data")
    size = sum(p.stat().st_size for p in place.cache.rglob("*") if p.is_file())
    assert size < len(big) / 4
    assert len(place.write(block)) == 2
    bare = Repo(tmp_path / "served/full.git", filters=False)
    commit = bare.commit({**FILES, "big.bin": big})
    place.url = place.url.replace("n.git", "full.git")
    assert place.lock("#data").revision == commit, "a server without filters gives all of the commit"


def test_without_history(place):
    for i in range(5):
        last = place.repo.commit({**FILES, "i": str(i)}, parent=place.first)
    place.lock()
    (folder,) = [p for p in (place.cache / "git").iterdir() if p.is_dir()]
    out = subprocess.run(
        ["git", f"--git-dir={folder}", "log", "--format=%H", f"refs/pins/{last}"], capture_output=True, env=CLEAN
    )
    assert out.stdout.decode().split() == [last]


def test_branches_tags_commits(place):
    second = place.repo.commit({"x": "2"}, "refs/heads/feature/x", place.first)
    place.repo("tag", "light", second)
    place.repo("tag", "-a", "-m", "x", "heavy", second)
    for tail in ("@feature/x", "@light", "@heavy", f"@{second}", "@refs/heads/feature/x", "@refs/tags/heavy"):
        assert place.lock(tail).revision == second, tail
    for tail in ("", "@main", "@HEAD"):
        assert place.lock(tail).revision == place.first
    place.repo("tag", "main", second)
    error = place.refused("@main")
    assert error.slug == "ambiguous-revision" and "@refs/tags/main" in error.hint
    assert place.lock("@refs/heads/main").revision == place.first


def test_revisions_that_are_not_there(place):
    assert place.refused("@nothing").slug == "revision-not-found"
    error = place.refused("@" + place.first[:10])
    assert error.slug == "revision-not-found" and "40 digits" in error.hint
    assert place.refused("@" + "0" * 39 + "1").slug == "commit-not-found"
    tree = place.repo("rev-parse", place.first + "^{tree}")
    assert place.refused("@" + tree).slug in ("revision-not-found", "commit-not-found")
    blob = place.repo("rev-parse", place.first + ":README.md")
    place.repo("update-ref", "refs/tags/blob", blob)
    assert place.refused("@blob").slug in ("revision-not-found", "commit-not-found")
    Repo(place.repo.folder.parent / "empty.git")
    place.url = place.url.replace("n.git", "empty.git")
    assert place.refused().slug == "revision-not-found"


def test_a_moved_tag_and_a_rewritten_branch(place):
    place.repo("update-ref", "refs/tags/v1", place.first)
    block = place.lock("@v1")
    second = place.repo.commit({"README.md": "another\n"}, "refs/heads/main")
    place.repo("update-ref", "refs/tags/v1", second)
    shutil.rmtree(place.cache)
    assert place.write(block)["README.md"] == b"hello\n", "a tag that moves changes nothing"
    assert place.lock("@v1").revision == second
    shutil.rmtree(place.cache)
    place.repo.forget()
    with pytest.raises(SourceError) as caught:
        place.write(block)
    assert caught.value.slug == "commit-not-found"
    assert place.first in caught.value.message and f"`v1` is at {second} now" in caught.value.message


def test_links_submodules_and_lfs(place):
    place.repo.commit({
        "data/a.txt": "a", "data/link.txt": ("120000", "a.txt"), "out/passwd": ("120000", "/etc/passwd"),
        "sub/module": ("160000", place.first), "lfs/w.bin": POINTER, ".gitmodules": "[submodule]",
    })  # fmt: skip
    for fragment, slug in (
        ("data", "not-a-file"), ("out", "not-a-file"), ("out/passwd", "not-a-file"), ("sub", "not-a-file"),
        ("lfs", "lfs-pointer"), ("lfs/w.bin", "lfs-pointer"),
    ):  # fmt: skip
        assert place.refused("#" + fragment).slug == slug, fragment
    assert place.write(place.lock("#data/a.txt")) == {"a.txt": b"a"}


def test_hostile_names(place):
    blob = place.repo("hash-object", "-w", "--stdin", stdin=b"x").encode()
    for name in (b"..", b"a\\b", b"a\nb", b"\xff"):
        inner = place.repo("mktree", "-z", stdin=b"100644 blob " + blob + b"\tx\0").encode()
        raw = b"100644 " + name + b"\0" + bytes.fromhex(blob.decode()) + b"40000 d\0" + bytes.fromhex(inner.decode())
        done = subprocess.run(
            ["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"],
            input=raw, env=CLEAN | {"GIT_DIR": str(place.repo.folder)}, capture_output=True, check=True,
        )  # fmt: skip
        made = place.repo("commit-tree", done.stdout.decode().strip(), "-m", "x")
        place.repo("update-ref", "refs/heads/bad", made)
        error = place.refused("@bad#.*" if name == b".." else "@bad#*")
        assert error.slug == "path-outside-project" and "\udcff" not in error.message, name
        assert place.write(place.lock("@bad#d")) == {"x": b"x"}


def test_nothing_of_a_repository_or_a_user_is_run(place, tmp_path, monkeypatch):
    """Filters, hooks, helpers of attributes and of the environment: each would leave a mark."""
    mark = tmp_path / "mark"
    place.config.write_text(
        f'[filter "evil"]\n\tsmudge = touch {mark}\n\trequired = true\n[core]\n\thooksPath = {tmp_path}/hooks\n'
        f'\tfsmonitor = touch {mark}\n\taskPass = touch {mark}\n[diff "evil"]\n\ttextconv = touch {mark}\n'
        f'[filter "lfs"]\n\tprocess = touch {mark}\n\tsmudge = touch {mark}\n'
    )
    (tmp_path / "hooks").mkdir()
    for hook in ("post-checkout", "reference-transaction", "post-merge", "pre-auto-gc", "fsmonitor-watchman"):
        (tmp_path / "hooks" / hook).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (tmp_path / "hooks" / hook).chmod(0o755)
    for name in ("GIT_PROXY_COMMAND", "GIT_EXTERNAL_DIFF", "GIT_ASKPASS", "SSH_ASKPASS", "GIT_EDITOR"):
        monkeypatch.setenv(name, f"touch {mark}")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_TRACE", str(mark))
    place.repo.commit({
        **FILES, ".gitattributes": "* filter=evil diff=evil export-subst ident\n", ".gitmodules":
        f'[submodule "x"]\n\tpath = x\n\turl = ext::touch {mark}\n\tupdate = !touch {mark}\n', 
        "id.txt": "$Id$ $Format:%H$\n",
    })  # fmt: skip
    assert place.write(place.lock())["id.txt"] == b"$Id$ $Format:%H$\n"
    assert not mark.exists() and not (tmp_path / "elsewhere").exists()


def test_protocols_that_a_configuration_brings_in(place, tmp_path):
    mark = tmp_path / "mark"
    place.config.write_text(
        f'[url "ext::sh -c touch% {mark}"]\n\tinsteadOf = {place.url}\n[protocol "ext"]\n\tallow = always\n'
    )
    assert place.refused().slug == "insecure-source"
    assert not mark.exists()


def test_the_projects_own_git_settings_are_not_read(place, tmp_path, monkeypatch):
    project = tmp_path / "project"
    subprocess.run(["git", "init", "-q", str(project)], env=CLEAN, check=True)
    mark = tmp_path / "mark"
    with (project / ".git/config").open("a") as f:
        f.write(f'[url "ext::touch {mark}"]\n\tinsteadOf = http\n[core]\n\tsshCommand = touch {mark}\n')
    monkeypatch.chdir(project)
    place.cache = project / ".tunekit/cache"
    assert place.lock().revision == place.first
    assert not mark.exists()


def test_logins(place, server, tmp_path):
    server.login = "me:secret"
    error = place.refused()
    assert error.slug == "login-refused" and "credential" in error.hint
    helper = "!f() { echo username=me; echo password=secret; }; f"
    place.config.write_text(f'[credential]\n\thelper = "{helper}"\n')
    block = place.lock()
    assert "secret" not in repr(block)
    assert not [p for p in place.cache.rglob("*") if p.is_file() and b"secret" in p.read_bytes()]
    shown = place.url.replace("http://", "http://me:wrong@")
    place.config.write_text(f'[url "{shown}"]\n\tinsteadOf = {place.url}\n')
    shutil.rmtree(place.cache)
    error = place.refused()
    assert error.slug == "login-refused" and "wrong" not in error.message + error.hint


def test_failures_that_pass(place, server):
    server.failures = [500, 429, 503]
    assert place.lock().revision == place.first
    assert server.waits == [0.5, 1.0, 2.0]
    shutil.rmtree(place.cache)
    server.cuts = 2
    assert len(place.lock("#data").files) == 2


@pytest.mark.parametrize(
    ("status", "slug", "count"),
    [
        (500, "source-unreachable", 4),
        (429, "rate-limited", 4),
        (404, "repository-not-found", 1),
        (403, "login-refused", 1),
    ],
)
def test_failures_that_stay(place, server, status, slug, count):
    server.failures = [status] * 20
    assert place.refused().slug == slug
    assert len(server.requests) == count


def test_no_such_repository_no_server_no_git(place, server, monkeypatch, tmp_path):
    good, place.url = place.url, place.url.replace("n.git", "none.git")
    assert place.refused().slug == "repository-not-found"
    place.url = good
    server.close()
    assert place.refused().slug == "source-unreachable"
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert place.refused().slug == "git-not-installed"


def test_a_server_that_says_nothing(place, monkeypatch):
    monkeypatch.setattr("tunekit.sources.git_run.STALL", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place.url = f"http://127.0.0.1:{silent.getsockname()[1]}/n.git"
        error = place.refused()
    assert error.slug == "source-unreachable" and "said nothing" in error.message


def test_offline(place):
    assert place.refused(offline=True).slug == "offline"
    block = place.lock("#data")
    more = place.lock("#README.md")
    assert place.write(more, offline=True) == {"README.md": b"hello\n"}
    shutil.rmtree(place.cache)
    for wanted in (block, more):
        with pytest.raises(SourceError) as caught:
            place.write(wanted, offline=True)
        assert caught.value.slug == "offline"
    place.lock("#README.md")
    with pytest.raises(SourceError) as caught:
        place.write(block, offline=True)
    assert caught.value.slug == "offline", "the commit is there, these files of it are not"


def test_a_damaged_cache(place):
    block = place.lock("#data")
    (folder,) = [p for p in (place.cache / "git").iterdir() if p.is_dir()]
    for pack in (folder / "objects").rglob("*.pack"):
        pack.chmod(0o644)
        pack.write_bytes(b"x" * pack.stat().st_size)
    with pytest.raises(SourceError) as caught:
        place.write(block)
    assert caught.value.slug == "source-cache" and str(folder) in caught.value.message + caught.value.hint


def test_a_lock_that_was_edited(place):
    block = place.lock("#data")
    with pytest.raises(SourceError) as caught:
        place.write(block._replace(revision="main"))
    assert caught.value.slug == "bad-revision"
    second = place.repo.commit({"data/a.jsonl": "other\n", "data/deep/b.jsonl": "x"})
    with pytest.raises(SourceError) as caught:
        place.write(block._replace(revision=second))
    assert caught.value.slug == "source-changed"


def test_file_urls_and_the_daemon(place, tmp_path):
    place.url = f"file://{place.repo.folder}"
    assert len(place.write(place.lock("#data"))) == 2
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    daemon = subprocess.Popen(
        ["git", "daemon", "--export-all", "--listen=127.0.0.1", f"--port={port}", f"--base-path={tmp_path}/served"],
        env=CLEAN, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        for _ in range(200):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        place.url = f"git://127.0.0.1:{port}/n.git"
        block = place.lock("@main#data")
        assert block.revision == place.first and len(place.write(block)) == 2
        place.url = f"git://127.0.0.1:{port}/none.git"
        assert place.refused().slug == "repository-not-found"
    finally:
        os.killpg(daemon.pid, 15)
        daemon.wait()


def test_ssh(place, tmp_path, monkeypatch):
    """What git hands to ssh: a host, and a command that names the repository; the script runs it here."""
    script = tmp_path / "ssh"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nfor last; do :; done\ncd {tmp_path}\nexec sh -c "$last"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("GIT_SSH", str(script))
    for place.url in ("me@host.example:served/n.git", f"ssh://me@host.example:2222{tmp_path}/served/n.git"):
        assert len(place.write(place.lock("@main#data"))) == 2
    asked = (tmp_path / "asked").read_text()
    assert "me@host.example" in asked and "git-upload-pack 'served/n.git'" in asked and "2222" in asked
    script.write_text("#!/bin/sh\necho 'me@host.example: Permission denied (publickey).' >&2\nexit 255\n")
    assert place.refused("@v2").slug == "login-refused"


def test_ssh_never_asks(place, tmp_path, monkeypatch):
    """Without settings of the user's own, ssh is told that nobody is there to answer."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nexit 255\n')
    (tmp_path / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    place.url = "ssh://host.example/n.git"
    assert place.refused().slug == "source-unreachable"
    assert "-oBatchMode=yes" in (tmp_path / "asked").read_text()
    place.config.write_text(f"[core]\n\tsshCommand = {tmp_path}/bin/ssh -own\n")
    place.refused()
    assert "-own" in (tmp_path / "asked").read_text()


def test_many_files_are_fetched_in_batches(place, monkeypatch, server):
    monkeypatch.setattr("tunekit.sources.git_repository.BATCH", 7)
    place.repo.commit({f"d/{i:03}.txt": f"text {i}" for i in range(30)})
    block = place.lock("#d")
    posts = [r for r in server.requests if r.startswith("POST")]
    assert len(posts) >= 1 + 5
    assert place.write(block) == {f"{i:03}.txt": f"text {i}".encode() for i in range(30)}


def test_killed_in_the_middle(place, server):
    """git lives a little longer than who called it: the next one waits for it, and tidies up behind it."""
    server.hold = threading.Event()
    code = "import sys; from tunekit.sources.registry import resolve; resolve(sys.argv[1], root='.', cache=sys.argv[2])"
    child = subprocess.Popen([sys.executable, "-c", code, f"git:{place.url}#data", str(place.cache)])
    while not any(r.startswith("POST") for r in server.requests):
        time.sleep(0.01)
    child.kill()
    child.wait()
    (folder,) = [p for p in (place.cache / "git").iterdir() if p.is_dir()]
    with open(folder.with_suffix(".turn")) as turn, contextlib.suppress(BlockingIOError):
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as a rule git has it still
    server.hold.set()
    assert len(place.write(place.lock("#data"))) == 2
    for left in ("shallow.lock", "config.lock", "refs/pins/x.lock", "objects/pack/tmp_pack_x"):
        (folder / left).write_text("")
    second = place.repo.commit({"README.md": "another"}, parent=place.first)
    assert place.lock().revision == second


def test_two_at_once(place):
    """Two processes want different files of one repository: neither breaks the other."""
    code = (
        "import sys; from tunekit.sources.registry import resolve\n"
        "print(resolve(sys.argv[1], root='.', cache=sys.argv[2]).tree)"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, f"git:{place.url}#{path}", str(place.cache)], stdout=subprocess.PIPE, text=True
        )
        for path in ("data", "README.md", "data/a.jsonl")
    ]
    trees = [child.communicate()[0].strip() for child in children]
    assert trees == [place.lock("#" + path).tree for path in ("data", "README.md", "data/a.jsonl")]
    assert not Path("/tmp/never").exists()
