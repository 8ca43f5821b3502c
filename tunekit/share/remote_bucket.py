"""A remote behind any fsspec URL: S3 and other object stores, ssh, … fsspec and its driver are loaded when used."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

from tunekit.errors import RemoteError, UsageError
from tunekit.hashing import sha256_bytes, sha256_file
from tunekit.share.remote_folder import fault_of
from tunekit.share.remote_place import SMALL, Item, Outcome, denied, halt_if, unreachable
from tunekit.share.remote_pool import side_by_side

_AT_ONCE = 16
_INLINE = 8 << 20  # a file of at most this size is read once: hashed, then sent
_MANY = 400  # so many names are looked for by listing
_LISTED = {"s3", "s3a", "gs", "gcs"}  # whose drivers list by the beginning of a name
# A put there is whole or not at all; elsewhere a file gets its name after it was carried over.
_ATOMIC = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "memory", "oci", "oss", "r2"}


class Bucket:
    """`url` as in `s3://bucket/prefix`."""

    writable = True
    halted = False

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._fs, self._root = _open(self.url)
        self._scheme = self.url.partition("://")[0]
        self._atomic = self._scheme in _ATOMIC

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    # -- reading -------------------------------------------------------------------------------

    def read(self, names: list[str]) -> dict[str, bytes]:
        if not names:
            return {}
        paths = [self._path(name) for name in names]
        try:
            got = self._fs.cat_ranges(paths, 0, SMALL + 1, on_error="return")
        except Exception as e:
            raise self._named(e) from e
        found = {}
        for name, data in zip(names, got, strict=True):
            if isinstance(data, bytes):
                if len(data) <= SMALL:
                    found[name] = data
            elif not _absent(data):
                raise self._named(data) from data
        return found

    def get(self, items: list[Item]) -> Iterator[Outcome]:
        return side_by_side(self._get, items, _AT_ONCE)

    def _get(self, item: Item) -> Outcome:
        path = self._path(item.name)
        halt_if(self)
        try:
            if item.size <= _INLINE:
                data = self._fs.cat_file(path, start=0, end=item.size + 1) if item.size else self._fs.cat_file(path)
                with open(os.open(item.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444), "wb") as f:
                    f.write(data)
                return Outcome(item, fault_of(item, sha256_bytes(data), len(data)))
            there = int(self._fs.info(path)["size"])
            if there != item.size:  # not fetched at all: it may be of any size
                return Outcome(item, fault_of(item, "", there))
            self._fs.get_file(path, item.path)
        except Exception as e:
            if _absent(e):
                return Outcome(item, "is not there", lost=True)
            raise self._named(e) from e
        os.chmod(item.path, 0o444)
        return Outcome(item, fault_of(item, sha256_file(item.path), os.stat(item.path).st_size))

    def sizes(self, names: list[str]) -> dict[str, int]:
        if len(names) > _MANY and self._scheme in _LISTED:
            return self._listed(names)
        found = {}
        for outcome in side_by_side(self._size, [Item(name, "", 0, "") for name in names], _AT_ONCE * 2):
            if not outcome.lost:
                found[outcome.item.name] = outcome.item.size
        return found

    def _listed(self, names: list[str]) -> dict[str, int]:
        """By listing what begins with the same two digits: some hundred requests instead of one a name."""
        wanted = set(names)
        starts = sorted({(name.rpartition("/")[0], name.rpartition("/")[2][:2]) for name in names})
        found: dict[str, int] = {}

        def one(item: Item) -> Outcome:
            folder, start = item.name.rsplit("/", 1)
            try:
                listed = self._fs.find(self._path(folder), prefix=start, detail=True)
            except Exception as e:
                if _absent(e):
                    return Outcome(item)
                raise self._named(e) from e
            for path, info in listed.items():
                name = path.removeprefix(self._root + "/")
                if name in wanted:
                    found[name] = int(info["size"])
            return Outcome(item)

        for _ in side_by_side(one, [Item("/".join(start), "", 0, "") for start in starts], _AT_ONCE):
            pass
        return found

    def _size(self, item: Item) -> Outcome:
        path = self._path(item.name)
        try:
            if self._scheme in ("s3", "s3a"):  # `info` asks a second time whether it is a folder
                bucket, key, _ = self._fs.split_path(path)
                answer = self._fs.call_s3("head_object", Bucket=bucket, Key=key)
                return Outcome(item._replace(size=int(answer["ContentLength"])))
            return Outcome(item._replace(size=int(self._fs.info(path)["size"])))
        except Exception as e:
            if _absent(e):
                return Outcome(item, "is not there", lost=True)
            raise self._named(e) from e

    # -- writing -------------------------------------------------------------------------------

    def open(self) -> None:
        """A bucket is made by whoever pays for it; prefixes need no making."""

    def put(self, items: list[Item]) -> Iterator[Outcome]:
        return side_by_side(self._put, items, _AT_ONCE)

    def _put(self, item: Item) -> Outcome:
        try:
            if item.size <= _INLINE:
                with open(item.path, "rb") as file:
                    data = file.read(item.size + 1)
                fault = fault_of(item, sha256_bytes(data), len(data))
                if not fault:
                    self._write(item.name, data)
                return Outcome(item, fault)
            fault = fault_of(item, sha256_file(item.path), os.stat(item.path).st_size)
            if not fault:
                self._carry(item)
            return Outcome(item, fault)
        except FileNotFoundError as e:
            if os.path.exists(item.path):
                raise self._named(e) from e  # the bucket, not the file
            return Outcome(item, "is not in the store", lost=True)
        except Exception as e:
            raise self._named(e) from e

    def _carry(self, item: Item) -> None:
        path = self._path(item.name)
        if self._atomic:
            self._fs.put_file(item.path, path)
            return
        spare = self._spare()
        self._fs.put_file(item.path, spare)
        self._move(spare, path)

    def _write(self, name: str, data: bytes) -> None:
        if self._atomic:
            self._fs.pipe_file(self._path(name), data)
            return
        spare = self._spare()
        self._fs.pipe_file(spare, data)
        self._move(spare, self._path(name))

    def _spare(self) -> str:
        self._fs.makedirs(self._path("tmp"), exist_ok=True)
        return self._path(f"tmp/{os.urandom(8).hex()}")

    def _move(self, spare: str, path: str) -> None:
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._fs.mv(spare, path)

    def settle(self) -> None:
        """An object store has what it said yes to."""

    def put_new(self, name: str, data: bytes) -> bool:
        path = self._path(name)
        try:
            if self._atomic:
                self._fs.pipe_file(path, data, mode="create")
                return True
            if self._fs.exists(path):
                return False
            self._write(name, data)
            return True
        except FileExistsError:
            return False
        except Exception as e:
            if _taken(e):
                return False
            raise self._named(e) from e

    def replace(self, name: str, data: bytes) -> None:
        try:
            self._write(name, data)
        except Exception as e:
            raise self._named(e) from e

    def _named(self, e: BaseException) -> BaseException:
        if isinstance(e, RemoteError) or (isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT)):
            return e
        if isinstance(e, PermissionError) or type(e).__name__ in ("NoCredentialsError", "CredentialRetrievalError"):
            return denied(self.url, e)
        return unreachable(self.url, e)


def _open(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    scheme = url.partition("://")[0]
    try:
        import fsspec

        fs, root = fsspec.core.url_to_fs(url, **_settings(scheme))
    except ImportError as e:
        hint = "the extra `s3` brings it (pip install s3fs)" if scheme.startswith("s3") else f"install it: {e}"
        raise UsageError(f"remotes of `{scheme}://` need a driver of fsspec", slug="remote-driver", hint=hint) from e
    except ValueError as e:
        hint = "a folder, `s3://bucket/prefix`, another fsspec URL, or `https://…`"
        raise UsageError(f"`{scheme}://` is no URL that fsspec knows", slug="remote-scheme", hint=hint) from e
    return fs, str(root).rstrip("/")


def _settings(scheme: str) -> dict[str, Any]:
    common: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme not in ("s3", "s3a"):
        return common
    from botocore.session import get_session

    # readers need no credentials: without any, requests are not signed
    return {**common, "anon": get_session().get_credentials() is None, "max_concurrency": 8}


def _absent(e: BaseException) -> bool:
    """Whether a name is not there; a bucket that is not there is another matter."""
    return isinstance(e, FileNotFoundError) and "bucket does not exist" not in str(e)


def _taken(e: BaseException) -> bool:
    """Whether an object store said that the name is taken (412, or 409 while another writer is at it)."""
    texts = [str(x) for x in (e, e.__cause__) if x is not None]
    return any("PreconditionFailed" in t or "ConditionalRequestConflict" in t or "At least one of the pre-" in t
               for t in texts)  # fmt: skip
