"""Small pieces of HTML: everything that comes from data is escaped here, and tables say what their rows and columns are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any


def table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table with a caption; the first cell of a row is its heading, numbers stand to the right, None is blank."""
    numeric = [all(isinstance(row[column], int | float | None) for row in rows) for column in range(len(headings))]
    head = "".join(f'<th scope="col"{_class(number)}>{escape(name)}</th>' for name, number in zip(headings, numeric, strict=True))
    body = "".join(f"<tr>{_row(row, numeric)}</tr>\n" for row in rows)
    inside = f"<table><caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">{inside}</div>'


def section(name: str, heading: str, content: str) -> str:
    """A landmark of the page with its heading."""
    return f'<section id="{name}" aria-labelledby="{name}-heading">\n<h2 id="{name}-heading">{escape(heading)}</h2>\n{content}\n</section>'


def paragraph(text: str, *, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{escape(text)}</p>"


def heading(text: str, level: int) -> str:
    """A heading below that of its section."""
    return f"<h{level}>{escape(text)}</h{level}>"


def picture(uri: str, *, alt: str, caption: str) -> str:
    """A picture with a text for those who cannot see it, and one for everybody."""
    return f'<figure><img src="{uri}" alt="{escape(alt)}"><figcaption>{escape(caption)}</figcaption></figure>'


def items(texts: Sequence[str]) -> str:
    """A plain list."""
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"


def works(titles: Sequence[str], *, covers: Sequence[str | None], hits: Sequence[bool] = (), ordered: bool = False) -> str:
    """Titles with their covers; hits are said in words and not by colour alone. The cover says nothing that its title does not."""
    tag = "ol" if ordered else "ul"
    flags = [*hits, *[False] * (len(titles) - len(hits))]
    entries = [_work(title, cover, hit) for title, cover, hit in zip(titles, covers, flags, strict=True)]
    return f'<{tag} class="works">{"".join(entries)}</{tag}>'


def code(text: str | None) -> str:
    """A command or a commit; a dash where there is none."""
    return f"<code>{escape(text)}</code>" if text else "—"


def number(value: float | None) -> str:
    """A number as text: four decimals where it is small, one where it is not, blank when there is none."""
    if value is None or math.isnan(value):
        return ""
    return f"{value:,.4f}" if abs(value) < 10 else f"{value:,.1f}"


def _work(title: str, cover: str | None, hit: bool) -> str:
    image = f'<img src="{cover}" alt="" width="40" height="60">' if cover else ""
    words = f"{escape(title)} (held out: a hit)" if hit else escape(title)
    return f"<li{' class={0}hit{0}'.format(chr(34)) if hit else ''}>{image}{words}</li>"


def _row(row: Sequence[Any], numeric: Sequence[bool]) -> str:
    first, *others = row
    cells = "".join(f"<td{_class(right)}>{_cell(value)}</td>" for value, right in zip(others, numeric[1:], strict=True))
    return f'<th scope="row">{_cell(first)}</th>{cells}'


def _cell(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return number(value) if isinstance(value, float | None) else escape(str(value))


def _class(right: bool) -> str:
    return ' class="number"' if right else ""
