"""The store's layout (version 2): where everything lies. Shared by all projects of a user.

objects/ab/<hex>        one file's bytes, 0444, named by their sha256
trees/ab/<hex>          an artifact: its sorted [path, size, executable, sha256]
views/<hex>/            an artifact as a real directory of relative links
ac/a/<hex>              the record that counts of an action key: of the first success, as a rule (a second name of it)
ac/a/<hex>.<attempt>.json   the record of every attempt; `.parts` beside it where its list of parts is long
parts/a/<hex>           part key → artifact: a second name of its tree
staging/<hex>/          what a running or killed action has so far
leases                  a locked byte is the lease of a key
roots/ tmp/ trash/ quarantine/
"""

from __future__ import annotations

import os
from pathlib import Path

from tunekit.errors import StoreError
from tunekit.hashing import hex_of

LAYOUT = "2"
_FEW = ("ac", "parts")
_FOLDERS = ("objects", "trees", "views", "ac", "parts", "staging", "roots", "tmp", "trash", "quarantine")


def default_root() -> Path:
    """$TUNEKIT_STORE, or the user's cache folder."""
    found = os.environ.get("TUNEKIT_STORE")
    if found:
        return Path(found).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "tunekit"


def config_folder() -> Path:
    """$TUNEKIT_CONFIG, or `tunekit` in the user's configuration folder: what a user decided, not what was built."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(os.environ.get("TUNEKIT_CONFIG") or Path(base) / "tunekit")


class Store:
    """Paths of one store. Opening creates the folders that are missing, and refuses another layout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tmp = root / "tmp"
        self._base = str(root)

    def ensure(self) -> Store:
        """Create the store if it is not there. Raises StoreError when it cannot be used."""
        marker = self.root / "layout"
        try:
            found = marker.read_text().strip()
        except FileNotFoundError:
            found = ""
        except OSError as e:
            raise StoreError(f"the store {self.root} cannot be read: {e.strerror}", hint="set TUNEKIT_STORE") from e
        if found == LAYOUT:
            return self
        if found:
            raise StoreError(
                f"the store {self.root} has layout {found}; this tunekit writes layout {LAYOUT}",
                slug="store-layout",
                hint="set TUNEKIT_STORE to another folder, or use the tunekit that wrote it",
            )
        try:
            for name in _FOLDERS:
                (self.root / name).mkdir(parents=True, exist_ok=True)
            marker.write_text(LAYOUT + "\n")
        except OSError as e:
            raise StoreError(f"the store {self.root} cannot be written: {e.strerror}", hint="set TUNEKIT_STORE") from e
        return self

    def place(self, folder: str, digest: str) -> str:
        """`<root>/<folder>/ab/<hex>` as text: a build asks for some twenty an action, and a Path costs 10 µs. What
        the controller writes has a sixteenth of the folders: making one costs it as much as making an entry."""
        h = hex_of(digest)
        return f"{self._base}/{folder}/{h[: 1 if folder in _FEW else 2]}/{h}"

    def object(self, digest: str) -> Path:
        return Path(self.place("objects", digest))

    def tree(self, digest: str) -> Path:
        return Path(self.place("trees", digest))

    def view(self, digest: str) -> Path:
        return Path(f"{self._base}/views/{hex_of(digest)}")

    def record(self, key: str) -> Path:
        return Path(self.place("ac", key))

    def part(self, key: str) -> Path:
        return Path(self.place("parts", key))

    def staging(self, key: str) -> Path:
        return Path(f"{self._base}/staging/{hex_of(key)}")
