"""What the pages say is there is there."""

from __future__ import annotations

import re
from pathlib import Path

from tunekit.cli.main import VERBS
from tunekit.templates import TEMPLATES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
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


def test_what_masks_refuse_and_note_is_on_their_page() -> None:
    page = TEXTS[ROOT / "docs/masks.md"]
    sources = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tunekit/data").glob("*.py")))
    slugs = set(re.findall(r'RowFault\(\s*"([a-z-]+)"', sources))
    reasons = (ROOT / "tunekit/steps/tokens/reasons.py").read_text(encoding="utf-8").split('"""')[1]
    named = set(re.findall(r"^([a-z-]+)  ", reasons, re.MULTILINE))
    assert len(slugs) > 12 and len(named) > 5
    assert not [word for word in slugs | named if f"`{word}`" not in page]
    assert all(f"`{name}`" in page for name in TEMPLATES)
