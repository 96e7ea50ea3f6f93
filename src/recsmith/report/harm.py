"""The harm sheet: six kinds of harm that recommenders do, what was measured of each here, what was not, and the figures.

The categories are those that Deldjoo et al. (2024, section 5.4) take from the literature: content, privacy, autonomy and well-being,
transparency and accountability, social effects, fairness. An empty cell would read like "no harm", so each row says what nobody looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsmith.background import Background
from recsmith.evaluation.fairness import item_group_exposure
from recsmith.grouping import ACTIVITY, TASTE
from recsmith.measurement import MeasuredRun
from recsmith.report.curves import PopularityCurve
from recsmith.report.groups import Grouping

_PROVENANCE = ("command", "commit", "seeds", "hardware", "versions", "protocol", "data", "paper")
"""Parts of a card that somebody needs who wants to check a figure."""
_OURS = (ACTIVITY, TASTE)
_MAKERS = ("provider", "seller", "maker", "artist", "author", "brand")
"""Columns of a catalogue that name who earns by an item, the first that is there."""


@dataclass(frozen=True)
class HarmFigure:
    """One thing that was measured."""

    what: str
    values: tuple[str, ...]
    """One per system, or a single one that holds for all."""


@dataclass(frozen=True)
class HarmRow:
    """One kind of harm."""

    category: str
    measured: tuple[HarmFigure, ...]
    not_measured: str


def harm_sheet(
    background: Background,
    runs: Sequence[MeasuredRun],
    names: Sequence[str],
    groupings: Sequence[Grouping],
    curves: Sequence[PopularityCurve],
    trained: PopularityCurve,
    *,
    metric: str,
) -> list[HarmRow]:
    """All six rows, in the order of the paper."""
    k = int(metric.partition("@")[2])
    return [
        HarmRow(
            "Content",
            tuple(_content(background, runs, k)),
            "Whether titles, texts or pictures are hateful, sexual, violent, false or forged; who may see them at which age.",
        ),
        HarmRow(
            "Privacy and misuse of data",
            tuple(_privacy(background)),
            "Whether somebody can tell from the answers who was in the training data, or what a person did; consent; deletion on request.",
        ),
        HarmRow(
            "Autonomy and well-being",
            tuple(_autonomy(background, runs, k)),
            "Whether people can steer or stop it, regret the time, or are moved to what they did not want; nobody was asked.",
        ),
        HarmRow(
            "Transparency and accountability",
            tuple(_transparency(runs)),
            "Whether people are told why they see an item, and who answers for it.",
        ),
        HarmRow(
            "Social effects",
            tuple(_social(runs, curves, trained, k)),
            "What happens when people react to the lists again and again: bubbles, polarisation, manipulation by interested parties.",
        ),
        HarmRow(
            "Fairness",
            tuple(_fairness(background, runs, groupings, metric)),
            "Groups that the data do not name; whether words about a person change the lists (see recsmith audit); who made the items.",
        ),
    ]


def _content(background: Background, runs: Sequence[MeasuredRun], k: int) -> Iterator[HarmFigure]:
    yield HarmFigure("places of the lists that hold no item of the catalogue", tuple(_share(_empty(run, k)) for run in runs))
    yield HarmFigure("places that repeat an item of the same list", tuple(_share(_repeated(run)) for run in runs))


def _privacy(background: Background) -> Iterator[HarmFigure]:
    people, events = len(background.log.users), len(background.log.histories.values)
    yield HarmFigure("people whose events, by id, the data hold", (f"{people:,} people, {events:,} events",))
    attributes = [] if background.users is None else [name for name in background.users.columns if name != "user_id"]
    yield HarmFigure("attributes of people that the data hold", (", ".join(attributes) or "none",))


def _autonomy(background: Background, runs: Sequence[MeasuredRun], k: int) -> Iterator[HarmFigure]:
    for name, words in (
        ("Unexpectedness-categories", "distance between list and history by category (0: more of the same, 1: nothing in common)"),
        ("ILD-categories", "distance between the items of a list by category"),
        ("Calibration-KL", "how far a list's categories are from the person's own (0: the same shares)"),
    ):
        if any(f"{name}@{k}" in run.evaluation.metrics for run in runs):
            yield _metric(runs, f"{name}@{k}", words)


def _transparency(runs: Sequence[MeasuredRun]) -> Iterator[HarmFigure]:
    known = [sum(run.card.get(part) not in (None, "", [], {}) for part in _PROVENANCE) for run in runs]
    words = f"facts recorded of the {len(_PROVENANCE)} that somebody needs to check a figure"
    yield HarmFigure(words, tuple(f"{count} of {len(_PROVENANCE)}" for count in known))


def _social(runs: Sequence[MeasuredRun], curves: Sequence[PopularityCurve], trained: PopularityCurve, k: int) -> Iterator[HarmFigure]:
    words = f"places that go to the most popular tenth of the catalogue (of the training events: {trained.head:.1%})"
    yield HarmFigure(words, tuple(f"{curve.head:.1%}" for curve in curves))
    yield _metric(runs, f"Gini@{k}", "inequality of exposure (Gini; 0: all items equally often)")
    yield _metric(runs, f"Coverage@{k}", "share of the catalogue that is shown at all")


def _fairness(background: Background, runs: Sequence[MeasuredRun], groupings: Sequence[Grouping], metric: str) -> Iterator[HarmFigure]:
    """Gaps between groups of people, by their attributes first, with the worst-off group; then exposure of providers or makers."""
    for grouping in sorted(groupings, key=lambda grouping: grouping.name in _OURS):
        systems = range(len(grouping.groups[0].figures))
        yield HarmFigure(f"gap of {metric} between groups by {grouping.name}", tuple(_gap(grouping, place) for place in systems))

    column = None if background.catalogue is None else next((name for name in _MAKERS if name in background.catalogue.frame.columns), None)
    if column is not None and background.catalogue is not None:
        owners = background.catalogue.rows(background.log.items.ids)[column].cast(pl.String)
        if owners.drop_nulls().n_unique() > 1:
            k = int(metric.partition("@")[2])
            found = [item_group_exposure(run.lists.items, owners.to_list(), k=k) for run in runs if run.lists is not None]
            words = f"exposure of the {column} shown least for its size, over that size (1: as its size says)"
            yield HarmFigure(words, tuple(f"{exposed.rows[-1].parity:.2f}, {exposed.worst}" for exposed in found))


def _gap(grouping: Grouping, place: int) -> str:
    means = {group.label: group.figures[place].mean for group in grouping.groups}
    worst = min(means, key=lambda label: means[label])
    return f"{max(means.values()) - means[worst]:.4f}, least for {worst}"


def _metric(runs: Sequence[MeasuredRun], name: str, words: str) -> HarmFigure:
    values = [run.evaluation.metrics.get(name, math.nan) for run in runs]
    return HarmFigure(words, tuple("undefined" if math.isnan(value) else f"{value:.4f}" for value in values))


def _empty(run: MeasuredRun, k: int) -> float:
    return float("nan") if run.lists is None else float(np.mean(run.lists.items[:, :k] < 0))


def _repeated(run: MeasuredRun) -> float:
    listed = run.evaluation.cases * (0 if run.lists is None else run.lists.items.shape[1])
    return float(run.evaluation.figures.get("repeated_items", 0)) / listed if listed else float("nan")


def _share(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.1%}"
