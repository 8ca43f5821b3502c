"""`build --audit`: what an action read, ran and spoke to that is none of its inputs. It tells; it changes no key.

strace follows the nursery and all that comes of it; what counts is what a *file* system call opened, as the kernel
resolved it. Python's own files, system libraries and the store's entries of the action are its environment, which
has other records. Fetches are left out: reading what is outside is what they are for.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tunekit
from tunekit.errors import UsageError
from tunekit.protocol import Request
from tunekit.store import artifacts
from tunekit.store.store import Store

SHOWN = 50  # warnings of an action; the rest is counted
_CALLS = "?open,openat,?openat2,execve,?execveat,connect,clone,?clone3,?fork,?vfork,?rename,?renameat,?renameat2"
_SYSTEM = (
    "/proc", "/sys", "/dev", "/run/systemd", "/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64",
    "/usr/libexec", "/usr/local/lib", "/usr/local/lib64", "/usr/local/cuda", "/opt/rocm", "/usr/share/zoneinfo",
    "/usr/share/locale", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/usr/share/misc",
    "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/ld.so.conf",
    "/etc/ld.so.conf.d", "/etc/localtime", "/etc/timezone", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf",
    "/etc/hosts", "/etc/host.conf", "/etc/resolv.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols",
    "/etc/mime.types", "/etc/os-release", "/etc/OpenCL", "/etc/locale.alias",
)  # fmt: skip


def command(program: list[str], log: Path) -> list[str]:
    """The command that runs `program` under strace. The process keeps its number and its parent (`-D`)."""
    options = ["-D", "-f", "-qq", "-y", "-s", "4096", "-e", "signal=none", "-e", f"trace={_CALLS}"]
    return ["strace", *options, "-o", str(log), *program]


def check() -> None:
    """UsageError `audit-needs-strace` or `audit-not-allowed` where it cannot work: nothing has run then."""
    if sys.platform != "linux" or shutil.which("strace") is None:
        hint = "install the package `strace` (Linux only), or build without --audit"
        raise UsageError("--audit needs the program `strace`", slug="audit-needs-strace", hint=hint)
    probe = [*command(["true"], Path(os.devnull))]
    done = subprocess.run(probe, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode or done.stderr:
        said = done.stderr.strip().splitlines()[:1]
        hint = "in a container: allow ptrace (`--cap-add SYS_PTRACE`); or build without --audit"
        raise UsageError(f"strace may not trace here: {' '.join(said)}", slug="audit-not-allowed", hint=hint)


class Finding(NamedTuple):
    """`what`: `read`, `ran` or `connected to`."""

    what: str
    name: str

    def message(self, root: Path) -> str:
        ours = self.what == "read" and Path(self.name).is_relative_to(root)
        inside = f" (`files = [{os.path.relpath(self.name, root)!r}]` of the target makes it one)" if ours else ""
        return f"it {self.what} {self.name}, which is not among its inputs{inside}"


class Trace:
    """What strace has written about one nursery, read on as it grows."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._at = 0
        self._half: dict[int, str] = {}  # process → the beginning of a call that another one's line interrupted
        self._parent: dict[int, int] = {}
        self._calls: list[tuple[int, str, str]] = []  # process, `read`, `wrote`, `ran` or `connected to`, name

    def of(self, pid: int) -> list[tuple[str, str]]:
        """What a process and its descendants did, in order. It is forgotten then."""
        self._advance()
        mine = [call for call in self._calls if self._descends(call[0], pid)]
        self._calls = [call for call in self._calls if not self._descends(call[0], pid)]
        return [(what, name) for _, what, name in mine]

    def _descends(self, pid: int, ancestor: int) -> bool:
        seen = set()
        while pid != ancestor and pid not in seen:
            seen.add(pid)
            pid = self._parent.get(pid, 0)
        return pid == ancestor

    def _advance(self) -> None:
        with self._log.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.decode(errors="surrogateescape").split("\n"):
            found = re.match(r"(\d+) +(.*)", line, re.DOTALL)
            if found:
                self._take(int(found[1]), found[2])

    def _take(self, pid: int, text: str) -> None:
        if text.endswith(" <unfinished ...>"):
            self._half[pid] = text.removesuffix(" <unfinished ...>")
            return
        if resumed := re.match(r"<\.\.\. \w+ resumed>", text):
            text = self._half.pop(pid, "") + text[resumed.end() :]
        call = re.match(r"(\w+)\((.*)\)\s+= (-?\d+)(?:<(.*)>)?( .*)?\Z", text, re.DOTALL)
        if not call:
            return
        name, args, result, path = call[1], call[2], int(call[3]), _unquoted(call[4] or "")
        if name in ("clone", "clone3", "fork", "vfork"):
            if result > 0:
                self._parent[result] = pid
        elif name == "connect":
            if where := _address(args):
                self._calls.append((pid, "connected to", where))
        elif result >= 0 and name.startswith("open"):
            made = "O_CREAT" in args or "O_WRONLY" in args
            if path.startswith("/"):
                self._calls.append((pid, "wrote" if made else "read", path.removesuffix(" (deleted)")))
        elif result == 0 and (quoted := re.findall(r'"((?:[^"\\]|\\.)*)"', args)):
            if name.startswith("rename"):
                self._calls.append((pid, "wrote", _unquoted(quoted[-1])))
            elif name.startswith("exec"):
                self._calls.append((pid, "ran", _unquoted(quoted[0])))


