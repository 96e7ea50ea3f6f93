"""From the content of a report to one HTML file: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import datetime
import os
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from recsmith import __version__
from recsmith.comparison import Comparison, MeasuredRun
from recsmith.errors import StorageError
from recsmith.report import markup
from recsmith.report.content import Example, ReportContent
from recsmith.report.plots import cost_plot, interval_plot

_CUTOFF_METRICS = ("Recall", "NDCG", "MRR", "Coverage", "Gini", "Novelty", "ARP", "APLT", "ILD-categories")


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
    return template.substitute(
        title=escape(_title(content)),
        question=_question(content),
        data=_data(content),
        figures=_figures(content),
        cost=_cost(content),
        people=_people(content),
        again=_again(content.runs),
        version=escape(__version__),
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def run_names(runs: list[MeasuredRun]) -> list[str]:
    """The systems' names; with the folder where two runs are of one system."""
    titles = [str(run.card.get("title") or run.name) for run in runs]
    return [title if titles.count(title) == 1 else f"{title} ({run.name})" for title, run in zip(titles, runs, strict=True)]


def _title(content: ReportContent) -> str:
    return f"{', '.join(run_names(content.runs))} on {content.runs[0].card.get('data', {}).get('name')}"


def _question(content: ReportContent) -> str:
    comparison, runs, names = content.comparison, content.runs, run_names(content.runs)
    first, metric = runs[0], comparison.metric
    asked = (
        f"What comes next for {first.evaluation.cases:,} users of {first.card.get('data', {}).get('name')}? Each system ranks the full "
        f"catalogue without what the user had before; {metric} on the {comparison.split} part says how well, by the protocol "
        f"{first.evaluation.protocol.get('name')}."
    )
    parts = [markup.paragraph(asked)]
    if not comparison.comparable:
        marks = [f"{run.name}: {'; '.join(run.marks)}" for run in runs if run.marks]
        parts.append(markup.paragraph(f"Not comparable: put side by side by force. {' | '.join(marks)}", kind="warning"))
    parts.append(markup.items([_answer(comparison, place, names) for place in range(len(names))]))
    parts += [markup.paragraph(text, kind="warning") for text in _missing_rows(runs)]
    return "\n".join(parts)


def _answer(comparison: Comparison, place: int, names: list[str]) -> str:
    figure = comparison.figures[place]
    level = f"{1 - comparison.alpha:.0%}"
    text = f"{names[place]}: {figure.mean:.4f} ({level} interval {figure.interval.low:.4f} to {figure.interval.high:.4f})"
    if place == 0:
        return f"{text}, the baseline" if len(names) > 1 else text
    return f"{text}; against {names[0]}: {comparison.sentence(figure)}"


def _missing_rows(runs: list[MeasuredRun]) -> list[str]:
    """What a fair table needs and this one lacks."""
    by_recipe = {str(run.card.get("recipe")): run for run in runs}
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
    rows = [[name.capitalize(), facts.get(key)] for name, key in (("users", "users"), ("items", "items"), ("events", "events"))]
    rows += [["Training events", facts.get("train_events")], ["Validation cases", facts.get("validation_cases")]]
    rows += [["Test cases", facts.get("test_cases")]]
    verdicts = {True: "in order", False: "WRONG", None: "for information"}
    checks = [[check.name, check.finding, verdicts[check.passed]] for check in content.checks]
    return (
        markup.table(f"{facts.get('name')}, content hash {facts.get('hash')}", ["What", "How many"], rows)
        + "\n"
        + markup.table("What goes wrong in evaluations, checked here", ["Check", "Finding", "Result"], checks)
    )


def _figures(content: ReportContent) -> str:
    comparison, names = content.comparison, run_names(content.runs)
    level = f"{1 - comparison.alpha:.0%} interval"
    rows = []
    for figure, name in zip(comparison.figures, names, strict=True):
        test = figure.against_first
        row: list[Any] = [name, figure.mean, _range(figure.interval)]
        row += [test.difference, _range(test.interval), test.adjusted_p, test.effect_size, test.detectable] if test else [None] * 5
        rows.append([*row, comparison.verdict(figure)])
    headings = ["System", comparison.metric, level, "Difference", f"{level} of it", "p (Holm)", "Effect size", "Could see", "Verdict"]
    others = max(len(names) - 1, 1)
    how = (
        f"Intervals by paired bootstrap, p by sign flips, {comparison.resamples:,} draws each, seed {comparison.seed}; Holm's correction "
        f"for {others} comparison{'s' if others > 1 else ''} with {names[0]}. Could see: the smallest true difference that these users "
        "would have shown four times in five. The effect size is the mean difference over its standard deviation."
    )
    caption = f"{comparison.metric} on the {comparison.split} part, with {level}s"
    alt = "; ".join(_answer(comparison, place, names) for place in range(len(names)))
    plot = markup.picture(interval_plot(comparison, names), alt=alt, caption="The metric of each system with its interval.")
    return "\n".join([markup.table(caption, headings, rows), markup.paragraph(how), plot, _other_metrics(content, names)])


