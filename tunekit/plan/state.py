"""The project's cache: what was true when it was last looked at, and the signatures that prove it still is.

`.tunekit/state/index.json` is a line of signatures, which is all that a no-op reads, and a line of digests and
results; `graph.json` is the parsed graph. Both can be deleted at any time. A signature is (inode, size, mtime_ns,
ctime_ns): ctime notices a restored mtime. A state counts only with a token of this user's, so one that comes with
a clone does not. One read within 2 s of a change is not trusted: the file is hashed again next time.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tunekit
from tunekit.foreign import STATE_BYTES, json_of, read_plain
from tunekit.manifest.find import own_folder
from tunekit.store.store import config_folder

if TYPE_CHECKING:
    from tunekit.graph import Graph

_RACY = 2_000_000_000
ABSENT = "-"
FOLDER = ".tunekit"


def signature(path: str) -> str:
    try:
        s = os.stat(path)
    except OSError:
        return ABSENT
    return f"{s.st_ino}:{s.st_size}:{s.st_mtime_ns}:{s.st_ctime_ns}"


class State:
    """The cache of one project. Paths in it are relative to `root`, or absolute."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / FOLDER / "state"
        self.watch: dict[str, str] = {}
        self.digests: dict[str, str] = {}
        self.manifest: list[str] = []
        self.sources: dict[str, list[Any]] = {}
        self.code: dict[str, str] = {}
        self.closures: dict[str, list[str]] = {}
        self.packages: dict[str, Any] = {}
        self.memo: dict[str, list[Any]] = {}  # label → [stamp, key, outputs]
        self.unsure: list[str] = []  # labels whose memo the last build did not hold against the present
        self.trees: dict[str, dict[str, str]] = {}  # artifact → {object: signature}
        self.done: dict[str, dict[str, str]] = {}  # request → {link: view}
        self.views: dict[str, dict[str, str]] = {}  # artifact that a link shows → {folder or list: signature}
        self.store = ""
        self.changed: set[str] = set()  # since the state was saved: it stays so, for whoever asks next
        self._hashed: set[str] = set()  # of those, what was read anew
        self.dirty = False
        self.redrawn = False  # a view was made or mended: to be saved, but no change of any result
        self.completed = False
        self.parsed = True  # the graph was read from TOML; False: it is the cached one
        self.frozen = False  # true: never saved

    _GLANCE = ("watch", "manifest", "packages", "trees", "views", "done", "store")
    _REST = ("digests", "sources", "code", "closures", "memo", "unsure")

    @classmethod
    def load(cls, root: Path, *, glance: bool = False) -> State:
        """The state with `changed` filled in: the watched paths that are not what they were. A `glance` reads what
        a no-op compares, and leaves the rest empty."""
        state = cls(root)
        try:
            first, rest = read_checked(state.folder / "index.json")
            body = json.loads(first) if glance else json.loads(first) | json.loads(rest)
            for name in cls._GLANCE if glance else cls._GLANCE + cls._REST:
                setattr(state, name, body[name])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            state = cls(root)  # not there, torn, or of another version: start again
        base = str(root) + "/"
        changed = state.changed
        for path, old in state.watch.items():
            if old != signature(path if path[0] == "/" else base + path):
                changed.add(path)
        return state

    def save(self) -> None:
        if not (self.dirty or self.redrawn) or self.frozen:
            return
        if not self.completed:
            self.done = {}  # a build that failed, with the changes that it saw
        self._settle()
        own_folder(self.root)
        glance, rest = ({name: getattr(self, name) for name in names} for names in (self._GLANCE, self._REST))
        write_checked(self.folder / "index.json", line_of(glance), line_of(rest))
        self.dirty = self.redrawn = False

    def forget_results(self) -> None:
        """Another store: none of the results is known to be there."""
        self.memo, self.unsure, self.trees, self.done, self.views = {}, [], {}, {}, {}

    def complete(self, request: list[str], links: dict[str, str]) -> None:
        """Remember that a request is complete: link (relative to the root) → view. What was complete before a
        change may not be now, so it is forgotten when there was one."""
        if self.dirty:
            self.done = {}
        self.completed = True
        if self.done.get(" ".join(request)) != links:
            self.done[" ".join(request)] = links
            self.dirty = True

    def _settle(self) -> None:
        """Look at what was read too soon after its change once more, so that the next no-op need not. A file that
        did change in between keeps a signature that cannot match."""
        for path in [p for p, sig in self.watch.items() if sig.endswith("?")]:
            old = self.digests.get(path)
            if old is None:
                self.look(path)
            elif self._hash(path) != old:
                self.digests[path], self.watch[path] = old, "?"

    def load_graph(self) -> Graph | None:
        """The parsed graph, if no file that it came from has changed."""
        if not self.manifest or not self.changed.isdisjoint(self.manifest):
            return None
        from tunekit.plan.graph_file import unpack

        try:
            head, *lines = read_checked(self.folder / "graph.json")
            body = json.loads(head)
            found = unpack(body["graph"], lines) if body["site"] == site_signature() else None
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return None
        self.parsed = found is None
        return found

    def save_graph(self, graph: Graph, paths: list[str]) -> None:
        self.manifest = paths
        for path in paths:
            if (self.root / path).is_file():
                self._hash(path)
            else:
                self.look(path)
        from tunekit.plan.graph_file import pack

        shape, lines = pack(graph)
        own_folder(self.root)
        head = {"site": site_signature(), "graph": shape}  # an installed package may bring kinds
        write_checked(self.folder / "graph.json", line_of(head), *lines)
        self.dirty = True

    def look(self, path: str) -> str:
        """Watch a path as it is now. Its signature ends with `?` while it is too young to be trusted."""
        full = str(self.root / path)
        sig = signature(full)
        if sig != ABSENT and _young(sig):
            sig += "?"
        self.watch[path] = sig
        self.dirty = True
        return sig

    def digest(self, path: str) -> str:
        """Digest of a file's bytes: the cached one while its signature holds. FileNotFoundError if it is gone."""
        if path in self.digests and (path not in self.changed or path in self._hashed):
            return self.digests[path]
        return self._hash(path)

    def _hash(self, path: str) -> str:
        from tunekit.hashing import sha256_file

        full = str(self.root / path)
        for _ in range(3):  # edited while being read: read again
            self.look(path)
            digest = sha256_file(full)
            if signature(full) == self.watch[path].rstrip("?"):
                break
        self.digests[path] = digest
        self._hashed.add(path)
        return digest

    def doubt(self, path: str) -> None:
        """What was read of a file is not what it holds."""
        self.changed.add(path)
        self._hashed.discard(path)


