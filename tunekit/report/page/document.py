"""The frame of a report, and its parts. All text goes through `text`, which escapes it; there is no script."""

from __future__ import annotations

from collections.abc import Iterable

from tunekit.report.look.page import POLICY, text

_STYLE = """
:root { color-scheme: light dark; --line: #d0d0d8; --soft: #666; --good: #14703a; --bad: #b3261e;
  --c0: #2563eb; --c1: #d97706; --c2: #059669; --c3: #db2777; --c4: #7c3aed; --c5: #0891b2;
  --c6: #65a30d; --c7: #475569; }
@media (prefers-color-scheme: dark) { :root { --line: #3a3a44; --soft: #a0a0aa; --good: #5bd48a; --bad: #ff8a80;
  --c0: #7aa2ff; --c1: #ffb454; --c2: #4fd6a0; --c3: #ff86b8; --c4: #b69cff; --c5: #5fd3e6;
  --c6: #b5e05a; --c7: #b0bac8; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { border-top: 1px solid var(--line); padding-top: 1rem; margin-top: 2.5rem; }
.soft, small { color: var(--soft); font-weight: normal; } .good { color: var(--good); } .bad { color: var(--bad); }
pre { font: 13px/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; margin: .4rem 0;
  padding: .6rem; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; margin: .5rem 0; }
td, th { vertical-align: top; text-align: left; font-weight: normal;
  padding: .15rem .9rem .15rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; white-space: pre-wrap; }
th { color: var(--soft); }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); } .grid { stroke: var(--line); stroke-width: 1; }
polyline { fill: none; stroke-width: 1.6; } .legend { margin: 0; color: var(--soft); }
""" + "".join(
    f".c{i} {{ stroke: var(--c{i}); }} circle.c{i}, .k{i} {{ color: var(--c{i}); fill: var(--c{i}); }}\n"
    for i in range(8)
)  # fmt: skip


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page; parts that are empty are left out."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{text(title)}</h1>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A heading and what stands below it; nothing where nothing does."""
    body = "\n".join(part for part in parts if part)
    return f"<h2>{text(title)}</h2>\n{body}" if body else ""


def table(rows: Iterable[Iterable[str]], head: Iterable[str] = (), classes: Iterable[str] = ()) -> str:
    """`classes`: of each row (`good`, `bad` or nothing)."""
    css = list(classes)
    lines = []
    for i, row in enumerate(rows):
        mark = f' class="{css[i]}"' if i < len(css) and css[i] else ""
        lines.append(f"<tr{mark}>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>")
    if not lines:
        return ""
    top = "".join(f"<th>{text(cell)}</th>" for cell in head)
    return "<table>" + (f"<tr>{top}</tr>" if top else "") + "\n".join(lines) + "</table>"


def preformatted(body: str) -> str:
    return f"<pre>\n{text(body)}</pre>" if body else ""


def folded(title: str, *parts: str) -> str:
    """Closed until it is opened."""
    body = "\n".join(part for part in parts if part)
    return f"<details><summary>{text(title)}</summary>{body}</details>" if body else ""
