"""Write HTML pages that need no other file: tables, and plots as SVG."""

from __future__ import annotations

import html
import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text: small, and found by the browser's search
matplotlib.rcParams["text.parse_math"] = False  # a class may be called $


def plot(draw: Callable[[Figure], None], size: tuple[float, float]) -> str:
    """Return what `draw` draws, as SVG for a page; the size is in inches."""
    figure = Figure(size, layout="constrained")
    draw(figure)
    text = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has its own fonts
        figure.savefig(text, format="svg", metadata={"Date": None}, dpi=100)
    document = text.getvalue()
    return document[document.index("<svg") :]


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table; its cells are text, not HTML."""

    def cells(tag: str, row: Sequence[Any]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(value))}</{tag}>" for value in row) + "</tr>"

    inside = cells("th", header) + "".join(cells("td", row) for row in rows)
    return f'<div class="wide"><table>{inside}</table></div>'


def paragraph(text: str) -> str:
    """Return a paragraph of text."""
    return f"<p>{html.escape(text)}</p>"


def bullets(texts: Sequence[str]) -> str:
    """Return a list of texts."""
    return "<ul>" + "".join(f"<li>{html.escape(text)}</li>" for text in texts) + "</ul>"


def warning(text: str, loud: bool = True) -> str:
    """Return a paragraph that nobody overlooks; one that is not loud is amber in place of red."""
    return f'<p class="{"warning" if loud else "doubt"}">{html.escape(text)}</p>'


def write(path: Path, title: str, parts: Sequence[str]) -> None:
    """Write a page of these parts, which are HTML."""
    path.write_text(PAGE.format(title=html.escape(title), body="\n".join(parts)), encoding="utf-8")


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 0.1rem 0.7rem; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap; }}
.wide {{ overflow-x: auto; }}
svg {{ max-width: 100%; height: auto; }}
.warning, .doubt {{ border-left: 0.4rem solid #c22; background: #fdecea; padding: 0.4rem 0.8rem; }}
.doubt {{ border-color: #d90; background: #fff6e0; }}
</style>
{body}
</html>
"""
