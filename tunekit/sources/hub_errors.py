"""What went wrong at a hub, by the name that our messages have for it, and whether it is worth another try."""

from __future__ import annotations

from typing import Any, NamedTuple

from tunekit.diskspace import ran_out
from tunekit.errors import SourceError

LONGEST_WAIT = 60  # seconds: a hub that asks for more is reported, not waited for
_FIRST_WAIT = 0.5  # seconds, doubled each time
_BROKEN = 3  # connections that fail before the network is said to be down


class Try(NamedTuple):
    """`wait`: seconds until the request may be sent again; None: it would fail again."""

    slug: str
    why: str
    wait: float | None = None


def trouble(error: Exception, attempt: int) -> Try | None:
    """What an error of huggingface_hub means; None if it is none of the hub's (a full disk, a bug)."""
    import httpx2
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError):  # it tried, and looked into its cache, too
        cause = error.__cause__
        inner = trouble(cause, attempt) if isinstance(cause, Exception) else None
        return inner._replace(wait=None) if inner else Try("offline", "is not in the hub's cache on this machine")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return Try("offline", "is not in the hub's cache on this machine")
    if isinstance(error, errors.HfHubHTTPError):
        return _refused(error, attempt)
    if isinstance(error, errors.FileMetadataError):
        return Try("not-a-hub", str(error).split(". ")[0])
    again = _FIRST_WAIT * 2**attempt if attempt < _BROKEN else None
    if isinstance(error, httpx2.TransportError):
        return Try("hub-unreachable", f"{type(error).__name__}: {error}".rstrip(": "), again)
    if type(error) is OSError and "Consistency check failed" in str(error):
        return Try("hub-unreachable", "the connection was cut", again)
    if isinstance(error, OSError) and error.errno and not ran_out(error):
        return Try("hub-cache", str(error))
    if isinstance(error, (ValueError, KeyError, TypeError, httpx2.InvalidURL)):  # an answer that is not what a hub says
        return Try("not-a-hub", f"{type(error).__name__}: {error}".split("\n")[0])
    return None


def _refused(error: Any, attempt: int) -> Try:
    from huggingface_hub import errors

    status = error.response.status_code if error.response is not None else 0
    if isinstance(error, errors.GatedRepoError):
        return Try("repository-gated", "")
    if isinstance(error, errors.RepositoryNotFoundError):
        return Try("repository-not-found", "")
    if isinstance(error, errors.RevisionNotFoundError):
        return Try("revision-not-found", "")
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return Try("missing-file", "")
    if status == 429:
        seconds = _reset(error.response.headers)
        if seconds is not None and seconds > LONGEST_WAIT:
            return Try("rate-limited", f"it asks to wait {seconds} s")
        return Try("rate-limited", f"asked {attempt} times", _FIRST_WAIT * 2**attempt if seconds is None else seconds)
    if status == 408 or status >= 500:
        return Try("hub-failed", f"HTTP status {status}", _FIRST_WAIT * 2**attempt)
    if status in (401, 403):
        return Try("login-refused", f"HTTP status {status}")
    return Try("hub-failed", f"HTTP status {status}: {error.server_message or 'no reason given'}")


def _reset(headers: Any) -> int | None:
    """Seconds that the hub asks to wait, if it says."""
    from huggingface_hub.utils import parse_ratelimit_headers

    info = parse_ratelimit_headers(headers)
    if info is not None and info.remaining == 0:
        return info.reset_in_seconds
    said = headers.get("Retry-After", "").strip()
    return int(said) if said.isdecimal() else None


def named(slug: str, why: str, source: str, kind: str, name: str, endpoint: str, path: str) -> SourceError:
    """The SourceError of a slug: what, where, why and the way out."""
    page = f"{endpoint}/{'datasets/' if kind == 'dataset' else ''}{name}"
    file = f"`{path}` of " if path else ""
    login = "`hf auth login`, or HF_TOKEN"
    said = {
        "repository-not-found": (
            f"`{source}`: the hub has no {kind} `{name}`, or it is private",
            f"check the name on {endpoint}; if it is private, log in first ({login})",
        ),
        "repository-gated": (
            f"`{source}` is gated: its owner wants its terms accepted first",
            f"accept them on {page}, then log in ({login}) and try again",
        ),
        "revision-not-found": (
            f"`{source}`: `{name}` has no such branch, tag or commit",
            f"the lock or the source names one that is gone: see {page}/tree/main; `tunekit lock` pins another",
        ),
        "missing-file": (
            f"`{source}`: `{path}` is not in the repository at the locked commit",
            f"see {page}; `tunekit lock --upgrade {source}` pins what is there now",
        ),
        "rate-limited": (
            f"`{source}`: the hub refuses more requests for now ({why})",
            f"try again later; it allows more to who is logged in ({login})",
        ),
        "hub-failed": (f"`{source}`: the hub failed ({why})", f"its fault, not yours: try again later ({endpoint})"),
        "hub-unreachable": (
            f"`{source}`: {endpoint} cannot be reached ({why})",
            "check the network and HF_ENDPOINT; what is in the hub's cache needs no network: --offline",
        ),
        "login-refused": (
            f"`{source}`: the hub does not let you in ({why})",
            f"the token may be wrong, expired or too narrow: {login}",
        ),
        "not-a-hub": (
            f"`{source}`: {endpoint} does not answer as a hub does ({why})",
            "check HF_ENDPOINT, and whether a proxy answers in its place",
        ),
        "hub-cache": (
            f"`{source}`: the hub's cache on this machine cannot be used ({why})",
            "HF_HUB_CACHE (or HF_HOME) names a folder that you may write to",
        ),
        "offline": (
            f"{file}`{source}` {why}, and the network is not to be used",
            "leave out --offline (or --frozen) and HF_HUB_OFFLINE once; what was fetched is kept in the cache",
        ),
    }
    message, hint = said[slug]
    return SourceError(message, slug=slug, hint=hint)
