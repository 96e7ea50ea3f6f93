"""The sections with people: examples drawn by lot, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from recsmith.report import markup
from recsmith.report.content import ReportContent, nothing
from recsmith.report.people import Example, Shown


def examples(content: ReportContent) -> str:
    """People drawn by lot."""
    if not content.examples:
        return markup.paragraph("The held-out part has nobody to show.")
    drawn = markup.paragraph(f"Drawn by lot with the report's seed ({content.comparison.seed}), not chosen. {content.covers.origin}")
    return "\n".join([drawn, *(_person(content, example) for example in content.examples)])


def failures(content: ReportContent) -> str:
    """Lists that are broken, people who got nothing, and those whom nobody should have failed."""
    metric = content.comparison.metric
    rows = []
    for run, name in zip(content.runs, content.names, strict=True):
        figures, lists = run.evaluation.figures, run.lists
        empty = None if lists is None else float((lists.items[:, : content.cutoff] < 0).mean())
        counts = [figures.get("answered"), empty, figures.get("repeated_items"), figures.get("already_seen")]
        rows.append([name, nothing(run.evaluation.per_case[metric]), *counts, figures.get("unknown_items")])
    headings = ["System", f"Share of people whose {metric} is 0", "Share of people answered", "Share of places without a valid item"]
    headings += ["Items repeated in a list", "Share of items the person had", "Item ids that are not in the data"]
    shown = [place for place in range(len(headings)) if place == 0 or any(row[place] is not None for row in rows)]
    broken = markup.table(
        "Broken lists and people with nothing", [headings[place] for place in shown], [[row[place] for place in shown] for row in rows]
    )
    if not content.failures:
        return "\n".join([broken, markup.paragraph("There is nobody whom every system failed.")])
    words = "People whom every system gave nothing, those first whose held-out item is the most popular: the failures easiest to avoid."
    return "\n".join([broken, markup.paragraph(words), *(_person(content, example) for example in content.failures)])


def _person(content: ReportContent, example: Example) -> str:
    parts = [f'<article class="example"><h3>User {escape(example.user)}</h3>']
    if example.remark:
        parts.append(markup.paragraph(example.remark))
    parts += [markup.heading("Last known, oldest first", 4), _works(content, example.history)]
    parts += [markup.heading("Held out", 4), _works(content, example.held_out)]
    for place, shown in zip(content.by_case, example.lists, strict=True):
        parts += [markup.heading(f"Best of {content.names[place]}", 4), _works(content, shown, ordered=True)]
    return "".join([*parts, "</article>"])


def _works(content: ReportContent, shown: Sequence[Shown], *, ordered: bool = False) -> str:
    if not shown:
        return markup.paragraph("nothing")
    pictures = [content.covers.by_item.get(entry.item) for entry in shown]
    return markup.works([entry.title for entry in shown], covers=pictures, hits=[entry.hit for entry in shown], ordered=ordered)
