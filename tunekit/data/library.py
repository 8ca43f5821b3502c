"""The text of a chat template that was chosen by name, or is given itself."""

from __future__ import annotations

from importlib import resources

from tunekit.templates import TEMPLATES


def template_text(choice: str) -> str:
    """The text of a named template; anything else is one."""
    if choice not in TEMPLATES:
        return choice
    return (resources.files("tunekit.data") / "templates" / f"{choice}.jinja").read_text(encoding="utf-8")
