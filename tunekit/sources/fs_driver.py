"""fsspec's driver of a scheme, and what a source names in its file system. A driver's failures get our names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from tunekit.errors import SourceError, TunekitError, nearest
from tunekit.lockfile import bad_path
from tunekit.sources.locator import Locator
from tunekit.sources.select import is_glob, matches, split_glob
from tunekit.sources.transfer import FIRST_WAIT, Again, Answer, Ask

TRIES = 3  # of a question; drivers try themselves, too
_BLOCK, _READ, _REQUESTS = 8 << 20, 1 << 20, 64
# Fields in which drivers give what names a version of a file, or its bytes.
_VERSIONS = ("VersionId", "version_id", "generation")
_TAGS = (*_VERSIONS, "ETag", "etag", "md5Hash", "content_md5", "crc32c", "checksum")
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "modify", "created")
_SETTLED = 60.0  # seconds after which a time tells versions apart
# The distribution that a driver wants, where it is not the one that its class is in.
_PACKAGES = {"sftp": "paramiko", "ssh": "paramiko", "smb": "smbprotocol", "hdfs": "pyarrow", "webhdfs": "requests"}
T = TypeVar("T")


class Found(NamedTuple):
    """One file. `stamp` names its version as far as the store can ("": not at all); `version` is for the lock."""

    path: str
    size: int | None
    stamp: str
    version: str


class Driver:
    """SourceError `driver-missing`, `missing-file`, `login-refused`, `not-a-file`, `source-unreachable`, …"""

    def __init__(self, source: str, locator: Locator) -> None:
        self._source = source
        self._locator = locator
        self._broken = False
        self._fs, base = self._ask(lambda: _opened(source, locator))
        self._base = base + "/" + locator.fragment if locator.fragment else base
        self.is_threadsafe = bool(self._fs.async_impl)

    def what(self, path: str) -> str:
        """A file in messages."""
        return f"`{path}` of `{self._source}`"

    def chosen(self) -> dict[str, Found]:
        """Name in the artifact → file, for all that the source names. In folders, names that start with a dot are left
        out, as for `path:`."""
        kind, info = self._kind(self._base)
        if kind == "file":
            return {self._checked(self._base.rpartition("/")[2]): self._found(self._base, info)}
        if kind == "directory":
            listed = self._below(self._base, None)
            found = {name: info for name, info in listed.items() if not any(p.startswith(".") for p in name.split("/"))}
        elif is_glob(self._base):
            folder, pattern = split_glob(self._base)
            depth = None if "**" in pattern.split("/") else pattern.count("/") + 1
            listed = self._below(folder, depth) if folder else {}
            found = {name: info for name, info in listed.items() if matches(name, pattern)}
        else:
            raise self._missing(self._base)
        if not found:
            hint = "it holds " + (", ".join(sorted(listed)[:8]) or "no files") + (" …" if len(listed) > 8 else "")
            raise SourceError(f"`{self._source}`: no file matches", slug="missing-file", hint=hint)
        return {self._checked(name): self._found(info["name"], info) for name, info in found.items()}

    def paths(self, names: list[str]) -> dict[str, str]:
        """The inverse of `chosen`: where the file of each name is."""
        kind = self._kind(self._base)[0]
        if kind == "file":
            return {name: self._base for name in names}
        folder = self._base if kind == "directory" or not is_glob(self._base) else split_glob(self._base)[0]
        return {name: f"{folder}/{name}" for name in names}

    def look(self, path: str) -> Found:
        """One file as it is now."""
        kind, info = self._kind(path)
        if kind != "file":
            raise self._missing(path)
        return self._found(path, info)

    def reader(self, found: Found) -> Ask:
        """Its bytes for `transfer.fetch`, from any of them on."""

        @contextmanager
        def ask(start: int, stamp: str) -> Iterator[Answer]:
            now = self.look(found.path)
            if (stamp and stamp != now.stamp) or (now.size is not None and start > now.size):
                start = 0
            with self._names():
                stream = self._fs.open(found.path, "rb", block_size=_BLOCK)
            try:
                yield Answer(start, now.size, now.stamp, self._blocks(stream, start, now.size))
            finally:
                with self._names():
                    stream.close()
            if self.look(found.path)._replace(path="") != now._replace(path=""):
                raise Again("download-failed", "it changed while it was read", afresh=True)

        return ask

    def _blocks(self, stream: Any, start: int, size: int | None) -> Iterator[bytes]:
        """Only what the driver does is the driver's failure."""
        with self._names():
            if start:
                stream.seek(start)
            if size and hasattr(stream, "prefetch"):  # paramiko's, which else waits for an answer every 32 KB
                stream.prefetch(size, _REQUESTS)
            block = stream.read(_READ)
        while block:
            yield block
            with self._names():
                block = stream.read(_READ)

    # -- behind it -------------------------------------------------------------------------------

    def _kind(self, path: str) -> tuple[str, dict[str, Any]]:
        """`file`, `directory`, or "" if there is none. What is neither is refused."""

        def look() -> tuple[str, dict[str, Any]]:
            if self._broken:  # a connection that was lost stays lost
                self._fs, _ = _opened(self._source, self._locator)
                self._broken = False
            self._fs.invalidate_cache()
            try:
                info = self._fs.info(path)
            except FileNotFoundError:
                return "", {}
            return info["type"], info

        kind, info = self._ask(look)
        if kind not in ("file", "directory", ""):
            raise self._no_file(path, kind)
        return kind, info

    def _below(self, folder: str, depth: int | None) -> dict[str, dict[str, Any]]:
        """Everything under a folder but folders, by its path in it."""

        def look() -> dict[str, dict[str, Any]]:
            if self._fs.async_impl:
                found = self._fs.find(folder, maxdepth=depth, detail=True).values()
            else:  # whose `find` passes over folders that cannot be read
                walk = self._fs.walk(folder, maxdepth=depth, detail=True, on_error="raise")
                found = [info for _, _, files in walk for info in files.values()]
            return {
                info["name"].rstrip("/")[len(folder) + 1 :]: info for info in found if not info["name"].endswith("/")
            }

        return self._ask(look)

    def _checked(self, name: str) -> str:
        if reason := bad_path(name):
            message = f"`{self._source}`: file name {name!r} {reason}"
            raise SourceError(message, slug="path-outside-project", hint="name other files")
        return name

    def _found(self, path: str, info: dict[str, Any]) -> Found:
        if info["type"] != "file":
            raise self._no_file(path, info["type"])
        version = next((str(info[field]) for field in (*_VERSIONS, "ETag", "etag") if info.get(field)), "").strip('"')
        return Found(path, info.get("size"), _stamp(info), "" if version == "null" else version)

    def _no_file(self, path: str, kind: str) -> SourceError:
        message = f"`{self._source}`: `{path}` is neither a file nor a folder, but {kind}"
        return SourceError(message, slug="not-a-file", hint="links and devices are not followed: name other files")

    def _missing(self, path: str) -> SourceError:
        folder, _, name = path.rpartition("/")
        try:
            beside = (
                [str(p).rstrip("/").rpartition("/")[2] for p in self._fs.ls(folder, detail=False)] if folder else []
            )
        except Exception:  # a hint is not worth an error of its own
            beside = []
        hint = nearest(name, beside) or "check the path, and whether the login may list it"
        return SourceError(f"`{self._source}`: there is no `{path}`", slug="missing-file", hint=hint)

    def _ask(self, question: Callable[[], T]) -> T:
        for attempt in range(1, TRIES + 1):
            try:
                with self._names():
                    return question()
            except Again as e:
                if attempt == TRIES:
                    hint = f"tried {TRIES} times in a row; check the network and the driver's settings"
                    raise SourceError(f"`{self._source}`: {e.why}", slug=e.slug, hint=hint) from e
                time.sleep(FIRST_WAIT * 2 ** (attempt - 1))
        raise AssertionError("unreachable")

    @contextmanager
    def _names(self) -> Iterator[None]:
        try:
            yield
        except (TunekitError, Again):
            raise
        except FileNotFoundError as e:
            raise SourceError(f"`{self._source}`: {e} is not there", slug="missing-file", hint="check the path") from e
        except Exception as e:  # each driver has errors of its own
            name, why = type(e).__name__, f"{type(e).__name__}: {e}".rstrip(": ").split("\n")[0]
            if isinstance(e, PermissionError) or "Credential" in name or "Authentication" in name:
                hint = "log in as the driver has it (its environment variables or files); public: FSSPEC_S3_ANON=true"
                message = f"`{self._source}` may not be read ({why})"
                raise SourceError(message, slug="login-refused", hint=hint) from e
            if name == "BadHostKeyException" or "known_hosts" in str(e):
                hint = "compare its key with what its owner says, then `ssh HOST` once (or `ssh-keyscan`)"
                message = f"`{self._source}`: the host does not have the key that ~/.ssh/known_hosts says ({why})"
                raise SourceError(message, slug="unknown-host", hint=hint) from e
            self._broken = True
            raise Again("source-unreachable", f"the driver failed ({why})") from e


