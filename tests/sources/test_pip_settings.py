from __future__ import annotations

import os
from pathlib import Path

import pytest

from tunekit.errors import SourceError
from tunekit.sources.index import _certificates
from tunekit.sources.pip_settings import pip_settings


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr("sys.prefix", str(tmp_path / "venv"))
    return {"HOME": str(tmp_path / "home"), "XDG_CONFIG_DIRS": str(tmp_path / "xdg")}


def conf(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_files_in_order(env, tmp_path):
    conf(tmp_path / "xdg/pip/pip.conf", "[global]\nindex-url = file:///one\ntimeout = 7\nfind_links = /a\n  /b\n")
    assert pip_settings(env).index_urls == ["file:///one"]
    assert pip_settings(env).find_links == ["/a", "/b"]
    conf(tmp_path / "home/.pip/pip.conf", "[global]\nindex-url = file:///two\n")
    assert pip_settings(env).index_urls == ["file:///two"]
    conf(tmp_path / "home/.config/pip/pip.conf", "[install]\nindex-url = file:///three\n")
    conf(tmp_path / "venv/pip.conf", "[global]\nindex-url = file:///four\nextra-index-url = file:///x file:///y\n")
    assert pip_settings(env).index_urls == ["file:///three", "file:///x", "file:///y"]  # [install] beats [global]
    extra = conf(tmp_path / "own.conf", "[install]\nindex-url = file:///five\ntrusted-host = h1 h2\nproxy = p:1\n")
    found = pip_settings({**env, "PIP_CONFIG_FILE": extra})
    assert found.index_urls[0] == "file:///five"
    assert found.trusted_hosts == ["h1", "h2"] and found.proxy == "http://p:1"
    assert pip_settings({**env, "PIP_INDEX_URL": "file:///six", "PIP_TIMEOUT": "x"}).index_urls[0] == "file:///six"
    assert pip_settings({**env, "PIP_INDEX_URL": ""}).index_urls[0] == "file:///three"  # empty is unset


def test_variables(env):
    off = {**env, "PIP_CONFIG_FILE": os.devnull}
    assert pip_settings(off).index_urls == [""]  # pip's own default
    found = pip_settings({**off, "PIP_EXTRA_INDEX_URL": "file:///x\nfile:///y", "PIP_FIND_LINKS": "/w ~/v"})
    assert found.index_urls == ["", "file:///x", "file:///y"]
    assert found.find_links == ["/w", os.path.expanduser("~/v")]
    for value, urls in (("1", []), ("true", []), ("0", [""]), ("no", [""])):
        assert pip_settings({**off, "PIP_NO_INDEX": value}).index_urls == urls


def test_broken_settings_have_a_name(env, tmp_path):
    extra = conf(tmp_path / "own.conf", "index-url without section\n")
    for call in (lambda: pip_settings({**env, "PIP_CONFIG_FILE": extra}), lambda: _certificates("/no/such.pem")):
        with pytest.raises(SourceError) as caught:
            call()
        assert caught.value.slug == "pip-settings"
