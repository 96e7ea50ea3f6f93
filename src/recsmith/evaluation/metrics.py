"""`evaluate_lists`: every metric, on ranked lists that are already there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from recsmith.data import Histories
from recsmith.errors import DataError, UserError
from recsmith.evaluation.accuracy import ACCURACY
from recsmith.evaluation.category_calibration import category_calibration
from recsmith.evaluation.category_sets import CategorySets
from recsmith.evaluation.diversity import category_diversity, vector_measures
from recsmith.evaluation.exposure import coverage, entropy, exposure, gini
from recsmith.evaluation.partial import part_recalls
from recsmith.evaluation.popularity_bias import list_means, long_tail, self_information
from recsmith.evaluation.relevance import Relevance, check_lists, without_repeats
from recsmith.evaluation.result import Evaluation
from recsmith.evaluation.surprise import category_unexpectedness, serendipity
from recsmith.protocols import RankedLists

DEFAULT_CUTOFFS = (5, 10, 20)


@dataclass(frozen=True)
class ItemFacts:
    """What the beyond-accuracy metrics need to know about the items; what is None is not measured."""

    popularity: np.ndarray | None = None
    """Events per item in *training*, `[item]`: novelty, ARP, APLT, serendipity, and recall of tail and head."""
    categories: Histories | None = None
    """Category indices, one packed row per item: diversity, unexpectedness and calibration by categories."""
    vectors: np.ndarray | None = None
    """Item vectors, float `[item, dim]`: diversity and unexpectedness by cosine distance."""

    def check(self, item_count: int) -> None:
        """Raise `DataError` when a part describes another number of items."""
        for name, part in vars(self).items():
            if part is not None and len(part) != item_count:
                raise DataError(f"`{name}` describes {len(part)} items but the catalogue has {item_count}; give one row per item")


def evaluate_lists(
    lists: RankedLists,
    targets: Histories,
    *,
    item_count: int,
    ks: Sequence[int] = DEFAULT_CUTOFFS,
    popularity: np.ndarray | None = None,
    categories: Histories | None = None,
    vectors: np.ndarray | None = None,
    histories: Histories | None = None,
) -> Evaluation:
    """Measure lists against the held-out items of the same cases; only `lists.items` is looked at, its order is the ranking.

    Accuracy (`Recall`, `Hit`, `NDCG`, `MRR`, `MAP`, `Precision`) is the mean over cases with targets, where a case without an answer
    counts 0. `Coverage`, `Gini` and `Entropy` (bits) describe all lists together. The others are means over the cases where they are
    defined:

    * with `popularity`, events per item in training: `Novelty`, `ARP` (mean training events of the recommended items; Yin et al. 2012),
      `APLT` (share of long-tail items; Abdollahpouri et al. 2019), `Recall-tail`, `Recall-head` and, where some target has no training
      event, `Recall-untrained` and `Recall-trained`;
    * with `categories`, one packed row per item: `ILD-categories`; with `vectors` `[item, dim]`: `ILD-vectors`;
    * with `histories`, what each case had before: `Serendipity` (needs popularity), `Unexpectedness-categories`,
      `Unexpectedness-vectors`, `Calibration-KL` (categories; Steck 2018, lower is better) and, where some target stands in the history,
      `Recall-repeated` and `Recall-fresh`.

    An item that a list repeats takes its place but counts once.

    Raises `DataError` for lists or item facts that do not fit the catalogue or the cases, and for a cutoff beyond the lists' length.
    """
    started = time.perf_counter()
    facts = ItemFacts(popularity, categories, vectors)
    cutoffs = check_cutoffs(ks, length=lists.items.shape[-1])
    check_lists(lists.items, cases=len(targets), item_count=item_count)
    facts.check(item_count)
    if histories is not None and len(histories) != len(targets):
        raise DataError(f"there are {len(histories)} histories for {len(targets)} cases; give one row per case")
    items = without_repeats(lists.items)
    metrics, per_case = _measure(items, targets, item_count, cutoffs, facts, histories)
    figures = {
        "answered": float((items[:, : max(cutoffs)] >= 0).any(axis=1).mean()) if len(items) else float("nan"),
        "repeated_items": int((items != lists.items).sum()),
    }
    return Evaluation(metrics, per_case, "unnamed", {}, time.perf_counter() - started, len(targets), figures)


def check_cutoffs(ks: Sequence[int], *, length: int) -> tuple[int, ...]:
    """The cutoffs in ascending order; raises `UserError` for none or one below 1, `DataError` for one beyond lists of that length."""
    cutoffs = tuple(sorted({int(k) for k in ks}))
    if not cutoffs or cutoffs[0] < 1:
        raise UserError(f"cutoffs ks={tuple(ks)!r} do not work; give one or more numbers from 1, for example ks=(5, 10, 20)")
    if cutoffs[-1] > length:
        raise DataError(f"k = {cutoffs[-1]} is above the length of the longest list, {length}; give ks up to {length} or longer lists")
    return cutoffs


def _measure(
    items: np.ndarray, targets: Histories, item_count: int, ks: tuple[int, ...], facts: ItemFacts, histories: Histories | None
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    relevance = Relevance.of(items, targets, item_count=item_count)
    per_case = {f"{name}@{k}": metric(relevance, k) for name, metric in ACCURACY.items() for k in ks}
    metrics = {name: _mean(values) for name, values in per_case.items()}
    shown = {k: exposure(items, k, item_count=item_count) for k in ks}
    for name, measure in (("Coverage", coverage), ("Gini", gini), ("Entropy", entropy)):
        metrics |= {f"{name}@{k}": measure(shown[k]) for k in ks}
    parts = part_recalls(relevance, items, targets, ks, item_count=item_count, popularity=facts.popularity, histories=histories)
    for name, by_cutoff in chain(_list_metrics(items, ks, facts, histories), _surprises(relevance, items, ks, facts, histories), parts):
        for k, values in by_cutoff.items():
            per_case[f"{name}@{k}"] = values
            metrics[f"{name}@{k}"] = _mean(values)
    return metrics, per_case


def _list_metrics(
    items: np.ndarray, ks: tuple[int, ...], facts: ItemFacts, histories: Histories | None
) -> Iterator[tuple[str, dict[int, np.ndarray]]]:
    if facts.popularity is not None:
        yield "Novelty", list_means(items, self_information(facts.popularity), ks)
        yield "ARP", list_means(items, facts.popularity.astype(np.float64), ks)
        yield "APLT", list_means(items, long_tail(facts.popularity).astype(np.float64), ks)
    if facts.categories is not None:
        sets = CategorySets.of(facts.categories)
        yield "ILD-categories", category_diversity(items, sets, ks)
        if histories is not None:
            yield "Unexpectedness-categories", category_unexpectedness(items, sets, histories, ks)
            yield "Calibration-KL", category_calibration(items, facts.categories, histories, ks)
    if facts.vectors is not None:
        yield from vector_measures(items, facts.vectors, ks, histories).items()


def _surprises(
    relevance: Relevance, items: np.ndarray, ks: tuple[int, ...], facts: ItemFacts, histories: Histories | None
) -> Iterator[tuple[str, dict[int, np.ndarray]]]:
    if facts.popularity is not None and histories is not None:
        yield "Serendipity", serendipity(relevance, items, ks, popularity=facts.popularity, histories=histories)


def _mean(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
