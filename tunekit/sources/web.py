"""One file of a web server: requests that go on where they stopped, redirects that are looked at, failures by name."""

from __future__ import annotations

import email.utils
import os
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from tunekit.errors import SourceError
from tunekit.sources.transfer import Again, Answer
from tunekit.sources.urls import file_name, refuse_plain

if TYPE_CHECKING:
    import httpx2

TIMEOUT = 30.0  # seconds without a byte
SLOW = (60.0, 60_000)  # seconds, and bytes that must have come in them: a server may drip for ever
REDIRECTS = 10
_MOVED = (301, 302, 303, 307, 308)
_PACKED = (".gz", ".tgz", ".zst", ".br", ".bz2", ".xz")


class Web:
    """`source` is what messages call the file, `url` where it is. A context manager: it keeps connections open.
    `stamp`: the strong ETag of the last answer, or ""."""

    def __init__(self, source: str, url: str) -> None:
        import httpx2

        self.source = source
        self.url = url
        self.stamp = ""
        self._client = httpx2.Client(verify=_certificates(), timeout=TIMEOUT, follow_redirects=False)

    def __enter__(self) -> Web:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()

    @contextmanager
    def ask(self, start: int, stamp: str) -> Iterator[Answer]:
        """The bytes from `start` on of the version that `stamp` names ("": of any), or all of the present one.

        `Again` for what may pass. SourceError: `missing-file`, `login-refused`, `insecure-source`, `redirects`,
        `download-failed`.
        """
        headers = {"Range": f"bytes={start}-"} if start else {}
        if start and stamp:
            headers["If-Range"] = stamp
        with self._errors(), self._reply(headers) as reply:
            if reply.status_code == 416:
                raise Again("download-failed", "there is less than has come already", afresh=True)
            if reply.status_code not in (200, 206):
                raise self._refused(reply)
            self.stamp = _strong(reply)
            begin, size = (0, _length(reply)) if reply.status_code == 200 else _range(reply)
            self._check_encoding(reply)
            if size is None and reply.headers.get("Transfer-Encoding", "").lower() != "chunked":
                hint = "nothing would tell a file that was cut: fetch it yourself and use `path:`"
                message = f"`{self.source}`: the server does not say how long the file is"
                raise SourceError(message, slug="unknown-length", hint=hint)
            yield Answer(begin, size, self.stamp, _steadily(reply.iter_raw()))

    def is_still(self, stamp: str) -> bool:
        """Whether the server says that the file is the one of this ETag."""
        with self._errors(), self._reply({"If-None-Match": stamp}) as reply:
            return reply.status_code == 304

    @contextmanager
    def _reply(self, headers: dict[str, str]) -> Iterator[httpx2.Response]:
        """The answer at the end of the redirects; each of them is to a place that may be asked."""
        url = self.url
        for _ in range(REDIRECTS):
            asked = headers | {"Accept-Encoding": "identity"}
            with self._client.stream("GET", url, headers=asked, auth=_login(url)) as reply:
                if reply.status_code not in _MOVED or "Location" not in reply.headers:
                    yield reply
                    return
                url = self._next(url, reply.headers["Location"])
        message = f"`{self.source}`: more than {REDIRECTS} redirects, the last to {_shown(url)}"
        raise SourceError(message, slug="redirects", hint="name the URL that it ends at")

    def _next(self, url: str, location: str) -> str:
        try:
            new = urljoin(url, location)
            split = urlsplit(new)
            host = split.hostname or ""
        except ValueError:
            new, host = location, ""
        if not host or split.scheme not in ("https", "http"):
            message = f"`{self.source}`: redirected to {_shown(new)}, which is not on the web"
            raise SourceError(message, slug="insecure-source", hint="name the URL that it ends at")
        if split.scheme == "http":
            if urlsplit(url).scheme == "https":
                message = f"`{self.source}`: redirected from https to {_shown(new)}, which is not encrypted"
                raise SourceError(message, slug="insecure-source", hint="name another URL of the file")
            refuse_plain(self.source, host, "http")
        return new.partition("#")[0]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import httpx2

        host = urlsplit(self.url).netloc
        try:
            yield
        except httpx2.TimeoutException as e:
            raise Again("source-unreachable", f"{host} said nothing for {TIMEOUT:.0f} s ({type(e).__name__})") from e
        except (httpx2.RemoteProtocolError, httpx2.ReadError) as e:
            raise Again("download-failed", f"the connection to {host} was cut ({e})") from e
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as e:
            if isinstance(e, OSError) and e.errno is not None:
                raise  # of this machine's disk
            raise Again("source-unreachable", f"{host} cannot be reached ({type(e).__name__}: {e})") from e

    def _refused(self, reply: httpx2.Response) -> Exception:
        status, where = reply.status_code, _shown(str(reply.url))
        if status in (404, 410):
            message = f"`{self.source}`: {where} is not there (HTTP status {status})"
            return SourceError(message, slug="missing-file", hint="look at the address in a browser: a file may move")
        if status in (401, 403, 407):
            hint = "a login for the host goes into ~/.netrc (or the file that NETRC names)"
            message = f"`{self.source}`: {where} may not be read (HTTP status {status})"
            return SourceError(message, slug="login-refused", hint=hint)
        if status == 429:
            return Again("rate-limited", f"{where} refuses more requests for now", _asked_wait(reply))
        if status in (408, 425) or status >= 500:
            return Again("download-failed", f"{where} failed (HTTP status {status})", _asked_wait(reply))
        message = f"`{self.source}`: {where} answers with HTTP status {status}"
        return SourceError(message, slug="download-failed", hint="no file comes with that")

    def _check_encoding(self, reply: httpx2.Response) -> None:
        encoding = reply.headers.get("Content-Encoding", "identity").lower()
        if encoding != "identity" and not file_name(self.url).lower().endswith(_PACKED):
            message = f"`{self.source}`: the server packs the file ({encoding}) though it was asked not to"
            raise SourceError(message, slug="download-failed", hint="fetch it yourself and use `path:`")


