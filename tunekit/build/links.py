"""`.tunekit/out/<kind>/<name>`: where the results of the last build are, as links into the store."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tunekit.label import parse_label
from tunekit.manifest.find import own_folder
from tunekit.plan.planner import Planner
from tunekit.store.store import Store


def link_of(root: Path, label: str) -> Path:
    parsed = parse_label(label)
    assert parsed is not None
    return root / ".tunekit" / "out" / parsed.kind / (parsed.name + (f"#{parsed.step}" if parsed.step else ""))


def point(root: Path, planner: Planner, labels: list[str]) -> dict[str, str]:
    """Make or mend the links of built targets; nothing is written where they are right. Link → what it names."""
    out = {}
    for label in labels:
        outputs = planner.nodes[label].outputs
        assert outputs is not None
        link = link_of(root, label)
        target = str(planner.presence.view(outputs["main"]))
        out[str(link.relative_to(root))] = target
        try:
            if os.readlink(link) == target:
                continue
        except OSError:
            own_folder(root)
            link.parent.mkdir(parents=True, exist_ok=True)
            if link.is_dir() and not link.is_symlink():
                shutil.rmtree(link)  # somebody's copy in the place of the link
        spare = link.with_name(f".{link.name}.{os.getpid()}")
        os.symlink(target, spare)
        os.replace(spare, link)
    return out


def register(root: Path, store: Store) -> None:
    """A root for gc: which project's history and links count."""
    from tunekit.hashing import sha256_bytes

    file = store.root / "roots" / sha256_bytes(str(root.resolve()).encode())[7:23]
    if not file.exists():
        file.write_text(str(root.resolve()) + "\n")
