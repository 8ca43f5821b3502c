"""`build --audit`: what an action reads beside its inputs is said, and nothing else is."""

from __future__ import annotations

import shutil

import pytest

from tunekit.build.audit import Trace, _address, _unquoted
from tunekit.store.records import lookup
from tunekit.store.store import Store

strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")

PEEK = """
import os, subprocess, tempfile, threading
import helper

def f(row, other, ahead):
    open(other).read()                                   # of nobody
    open(other + "2", "a+").close()                      # made here
    open(other + "2").read()
    os.listdir(os.path.dirname(other))
    with open(os.path.join(os.path.dirname(__file__), "declared.txt")) as file:
        file.read()
    with tempfile.NamedTemporaryFile("w+", dir=os.path.dirname(other)) as file:
        file.write("x")
        file.flush()
        open(file.name).read()
    thread = threading.Thread(target=lambda: open(ahead + "/thread.txt").read())
    thread.start()
    thread.join()
    subprocess.run(["cat", ahead + "/child näme<>.txt"], check=True)
    try:
        open(ahead + "/missing.txt")
    except OSError:
        pass
    import socket
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("192.0.2.1", 9))                      # no packet is sent
    return row
"""


@strace
def test_what_is_read_beside_the_inputs_is_said(project, tmp_path):
    ahead = tmp_path / "outside"
    ahead.mkdir()
    for name in ("thread.txt", "child näme<>.txt", "helper.txt"):
        (ahead / name).write_text("secret")
    project.rows("a.jsonl", [{"x": 1}])
    project.write("declared.txt", "yes")
    project.write("words.txt", "no")
    project.write("helper.py", f"text = open({str(ahead / 'helper.txt')!r}).read()")
    project.write("m.py", PEEK)
    project.manifest(f"""
        [dataset.a]
        source = "path:a.jsonl"
        map = "m.py:f"
        args = {{ other = "{project.root}/words.txt", ahead = "{ahead}" }}
        files = ["declared.txt"]
    """)
    done = project.build("--audit")
    assert done.code == 0, done.err
    told = {e["message"] for e in done.events if e["type"] == "warning"}
    wanted = [
        f"it read {project.root}/words.txt, which is not among its inputs (`files = ['words.txt']` of the target makes",
        f"it read {project.root}, which",
        f"it read {ahead}/thread.txt, ",
        f"it read {ahead}/child näme<>.txt, ",
        f"it read {ahead}/helper.txt, ",
        "it ran /",  # cat
        "it connected to 192.0.2.1:9, ",
    ]
    assert all(sum(t.startswith(w) for t in told) == 1 for w in wanted), told
    assert len(told) == len(wanted) and all(e["slug"] == "undeclared-input" for e in done.events if "slug" in e)
    record = lookup(Store(project.store), project.plan()["dataset:a"].key)
    assert {w["message"] for w in record["warnings"]} == told
    again = project.build("--audit")
    assert again.ran == [] and "--force" in again.err


@strace
def test_an_honest_build_is_clean_and_its_keys_are_the_same(project, make_project):
    """Maps, a tokenizer, parts that are taken from the last result, a crew of processes."""
    project.rows("a.jsonl", [{"text": f"row {i} of many"} for i in range(3000)])
    project.write("m.py", "def f(row): return {'text': row['text'].upper()}\n")
    text = """
        [dataset.a]
        source = "path:a.jsonl"
        [dataset.b]
        from = ["dataset:a"]
        map = "m.py:f"
        [tokenizer.t]
        data = ["dataset:b"]
        vocab_size = 300
    """
    project.manifest(text)
    done = project.build("--audit")
    assert done.code == 0 and not [e for e in done.events if e["type"] == "warning"], done.out
    project.rows("a.jsonl", [{"text": f"row {i} of many" if i else "edited"} for i in range(3000)])
    done = project.build("--audit", "dataset:b")
    assert done.code == 0 and "dataset:b" in done.ran, done.err
    assert not [e for e in done.events if e["type"] == "warning"], done.out
    other = make_project("other", "other-store")
    for name in ("m.py", "a.jsonl", "tunekit.toml"):
        other.write(name, (project.root / name).read_text())
    assert other.build("dataset:b").code == 0
    assert other.outputs("dataset:b") == project.outputs("dataset:b")


