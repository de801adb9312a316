"""Parts of the page, as HTML. Whatever comes from a recording, a label or a name is made harmless here."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from htsat_edge.runtime.archive.formats.rows import shown_path
from htsat_edge.runtime.common.text import visible
from htsat_edge.runtime.common.urls import is_url

SHADES = 9
"""Of a cell with a number; the classes of the style sheet are s1 to s9."""
THIN_SPACE = "\u202f"


def text(value: object) -> str:
    """Return a text for HTML, in one line."""
    return html.escape(visible(str(value)))


def count(number: float) -> str:
    """Return a number with its thousands set apart."""
    return f"{number:,.0f}".replace(",", THIN_SPACE)


def hours(seconds: float) -> str:
    """Return seconds in hours, with as many digits as a reader wants; nothing for nothing."""
    value = seconds / 3600
    if value >= 10:
        return count(value)
    return f"{value:.1f}" if value >= 0.05 else "&lt;0.1" if value > 0 else ""


def link(path: Path, base: Path, at_s: float | None = None) -> str:
    """Return a link to a recording, seen from the folder `base`; a browser plays it from `at_s` on.

    One in a store that a browser cannot read has its name alone.
    """
    if is_url(path):
        return text(shown_path(path))
    target = quote(os.path.relpath(os.fsencode(path.absolute()), os.fsencode(base)))
    fragment = "" if at_s is None else f"#t={at_s:.1f}"
    return f'<a href="{html.escape(target)}{fragment}">{text(shown_path(path))}</a>'


def paragraph(content: str, kind: str = "") -> str:
    """Return a paragraph of HTML."""
    return f'<p class="{kind}">{content}</p>' if kind else f"<p>{content}</p>"


def section(title: str, name: str, parts: Iterable[str]) -> str:
    """Return a part of the page with its heading, which can be linked to."""
    inside = "\n".join(part for part in parts if part)
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{text(title)}</h2>\n{inside}\n</section>'


@dataclass(frozen=True)
class HtmlRow:
    """Of a table: its name, and cells."""

    name: str
    """HTML."""
    cells: Sequence[str]
    """HTML."""
    shades: Sequence[float | None] = ()
    """From 0 to 1, of the first cells; None: nothing was recorded."""
    kind: str = ""
    """A class of the style sheet."""


def table(name: str, caption: str, header: Sequence[str], rows: Iterable[HtmlRow], kind: str = "") -> str:
    """Return a table with what it shows above it; it scrolls by itself where it is wide or long. All texts are HTML."""
    head = "".join(f'<th scope="col">{title}</th>' for title in header)
    body = "\n".join(map(_row, rows))
    return (
        f'<p class="soft" id="{name}">{caption}</p>\n'
        f'<div class="scroll {kind}" role="region" aria-labelledby="{name}" tabindex="0">'
        f'<table aria-labelledby="{name}"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _row(row: HtmlRow) -> str:
    shades = [*map(_shade, row.shades), *[""] * (len(row.cells) - len(row.shades))]
    cells = "".join(f"<td{shade}>{cell}</td>" for shade, cell in zip(shades, row.cells, strict=True))
    kind = f' class="{row.kind}"' if row.kind else ""
    return f'<tr{kind}><th scope="row">{row.name}</th>{cells}</tr>'


def _shade(share: float | None) -> str:
    if share is None:
        return " class=none"
    return f" class=s{max(1, round(SHADES * share))}" if share > 0 else ""
