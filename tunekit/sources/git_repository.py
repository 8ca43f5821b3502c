"""A repository elsewhere, and what the cache has of it: single commits, without history, and the files that were asked
for. What git says of a failure is given the name that our messages have for it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from tunekit.errors import SourceError
from tunekit.sources.deliver import Progress
from tunekit.sources.git_run import STALL, Blob, Git, GitFailed
from tunekit.sources.transfer import FIRST_WAIT, Again
from tunekit.sources.urls import is_plain_allowed

TRIES = 4
BATCH = 200  # files fetched by one request: what a killed download loses at most
COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_ABBREVIATED = re.compile(r"[0-9a-f]{7,39}\Z")
_HOST = re.compile(r"\w+://([^/@]*@)?(\[[^]]*\]|[^/:]*)")
T = TypeVar("T")


class Entry(NamedTuple):
    """One name of a commit's tree. `mode`: as git has it (`100644`, `120000` a link, `160000` a submodule)."""

    path: str
    mode: str
    object: str


def folder_name(url: str) -> str:
    """Of a repository in the cache."""
    return hashlib.sha256(url.encode()).hexdigest()[:40]


class GitRepository:
    """`source` is what messages call it. Nothing of it is checked out, and nothing in it is run."""

    def __init__(self, source: str, url: str, cache: Path, offline: bool, progress: Progress) -> None:
        self.source = source
        self.url = url
        self.offline = offline
        self._progress = progress
        self._git = Git(cache / "git" / folder_name(url))
        self._protocols = _protocols(url)

    @property
    def folder(self) -> Path:
        return self._git.folder

    def commit(self, revision: str) -> str:
        """The commit that a branch, a tag, or "" (the default branch) is at now; a whole commit is itself.

        SourceError: `revision-not-found`, `ambiguous-revision`, and those of every request.
        """
        if COMMIT.match(revision):
            return revision
        wanted = (
            [revision or "HEAD"]
            if not revision or revision == "HEAD" or revision.startswith("refs/")
            else [f"refs/tags/{revision}", f"refs/heads/{revision}"]
        )
        asked = [name for ref in wanted for name in (ref, ref + "^{}")]
        with self._turn():
            text = self._ask(lambda: self._git.run("ls-remote", "--", self.url, *asked, protocols=self._protocols))
        found = {name: commit for commit, _, name in (line.partition("\t") for line in text.decode().splitlines())}
        at = {ref: found.get(ref + "^{}") or found[ref] for ref in wanted if ref in found}
        if len(set(at.values())) > 1:
            message = f"`{self.source}`: there are a tag and a branch `{revision}`, at different commits"
            raise SourceError(message, slug="ambiguous-revision", hint=f"`@refs/tags/{revision}` or `@refs/heads/…`")
        if not at:
            raise self._no_revision(revision)
        commit = next(iter(at.values()))
        if not COMMIT.match(commit):
            raise self._named("git-unsupported", "its object names are not sha1")
        return commit

    def fetch(self, commit: str) -> None:
        """Have the commit and its trees in the cache. SourceError `commit-not-found` if the repository has it no more,
        `not-a-commit`."""
        with self._turn():
            if not self._has(commit):
                self._request("--depth=1", "--filter=blob:none", "origin", f"+{commit}:refs/pins/{commit}")
        try:
            self._git.run("rev-parse", "--verify", "--quiet", f"refs/pins/{commit}^{{commit}}")
        except GitFailed as e:
            message = f"`{self.source}`: {commit} is not a commit"
            raise SourceError(message, slug="revision-not-found", hint="name a branch, a tag or a commit") from e

    def listing(self, commit: str) -> list[Entry]:
        """Every name of the commit's tree, none of its files read."""
        out = self._git.run("ls-tree", "-r", "-z", "--full-tree", f"refs/pins/{commit}")
        entries = []
        for line in out.split(b"\0")[:-1]:
            about, _, path = line.partition(b"\t")
            mode, _, name = about.decode().split()
            entries.append(Entry(path.decode("utf-8", "surrogateescape"), mode, name))
        return entries

    @contextlib.contextmanager
    def files(self, commit: str, names: list[str]) -> Iterator[Callable[[str], Blob]]:
        """A function from each of these objects to its bytes; those that the cache lacks are fetched first."""
        with self._turn():
            listed = self._git.run(
                "rev-list", "--objects", "--missing=print", "--no-object-names", f"refs/pins/{commit}"
            )
            lacking = {line[1:] for line in listed.decode().splitlines() if line.startswith("?")}
            wanted = [name for name in dict.fromkeys(names) if name in lacking]
            for i in range(0, len(wanted), BATCH):
                batch = wanted[i : i + BATCH]
                self._request("--filter=blob:none", "--stdin", "origin", stdin="\n".join(batch) + "\n", done=i)
                self._progress(min(i + BATCH, len(wanted)), len(wanted), "objects")
        with self._git.objects() as ask:
            yield ask

    def where_now(self, revision: str) -> str:
        """Where a branch or tag is now, in words; "" if that cannot be said."""
        if COMMIT.match(revision):
            return ""
        try:
            return f"; `{revision or 'HEAD'}` is at {self.commit(revision)} now"
        except SourceError:
            return ""

    # -- behind it -------------------------------------------------------------------------------

    def _has(self, commit: str) -> bool:
        """The reference is written when all that was asked for has come."""
        try:
            self._git.run("show-ref", "--verify", "--quiet", f"refs/pins/{commit}")
        except GitFailed:
            return False
        return True

    def _request(self, *words: str, stdin: str = "", done: int = 0) -> None:
        def tell(objects: int, total: int, unit: str) -> None:
            self._progress(done + objects, done + total, unit)

        fixed = ("fetch", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--progress")
        self._ask(lambda: self._git.run(*fixed, *words, stdin=stdin, protocols=self._protocols, progress=tell))

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One process at a time changes what the cache has."""
        folder = self._git.folder
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with open(folder.with_suffix(".turn"), "w") as turn:
                fcntl.flock(turn, fcntl.LOCK_EX)
                self._git.turn = turn.fileno()
                _tidy(folder)
                if not (folder / "made").exists():
                    self._git.run("init", "--quiet", "--bare", "--template=", "--object-format=sha1")
                    self._git.run("config", "remote.origin.url", self.url)
                    (folder / "made").touch()
                try:
                    yield
                finally:
                    self._git.turn = None
        except (GitFailed, OSError) as e:
            message = f"`{self.source}`: the cache in {folder} cannot be used ({e})"
            raise SourceError(message, slug="source-cache", hint="delete that folder, or free the disk") from e

    def _ask(self, request: Callable[[], T]) -> T:
        """The answer to a request, which is sent again after a failure that may pass."""
        if self.offline:
            raise self._named("offline", "is not in the cache, and the network is not to be used")
        for attempt in range(1, TRIES + 1):
            try:
                return request()
            except GitFailed as e:
                found = self._trouble(e)
                if isinstance(found, SourceError):
                    raise found from e
                if attempt == TRIES:
                    hint = f"tried {TRIES} times in a row; check the network and the URL, or try again later"
                    raise SourceError(f"`{self.source}`: {found.why}", slug=found.slug, hint=hint) from e
                time.sleep(FIRST_WAIT * 2 ** (attempt - 1))
        raise AssertionError("unreachable")

    def _trouble(self, e: GitFailed) -> SourceError | Again:
        if e.stalled:
            return Again("source-unreachable", f"git said nothing for {STALL:.0f} s")
        for pattern, slug, why in _MEANINGS:
            if re.search(pattern, e.text, re.IGNORECASE):
                return self._named(slug, why)
        said = [line for line in e.text.splitlines() if line.strip()]
        fatal = next((line for line in reversed(said) if line.startswith(("fatal:", "error:"))), said[-1])
        if re.search(r"\b429\b", fatal):
            return Again("rate-limited", "the server refuses more requests for now")
        return Again("source-unreachable", fatal.removeprefix("fatal: ").removeprefix("error: "))

    def _named(self, slug: str, why: str) -> SourceError:
        hints = {
            "login-refused": "git asks nothing here: set up its credential helper, or an ssh key in the agent",
            "repository-not-found": "check the URL; a private one needs git's own login (a credential helper, ssh)",
            "commit-not-found": "it was rewritten, or was never there: `tunekit lock --upgrade` pins what is there now",
            "insecure-source": "use `https://` or `ssh://`",
            "git-unsupported": "use `https:` with an archive of it",
            "source-cache": f"delete {self.folder} and try again",
            "disk-full": "free space on the cache's disk",
            "offline": "leave out --offline (or --frozen) once; what was fetched is kept in the cache",
        }
        return SourceError(f"`{self.source}` {why}", slug=slug, hint=hints[slug])

    def _no_revision(self, revision: str) -> SourceError:
        if not revision:
            hint = "name a branch, a tag or a commit after `@`"
            message = f"`{self.source}`: the repository is empty, or has no default branch"
            return SourceError(message, slug="revision-not-found", hint=hint)
        short = _ABBREVIATED.match(revision)
        hint = "a commit is named by all its 40 digits" if short else "a server tells its refs by `git ls-remote URL`"
        message = f"`{self.source}`: there is no branch or tag `{revision}`"
        return SourceError(message, slug="revision-not-found", hint=hint)


def _tidy(folder: Path) -> None:
    """Remove what a git that was killed has left: nobody else is here now."""
    for pattern in ("*.lock", "refs/pins/*.lock", "objects/pack/tmp_*", "objects/tmp_*"):
        for path in folder.glob(pattern):
            path.unlink()


def _protocols(url: str) -> str:
    """What git may speak: `insteadOf` of the user may turn https into ssh or a mirror's file, never into plain http."""
    found = _HOST.match(url)
    plain = found is not None and is_plain_allowed(found[2])
    return "https:ssh:file" + (":http:git" if plain else "")


_MEANINGS = (
    (r"transport '[^']*' not allowed", "insecure-source", "is fetched by a protocol that is not allowed"),
    (r"not our ref|unadvertised object|couldn't find remote ref", "commit-not-found", "has no such commit any more"),
    (
        r"mismatched algorithms|unsupported object format|object-format",
        "git-unsupported",
        "has other object names than sha1",
    ),
    (
        r"could not read (username|password)|authentication failed|permission denied|host key verification failed"
        r"|returned error: 40[13]|terminal prompts disabled",
        "login-refused",
        "may not be read, or is not there: the server wants a login that git has not got",
    ),
    (
        r"repository .*not found|does not (appear to be|exist)|not a git repository|repository not exported"
        r"|returned error: 404",
        "repository-not-found",
        "is not there, or is private",
    ),
    (r"objects/(pack|[0-9a-f]{2})/", "source-cache", "cannot be fetched: the cache is damaged"),
    (r"no space left|disk quota", "disk-full", "cannot be fetched: no room on the cache's disk"),
)
