"""A Hugging Face hub, spoken to through `huggingface_hub`, with its cache, endpoint, login and offline mode.

The library retries many requests itself and honours `Retry-After`; what it leaves alone is retried here. Every failure
is a SourceError with a name. The token is the library's business: it is never read, kept or written here.
"""

from __future__ import annotations

import copy
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from tunekit.errors import SourceError
from tunekit.hashing import PREFIX, hex_of
from tunekit.sources.deliver import Progress
from tunekit.sources.hub_errors import Try, named, trouble
from tunekit.sources.locator import Locator

TRIES = 5
FILE_TRIES = 3  # of a download, which the library has resumed by then
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_MAX_SIZE = 2**63
_PASSWORD = re.compile(r"//[^/@]*@")
_OFF = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_PLACES = ("HF_HOME", "HF_HUB_CACHE", "HF_TOKEN_PATH")
_T = TypeVar("_T")


class Repository(NamedTuple):
    """`kind`: `model` or `dataset`, as the hub has it. `use`: those, or `tokenizer`: a model's, without its weights."""

    kind: str
    name: str
    use: str

    @classmethod
    def of(cls, locator: Locator) -> Self:
        prefix, _, rest = locator.name.partition("/")
        if "/" in rest:
            return cls("dataset" if prefix == "datasets" else "model", rest, prefix.removesuffix("s"))
        return cls("model", locator.name, "model")


class Listed(NamedTuple):
    """One file of a commit: `sha256:…` of a large one, else "" and the name that git has for its bytes."""

    path: str
    size: int
    sha256: str
    git_name: str


def users_environment(offline: bool) -> dict[str, str | None]:
    """What a worker must be told to use the user's own hub settings (None: not set). Tokens are not among them: a
    variable of that name is inherited, and a token file is found by its path. `offline` is said to the library itself,
    which else asks its hub for more than files."""
    found = {name: os.environ.get(name) for name in (*_PLACES, *_OFF)}
    for name in _PLACES:  # a worker runs in another folder
        if value := found[name]:
            found[name] = os.path.abspath(os.path.expandvars(os.path.expanduser(value)))
    return found | {"HF_HUB_OFFLINE": "1"} if offline else found


def use_environment(values: dict[str, str | None]) -> None:
    """In the worker, before the library is imported: it reads these once."""
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


class Hub:
    """One repository of a hub. `source` is what messages call it."""

    def __init__(self, repository: Repository, source: str, offline: bool, progress: Progress) -> None:
        from huggingface_hub import HfApi, is_offline_mode

        self.repository = repository
        self.source = source
        self.offline = offline or is_offline_mode()
        self._progress = progress
        self._api = HfApi(endpoint=os.environ.get("HF_ENDPOINT", "").rstrip("/") or None)

    def telling(self, progress: Progress) -> Hub:
        """The same hub, for a download that says how far it is to another."""
        found = copy.copy(self)
        found._progress = progress
        return found

    def commit(self, revision: str) -> str:
        """The commit that a branch, a tag or "" (the default branch) is at now. SourceError: `repository-renamed`, …"""
        if self.offline:
            raise self._named("offline", "is not locked yet")
        info = self._ask(
            lambda: self._api.repo_info(self.repository.name, repo_type=self.repository.kind, revision=revision or None)
        )
        if info.id.lower() != self.repository.name.lower():
            new = self.source.replace(self.repository.name, info.id, 1)
            message = f"`{self.source}`: the repository is called `{info.id}` now"
            raise SourceError(message, slug="repository-renamed", hint=f'write `source = "{new}"`')
        if not _COMMIT.match(info.sha or ""):
            raise self._named("not-a-hub", "its answer has no commit")
        return str(info.sha)

    def listing(self, commit: str) -> list[Listed]:
        """Every file of a commit."""
        from huggingface_hub.hf_api import RepoFile

        def ask() -> list[Listed]:
            name, kind = self.repository.name, self.repository.kind
            tree = self._api.list_repo_tree(name, repo_type=kind, revision=commit, recursive=True)
            return [_listed(item) for item in tree if isinstance(item, RepoFile)]

        return self._ask(ask, tries=1)  # each page was tried again by the library

    def file(self, commit: str, path: str, again: bool = False) -> Path:
        """A file of a commit in the hub's cache, fetched if it is not there. `again`: fetched anyway."""

        def ask() -> str:
            return self._api.hf_hub_download(
                self.repository.name,
                path,
                repo_type=self.repository.kind,
                revision=commit,
                cache_dir=os.environ.get("HF_HUB_CACHE") or None,
                force_download=again,
                local_files_only=self.offline,
                tqdm_class=_bar(self._progress),
            )

        return Path(self._ask(ask, path, FILE_TRIES))

    def _ask(self, request: Callable[[], _T], path: str = "", tries: int = TRIES) -> _T:
        """The answer to a request, which is sent again after a failure that may pass."""
        for attempt in range(1, tries + 1):
            try:
                return request()
            except Exception as e:
                found = trouble(e, attempt)
                if found is None:
                    raise
                if found.wait is None or attempt == tries:
                    raise self._told(found, path) from e
                time.sleep(found.wait)
        raise AssertionError("unreachable")

    def _told(self, found: Try, path: str) -> SourceError:
        if found.slug == "repository-not-found" and not path and self._other_kind():
            other = "datasets/" if self.repository.kind == "model" else ""
            hint = f"there is a {other.rstrip('s/') or 'model'} of this name: `hf:{other}{self.repository.name}`"
            message = f"`{self.source}`: the hub has no {self.repository.kind} of this name"
            return SourceError(message, slug="repository-not-found", hint=hint)
        return self._named(found.slug, found.why, path)

    def _named(self, slug: str, why: str, path: str = "") -> SourceError:
        endpoint = _PASSWORD.sub("//", self._api.endpoint)
        return named(slug, why, self.source, self.repository.kind, self.repository.name, endpoint, path)

    def _other_kind(self) -> bool:
        other = "dataset" if self.repository.kind == "model" else "model"
        try:
            return bool(self._api.repo_info(self.repository.name, repo_type=other).sha)
        except Exception:  # a hint is not worth an error of its own
            return False


def _listed(file: Any) -> Listed:
    """ValueError or TypeError if the hub gives no size or digest that could be one: it must not get into a lock."""
    size = file.size if file.lfs is None else file.lfs.size
    if not 0 <= size < _MAX_SIZE:
        raise ValueError(f"size {size} of {file.path!r}")
    if file.lfs is None:
        return Listed(file.path, size, "", file.blob_id)
    sha256 = PREFIX + file.lfs.sha256
    hex_of(sha256)
    return Listed(file.path, size, sha256, file.blob_id)


def _bar(progress: Progress) -> Any:
    """What the library takes for a tqdm class: it says to us what it would draw."""

    class Bar:
        def __init__(self, *_: Any, total: int | None = None, initial: int = 0, **__: Any) -> None:
            self.total, self.n = total or 0, initial

        def update(self, n: float | None = 1) -> None:
            self.n += int(n or 0)
            progress(self.n, max(self.total, self.n), "bytes")

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            return

        def nothing(self, *_: Any, **__: Any) -> None:
            return

        close = refresh = set_description = set_postfix_str = nothing
        update_transfer = set_transfer_postfix_str = nothing  # of a large file that comes in chunks (xet)

    return Bar
