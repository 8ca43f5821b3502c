"""`pypi:name@version#path`: files inside a package, found where the user's pip looks, opened as data."""

from __future__ import annotations

import bisect
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.errors import SourceError
from tunekit.lockfile import Archive, SourceBlock
from tunekit.sources import download as dl
from tunekit.sources.deliver import Place, Progress, changed
from tunekit.sources.index import Candidate, Offer, offer_of, session_of
from tunekit.sources.locator import Locator, parse_locator
from tunekit.sources.packed import deliver_packed, packed_block
from tunekit.sources.pip_settings import pip_settings

if TYPE_CHECKING:
    from packaging.version import Version


def resolve(source: str, place: Place, progress: Progress) -> SourceBlock:
    """Pin a package: choose the version and the file, fetch it (or find it in the cache), list the used files.

    SourceError: `package-not-found`, `version-not-found`, `version-yanked`, `no-release`, `index-unreachable`,
    `offline`, `missing-file`, and those of `download` and `archive`.
    """
    locator = parse_locator(source)
    cache, offline = place.cache, place.offline
    settings = pip_settings()
    with session_of(settings) as client:
        offer = offer_of(locator.name, client, settings, offline=offline)
        chosen = _choose(locator, offer, offline)
        if chosen.link.is_yanked:
            place.warn(f"warning: `{source}` was withdrawn (yanked){_reason(chosen)}")
        known = dl.published_sha256(chosen.link)
        file, digest = (dl.cached_archive(cache, known) if known else None), known
        if file is None:
            file, digest = dl.download(chosen.link, client, cache, progress)
    archive = Archive(chosen.filename, file.stat().st_size, digest)
    return packed_block(source, str(chosen.version), archive, file, locator)


def materialise(block: SourceBlock, out_dir: Path, place: Place, progress: Progress) -> None:
    """Write the block's files from the pinned archive. SourceError: as above, and `source-changed`."""
    if block.archive is None:
        raise SourceError(f"`{block.source}` has no archive in the lock", slug="source-changed", hint="`tunekit lock`")
    locator = parse_locator(block.source)
    file = dl.cached_archive(place.cache, block.archive.sha256) or _fetch_pinned(block, locator, place, progress)
    deliver_packed(block, file, locator, out_dir, progress)


def _fetch_pinned(block: SourceBlock, locator: Locator, place: Place, progress: Progress) -> Path:
    """The locked archive, from any index that has it (yanked or not); the lock's sha256 decides."""
    assert block.archive is not None
    pinned = block.archive
    cache, offline = place.cache, place.offline
    settings = pip_settings()
    problems: list[SourceError] = []
    with session_of(settings) as client:
        offer = offer_of(locator.name, client, settings, offline=offline)
        same = sorted((c for c in offer.candidates if c.filename == pinned.name), key=lambda c: c.order)
        listed = [c for c in same if dl.published_sha256(c.link) in ("", pinned.sha256)]
        for candidate in listed:
            try:
                return dl.download(candidate.link, client, cache, progress, pinned.sha256)[0]
            except SourceError as e:
                problems.append(e)
    if problems:
        raise problems[0]
    if same:
        raise changed(f"`{block.source}`: every index lists other bytes for `{pinned.name}` than the lock")
    raise _not_there(f"`{pinned.name}` of `{block.source}`", offer, offline)


def _choose(locator: Locator, offer: Offer, offline: bool) -> Candidate:
    """The file to pin; every index must have answered, or the choice would depend on the weather."""
    from packaging.version import InvalidVersion, Version

    if offer.failed or not offer.candidates:
        raise _not_there(f"package `{locator.name}`", offer, offline)
    usable = [c for c in offer.candidates if not c.link.is_yanked]
    versions = sorted({c.version for c in usable})
    if not locator.revision:
        releases = [v for v in versions if not v.is_prerelease]
        if not releases:
            raise _no_release(locator.name, versions, offer)
        wanted = releases[-1]
    else:
        try:
            wanted = Version(locator.revision)
        except InvalidVersion:
            message = f"`{locator.revision}` is not a version of `{locator.name}`"
            raise SourceError(message, slug="version-not-found", hint=f"there are {_some(versions)}") from None
        if wanted not in versions:  # whoever names a withdrawn version gets it (PEP 592)
            usable = [c for c in offer.candidates if c.version == wanted]
        if not usable:
            at = bisect.bisect(versions, wanted)
            hint = f"there are {_some(versions[max(0, at - 2) : at + 2])}"
            message = f"`{locator.name}` has no version {wanted}"
            raise SourceError(message, slug="version-not-found", hint=hint)
    return min((c for c in usable if c.version == wanted), key=lambda c: c[:4])


def _no_release(name: str, versions: list[Version], offer: Offer) -> SourceError:
    if versions:
        hint = f"name one: `@version`; there are {_some(versions)}"
        return SourceError(f"package `{name}` has no release", slug="no-release", hint=hint)
    last = max(offer.candidates, key=lambda c: c.version)
    message = f"all versions of `{name}` were withdrawn (yanked), {last.version} too{_reason(last)}"
    return SourceError(message, slug="version-yanked", hint=f"to use one all the same, name it: `@{last.version}`")


def _reason(candidate: Candidate) -> str:
    return f": {candidate.link.yank_reason}" if candidate.link.yank_reason else ""


def _some(versions: list[Version]) -> str:
    return ", ".join(str(v) for v in versions[-5:]) or "none"


def _not_there(what: str, offer: Offer, offline: bool) -> SourceError:
    if offline:
        hint = "leave out --offline (or --frozen) once; what was fetched is kept in the cache"
        return SourceError(f"{what} is not on this machine", slug="offline", hint=hint)
    if offer.failed:
        place, why = offer.failed[0]
        hint = "check the network and pip's settings (`pip config list`), then try again"
        return SourceError(f"{what}: {place} cannot be asked ({why})", slug="index-unreachable", hint=hint)
    places = ", ".join(offer.asked) or "nowhere: pip's settings name no index and no find-links"
    hint = "check the name and pip's settings (`pip config list`)"
    return SourceError(f"{what} was not found; asked {places}", slug="package-not-found", hint=hint)