def _opened(source: str, locator: Locator) -> tuple[Any, str]:
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    try:
        if locator.scheme in ("ssh", "sftp"):
            from tunekit.sources.fs_sftp import KnownHosts

            options = KnownHosts._get_kwargs_from_urls(locator.name)
            return KnownHosts(skip_instance_cache=True, **options), KnownHosts._strip_protocol(locator.name).rstrip("/")
        fs, path = fsspec.core.url_to_fs(locator.name, skip_instance_cache=True)
    except ImportError as e:
        package = _PACKAGES.get(locator.scheme) or _class_of(locator.scheme).partition(".")[0]
        message = f"`{source}`: the driver of `{locator.scheme}:` is not installed"
        raise SourceError(message, slug="driver-missing", hint=f"`pip install {package}`") from e
    except (ValueError, TypeError) as e:
        raise SourceError(f"`{source}`: {e}", slug="source-syntax", hint="the driver does not take this URL") from e
    if isinstance(fs, LocalFileSystem):
        message = f"`{source}` names files of this machine"
        raise SourceError(message, slug="path-outside-project", hint="use `path:` with `pin = true`")
    return fs, path.rstrip("/")


def _class_of(scheme: str) -> str:
    from fsspec.registry import known_implementations

    return str(known_implementations.get(scheme, {}).get("class", scheme))


def _stamp(info: dict[str, Any]) -> str:
    tags = [f"{field}={info[field]}" for field in _TAGS if info.get(field)]
    if not tags:
        times = [info[field] for field in _TIMES if info.get(field)]
        tags = [f"time={times[0]}"] if times and _age(times[0]) > _SETTLED else []
    return " ".join([*tags, f"size={info.get('size')}"]) if tags else ""


def _age(moment: Any) -> float:
    """Seconds; 0 if that cannot be told."""
    if isinstance(moment, datetime):
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return time.time() - moment if isinstance(moment, (int, float)) else 0.0
