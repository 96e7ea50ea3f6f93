"""Who gets less: a run's figures by groups of people and of items, and recorded answers to questions that differ in one attribute."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import polars as pl

from recsmith.background import Background
from recsmith.decoding import top_k
from recsmith.errors import DataError, UserError, suggestion
from recsmith.evaluation.fairness import (
    CounterfactualAudit,
    GroupUtility,
    ItemGroupExposure,
    consistency,
    counterfactual_audit,
    group_utility,
    item_group_exposure,
)
from recsmith.evaluation.significance import holm
from recsmith.grouping import by_activity, by_attribute, by_taste
from recsmith.measurement import MeasuredRun
from recsmith.protocols import HistoryBatch, Limits
from recsmith.recommender import Recommender
from recsmith.seeding import generator
from recsmith.training import to_batch

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_METRICS = ("NDCG@10", "Recall@10", "ARP@10", "Calibration-KL@10", "ILD-categories@10")
"""Quality (Recall: equality of opportunity), then what kind of list people get."""
OF_THE_LOG = {"activity": by_activity, "taste": by_taste}
"""Attributes that every log has: how much is known about a person, and how popular what they took is."""
_MOST_PEOPLE = 5_000
"""People compared with each other for consistency; more are drawn by lot."""
_NEUTRAL = ("", "neutral")


@dataclass(frozen=True)
class Audit:
    """What the audit of one run by one attribute found."""

    attribute: str
    users: dict[str, GroupUtility]
    """Metric → its values by group of people."""
    adjusted_p: dict[str, float]
    """p of each metric's test, corrected by Holm for all metrics of this audit."""
    consistency: float | None
    """Whether people with the same tastes fare alike (1: exactly); None without categories."""
    items: ItemGroupExposure | None
    """Exposure by group of items; None where no column of the catalogue was named."""
    notes: tuple[str, ...]
    """What could not be measured, and why."""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        users = {name: {**found.as_dict(), "p_holm": self.adjusted_p[name]} for name, found in self.users.items()}
        items = None if self.items is None else self.items.as_dict()
        return {"attribute": self.attribute, "users": users, "consistency": self.consistency, "items": items, "notes": list(self.notes)}


def audit_run(
    run: MeasuredRun,
    background: Background,
    attribute: str,
    *,
    metrics: Sequence[str] = (),
    item_column: str | None = None,
    seed: int = 0,
) -> Audit:
    """The run's metrics by groups of people, and the exposure of groups of items where `item_column` of the catalogue is named.

    `attribute` is a column of the users' table, or `activity` or `taste`. Raises `DataError` when the data know no such attribute or a
    group has one member only; `UserError` for a metric without a value per case.
    """
    groups = attribute_groups(background, attribute)
    known = run.evaluation.per_case
    for name in metrics:
        if name not in known:
            raise UserError(f"`{name}` has no value per case that groups could be compared by; {suggestion(name, known)}")
    chosen = list(metrics) or [name for name in DEFAULT_METRICS if name in known] or [next(iter(known))]
    users = {name: group_utility(known[name], groups, seed=seed) for name in chosen}
    adjusted = holm([found.p_value for found in users.values()])
    notes = [] if item_column else ["exposure of makers or providers was not measured; name a column of the catalogue with --items"]
    alike = _consistency(background, known[chosen[0]], seed)
    if alike is None:
        notes.append("whether people of the same tastes fare alike was not measured: the catalogue has no categories")
    items = None if item_column is None else _items(run, background, item_column, int(chosen[0].partition("@")[2]))
    p_values = {name: float(p) for name, p in zip(users, adjusted, strict=True)}
    return Audit(attribute, users, p_values, alike, items, tuple(notes))


def attribute_groups(background: Background, attribute: str) -> Sequence[str | None]:
    """The group of each case, None where it is unknown."""
    if attribute in OF_THE_LOG:
        return OF_THE_LOG[attribute](background).of_cases
    if background.users is None:
        own = " or ".join(f"`{name}`" for name in OF_THE_LOG)
        raise DataError(
            f"nothing is known about the users of `{background.name}`, so there is no `{attribute}`; "
            f"give --data PATH with a users file, or audit by {own}"
        )
    return by_attribute(background, attribute).of_cases


def audit_answers(table: pl.DataFrame, *, k: int = 10, seed: int = 0) -> CounterfactualAudit:
    """Recorded lists of anything that was asked in words: `question, value, item_id, rank`; value empty or `neutral` = the neutral form.

    Every question must have been asked in its neutral form and under every value. An answer without items is one row with an empty
    `item_id`. Raises `DataError` for missing columns or answers, and for ranks that occur twice.
    """
    missing = [name for name in ("question", "value", "item_id", "rank") if name not in table.columns]
    if missing:
        raise DataError(f"the table of answers has no column `{missing[0]}`; it needs question, value, item_id and rank")
    lists = _recorded(table)
    neutral = {question: items for (question, value), items in lists.items() if value in _NEUTRAL}
    values = list(dict.fromkeys(value for _, value in lists if value not in _NEUTRAL))
    questions = list(dict.fromkeys(question for question, _ in lists))
    for question in questions:
        if question not in neutral:
            raise DataError(f"question `{question}` has no neutral answer; add rows with an empty value or `neutral`")
        for value in values:
            if (question, value) not in lists:
                raise DataError(f"question `{question}` has no answer under `{value}`; ask every question under every value")
    asked: Mapping[str, list[tuple[str, str]]] = {value: [(question, value) for question in questions] for value in values}
    every = {**lists, **{(question, ""): items for question, items in neutral.items()}}

    def ask(pairs: list[tuple[str, str]]) -> list[list[Hashable]]:
        return [every[pair] for pair in pairs]

    return counterfactual_audit(ask, [(question, "") for question in questions], asked, k=k, seed=seed)


