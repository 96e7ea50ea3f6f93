"""The sections with numbers of systems: figures with intervals, cost, groups of people, popularity and scores."""

from __future__ import annotations

from typing import Any

from recsmith.report import markup
from recsmith.report.content import ReportContent
from recsmith.report.groups import Grouping
from recsmith.report.plots import cost_plot, group_plot, hit_plot, interval_plot, popularity_plot

_CUTOFF_METRICS = ("Recall", "NDCG", "MRR", "Precision", "Recall-tail", "Recall-head", "Coverage", "Gini", "Novelty", "Serendipity")
_BLANK = "\u00a0"
"""A blank that does not break, so that an interval stays on one line."""
_MORE_METRICS = ("ARP", "APLT", "ILD-categories", "Unexpectedness-categories", "Calibration-KL")


def figures(content: ReportContent) -> str:
    """The metric of each system with its interval and its difference to the first, then the other metrics."""
    comparison, names = content.comparison, content.names
    level = f"{1 - comparison.alpha:.0%} interval"
    rows = []
    for figure, name in zip(comparison.figures, names, strict=True):
        test = figure.against_first
        row: list[Any] = [name, figure.mean, _range(figure.interval), comparison.verdict(figure), _tuning(figure.run.card)]
        row += [test.difference, _range(test.interval), test.adjusted_p, test.effect_size, test.detectable] if test else [None] * 5
        rows.append(row)
    headings = ["System", comparison.metric, level, "Verdict", "Tuned"]
    headings += ["Difference", f"{level} of it", "p (Holm)", "Effect size", "Could see"]
    others = max(len(names) - 1, 1)
    how = (
        f"Intervals by paired bootstrap, p by sign flips, {comparison.resamples:,} draws each, seed {comparison.seed}; Holm's correction "
        f"for {others} comparison{'s' if others > 1 else ''} with {names[0]}. Could see: the smallest true difference that these users "
        "would have shown four times in five. The effect size is the mean difference over its standard deviation. Tuned: trials of the "
        "search whose winner this is."
    )
    caption = f"{comparison.metric} on the {comparison.split} part, with {level}s"
    alt = "; ".join(_with_interval(content, place) for place in range(len(names)))
    plot = markup.picture(interval_plot(comparison, names), alt=alt, caption="The metric of each system with its interval.")
    table = markup.table(caption, headings, rows)
    return "\n".join([table, markup.paragraph(how), *_shuffled(content), plot, _other_metrics(content)])


def cost(content: ReportContent) -> str:
    """What each system took to train and takes to answer."""
    metric, names = content.comparison.metric, content.names
    columns = ["System", "Seconds of training", "Users answered per second", "One answer, ms (median)", "One answer, ms (95 %)"]
    columns += ["Peak memory, MB", "Model, MB", "Parameters", "Energy of training, Wh (estimate)", metric]
    rows, points = [], []
    for figure, name in zip(content.comparison.figures, names, strict=True):
        run = figure.run
        spent, single, everybody = run.card.get("cost", {}), run.cost.get("one at a time", {}), run.cost.get("all cases", {})
        seconds = run.card.get("seconds", {}).get("fit")
        rate = run.evaluation.cases / run.evaluation.seconds if run.evaluation.seconds else None
        row = [name, seconds, rate, single.get("p50"), single.get("p95"), everybody.get("peak_memory_mb"), spent.get("model_mb")]
        rows.append([*row, run.card.get("parameters"), spent.get("training_energy", {}).get("watt_hours"), figure.mean])
        if seconds:
            points.append((name, float(seconds), figure.mean))
    shown = [place for place in range(len(columns)) if place == 0 or any(row[place] is not None for row in rows)]
    headings = [columns[place] for place in shown]
    parts = [markup.table("What each system cost, on the hardware below", headings, [[row[place] for place in shown] for row in rows])]
    formulas = [
        str(run.card["cost"]["training_energy"]["formula"]) for run in content.runs if "training_energy" in run.card.get("cost", {})
    ]
    if formulas:
        how = f"Energy after Lannelongue et al. (2021), an upper estimate; {names[0]}: {formulas[0]}."
        parts.append(markup.paragraph(f"{how} Rates and latencies were measured without a network between."))
    if points:
        alt = "; ".join(f"{name}: {seconds:.1f} seconds of training, {value:.4f}" for name, seconds, value in points)
        parts.append(markup.picture(cost_plot(points, metric=metric), alt=alt, caption="Up is better, left is cheaper."))
    else:
        parts.append(markup.paragraph("None of these systems says what its training took."))
    return "\n".join(parts)


def groups(content: ReportContent) -> str:
    """The metric by groups of people."""
    if not content.groupings:
        return markup.paragraph("There are too few people to put into groups of two or more.")
    level = f"{1 - content.comparison.alpha:.0%}"
    words = (
        f"{content.comparison.metric} with {level} intervals. Where intervals overlap widely, a gap may be chance; groups of one are left "
        "out. Groups differ in how hard they are to serve, so a gap is a question, not a verdict."
    )
    attributes = [grouping.name for grouping in content.groupings][2:]
    parts = [markup.paragraph(words)]
    if not attributes:
        parts.append(
            markup.paragraph("The data name no attribute of people that could serve as a group, or none was handed to the report.")
        )
    return "\n".join([*parts, *(_grouping(content, grouping) for grouping in content.groupings)])


