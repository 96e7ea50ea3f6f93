"""What a report says, as plain values: measured runs, checks of the data, and people drawn by lot with what each run gave them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recsmith.comparison import Comparison, MeasuredRun, compare_measured, marked, measure_run, require_comparable
from recsmith.data import Cases, Histories, Split
from recsmith.data import popularity as count_events
from recsmith.evaluation.significance import RESAMPLES
from recsmith.protocols import Progress
from recsmith.recommender import Recommender, load
from recsmith.seeding import generator

EXAMPLES = 3
_SHOWN_HISTORY = 5
_SHOWN_LIST = 5


@dataclass(frozen=True)
class Check:
    """One thing that goes wrong in evaluations, and whether it did here."""

    name: str
    finding: str
    passed: bool | None
    """None for a finding that is neither right nor wrong."""


@dataclass
class Example:
    """One person: what was known, what came next, and the lists of the runs."""

    user: str
    history: list[str]
    """The last titles known, oldest first."""
    held_out: list[str]
    lists: dict[str, list[tuple[str, bool]]] = field(default_factory=dict)
    """Run → titles, best first, each with whether it was held out."""


@dataclass(frozen=True)
class ReportContent:
    """Everything that the page shows."""

    comparison: Comparison
    checks: tuple[Check, ...]
    examples: tuple[Example, ...]

    @property
    def runs(self) -> list[MeasuredRun]:
        """The runs in the order given."""
        return [figure.run for figure in self.comparison.figures]


def gather(
    folders: Sequence[str | Path],
    *,
    metric: str = "NDCG@10",
    split: str = "test",
    force: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> ReportContent:
    """Measure the runs, one in memory at a time. Raises what `recsmith.comparison.compare_runs` raises; one run alone is allowed."""
    if len(folders) > 1:
        require_comparable(folders, force=force)
    measured: list[MeasuredRun] = []
    checks: list[Check] = []
    examples: dict[str, Example] = {}
    for folder in folders:
        recommender = load(folder)
        run = measure_run(recommender, folder, split, progress=progress)
        measured.append(run)
        cut = recommender.split()
        if not checks:
            checks += data_checks(recommender, cut, run)
            examples = {example.user: example for example in draw_examples(recommender, run, cut, seed=seed)}
        checks.append(_popularity_check(recommender, cut, run.name))
        _answer_examples(recommender, run, cut, examples)
    comparison = compare_measured(marked(measured, force=force), metric=metric, resamples=resamples, seed=seed)
    return ReportContent(comparison, tuple(checks), tuple(examples.values()))


def data_checks(recommender: Recommender, cut: Split, run: MeasuredRun) -> list[Check]:
    """Leaks and ties of the split that the run's figures belong to."""
    cases: Cases = getattr(cut, run.evaluation.split)
    leaked = leaked_events(recommender.log.histories, cut, recommender.items)
    ties = cut.figures.get(f"{run.evaluation.split}_ties", 0)
    untrained = cut.figures.get(f"{run.evaluation.split}_targets_untrained", 0)
    seen = int(np.isin(_keys(cases.targets, recommender.items), _keys(cases.histories, recommender.items)).sum())
    targets = len(cases.targets.values)
    return [
        Check("Held-out events in training", f"{leaked:,} of {targets:,} held-out events", leaked == 0),
        Check("Targets that depend on the tie rule", f"{_share(int(ties), len(cases))} of the users; {cut.figures.get('tie_rule')}", None),
        Check("Targets the user had before", f"{_share(seen, targets)} of the targets; seen items are masked and cannot be hit", None),
        Check("Targets nobody has in training", f"{_share(int(untrained), targets)} of the targets", None),
    ]


def leaked_events(histories: Histories, cut: Split, items: int) -> int:
    """Events that stand in training and are held out too: more often in the parts together than in the log."""
    parts = [_keys(cut.train, items)]
    for cases in (cut.validation, cut.test):
        known = cases.users >= 0  # people whom training never saw have nothing there that could leak
        held_out = cases.targets.take(np.flatnonzero(known))
        parts.append(cases.users[known][held_out.rows] * items + held_out.values)
    together, counts = np.unique(np.concatenate(parts), return_counts=True)
    logged, times = np.unique(_keys(histories, items), return_counts=True)
    place = np.minimum(np.searchsorted(logged, together), len(logged) - 1)
    allowed = np.where(logged[place] == together, times[place], 0)
    return int(np.maximum(counts - allowed, 0).sum())


def draw_examples(recommender: Recommender, run: MeasuredRun, cut: Split, *, seed: int) -> list[Example]:
    """People drawn by lot among those with cases, so that nobody picked the flattering ones."""
    cases: Cases = getattr(cut, run.evaluation.split)
    known = np.flatnonzero(cases.users >= 0)
    rows = generator(seed, "examples").permutation(known)[:EXAMPLES]
    return [
        Example(
            user=str(run.cases["user_id"][int(row)]),
            history=_titles(recommender, cases.histories.row(row)[-_SHOWN_HISTORY:]),
            held_out=_titles(recommender, cases.targets.row(row)),
        )
        for row in rows
    ]


def _answer_examples(recommender: Recommender, run: MeasuredRun, cut: Split, examples: dict[str, Example]) -> None:
    cases: Cases = getattr(cut, run.evaluation.split)
    place = {user: row for row, user in enumerate(run.cases["user_id"].to_list()) if user in examples}
    if not place:
        return
    asked = cases.take(np.array(list(place.values())))
    lists = recommender.answer(asked, min(_SHOWN_LIST, recommender.items))
    for position, user in enumerate(place):
        items = lists.items[position][lists.items[position] >= 0]
        hits = np.isin(items, asked.targets.row(position)).tolist()
        examples[user].lists[run.name] = list(zip(_titles(recommender, items), hits, strict=True))


def _popularity_check(recommender: Recommender, cut: Split, name: str) -> Check:
    same = np.array_equal(recommender.popularity, count_events(cut.train, recommender.items))
    return Check(f"Popularity of {name}", "counted in training events only" if same else "counts other events than those of training", same)


def _titles(recommender: Recommender, items: np.ndarray) -> list[str]:
    ids = recommender.log.items.raw(items)
    return [title or str(item) for title, item in zip(recommender.titles(ids), ids.to_list(), strict=True)]


def _keys(rows: Histories, items: int) -> np.ndarray:
    return rows.rows * items + rows.values


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({part / whole:.1%})" if whole else "none"
