"""Which npm registry the user's npm would ask, and with which login, from npm's documented settings.

Later ones win key by key: the global file (`$PREFIX/etc/npmrc`, or NPM_CONFIG_GLOBALCONFIG), the user's (`~/.npmrc`, or
NPM_CONFIG_USERCONFIG), `npm_config_…` variables in any case. A project's own `.npmrc` is not read: a stranger's clone
could send packages, and `${…}` of the user's environment, elsewhere. Where nothing names a registry, npm itself is
asked for its default.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tunekit.errors import SourceError
from tunekit.sources.pip_settings import PipSettings

_VARIABLE = re.compile(r"(?<!\\)\$\{([^${}?]+)(\?)?\}")


class NpmSettings(NamedTuple):
    """`registry` ends with `/`; `headers`: `//host/path/` → the value of an Authorization header."""

    registry: str
    headers: dict[str, str]
    http: PipSettings  # what the HTTP client needs to know

    def header_for(self, url: str) -> str:
        """The login for a URL, by the longest place that holds it; "" for none."""
        parts = urlsplit(url)
        place = f"//{parts.netloc.rpartition('@')[2]}{parts.path}"
        found = [known for known in self.headers if place.startswith(known)]
        return self.headers[max(found, key=len)] if found else ""


def npm_settings(scope: str = "", environ: Mapping[str, str] | None = None) -> NpmSettings:
    """The settings for packages of `scope` (`@org`). SourceError `npm-settings` if there is no registry."""
    env = os.environ if environ is None else environ
    values: dict[str, str] = {}
    for file in _files(env):
        values.update(_read(file, env))
    values.update(_of_variables(env))
    registry = (values.get(f"{scope}:registry") if scope else "") or values.get("registry") or _of_npm(env)
    registry = registry.rstrip("/") + "/"
    parts = urlsplit(registry)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise _wrong(f"npm's setting `registry` is {_without_login(registry)!r}, which is no URL")
    # What the user's own settings trust: a registry without TLS, and one whose certificate is not checked.
    plain = parts.scheme == "http" or values.get("strict-ssl", "").lower() == "false"
    proxy = values.get("https-proxy") or values.get("proxy") or ""
    http = PipSettings(
        index_urls=[],
        find_links=[],
        trusted_hosts=[parts.netloc.rpartition("@")[2]] if plain else [],
        cert=values.get("cafile", ""),
        proxy="" if proxy in ("null", "false") else proxy,
        timeout=15.0,
    )
    return NpmSettings(registry, _logins(values), http)


def _files(env: Mapping[str, str]) -> list[Path]:
    lower = {k.lower(): v for k, v in env.items() if v}
    home = Path(env.get("HOME") or os.path.expanduser("~"))
    user = Path(lower.get("npm_config_userconfig") or home / ".npmrc")
    if given := lower.get("npm_config_globalconfig"):
        return [Path(given), user]
    prefix = lower.get("npm_config_prefix") or env.get("PREFIX")
    node = shutil.which("node", path=env.get("PATH"))
    if not prefix and node:
        prefix = str(Path(os.path.realpath(node)).parent.parent)
    return [*([Path(prefix) / "etc" / "npmrc"] if prefix else []), user]


def _read(file: Path, env: Mapping[str, str]) -> dict[str, str]:
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as e:
        raise _wrong(f"npm's settings in {file} cannot be read: {e}") from e
    out = {}
    for line in text.splitlines():
        line = line.strip()
        key, equals, value = line.partition("=")
        if equals and line[0] not in ";#[":
            value = value.strip()
            if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                value = value[1:-1]
            out[_expanded(key.strip(), env)] = _expanded(value, env)
    return out


def _expanded(text: str, env: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda m: env.get(m[1], "" if m[2] else m[0]), text)


def _of_variables(env: Mapping[str, str]) -> dict[str, str]:
    """`npm_config_strict_ssl` → `strict-ssl`; places of logins (`//…`, `@…`) as they are written."""
    out = {}
    for name, value in env.items():
        if name.lower().startswith("npm_config_") and value:
            key = name[len("npm_config_") :]
            out[key if key[:1] in ("/", "@") else key.lower().replace("_", "-")] = value
    return out


def _of_npm(env: Mapping[str, str]) -> str:
    npm = shutil.which("npm", path=env.get("PATH"))
    if npm:
        try:  # from `/`: no project's settings
            done = subprocess.run(
                [npm, "config", "get", "registry"], cwd="/", env=dict(env), capture_output=True, text=True, timeout=30
            )
        except (OSError, subprocess.TimeoutExpired):
            done = None
        if done is not None and done.returncode == 0 and done.stdout.strip():
            return done.stdout.strip()
    raise _wrong("no npm registry is set, and npm is not here to say its default")


def _logins(values: dict[str, str]) -> dict[str, str]:
    """npm binds a login to a place; one that is bound to none is not used (npm refuses such settings, too)."""
    import base64

    out: dict[str, str] = {}
    for key, value in values.items():
        place, colon, what = key.rpartition(":")
        if not (colon and place.startswith("//") and value):
            continue
        place = place.rstrip("/") + "/"
        if what == "_authToken":
            out[place] = f"Bearer {value}"
        elif what == "_auth":
            out.setdefault(place, f"Basic {value}")
        elif what == "_password" and (user := values.get(key.replace(":_password", ":username"))):
            try:
                pair = f"{user}:{base64.b64decode(value).decode()}".encode()
            except ValueError:
                continue
            out.setdefault(place, "Basic " + base64.b64encode(pair).decode())
    return out


def _without_login(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)


def _wrong(message: str) -> SourceError:
    hint = "set NPM_CONFIG_REGISTRY, or `registry=` in ~/.npmrc"
    return SourceError(message, slug="npm-settings", hint=hint)
