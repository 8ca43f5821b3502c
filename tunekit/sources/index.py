"""What the user's package indexes offer of one distribution, as links; nothing is downloaded here.

`unearth` reads the pages (PEP 503, PEP 691, find-links). Each source is asked on its own, so that one that is
down is named and not taken for one that has nothing.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, cast

from tunekit.errors import SourceError
from tunekit.sources.pip_settings import PipSettings

if TYPE_CHECKING:
    import httpx2
    from packaging.version import Version
    from unearth import Link
    from unearth.fetchers import Fetcher, PyPIClient

_SDIST = (".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tar.xz", ".tbz", ".txz", ".tar")
_PURE_WHEEL, _SDIST_RANK, _OTHER_WHEEL = 0, 1, 2


class Candidate(NamedTuple):
    """One file of one version. The smallest of a version is the one we take: a pure wheel, else an sdist, else
    any wheel; then by build tag, name and order of the indexes, so that the choice is the same everywhere."""

    rank: int
    build: int
    filename: str
    order: int
    version: Version
    link: Link


class Offer(NamedTuple):
    """All candidates, what was asked, and what could not be (`(source, why)`)."""

    candidates: list[Candidate]
    asked: list[str]
    failed: list[tuple[str, str]]


@contextmanager
def session_of(settings: PipSettings) -> Iterator[PyPIClient]:
    """An HTTP client with pip's certificates, proxy, timeout and trusted hosts. It follows redirects, but never
    to a file of this machine or to an unsafe host, and it never asks for a password."""
    from unearth.auth import MultiDomainBasicAuth
    from unearth.fetchers import PyPIClient

    client = PyPIClient(
        trusted_hosts=settings.trusted_hosts,
        verify=_certificates(settings.cert),
        timeout=settings.timeout,
        follow_redirects=True,
        headers={"Accept-Encoding": "identity"},
        proxy=settings.proxy or None,
    )
    client.event_hooks = {"response": [lambda response: _check_redirect(client, response)]}
    client.auth = MultiDomainBasicAuth(prompting=False, index_urls=[u for u in settings.index_urls if u])
    try:
        yield client
    finally:
        client.close()


def _certificates(cert: str) -> ssl.SSLContext | bool:
    try:
        return ssl.create_default_context(cafile=cert) if cert else True
    except (OSError, ssl.SSLError) as e:
        message = f"pip's setting `cert` names {cert}, which cannot be used: {e}"
        raise SourceError(message, slug="pip-settings", hint="`pip config list` shows where it is set") from e


def _check_redirect(client: PyPIClient, response: httpx2.Response) -> None:
    if response.has_redirect_location:
        target = str(response.url.join(response.headers["location"]))
        if why := refused(client, target, local=False):
            raise SourceError(f"a package index redirects to a place that {why}", slug="redirect-refused")


def _fetcher(client: PyPIClient) -> Fetcher:
    """unearth's own client, as the protocol that its other half asks for (their annotations differ)."""
    return cast("Fetcher", client)


def refused(client: PyPIClient, url: str, *, local: bool) -> str:
    """Why nothing may be read from `url`, or "". `local`: a file of this machine is fine."""
    from unearth import Link
    from unearth.collector import is_secure_origin

    link = Link(url)
    if link.is_vcs:
        return "is a repository, not a file"
    if link.is_file:
        return "" if local else "is a file of this machine"
    if not is_secure_origin(_fetcher(client), link):
        return "is not https (pip's `trusted-host` setting allows it)"
    return ""


def offer_of(name: str, client: PyPIClient, settings: PipSettings, *, offline: bool) -> Offer:
    """Every file of distribution `name` (any platform, yanked ones too). Offline: only what is on this machine."""
    from unearth import Link

    found: list[Candidate] = []
    asked: list[str] = []
    failed: list[tuple[str, str]] = []
    sources = [(url or _default_index(), True) for url in settings.index_urls]
    sources += [(place, False) for place in settings.find_links]
    for order, (place, is_index) in enumerate(sources):
        url = Link(place) if "://" in place else Link.from_path(os.path.abspath(place))
        if (offline and not url.is_file) or (not is_index and url.is_file and not url.file_path.exists()):
            continue  # pip, too, ignores a find-links folder that is not there
        asked.append(url.redacted)
        why = refused(client, url.url, local=True)
        candidates: list[Candidate] = []
        if not why:
            candidates, why = _ask(name, client, url.url, is_index, order)
        found += [c for c in candidates if not refused(client, c.link.url, local=url.is_file)]
        failed += [(url.redacted, why)] if why else []
    return Offer(found, asked, failed)


def _default_index() -> str:
    """The index that pip asks where none is configured."""
    from unearth import PackageFinder

    return PackageFinder().sources[0]["url"]


def _ask(name: str, client: PyPIClient, url: str, is_index: bool, order: int) -> tuple[list[Candidate], str]:
    """What one index or link page has, and why it could not be asked ("": it could)."""
    import httpx2
    from unearth import PackageFinder

    statuses: list[int] = []

    def note(response: httpx2.Response) -> None:
        statuses.append(response.status_code)

    hooks = client.event_hooks
    client.event_hooks = {"response": [*hooks["response"], note]}
    indexes, pages = ([url], []) if is_index else ([], [url])
    finder = PackageFinder(_fetcher(client), index_urls=indexes, find_links=pages, ignore_compatibility=True)
    try:
        packages = list(finder.find_all_packages(name, allow_yanked=True))
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as e:
        return [], f"{type(e).__name__}: {e}".rstrip(": ")
    finally:
        client.event_hooks = hooks
    if not packages and statuses and statuses[-1] >= 400 and statuses[-1] not in (404, 410):
        return [], f"HTTP status {statuses[-1]}"
    return [c for p in packages if (c := _candidate(p.version or "", p.link, order))], ""


def _candidate(version: str, link: Link, order: int) -> Candidate | None:
    from packaging.utils import parse_wheel_filename
    from packaging.version import Version

    filename = link.filename
    if link.is_wheel:
        _, _, build, tags = parse_wheel_filename(filename)
        pure = any(t.platform == "any" and t.abi == "none" and t.interpreter == "py3" for t in tags)
        rank = _PURE_WHEEL if pure else _OTHER_WHEEL
        return Candidate(rank, -build[0] if build else 0, filename, order, Version(version), link)
    kind = next((i for i, suffix in enumerate(_SDIST) if filename.lower().endswith(suffix)), None)
    return None if kind is None else Candidate(_SDIST_RANK, kind, filename, order, Version(version), link)
