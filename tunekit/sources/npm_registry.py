"""An npm registry: what it says of a package, and its tarballs. What it says is data of a stranger."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

from tunekit.errors import SourceError
from tunekit.lockfile import bad_path
from tunekit.sources import download as dl
from tunekit.sources import index
from tunekit.sources.deliver import Progress
from tunekit.sources.npm_settings import NpmSettings

if TYPE_CHECKING:
    import httpx2
    from unearth.fetchers import PyPIClient

MAX_DOCUMENT = 64 << 20  # what a registry says of one package; with 10,000 versions some 10 MB
_SHORT = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8"
_ALGORITHMS = ("sha512", "sha384", "sha256")


class Release(NamedTuple):
    """One version. `hashes`: what the tarball must have, algorithm → hex digits. `deprecated`: why, or ""."""

    version: str
    url: str
    filename: str
    hashes: dict[str, str]
    deprecated: str


class Package(NamedTuple):
    """`releases` by version, in the registry's order; `tags`: `latest` and others → version."""

    releases: dict[str, Release]
    tags: dict[str, str]


@contextmanager
def session_of(settings: NpmSettings) -> Iterator[PyPIClient]:
    """The client of `pypi:` (certificates, proxy, no redirect to an unsafe place) with npm's logins, each for the
    place that it is bound to and for no other, redirects included."""
    import httpx2

    class Login(httpx2.Auth):
        def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
            if header := settings.header_for(str(request.url)):
                request.headers["Authorization"] = header
            yield request

    with index.session_of(settings.http) as client:
        client.auth = Login()
        yield client


def ask(name: str, client: PyPIClient, settings: NpmSettings) -> Package:
    """All versions of a package. SourceError: `package-not-found`, `registry-unreachable`, `registry-refuses`,
    `bad-registry`."""
    import httpx2

    url = settings.registry + quote(name, safe="@")
    _check(client, url)
    why = ""
    for attempt in range(dl.TRIES):
        time.sleep(dl.RETRY_AFTER * 4**attempt if attempt else 0)
        try:
            status, body = _get(client, url)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as e:
            why = f"{type(e).__name__}: {e}".rstrip(": ")
            continue
        if status == 200:
            return _package(name, body)
        if status in (401, 403):
            hint = "log in with `npm login`; `npm whoami` says as whom"
            raise SourceError(f"the npm registry refuses `{name}` ({status})", slug="registry-refuses", hint=hint)
        if status in (404, 410):
            hint = "check the name; a registry also says so of private packages that need a login"
            raise SourceError(f"npm package `{name}` was not found", slug="package-not-found", hint=hint)
        why = f"HTTP status {status}"
        if status < 500 and status != 429:
            break
    hint = "check the network and npm's settings (`npm config list`), then try again"
    raise SourceError(f"`{name}`: the npm registry cannot be asked ({why})", slug="registry-unreachable", hint=hint)


def fetch(
    release: Release, client: PyPIClient, settings: NpmSettings, cache: Path, progress: Progress, sha256: str = ""
) -> tuple[Path, str]:
    """The tarball in the cache, and its sha256. A mirror's documents name the tarballs of the registry that it copies:
    they are asked of the mirror first, under the same path."""
    from unearth import Link

    urls = list(dict.fromkeys([_at_registry(release.url, settings.registry), release.url]))
    for place, url in enumerate(urls):
        _check(client, url)
        link = Link(url)
        link.hashes = dict(release.hashes)
        try:
            return dl.download(link, client, cache, progress, sha256)
        except SourceError as e:
            if e.slug != "download-failed" or place == len(urls) - 1:
                raise
    raise AssertionError("unreachable")


def _get(client: PyPIClient, url: str) -> tuple[int, bytes]:
    body = bytearray()
    with client.stream("GET", url, headers={"Accept": _SHORT}) as response:
        if response.status_code == 200:
            for block in response.iter_bytes(1 << 20):
                body += block
                if len(body) > MAX_DOCUMENT:
                    raise bad("it says more than 64 MiB of one package")
        return response.status_code, bytes(body)


def _check(client: PyPIClient, url: str) -> None:
    if why := index.refused(client, url, local=False):
        raise SourceError(f"the npm registry names a place that {why}", slug="redirect-refused")


def bad(why: str) -> SourceError:
    hint = "is `registry` in npm's settings an npm registry? (`npm config get registry`)"
    return SourceError(f"the npm registry's answer cannot be used: {why}", slug="bad-registry", hint=hint)


def _package(name: str, body: bytes) -> Package:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as e:
        raise bad(f"{type(e).__name__}") from None
    versions, tags = _table(document, "versions"), _table(document, "dist-tags")
    releases = {}
    for version, said in versions.items():
        if (release := _release(name, version, said)) is not None:
            releases[version] = release
    return Package(releases, {k: v for k, v in tags.items() if isinstance(v, str)})


def _table(document: Any, key: str) -> dict[str, Any]:
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise bad(f"it has no table `{key}`")
    return found


def _release(name: str, version: str, said: Any) -> Release | None:
    """None for a version whose entry names no tarball with a digest that could be checked."""
    dist = said.get("dist") if isinstance(said, dict) else None
    url = dist.get("tarball") if isinstance(dist, dict) else None
    if not isinstance(dist, dict) or not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https"):
        return None
    hashes = _integrity(dist.get("integrity"), dist.get("shasum"))
    filename = f"{name.rpartition('/')[2]}-{version}.tgz"
    if not hashes or bad_path(filename) or "/" in filename:
        return None
    deprecated = said.get("deprecated")
    why = deprecated if isinstance(deprecated, str) else "no reason given" * bool(deprecated)
    return Release(version, url, filename, hashes, why)


def _integrity(text: Any, shasum: Any) -> dict[str, str]:
    """Subresource integrity (`sha512-base64 …`) as hex digits; of packages older than it, the sha1 that there is."""
    out: dict[str, str] = {}
    for word in text.split() if isinstance(text, str) else []:
        algorithm, _, rest = word.partition("-")
        try:
            digest = base64.b64decode(rest.partition("?")[0], validate=True).hex()
        except ValueError:
            continue
        if algorithm in _ALGORITHMS and len(digest) * 4 == int(algorithm[3:]):
            out[algorithm] = digest
    if not out and isinstance(shasum, str) and len(shasum) == 40:
        out["sha1"] = shasum.lower()
    return out


def _at_registry(url: str, registry: str) -> str:
    ours, there = urlsplit(registry), urlsplit(url)
    if ours.netloc == there.netloc:
        return url
    return urlunsplit((ours.scheme, ours.netloc, ours.path.rstrip("/") + there.path, "", ""))