def _certificates() -> ssl.SSLContext:
    """The system's, or those of SSL_CERT_FILE and SSL_CERT_DIR."""
    return ssl.create_default_context()


def _login(url: str) -> tuple[str, str] | None:
    """What the user's netrc has for the host by name."""
    import netrc

    file = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    if not file.is_file():
        return None
    try:
        found = netrc.netrc(str(file)).hosts.get(urlsplit(url).hostname or "")
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError) as e:
        said = e.msg if isinstance(e, netrc.NetrcParseError) else type(e).__name__  # never the line: it may be a secret
        raise SourceError(f"{file} cannot be read: {said}", slug="bad-netrc", hint="see `man netrc`") from None
    return (found[0], found[2] or "") if found else None


def _strong(reply: httpx2.Response) -> str:
    etag: str = reply.headers.get("ETag", "")
    return etag if etag.startswith('"') else ""


def _length(reply: httpx2.Response) -> int | None:
    length = reply.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _range(reply: httpx2.Response) -> tuple[int, int | None]:
    """`bytes 5-9/10` → (5, 10)."""
    unit, _, rest = reply.headers.get("Content-Range", "").partition(" ")
    between, _, size = rest.partition("/")
    first = between.partition("-")[0]
    if unit != "bytes" or not first.isdecimal():
        raise Again("download-failed", "the server sends a part of the file and does not say which")
    return int(first), int(size) if size.isdecimal() else None


def _asked_wait(reply: httpx2.Response) -> float | None:
    """Seconds that `Retry-After` asks for: a number, or a date."""
    said = reply.headers.get("Retry-After", "").strip()
    if said.isdecimal():
        return float(said)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _steadily(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks; `Again` if they come slower than SLOW."""
    seconds, least = SLOW
    since, came = time.monotonic(), 0
    for block in blocks:
        yield block
        came += len(block)
        now = time.monotonic()
        if now - since > seconds:
            if came < least:
                raise Again("download-failed", f"only {came} bytes came in {now - since:.0f} s")
            since, came = now, 0


def _shown(url: str) -> str:
    """Without a query, which may hold a signature."""
    return url.partition("?")[0]