def line_of(part: dict[str, Any]) -> bytes:
    return json.dumps(part, separators=(",", ":")).encode()


def write_checked(path: Path, *lines: bytes) -> None:
    """Lines of JSON, behind a line that says who wrote them and a checksum."""
    from tunekit.store.checked import seal
    from tunekit.store.disk import replace

    replace(path, seal(b"\n".join([json.dumps(_made_by()).encode(), *lines])))


def read_checked(path: Path) -> list[bytes]:
    """What `write_checked` wrote; ValueError if it is torn, of another version, or not written by this user."""
    from tunekit.store.checked import unseal

    head, *lines = (unseal(read_plain(path, STATE_BYTES)) or b"null").split(b"\n")
    if json_of(head) != _made_by():
        raise ValueError(f"{path} is not as we wrote it")
    return lines


def _young(sig: str) -> bool:
    """Whether a file may change again without a new signature. Only the kernel sets ctime; mtimes may be of 2099."""
    return time.time_ns() - int(sig.rpartition(":")[2]) < _RACY


def site_signature() -> dict[str, int]:
    """Changes when a distribution is installed or removed."""
    return {p: _mtime(p) for p in sys.path if p.endswith("-packages")}


def _mtime(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _made_by() -> list[Any]:
    """What a state must name to be believed. The user's token is in no clone: a stranger cannot ship a state that
    says all is fresh."""
    ours = os.stat(Path(tunekit.__file__).with_name("kinds.py"))  # versions of rooms, in a clone that is edited
    return [tunekit.__version__, sys.version, "state/4", _token(), ours.st_size, ours.st_mtime_ns]


def _token() -> str:
    """A secret of this user, made when first asked for."""
    file = config_folder() / "token"
    try:
        return file.read_text()
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
                f.write(os.urandom(16).hex())
        except FileExistsError:
            pass  # another process was first
        return file.read_text()
