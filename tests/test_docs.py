"""What the pages say is there is there."""

from __future__ import annotations

import re
from pathlib import Path

from tunekit.cli.main import VERBS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TEST = re.compile(r"\btests/[\w./-]*\w")


def test_relative_links_exist() -> None:
    dead = [
        f"{page.relative_to(ROOT)}: {target}"
        for page, text in TEXTS.items()
        for target in _LINK.findall(text)
        if not re.match(r"[a-z]+:|#", target) and not (page.parent / target.partition("#")[0]).exists()
    ]
    assert not dead, "\n".join(dead)


def test_every_verb_is_mentioned() -> None:
    words = "\n".join(TEXTS.values())
    assert not [verb for verb in VERBS if not re.search(rf"(tunekit |`){verb}\b", words)]


def test_tests_named_in_the_status_exist() -> None:
    named = set(_TEST.findall(TEXTS[ROOT / "docs/status.md"]))
    assert len(named) > 10
    assert not sorted(path for path in named if not (ROOT / path).exists())