def curves(content: ReportContent) -> str:
    """Whom lists show, and whether scores mean anything."""
    parts = []
    if content.popularity_curves:
        alt = "; ".join(f"{curve.name}: {curve.head:.1%} of the places" for curve in content.popularity_curves)
        head = (
            f"The most popular tenth of the catalogue gets, of the training events, {content.trained_curve.head:.1%}; of the lists, {alt}"
        )
        uri = popularity_plot(content.popularity_curves, content.trained_curve)
        words = "How much of what is shown goes to popular items. Above the dotted line: more popular than what people took in training."
        parts.append(markup.picture(uri, alt=head, caption=words))
        rows = [[curve.name, f"{curve.head:.1%}"] for curve in (content.trained_curve, *content.popularity_curves)]
        parts.append(markup.table("Share that goes to the most popular tenth of the catalogue", ["Shown by", "Share"], rows))
    if content.hit_curves:
        parts += _scores(content)
    return "\n".join(parts) or markup.paragraph("There are no lists to draw.")


def _scores(content: ReportContent) -> list[str]:
    """Hits by size of score, and whether scores can be compared between people."""
    ends = [f"{curve.name}: from {curve.bins[0].observed:.2%} to {curve.bins[-1].observed:.2%}" for curve in content.hit_curves]
    words = (
        "Do scores mean what they say? All listed items of all users in up to ten parts by their score (or, where a system gives none, "
        f"their rank): the share that was held out, in lists of {content.cutoff}. A rising line means yes."
    )
    rows = []
    for curve in content.hit_curves:
        found = curve.comparability
        rows.append([curve.name, curve.bins[0].observed, curve.bins[-1].observed, found.gauc, found.pooled_auc, found.between_people])
    headings = ["System", "Hits, lowest scores", "Hits, highest scores"]
    headings += ["AUC inside people", "AUC across people", "Variance between people"]
    caption = "Scores of one person against those of another: comparable where both AUCs are alike"
    alt = f"Share of hits from lowest to highest scores. {'; '.join(ends)}"
    return [markup.picture(hit_plot(content.hit_curves), alt=alt, caption=words), markup.table(caption, headings, rows)]


def _grouping(content: ReportContent, grouping: Grouping) -> str:
    names = [content.names[place] for place in content.by_case]
    metric = content.comparison.metric
    rows = []
    for group in grouping.groups:
        cells = [f"{cell.mean:.4f} ({_range(cell)})" for cell in group.figures]
        rows.append([group.label, group.cases, *cells])
    alt = "; ".join(
        f"{group.label}: {', '.join(f'{name} {cell.mean:.4f}' for name, cell in zip(names, group.figures, strict=True))}"
        for group in grouping.groups
    )
    left_out = f" {grouping.left_out:,} people are in no group." if grouping.left_out else ""
    return "\n".join(
        [
            markup.heading(f"By {grouping.name}", 3),
            markup.picture(group_plot(grouping, names, metric=metric), alt=alt, caption=f"{metric} by {grouping.name}.{left_out}"),
            markup.table(f"{metric} by {grouping.name}", ["Group", "People", *names], rows),
        ]
    )


def _shuffled(content: ReportContent) -> list[str]:
    """The metric with ties in random order, beside the stable order."""
    if not content.shuffled:
        return []
    metric = content.comparison.metric
    pairs = zip(content.names, content.comparison.figures, content.shuffled, strict=True)
    rows = [[name, figure.mean, run.evaluation.metrics[metric], run.evaluation.cases] for name, figure, run in pairs]
    notes = list(dict.fromkeys(note for run in content.shuffled for note in run.notes))
    table = markup.table(f"{metric} where events of equal time change places", ["System", "Order of the file", "Shuffled", "Cases"], rows)
    return [table, *(markup.paragraph(f"{note[:1].upper()}{note[1:]}.") for note in notes)]


def _other_metrics(content: ReportContent) -> str:
    wanted = [f"{metric}@{content.cutoff}" for metric in (*_CUTOFF_METRICS, *_MORE_METRICS)]
    kept = [metric for metric in wanted if any(metric in run.evaluation.metrics for run in content.runs)]
    rows = [[metric, *(run.evaluation.metrics.get(metric) for run in content.runs)] for metric in kept]
    return markup.table(f"Other metrics of the lists of {content.cutoff}, without intervals", ["Metric", *content.names], rows)


def _with_interval(content: ReportContent, place: int) -> str:
    figure = content.comparison.figures[place]
    return f"{content.names[place]} {figure.mean:.4f}, {figure.interval.low:.4f} to {figure.interval.high:.4f}"


def _tuning(card: Any) -> str:
    search = card.get("search")
    if search:
        return f"{search.get('done')} trials"
    return "no" if card.get("recipe") else "unknown"


def _range(interval: Any) -> str:
    return f"{interval.low:.4f}{_BLANK}to{_BLANK}{interval.high:.4f}"
