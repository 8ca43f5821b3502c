"""Sources that are URLs (`git:`, `https:`, `http:`, those of fsspec): what they say, before anything is looked up.

A password in one is refused: the string stands in TOML, in the lock and in records. Plain `http:` and `git://` are for
this machine, and for hosts that the user (not the project) names in TUNEKIT_PLAIN_HTTP: what a stranger on the way may
change must not be what gets pinned.
"""

from __future__ import annotations

import ipaddress
import os
import re
from typing import NoReturn
from urllib.parse import SplitResult, unquote, urlsplit

from tunekit.errors import SourceError
from tunekit.lockfile import bad_path

GIT_EXAMPLE = "`git:https://host/name.git@main#folder/*.jsonl`; `@branch, tag or commit` and `#path` may be left out"
WEB_EXAMPLE = "`https://host/folder/file.jsonl`, or `https://host/file.tar.gz#path/in/the/archive`"
FS_EXAMPLE = "`s3://bucket/folder/*.parquet`: a file, a folder or a glob"
PLAIN = "TUNEKIT_PLAIN_HTTP"
_GIT = ("https", "ssh", "file", "http", "git")
_AUTHORITY = re.compile(r"(?:(?P<user>\w[\w.+-]*)@)?(?P<host>\w[\w.-]*|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?\Z", re.ASCII)
_SCP = re.compile(r"(?:\w[\w.+-]*@)?\w[\w.-]*:[^:/-][^:]*\Z", re.ASCII)  # what ssh calls it: `git@host:folder/name.git`
_NO_REF = re.compile(r"(\A[-./])|\.\.|@\{|//|[\s~^:?*\[\\\x00-\x20\x7f]|[./]\Z|\.lock\Z|\A@\Z")
_LOGIN = "name the user in ~/.netrc (or the file that NETRC names), or use git's or the driver's own login"


def git_parts(source: str, rest: str) -> tuple[str, str, str]:
    """URL, revision and path of `URL[@revision][#path]`. The revision is what follows the last `@` of the path."""
    named, hash_sign, fragment = rest.partition("#")
    fragment = _fragment(source, hash_sign, fragment, GIT_EXAMPLE)
    scheme, separator, after = named.partition("://")
    authority, slash, path = after.partition("/") if separator else ("", "", named.partition(":")[2])
    before, at, revision = path.rpartition("@")
    if not at:
        before, revision = path, ""
    elif not revision:
        _syntax(source, "there is no revision after `@`", GIT_EXAMPLE)
    url = named[: len(named) - len(at + revision)]
    if revision and _NO_REF.search(revision):
        _syntax(source, f"{revision!r} is not a branch, tag or commit", GIT_EXAMPLE)
    if not separator:
        if not _SCP.match(url) or "::" in url or _strange(url):
            _syntax(source, f"{url!r} is not the URL of a repository", GIT_EXAMPLE)
        return url, revision, fragment
    if scheme not in _GIT or not slash or not before or "::" in before or _strange(before):
        _syntax(source, f"{url!r} is not a URL that git may be asked for ({', '.join(_GIT)})", GIT_EXAMPLE)
    if scheme == "file":
        if authority not in ("", "localhost"):
            _syntax(source, "a `file://` URL names no host", "`git:file:///folder/name.git`")
        return url, revision, fragment
    found = _authority(source, authority, GIT_EXAMPLE, user_allowed=scheme == "ssh")
    if scheme in ("http", "git"):
        refuse_plain(source, found, scheme)
    return url, revision, fragment


def web_parts(source: str) -> tuple[str, str]:
    """URL, and path in the archive that it is."""
    url, hash_sign, fragment = source.partition("#")
    fragment = _fragment(source, hash_sign, fragment, WEB_EXAMPLE)
    split = _split(source, url, WEB_EXAMPLE)
    host = _authority(source, split.netloc, WEB_EXAMPLE, user_allowed=False)
    if split.scheme == "http":
        refuse_plain(source, host, "http")
    if reason := bad_path(file_name(url)) or ("has a slash" if "/" in file_name(url) else ""):
        _syntax(source, f"the file's name {file_name(url)!r} {reason}", WEB_EXAMPLE)
    return url, fragment


def fs_parts(source: str) -> tuple[str, str]:
    """URL, and a path or glob below it. What a part of it means is the driver's business, but for passwords, `..` and
    drivers inside drivers (`zip::…`)."""
    url, hash_sign, fragment = source.partition("#")
    fragment = _fragment(source, hash_sign, fragment, FS_EXAMPLE)
    _, _, rest = url.partition("://")
    if not rest or rest != rest.strip() or any(ord(c) < 32 or ord(c) == 127 or c == "\\" for c in url):
        _syntax(source, "it is not `scheme://place/path`", FS_EXAMPLE)
    if "::" in url or "://" in rest:
        _syntax(source, "it puts one file system into another", "name the files where they lie: " + FS_EXAMPLE)
    if ".." in rest.split("/"):
        _syntax(source, "it has a `..` part", FS_EXAMPLE)
    authority = rest.partition("/")[0]
    if ":" in authority.rpartition("@")[0]:
        _secret(source)
    return url, fragment


def file_name(url: str) -> str:
    """What the file of a URL is called in an artifact: the last part of its path."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def is_plain_allowed(host: str) -> bool:
    """Whether a host may be spoken to without encryption: this machine, or one that the user names."""
    host = host.strip("[]").lower()
    try:
        if ipaddress.ip_address(host).is_loopback:
            return True
    except ValueError:
        pass
    return host == "localhost" or host in [name.strip().lower() for name in os.environ.get(PLAIN, "").split(",")]


def refuse_plain(source: str, host: str, scheme: str) -> None:
    """SourceError `insecure-source`."""
    if not is_plain_allowed(host):
        hint = f"use `https:`; if you know the network to be safe: {PLAIN}={host}"
        message = f"`{source}`: `{scheme}:` is not encrypted, so anyone on the way to {host} can change the files"
        raise SourceError(message, slug="insecure-source", hint=hint)


def _authority(source: str, authority: str, example: str, *, user_allowed: bool) -> str:
    """The host of `[user@]host[:port]`."""
    if "@" in authority and (not user_allowed or ":" in authority.rpartition("@")[0]):
        _secret(source)
    found = _AUTHORITY.match(authority)
    if found is None:
        _syntax(source, f"{authority!r} is not a host", example)
    return found["host"]


def _split(source: str, url: str, example: str) -> SplitResult:
    try:
        split = urlsplit(url)
    except ValueError as e:
        _syntax(source, str(e), example)
    if not url.isascii() or _strange(url) or not split.netloc:
        _syntax(source, "it is not a URL (other characters are written `%20`)", example)
    return split


def _strange(text: str) -> bool:
    return any(c.isspace() or ord(c) < 32 or ord(c) == 127 or c in '\\"<>' for c in text)


def _fragment(source: str, hash_sign: str, fragment: str, example: str) -> str:
    fragment = fragment.rstrip("/")
    if hash_sign and (reason := bad_path(fragment)):
        _syntax(source, f"the path {fragment!r} {reason}", example)
    return fragment


def _secret(source: str) -> NoReturn:
    """The message must not hold the secret either."""
    shown = re.sub(r"//[^/]*@", "//…@", source)
    message = f"`{shown}` holds a login, which would be written into the lock"
    raise SourceError(message, slug="credentials-in-source", hint=_LOGIN)


def _syntax(source: str, why: str, hint: str) -> NoReturn:
    raise SourceError(f"`{source}` is not a source: {why}", slug="source-syntax", hint=hint)