def test_without_strace_it_is_an_error_before_anything_runs(project, monkeypatch, tmp_path):
    project.rows("a.jsonl", [{"x": 1}])
    project.manifest('[dataset.a]\nsource = "path:a.jsonl"\n')
    monkeypatch.setenv("PATH", str(tmp_path))
    done = project.run("build", "--audit")
    assert done.code == 2 and "error[audit-needs-strace]" in done.err and project.plan()["dataset:a"].run
    (tmp_path / "strace").write_text("#!/bin/sh\necho 'strace: PTRACE_TRACEME: Operation not permitted' >&2\nexit 1\n")
    (tmp_path / "strace").chmod(0o755)
    done = project.run("build", "--audit")
    assert done.code == 2 and "error[audit-not-allowed]" in done.err and "SYS_PTRACE" in done.err


def test_lines_of_strace(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        '7 openat(AT_FDCWD</w>, "a", O_RDONLY|O_CLOEXEC) = 3</w/a>\n'
        '7 openat(AT_FDCWD</w>, "no", O_RDONLY) = -1 ENOENT (No such file or directory)\n'
        "7 clone(child_stack=NULL, flags=SIGCHLD <unfinished ...>\n"
        '8 openat(AT_FDCWD</w>, "b", O_RDONLY <unfinished ...>\n'
        '9 openat(AT_FDCWD</w>, "other", O_RDONLY) = 3</w/other>\n'
        "7 <... clone resumed>) = 8\n"
        "8 <... openat resumed>) = 4</w/b\\303\\244>\n"
        '8 openat(AT_FDCWD</w>, "c", O_WRONLY|O_CREAT, 0666) = 3</w/c>\n'
        '8 execve("/bin/true", ["true"], 0x7ffe /* 3 vars */) = 0\n'
        '8 execve("/bin/none", ["none"], 0x7ffe /* 3 vars */) = -1 ENOENT (No such file or directory)\n'
        '8 rename("/w/c", "/w/d") = 0\n'
        "8 openat(AT_FDCWD"
    )
    trace = Trace(log)
    assert trace.of(7) == [("read", "/w/a"), ("read", "/w/bä"), ("wrote", "/w/c"), ("ran", "/bin/true"),
                           ("wrote", "/w/d")]  # fmt: skip
    with log.open("a") as file:
        file.write('</w>, "e", O_RDONLY) = 5</w/e>\n')
    assert trace.of(7) == [("read", "/w/e")] and trace.of(9) == [("read", "/w/other")] and trace.of(9) == []


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        ('3<s>, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("192.0.2.7")}, 16', "192.0.2.7:443"),
        ('3<s>, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("127.0.0.9")}, 16', ""),
        ('3<s>, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "2001:db8::1", '
         "&sin6_addr), sin6_scope_id=0}, 28", "[2001:db8::1]:80"),
        ('3<s>, {sa_family=AF_INET6, sin6_port=htons(80), inet_pton(AF_INET6, "::1", &sin6_addr)}, 28', ""),
        ('3<s>, {sa_family=AF_UNIX, sun_path="/run/nscd/socket"}, 110', ""),
    ],
)  # fmt: skip
def test_addresses(args, wanted):
    assert _address(args) == wanted


@pytest.mark.parametrize(("text", "wanted"), [("a", "a"), (r"\303\244\74x", "ä<x"), (r"a\\b\"", 'a\\b"')])
def test_quoting(text, wanted):
    assert _unquoted(text) == wanted
