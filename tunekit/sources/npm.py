"""`npm:name@version#path`: files inside an npm package, from the registry of the user's npm, opened as data.

The registry's `integrity` (sha512) is checked as the tarball comes, and our own sha256 is pinned beside it; the lock
names neither the registry nor a login. Nothing of a package is run.
"""

from __future__ import annotations

from pathlib import Path

from tunekit.errors import SourceError, nearest
from tunekit.lockfile import Archive, SourceBlock
from tunekit.sources import download as dl
from tunekit.sources.deliver import Place, Progress, changed
from tunekit.sources.locator import Locator, parse_locator
from tunekit.sources.npm_registry import Package, Release, ask, fetch, session_of
from tunekit.sources.npm_settings import NpmSettings, npm_settings
from tunekit.sources.packed import deliver_packed, packed_block


def resolve(source: str, place: Place, progress: Progress) -> SourceBlock:
    """Pin a package: its version, the tarball, the used files.

    SourceError: `package-not-found`, `version-not-found`, `version-deprecated`, `registry-unreachable`,
    `registry-refuses`, `bad-registry`, `offline`, `npm-settings`, `missing-file`, and those of `download`, `archive`.
    """
    locator = parse_locator(source)
    settings = npm_settings(_scope(locator.name))
    if place.offline:
        raise _offline(f"package `{locator.name}`")
    with session_of(settings) as client:
        release = _choose(locator, ask(locator.name, client, settings))
        if release.deprecated:
            place.warn(f"warning: `{source}` is deprecated: {release.deprecated}")
        file, digest = fetch(release, client, settings, place.cache, progress)
    archive = Archive(release.filename, file.stat().st_size, digest)
    return packed_block(source, release.version, archive, file, locator)


def materialise(block: SourceBlock, out_dir: Path, place: Place, progress: Progress) -> None:
    """Write the block's files from the pinned tarball. SourceError: as above, and `source-changed`."""
    if block.archive is None:
        raise SourceError(f"`{block.source}` has no archive in the lock", slug="source-changed", hint="`tunekit lock`")
    locator = parse_locator(block.source)
    file = dl.cached_archive(place.cache, block.archive.sha256)
    if file is None:
        if place.offline:
            raise _offline(f"`{block.archive.name}` of `{block.source}`")
        settings = npm_settings(_scope(locator.name))
        file = _fetch_pinned(block, block.archive, locator, settings, place, progress)
    deliver_packed(block, file, locator, out_dir, progress)


def _fetch_pinned(
    block: SourceBlock, archive: Archive, locator: Locator, settings: NpmSettings, place: Place, progress: Progress
) -> Path:
    """The locked version's tarball, deprecated or not; the lock's sha256 decides."""
    with session_of(settings) as client:
        release = ask(locator.name, client, settings).releases.get(block.revision)
        if release is None:
            raise changed(f"`{block.source}`: the registry has no version {block.revision} any more")
        return fetch(release, client, settings, place.cache, progress, archive.sha256)[0]


def _choose(locator: Locator, package: Package) -> Release:
    """`@1.2.3` is that version, deprecated or not; `@tag` and nothing (`latest`) are what the registry tags so."""
    wanted = locator.revision or "latest"
    if (exact := package.releases.get(wanted)) is not None:
        return exact
    version = package.tags.get(wanted, "")
    if (release := package.releases.get(version)) is None:
        known = [*package.tags, *package.releases]
        close = nearest(wanted, known)
        last = ", ".join(list(package.releases)[-5:])
        hint = close if close.startswith("did") else f"there are {last or 'none'}; ranges (`^1.0`) are not read"
        raise SourceError(f"`{locator.name}` has no version `{wanted}`", slug="version-not-found", hint=hint)
    if release.deprecated:
        message = f"`{locator.name}` {version} is deprecated: {release.deprecated}"
        hint = f"to use it all the same, name it: `@{version}`"
        raise SourceError(message, slug="version-deprecated", hint=hint)
    return release


def _scope(name: str) -> str:
    return name.partition("/")[0] if name.startswith("@") else ""


def _offline(what: str) -> SourceError:
    hint = "leave out --offline (or --frozen) once; what was fetched is kept in the cache"
    return SourceError(f"{what} is not on this machine", slug="offline", hint=hint)