def _other_metrics(content: ReportContent, names: list[str]) -> str:
    cutoff = content.comparison.metric.partition("@")[2]
    wanted = [f"{metric}@{cutoff}" for metric in _CUTOFF_METRICS]
    kept = [metric for metric in wanted if any(metric in run.evaluation.metrics for run in content.runs)]
    rows = [[metric, *(run.evaluation.metrics.get(metric) for run in content.runs)] for metric in kept]
    return markup.table(f"Other metrics of the lists of {cutoff}, without intervals", ["Metric", *names], rows)


def _cost(content: ReportContent) -> str:
    names = run_names(content.runs)
    rows, points = [], []
    for figure, name in zip(content.comparison.figures, names, strict=True):
        card, evaluation = figure.run.card, figure.run.evaluation
        seconds = card.get("seconds", {}).get("fit")
        answers = evaluation.cases / evaluation.seconds if evaluation.seconds else None
        rows.append([name, seconds, answers, card.get("parameters"), figure.mean])
        if seconds:
            points.append((name, float(seconds), figure.mean))
    headings = ["System", "Seconds of training", "Users answered per second", "Parameters", content.comparison.metric]
    parts = [markup.table("What each system cost, on the hardware below", headings, rows)]
    if points:
        alt = "; ".join(f"{name}: {seconds:.1f} seconds of training, {value:.4f}" for name, seconds, value in points)
        uri = cost_plot(points, metric=content.comparison.metric)
        parts.append(markup.picture(uri, alt=alt, caption="Up is better, left is cheaper."))
    return "\n".join(parts)


def _people(content: ReportContent) -> str:
    if not content.examples:
        return markup.paragraph("The held-out part has nobody whom training knows, so there is no example to show.")
    systems = {run.name: name for run, name in zip(content.runs, run_names(content.runs), strict=True)}
    people = [_person(example, systems) for example in content.examples]
    return "\n".join([markup.paragraph("Drawn by lot with the report's seed, not chosen."), *people])


def _person(example: Example, systems: dict[str, str]) -> str:
    parts = [f'<article class="example"><h3>User {escape(example.user)}</h3>']
    parts += ["<p>Last known, oldest first:</p>", markup.items(example.history), "<p>Held out:</p>", markup.items(example.held_out)]
    for run, titles in example.lists.items():
        shown = markup.items([title for title, _ in titles], ordered=True, marked=[hit for _, hit in titles])
        parts += [f"<p>Best of {escape(systems[run])}:</p>", shown]
    return "".join([*parts, "</article>"])


def _again(runs: list[MeasuredRun]) -> str:
    parts = []
    for run, name in zip(runs, run_names(runs), strict=True):
        card, hardware = run.card, run.card.get("hardware", {})
        machine = f"{hardware.get('processor')}, {hardware.get('threads')} threads, GPU: {hardware.get('gpu') or 'none'}"
        versions = ", ".join(f"{part} {version}" for part, version in card.get("versions", {}).items())
        facts = [
            f"Command: {markup.code(card.get('command'))}",
            f"Commit: {markup.code(card.get('commit'))}; seeds: {escape(', '.join(map(str, card.get('seeds', []))))}",
            f"Hardware: {escape(machine)}; {escape(versions)}",
            f"Paper: {escape(str(card.get('paper')))}",
        ]
        if card.get("deviations"):
            facts.append(escape(str(card["deviations"])))
        parts.append(f"<h3>{escape(name)} <code>{escape(run.name)}</code></h3><ul>{''.join(f'<li>{fact}</li>' for fact in facts)}</ul>")
    return "\n".join(parts)


def _range(interval: Any) -> str:
    return f"{interval.low:.4f} to {interval.high:.4f}"
