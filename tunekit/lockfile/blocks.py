"""The blocks of a lock, as values."""

from __future__ import annotations

from typing import Any, NamedTuple

from tunekit.hashing import digest_of, tree_digest

VERSION = 1
MAX_SIZE = 2**63


class FileEntry(NamedTuple):
    """One used file: its name in the artifact, bytes, `sha256:…`."""

    path: str
    size: int
    sha256: str


class Archive(NamedTuple):
    """The file that an index serves and that the used files are read from."""

    name: str
    size: int
    sha256: str


class SourceBlock(NamedTuple):
    """One pinned source. `tree` is the digest of the artifact that `files` (sorted by path) make."""

    source: str
    revision: str
    archive: Archive | None
    tree: str
    files: tuple[FileEntry, ...]

    @property
    def check(self) -> str:
        """What shows that somebody edited a block by hand: nothing else ties a revision to the files. It is no
        defence against an attacker, who can compute it; the digests are."""
        archive = list(self.archive) if self.archive else None
        return digest_of([self.source, self.revision, archive, self.tree], "tunekit/pin/1")[7:23]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a request to a worker."""
        return {
            "source": self.source,
            "revision": self.revision,
            "archive": self.archive._asdict() if self.archive else None,
            "tree": self.tree,
            "files": [f._asdict() for f in self.files],
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> SourceBlock:
        """The inverse of `to_json`; KeyError or TypeError for anything else."""
        archive = Archive(**body["archive"]) if body["archive"] else None
        files = tuple(FileEntry(**f) for f in body["files"])
        return cls(body["source"], body["revision"], archive, body["tree"], files)


class Environment(NamedTuple):
    """One profile: the Python version and public versions (no `+local`) by distribution name."""

    python: str
    packages: dict[str, str]


class RecipeBlock(NamedTuple):
    """A recipe that a target uses: its settings, so that a change of it can be told by field, and their digest."""

    digest: str
    settings: dict[str, Any]


class ResultBlock(NamedTuple):
    """A promoted attempt: the result of `key`, whatever else the store holds."""

    label: str
    key: str
    attempt: str | int
    outputs: dict[str, str]  # role → artifact digest
    metrics: dict[str, float] = {}  # figures of its summary: what another machine's attempt is compared with
    determinism: str = ""  # what its record promises of its bits


class Lock(NamedTuple):
    """The whole file. Its dicts and list are the caller's to change; the order in them does not matter."""

    sources: dict[str, SourceBlock]
    environments: dict[str, Environment]
    results: list[ResultBlock]
    recipes: dict[str, RecipeBlock]


def empty_lock() -> Lock:
    return Lock({}, {}, [], {})


def block_of(source: str, revision: str, archive: Archive | None, files: list[FileEntry]) -> SourceBlock:
    """A block whose files are sorted and whose tree is computed."""
    ordered = tuple(sorted(files))
    return SourceBlock(source, revision, archive, tree_of(ordered), ordered)


def tree_of(files: tuple[FileEntry, ...]) -> str:
    return tree_digest([(f.path, f.size, False, f.sha256) for f in files])


def recipe_of(settings: dict[str, Any]) -> RecipeBlock:
    """The block of a recipe. ValueError or TypeError for settings that cannot be hashed: no spec takes such."""
    return RecipeBlock(digest_of(settings, "tunekit/recipe/1"), settings)


def bad_path(path: str) -> str:
    """Why `path` cannot be the name of a file inside an artifact; "" if it can."""
    if not path or path.startswith("/"):
        return "is not a relative path"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "has an empty, `.` or `..` part"
    if "\\" in path or any(ord(c) < 32 or ord(c) == 127 for c in path):
        return "holds a backslash or a control character"
    try:
        too_long = any(len(part.encode()) > 255 for part in path.split("/"))
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    return "has a part longer than 255 bytes" if too_long else ""
