"""`inspect --html`: one page that needs nothing else. Text of rows is escaped in one place; there is no script."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from tunekit.report.look.blocks import Block, Body, Folded, Grid, Legend, Note, Title, Tokens
from tunekit.report.look.view import View
from tunekit.report.look.visible import pieces_spaced, visible
from tunekit.report.look.words import plural

# Nothing may be loaded and nothing may run, whatever a row holds.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --trained: #b7ecc0; --straddling: #ffe08a; --special: #8a2be2; --line: #d0d0d8;
  --soft: #666; --removed: #ffd6d6; --added: #d3f5da; }
@media (prefers-color-scheme: dark) { :root { --trained: #14532d; --straddling: #6b5200; --special: #d0a6ff;
  --line: #3a3a44; --soft: #a0a0aa; --removed: #5a1e1e; --added: #174a25; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { border-top: 1px solid var(--line); padding-top: 1rem; margin-top: 2.5rem; }
h3 small, .soft { color: var(--soft); font-weight: normal; }
pre { font: 13px/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; margin: .4rem 0;
  padding: .6rem; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; } td { vertical-align: top; padding: .15rem .8rem .15rem 0; white-space: pre-wrap;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
.trained { background: var(--trained); text-decoration: underline; } .straddling { background: var(--straddling); }
.special { color: var(--special); font-weight: 600; border: 1px solid currentColor; border-radius: 3px; }
.removed { background: var(--removed); } .added { background: var(--added); }
"""


class Page(View):
    """Writes the answers as they come. `write` takes text of the page, which is never held as a whole."""

    def __init__(self, title: str, write: Callable[[str], object]) -> None:
        super().__init__()
        self._write = write
        legend = " ".join(_piece(piece, text(piece[0])) for piece in Legend().pieces)
        self._write(
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{text(title)}</h1>\n"
            f"<p>{legend}</p>\n"
        )

    def close(self) -> None:
        self._write("</body>\n</html>\n")

    def draw(self, block: Block) -> None:
        self._write(_html(block) + "\n")


def _html(block: Block) -> str:
    match block:
        case Title():
            about = f" <small>{text(block.about)}</small>" if block.about else ""
            return f"<h2>{text(block.text)}</h2>" if block.top else f"<h3>{text(block.text)}{about}</h3>"
        case Grid():
            lines = ("".join(f"<td>{text(cell)}</td>" for cell in line) for line in block.lines)
            return "<table>" + "".join(f"<tr>{line}</tr>\n" for line in lines) + "</table>"
        case Note():
            return f"<p>{text(block.text)}</p>"
        case Body():
            return f'<pre class="{block.what}">\n{text(block.text)}</pre>'  # the first line end of a `pre` is dropped
        case Folded():
            return f"<details><summary>{text(block.title)}</summary><pre>\n{text(block.text)}</pre></details>"
        case Tokens():
            return f"<pre>\n{''.join(map(_run, block.runs))}</pre>"
        case Legend():
            return ""  # at the top of the page


def text(value: str) -> str:
    """Text as HTML, wherever in the page it stands."""
    return escape(visible(value), quote=True)


def _pieces(pieces: list[Any]) -> str:
    return "".join(map(_piece, pieces, pieces_spaced(pieces)))


def _piece(piece: list[Any], shown: str) -> str:
    """A token with its ids as a tool tip."""
    _, ids, flag, special = piece
    classes = " ".join(name for name in (flag if flag != "masked" else "", "special" if special else "") if name)
    style = f' class="{classes}"' if classes else ""
    tip = f' title="{" ".join(map(str, ids))}"' if ids else ""
    return f"<span{style}{tip}>{escape(shown)}</span>"


def _run(run: list[Any]) -> str:
    what, found = run
    if what == "skipped":
        return f'<span class="soft">\n… {text(plural(found, "token"))}\n</span>'
    tag = {"same": "span", "removed": "del", "added": "ins"}[what]
    return f'<{tag} class="{what}">{_pieces(found)}</{tag}>'
