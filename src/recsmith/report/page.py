"""From the content of a report to one HTML file: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import datetime
import os
from html import escape
from pathlib import Path
from string import Template

from recsmith import __version__
from recsmith.comparison import Comparison
from recsmith.errors import StorageError
from recsmith.report import markup
from recsmith.report.content import ReportContent
from recsmith.report.measured import cost, curves, figures, groups
from recsmith.report.persons import examples, failures
from recsmith.report.rows import harm, reproduction

_SECTIONS = {
    "question": "The question and the answer",
    "data": "The data, its leaks and its ties",
    "figures": "The figures, with intervals",
    "cost": "Quality against cost",
    "groups": "Who gets what: groups of people",
    "curves": "Popularity and scores",
    "people": "People drawn by lot",
    "failures": "What went wrong",
    "harm": "Harm sheet",
    "again": "How to reproduce it",
}
_LINKS = {
    "question": "Question",
    "data": "Data",
    "figures": "Figures",
    "cost": "Cost",
    "groups": "Groups",
    "curves": "Curves",
    "people": "People",
    "failures": "Failures",
    "harm": "Harms",
    "again": "Reproduce",
}


def write_report(content: ReportContent, out: str | Path) -> Path:
    """Write the page, replacing an older one only when the new one is complete. Raises `StorageError`."""
    path = Path(out)
    page, draft = render(content), path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(page, encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        raise StorageError(f"the report `{path}` cannot be written ({error.strerror or error}); choose another --out") from None
    return path


def render(content: ReportContent) -> str:
    """The page as text. Raises `MissingExtraError` without matplotlib."""
    template = Template((Path(__file__).with_name("page.html")).read_text(encoding="utf-8"))
    made = {
        "question": _question(content),
        "data": _data(content),
        "figures": figures(content),
        "cost": cost(content),
        "groups": groups(content),
        "curves": curves(content),
        "people": examples(content),
        "failures": failures(content),
        "harm": harm(content),
        "again": reproduction(content),
    }
    return template.substitute(
        title=escape(_title(content)),
        links="\n".join(f'<li><a href="#{name}">{words}</a></li>' for name, words in _LINKS.items()),
        sections="\n".join(markup.section(name, heading, made[name]) for name, heading in _SECTIONS.items()),
        version=escape(__version__),
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _title(content: ReportContent) -> str:
    return f"{', '.join(content.names)} on {content.runs[0].card.get('data', {}).get('name')}"


def _question(content: ReportContent) -> str:
    comparison, first = content.comparison, content.runs[0]
    masked = "" if first.evaluation.protocol.get("name") in ("session-prefixes", "next-basket") else " without what the user had before"
    asked = (
        f"What comes next for {first.evaluation.cases:,} users of {first.card.get('data', {}).get('name')}? Each system ranks the full "
        f"catalogue{masked}; {comparison.metric} on the {comparison.split} part says how well, by the protocol "
        f"{first.evaluation.protocol.get('name')}."
    )
    parts = [markup.paragraph(asked)]
    marks = [f"{run.name}: {'; '.join(run.marks)}" for run in content.runs if run.marks]
    if marks:
        parts.append(markup.paragraph(f"Not comparable: put side by side by force. {' | '.join(marks)}", kind="warning"))
    parts.append(markup.items([answer(comparison, place, content.names) for place in range(len(content.names))]))
    parts += [markup.paragraph(text, kind="warning") for text in _missing_rows(content)]
    parts += [markup.paragraph(f"{run.name}: {note}.") for run in content.runs for note in run.notes]
    return "\n".join(parts)


def answer(comparison: Comparison, place: int, names: tuple[str, ...]) -> str:
    """A system's figure in words, and how it differs from the first."""
    figure = comparison.figures[place]
    level = f"{1 - comparison.alpha:.0%}"
    text = f"{names[place]}: {figure.mean:.4f} ({level} interval {figure.interval.low:.4f} to {figure.interval.high:.4f})"
    if place == 0:
        return f"{text}, the baseline" if len(names) > 1 else text
    return f"{text}; against {names[0]}: {comparison.sentence(figure)}"


def _missing_rows(content: ReportContent) -> list[str]:
    """What a fair table needs and this one lacks."""
    by_recipe = {str(run.card.get("recipe")): run for run in content.runs}
    found = []
    if "sasrec" not in by_recipe:
        found.append("There is no SASRec run in this report; a table of methods needs a properly tuned one to compare with.")
    elif not by_recipe["sasrec"].card.get("search"):
        found.append("The SASRec run carries no search: its settings come from the recipe and were not tuned in this run.")
    if "popularity" not in by_recipe:
        found.append("There is no popularity run in this report; without it nobody sees how much the metric owes to popular items.")
    return found


def _data(content: ReportContent) -> str:
    facts = content.runs[0].card.get("data", {})
    rows = [[name.capitalize(), facts.get(name)] for name in ("users", "items", "events")]
    rows += [["Training events", facts.get("train_events")], ["Validation cases", facts.get("validation_cases")]]
    rows += [["Test cases", facts.get("test_cases")]]
    verdicts = {True: "in order", False: "a problem", None: "for information"}
    checks = [[_sentence(check.name), check.finding, verdicts[check.passed]] for check in content.checks]
    for run, name in zip(content.runs[1:], content.names[1:], strict=True):
        others = [check for check in run.evaluation.checks if check.name.startswith("popularity")]
        checks += [[f"{_sentence(check.name)} ({name})", check.finding, verdicts[check.passed]] for check in others]
    return (
        markup.table(f"{facts.get('name')}, content hash {facts.get('hash')}", ["What", "How many"], rows)
        + "\n"
        + markup.table("What goes wrong in evaluations, checked here", ["Check", "Finding", "Result"], checks)
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