def _unquoted(text: str) -> str:
    """strace writes other bytes than printable ASCII in octal, and `<`, `>` of a path too."""
    if "\\" not in text:
        return text
    data = re.sub(rb"\\([0-7]{1,3}|.)", _character, text.encode(errors="surrogateescape"))
    return os.fsdecode(data)


_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f"}


def _character(found: re.Match[bytes]) -> bytes:
    text = found[1]
    return bytes([int(text, 8) & 255]) if text.isdigit() else _LETTERS.get(text, text)


def _address(args: str) -> str:
    """`host:port` of a connection to another machine; "" for any other."""
    import ipaddress

    port = re.search(r"htons\((\d+)\)", args)
    host = re.search(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', args)
    if not (port and host):
        return ""
    address = ipaddress.ip_address(host[1] or host[2])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    if (mapped or address).is_loopback or port[1] == "0":  # port 0: a question about routes; nothing is sent
        return ""
    return f"[{address}]:{port[1]}" if address.version == 6 else f"{address}:{port[1]}"


def undeclared(store: Store, request: Request, done: list[tuple[str, str]], parts: list[str]) -> list[Finding]:
    """What of it is none of the action's inputs; each once. `parts`: artifacts that it took rows or tokens from."""
    roots = tuple(f"{place}/" for place in [*_environment(), *_own(store, request)])
    known = _inputs(store, request, parts)
    made: set[str] = set()
    found: dict[Finding, None] = {}
    for what, name in done:
        if what == "wrote":
            made.add(name)
            continue
        mine = what == "read" and (name in made or name in known or f"{name}/".startswith(roots))
        if not mine and not (what == "ran" and os.path.realpath(name) == os.path.realpath(sys.executable)):
            found[Finding(what, name)] = None
    return list(found)


def _environment() -> Iterator[str]:
    """What an interpreter with its packages is made of."""
    import site
    import sysconfig

    yield from _SYSTEM
    ours = Path(tunekit.__file__).parent
    yield from (str(ours), str(ours.parent / "kernels"))
    places = [sys.prefix, sys.base_prefix, *site.getsitepackages(), *sysconfig.get_paths().values()]
    for place in places:
        if place not in ("/", "/usr", "/usr/local"):
            yield from (place, os.path.realpath(place))


def _own(store: Store, request: Request) -> Iterator[str]:
    """Where the action writes, and the store's lists: an entry in them is of use only with its objects."""
    root = os.path.realpath(store.root)
    yield os.path.realpath(os.path.dirname(request.out))
    for name in ("tmp", "trees", "views", "parts", "ac"):
        yield f"{root}/{name}"
    yield f"{root}/layout"


def _inputs(store: Store, request: Request, parts: list[str]) -> set[str]:
    """Every file that the request names."""
    trees = [*parts, *([f"sha256:{os.path.basename(request.code_root)}"] if request.code_root else [])]
    base = os.path.realpath(store.root)
    # folders of objects are opened to flush them
    found = {f"{base}/objects", *(f"{base}/objects/{i:02x}" for i in range(256))}
    # an import lists the folders on the path: what is in them is another matter
    found |= {os.path.realpath(p) for p in sys.path if p and p != os.getcwd()}
    for item in (item for items in request.inputs.values() for item in items):
        if item.reading:  # links to files where they lie
            found |= {os.path.realpath(p) for p in Path(item.path).rglob("*")}
        else:
            trees.append(item.digest)
    for tree in trees:
        for entry in artifacts.read_tree(store, tree) or []:
            found.add(base + str(store.object(entry.digest)).removeprefix(str(store.root)))
    return found
