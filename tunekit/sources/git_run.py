"""The git program, run so that nothing but objects comes of it: no hook, filter, submodule, prompt or other protocol.

It gets the user's configuration (logins, proxies, `insteadOf`), but no variable that points it at another repository or
another program, and never the configuration of the folder it is called in.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from tunekit.errors import SourceError
from tunekit.sources.deliver import Progress

STALL = 120.0  # seconds in which git says nothing at all
_KEEP = re.compile(
    r"(PATH|HOME|USER|LOGNAME|TMPDIR|XDG_CONFIG_HOME|XDG_RUNTIME_DIR|SSH_AUTH_SOCK|KRB5CCNAME|SSL_CERT_(FILE|DIR)"
    r"|(HTTPS?|ALL|NO)_PROXY|GIT_SSH|GIT_SSH_COMMAND|GIT_SSH_VARIANT|GIT_SSL_\w+"
    r"|GIT_CONFIG_(GLOBAL|SYSTEM|NOSYSTEM|COUNT|KEY_\d+|VALUE_\d+))\Z",
    re.IGNORECASE,
)
_SETTINGS = (
    "core.hooksPath=/dev/null", "core.askPass=", "core.fsmonitor=false", "gc.auto=0", "maintenance.auto=false",
    "fetch.recurseSubmodules=no", "submodule.recurse=false", "transfer.bundleURI=false", "fetch.writeCommitGraph=false",
    "fetch.negotiationAlgorithm=noop", "http.followRedirects=initial", "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60", "protocol.version=2",
)  # fmt: skip
_RECEIVING = re.compile(rb"Receiving objects: +\d+% \((\d+)/(\d+)\)")
_LOGIN = re.compile(r"//[^/@\s]*@")


class GitFailed(Exception):
    """`text`: what git said, without logins. `stalled`: it was ended because it said nothing."""

    def __init__(self, text: str, *, stalled: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.stalled = stalled


class Git:
    """git on one bare repository. `protocols`: those that a call may use (`https:ssh`), none unless it says so.
    `turn`: a locked file that git keeps locked until it has ended, also if we are killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.turn: int | None = None

    def run(self, *words: str, stdin: str = "", protocols: str = "none", progress: Progress | None = None) -> bytes:
        """Its output. GitFailed; SourceError `git-not-installed`."""
        with self._started(words, protocols) as process:
            out, said, stalled = _conversation(process, stdin.encode(), progress)
        if process.returncode != 0 or stalled:
            text = _LOGIN.sub("//", said.decode("utf-8", "replace"))
            raise GitFailed(text.strip() or f"it ended with status {process.returncode}", stalled=stalled)
        return out

    @contextlib.contextmanager
    def objects(self) -> Iterator[Callable[[str], Blob]]:
        """A function from an object's name to its bytes; each is good until the next is asked for."""
        with self._started(("cat-file", "--batch"), "none") as process:
            last: list[Blob] = []

            def ask(name: str) -> Blob:
                assert process.stdin is not None and process.stdout is not None
                if last:
                    last.pop().finish()
                with contextlib.suppress(BrokenPipeError):  # it has ended: the answer is empty, too
                    process.stdin.write(name.encode() + b"\n")
                    process.stdin.flush()
                last.append(Blob(process.stdout, name))
                return last[0]

            yield ask

    @contextlib.contextmanager
    def _started(self, words: tuple[str, ...], protocols: str) -> Iterator[subprocess.Popen[bytes]]:
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        command = ["git", f"--git-dir={self.folder}", *settings, *words]
        try:
            process = subprocess.Popen(
                command,
                cwd=self.folder.parent,
                env=self._environment(protocols),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=() if self.turn is None else (self.turn,),
            )
        except FileNotFoundError as e:
            if e.filename != "git":
                raise
            hint = "install git (2.29 or newer), or use `https:` with the archive that the server makes"
            raise SourceError("the program `git` is not installed", slug="git-not-installed", hint=hint) from None
        try:
            yield process
        finally:
            for pipe in (process.stdin, process.stdout, process.stderr):
                with contextlib.suppress(BrokenPipeError):
                    if pipe:
                        pipe.close()
            if process.poll() is None:
                process.terminate()  # it ends its own children on that
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
            process.wait()

    def _environment(self, protocols: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if _KEEP.match(name)}
        ours = {
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": protocols,
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GCM_INTERACTIVE": "never",
        }
        if "ssh" in protocols.split(":") and not self._own_ssh(kept):
            ours["GIT_SSH_COMMAND"] = "ssh -oBatchMode=yes -oConnectTimeout=30"
        return kept | ours

    def _own_ssh(self, kept: dict[str, str]) -> bool:
        if "GIT_SSH_COMMAND" in kept or "GIT_SSH" in kept:
            return True
        try:
            return bool(self.run("config", "--get", "core.sshCommand"))
        except GitFailed:
            return False


class Blob:
    """One object from `cat-file --batch`. GitFailed if it is not there."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        header = stream.readline().split()
        if len(header) != 3 or header[1] != b"blob":
            raise GitFailed(f"object {name} is not in the cache")
        self.size = int(header[2])
        self._left = self.size

    def read(self, size: int, /) -> bytes:
        block = self._stream.read(min(size, self._left))
        self._left -= len(block)
        return block

    def finish(self) -> None:
        """Read what nobody asked for, and the line's end after it."""
        while self._left and self.read(1 << 20):
            pass
        self._stream.read(1)


def _conversation(
    process: subprocess.Popen[bytes], stdin: bytes, progress: Progress | None
) -> tuple[bytes, bytes, bool]:
    """What it put out, the end of what it said, and whether it had to be ended because it said nothing for long."""
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    out, said, stalled = bytearray(), bytearray(), False
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(stdin)
        process.stdin.close()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(STALL)
            if not ready:
                stalled = True
                process.terminate()
                break
            for key, _ in ready:
                block = os.read(key.fd, 1 << 16)
                if not block:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    out += block
                else:
                    said = (said + block)[-(1 << 16) :]
                    if progress and (found := _RECEIVING.findall(block)):
                        progress(int(found[-1][0]), int(found[-1][1]), "objects")
    if not stalled:
        process.wait()
    return bytes(out), bytes(said), stalled
