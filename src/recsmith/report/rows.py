"""The sections that account for the others: the harm sheet, and how to get the same page again."""

from __future__ import annotations

from html import escape

from recsmith.measurement import MeasuredRun
from recsmith.report import markup
from recsmith.report.content import ReportContent
from recsmith.report.harm import HarmRow


def harm(content: ReportContent) -> str:
    """Each kind of harm: what was measured, what was not."""
    words = (
        "Six kinds of harm that recommenders do (Deldjoo et al. 2024, section 5.4). A figure is a hint, not a clearance; what was not "
        "measured may be the larger part."
    )
    names = [content.names[place] for place in content.by_case]
    return "\n".join([markup.paragraph(words), *(_row(row, names) for row in content.harm)])


def reproduction(content: ReportContent) -> str:
    """Commands, commits, hashes, hardware."""
    parts = []
    if content.command:
        parts.append(f"<p>This page: {markup.code(content.command)}</p>")
    protocol = content.runs[0].evaluation.protocol
    name = f"Protocol {protocol.get('name')}, version {protocol.get('version')}, hash {protocol.get('hash')}"
    parts.append(markup.paragraph(f"{name}; ranked: {protocol.get('ranking')}."))
    parts += [_again(run, name) for run, name in zip(content.runs, content.names, strict=True)]
    return "\n".join(parts)


def _row(row: HarmRow, names: list[str]) -> str:
    parts = [markup.heading(row.category, 3)]
    alone = [[figure.what, figure.values[0]] for figure in row.measured if len(figure.values) != len(names) or len(names) == 1]
    each = [[figure.what, *figure.values] for figure in row.measured if len(figure.values) == len(names) and len(names) > 1]
    if alone:
        parts.append(markup.table(f"{row.category}: measured", ["What", "Figure"], alone))
    if each:
        parts.append(markup.table(f"{row.category}: measured, by system", ["What", *names], each))
    if not row.measured:
        parts.append(markup.paragraph("Measured: nothing."))
    return "\n".join([*parts, markup.paragraph(f"Not measured: {row.not_measured}")])


def _again(run: MeasuredRun, name: str) -> str:
    card, hardware = run.card, run.card.get("hardware", {})
    if not hardware:
        facts = [f"From {escape(str(card.get('made from')))}; data hash {markup.code(card.get('data', {}).get('hash'))}"]
        return f"<h3>{escape(name)}</h3><ul>{''.join(f'<li>{fact}</li>' for fact in facts)}</ul>"
    machine = f"{hardware.get('processor')}, {hardware.get('threads')} threads, GPU: {hardware.get('gpu') or 'none'}"
    versions = ", ".join(f"{part} {version}" for part, version in card.get("versions", {}).items())
    facts = [
        f"Command: {markup.code(card.get('command'))}",
        f"Commit: {markup.code(card.get('commit'))}; seeds: {escape(', '.join(map(str, card.get('seeds', []))))}",
        f"Data hash: {markup.code(card.get('data', {}).get('hash'))}; {escape(str(card.get('data', {}).get('tie_rule')))}",
        f"Hardware: {escape(machine)}; {escape(versions)}",
        f"Paper: {escape(str(card.get('paper')))}",
    ]
    if card.get("deviations"):
        facts.append(escape(str(card["deviations"])))
    return f"<h3>{escape(name)} <code>{escape(run.name)}</code></h3><ul>{''.join(f'<li>{fact}</li>' for fact in facts)}</ul>"
