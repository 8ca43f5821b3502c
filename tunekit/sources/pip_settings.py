"""Which indexes and link pages the user's pip would ask, from pip's documented settings.

Files (pip's "Configuration" page), later ones win key by key: global (`pip/pip.conf` in each of
XDG_CONFIG_DIRS, `/etc/pip.conf`), user (`~/.pip/pip.conf`, `$XDG_CONFIG_HOME/pip/pip.conf`; not read when
PIP_CONFIG_FILE names a file that exists), site (`pip.conf` of the environment), PIP_CONFIG_FILE. Section
`[install]` beats `[global]`, a `PIP_…` variable beats both, empty values count as unset.
PIP_CONFIG_FILE=/dev/null turns all files off.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tunekit.errors import SourceError

_KEYS = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "cert", "proxy", "timeout")
_TRUE = ("1", "true", "yes", "on", "y", "t")


class PipSettings(NamedTuple):
    """`index_urls` is empty under `no-index`; `index_urls[0]` is "" where pip's default index is meant."""

    index_urls: list[str]
    find_links: list[str]
    trusted_hosts: list[str]
    cert: str
    proxy: str
    timeout: float


def pip_settings(environ: Mapping[str, str] | None = None) -> PipSettings:
    """The settings in force. SourceError `pip-settings` if a file of pip's cannot be parsed."""
    env = os.environ if environ is None else environ
    values: dict[str, str] = {}
    sections = _read(_files(env))
    for section in ("global", "install"):
        values.update({k: v for k, v in sections.get(section, {}).items() if k in _KEYS and v})
    for key in _KEYS:
        if value := env.get("PIP_" + key.upper().replace("-", "_")):
            values[key] = value
    no_index = values.get("no-index", "").lower() in _TRUE
    indexes = [values.get("index-url", "").strip(), *values.get("extra-index-url", "").split()]
    proxy = values.get("proxy", "")
    return PipSettings(
        index_urls=[] if no_index else indexes,
        find_links=[os.path.expanduser(link) for link in values.get("find-links", "").split()],
        trusted_hosts=values.get("trusted-host", "").split(),
        cert=values.get("cert", ""),
        proxy=proxy if "://" in proxy or not proxy else f"http://{proxy}",
        timeout=_seconds(values.get("timeout", "15")),
    )


def _files(env: Mapping[str, str]) -> list[Path]:
    extra = env.get("PIP_CONFIG_FILE", "")
    if extra == os.devnull:
        return []
    home = Path(env.get("HOME") or os.path.expanduser("~"))
    shared = (env.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    files = [Path(folder) / "pip" / "pip.conf" for folder in shared if folder]
    files.append(Path("/etc/pip.conf"))
    if sys.platform == "darwin":
        files.append(Path("/Library/Application Support/pip/pip.conf"))
    if not (extra and Path(extra).exists()):
        files.append(home / ".pip" / "pip.conf")
        files.append(_user_file(env, home))
    files.append(Path(sys.prefix) / "pip.conf")
    return [*files, Path(extra)] if extra else files


def _user_file(env: Mapping[str, str], home: Path) -> Path:
    mac = home / "Library" / "Application Support" / "pip"
    if sys.platform == "darwin" and mac.is_dir():
        return mac / "pip.conf"
    return Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"


def _read(files: list[Path]) -> dict[str, dict[str, str]]:
    """Section → key → value of all files, later files on top; keys with `-`, as on pip's command line."""
    out: dict[str, dict[str, str]] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError) as e:
            raise SourceError(f"pip's settings cannot be read: {e}", slug="pip-settings", hint=f"see {file}") from e
        for section in parser.sections():
            values = {key.replace("_", "-"): value for key, value in parser.items(section)}
            out.setdefault(section, {}).update(values)
    return out


def _seconds(text: str) -> float:
    try:
        return max(float(text), 1.0)
    except ValueError:
        return 15.0