@runtime_checkable
class ReadsWords(Protocol):
    """A model that can be told something in words."""

    @property
    def reads_words(self) -> bool:
        """Whether they can change the answer, as the model is set up."""
        ...

    def score_told(self, batch: HistoryBatch, words: Sequence[str]) -> Tensor:
        """As `score`, with one text per row."""
        ...


def audit_words(
    recommender: Recommender,
    background: Background,
    values: Sequence[str],
    *,
    template: str = "I am {value}.",
    people: int = 20,
    k: int = 10,
    seed: int = 0,
) -> CounterfactualAudit:
    """Ask a run that reads words for lists of the same people, drawn by lot, who say nothing and who say each of `values`.

    Everything but the words is the same, so what changes is what the words did. Answers are kept by the run's cache: the same question has
    one answer, also from a model that draws. Raises `UserError` when the run reads no words, or the template has no place for the value.
    """
    model = recommender.model
    if not isinstance(model, ReadsWords) or not model.reads_words:
        raise UserError(f"`{recommender.recipe.name}` as it was fitted reads no words, so nothing can be said to it; leave --values out")
    if "{value}" not in template:
        raise UserError(f"--say {template!r} has no place for the value; write {{value}} where it is to stand")
    cases = background.cases
    known = np.flatnonzero(cases.histories.lengths > 0)
    rows = np.sort(generator(seed, "asked in words").permutation(known)[:people])

    def ask(questions: list[tuple[int, str]]) -> list[list[Hashable]]:
        asked = cases.take(np.array([row for row, _ in questions], dtype=np.int64))
        batch = to_batch(asked.histories, users=asked.users, device=recommender.device)
        scores = model.score_told(batch, [words for _, words in questions])
        lists = top_k(scores, min(k, background.items), limits=Limits(exclude=asked.histories))
        return [[int(item) for item in items if item >= 0] for items in lists.items]

    said = {value: [(int(row), template.replace("{value}", value)) for row in rows] for value in values}
    return counterfactual_audit(ask, [(int(row), "") for row in rows], said, k=k, seed=seed)


def read_answers(path: Path) -> pl.DataFrame:
    """A CSV or Parquet file of recorded answers, all as text. Raises `DataError` when it cannot be read."""
    if not path.is_file():
        raise DataError(f"`{path}` is not a file; give a CSV or Parquet file with columns question, value, item_id and rank")
    try:
        frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"`{path}` cannot be read ({str(error).splitlines()[0]}); write it again") from None
    return frame.with_columns(pl.all().cast(pl.String))


def _recorded(table: pl.DataFrame) -> dict[tuple[str, str], list[Hashable]]:
    rank = table["rank"].cast(pl.Float64, strict=False)
    if rank.is_null().any():
        place = int(rank.is_null().arg_max() or 0)
        raise DataError(
            f"the table of answers, row {place + 1}, column `rank`: {table['rank'][place]!r} is not a number; ranks count from 1"
        )
    text = table.select(pl.col("question", "value", "item_id").cast(pl.String).fill_null(""), rank.alias("rank"))
    twice = text.select(pl.struct("question", "value", "rank").is_first_distinct().not_()).to_series()
    if twice.any():
        row = text.row(int(twice.arg_max() or 0), named=True)
        raise DataError(f"question `{row['question']}` under `{row['value']}` has rank {row['rank']:g} twice; give each rank once")
    lists: dict[tuple[str, str], list[Hashable]] = {}
    for question, value, item, _ in text.sort("rank", maintain_order=True).rows():
        found = lists.setdefault((question, value), [])
        if item:
            found.append(item)
    return lists


def _items(run: MeasuredRun, background: Background, column: str, k: int) -> ItemGroupExposure:
    catalogue = background.catalogue
    if catalogue is None:
        raise DataError(f"`{background.name}` has no catalogue, so there is no column `{column}` of items; leave --items out")
    if column not in catalogue.frame.columns:
        raise DataError(f"the catalogue of `{background.name}` has no column `{column}`; {suggestion(column, catalogue.frame.columns)}")
    if run.lists is None:
        raise DataError(f"`{run.name}` holds no lists; measure it again")
    groups = catalogue.rows(background.log.items.ids)[column]
    if groups.dtype.is_nested():
        raise DataError(f"column `{column}` holds several values for an item; name a column with one, such as a provider or a maker")
    named = groups.cast(pl.String).to_list()
    return item_group_exposure(run.lists.items, named, k=k, targets=background.cases.targets, popularity=background.trained)


def _consistency(background: Background, values: np.ndarray, seed: int) -> float | None:
    """Consistency over the categories of people's histories."""
    profiles = taste_profiles(background)
    known = np.flatnonzero(~np.isnan(values))
    if profiles is None or len(known) < 10:
        return None
    some = np.sort(generator(seed, "consistency").permutation(known)[:_MOST_PEOPLE])
    return consistency(values[some], profiles[some])


def taste_profiles(background: Background) -> np.ndarray | None:
    """Share of each category in the history of each case, float32 `[case, category]`; None where the catalogue has no categories."""
    from scipy import sparse

    categories, histories = background.categories, background.cases.histories
    if categories is None or not len(categories.values):
        return None
    ones = np.ones(len(categories.values), dtype=np.float32)
    belongs = sparse.csr_array((ones, categories.values, categories.offsets), shape=(len(categories), int(categories.values.max()) + 1))
    events = np.ones(len(histories.values), dtype=np.float32)
    taken = sparse.csr_array((events, histories.values, histories.offsets), shape=(len(histories), background.items))
    counts = (taken @ belongs).toarray()
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
