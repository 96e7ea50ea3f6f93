"""Systems that are not ours: a table of recommendations measured on a data set, beside a popularity ranking made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsmith.background import Background
from recsmith.data import Cases, Dataset, Histories
from recsmith.errors import UserError
from recsmith.evaluation import Evaluation, evaluate, evaluate_answer, rank_scores, read_recommendations
from recsmith.evaluation.from_table import TableLists
from recsmith.evaluation.leaks import leak_checks
from recsmith.evaluation.protocol import describe_protocol
from recsmith.measurement import MeasuredRun, describe_cases, people_of_cases
from recsmith.protocols import RankedLists

POPULARITY = "Popularity"


def measure_tables(
    tables: Sequence[str | Path], data: Dataset, background: Background, *, columns: Mapping[str, str] | None = None
) -> list[MeasuredRun]:
    """Each table as a measured system, the popularity ranking of the training events before them.

    All are measured at the cutoffs that every table reaches. Raises what `recsmith.evaluate` raises; `UserError` for a table given twice.
    """
    names = [Path(table).stem for table in tables]
    if len({str(table) for table in tables}) < len(tables):
        raise UserError("a table is given twice; give each --table once")
    protocol = background.cut.config
    found = [evaluate(table, data, split=background.part, protocol=protocol, columns=columns) for table in tables]
    reached = [{int(metric.partition("@")[2]) for metric in evaluation.metrics} for evaluation in found]
    cutoffs = tuple(sorted(set.intersection(*reached))) or (min(map(max, reached)),)
    runs = [_popular(background, data, cutoffs)]
    for table, name, evaluation in zip(tables, names, found, strict=True):
        if not set(cutoffs) <= {int(metric.partition("@")[2]) for metric in evaluation.metrics}:
            evaluation = evaluate(table, data, split=background.part, protocol=protocol, columns=columns, ks=cutoffs)
        lists = _lists(table, background, columns, cutoffs[-1])
        runs.append(_system(str(table), name, f"the table {Path(table).name}", background, data, evaluation, lists))
    return runs


def _popular(background: Background, data: Dataset, cutoffs: tuple[int, ...]) -> MeasuredRun:
    """Events in training, most first, without what the person had unless the protocol repeats items."""
    parts: list[RankedLists] = []
    counts = background.trained.astype(np.float32)

    def answer(some: Cases, k: int) -> RankedLists:
        seen: Histories | None = None if background.cut.config.repeats_items else some.histories
        parts.append(rank_scores(np.broadcast_to(counts, (len(some), len(counts))), k, exclude=seen))
        return parts[-1]

    evaluation = evaluate_answer(
        answer,
        background.cases,
        item_count=background.items,
        ks=cutoffs,
        split=background.part,
        protocol=describe_protocol(background.cut.config, tie_rule=background.cut.figures["tie_rule"]),
        popularity=background.trained,
        categories=background.categories,
        checks=leak_checks(background.log, background.cut, split=background.part, popularity=background.trained),
    )
    lists = RankedLists.joined(parts)
    return _system(POPULARITY, POPULARITY, "training events counted for this page", background, data, evaluation, lists)


def _lists(table: str | Path, background: Background, columns: Mapping[str, str] | None, width: int) -> RankedLists:
    """The first `width` items of each case's list, -1 behind the end; a table's scores are its ranks, the best highest."""
    rows = TableLists.of(read_recommendations(table, columns), background.log).lists
    rows = rows.take(people_of_cases(background.log, background.cut.config, background.part))
    place = np.arange(len(rows.values)) - np.repeat(rows.offsets[:-1], rows.lengths)
    kept = place < width
    items = np.full((len(rows), width), -1, dtype=np.int64)
    items[rows.rows[kept], place[kept]] = rows.values[kept]
    return RankedLists(items, np.where(items >= 0, -np.arange(width, dtype=np.float32), -np.inf).astype(np.float32))


def _system(
    name: str, title: str, source: str, background: Background, data: Dataset, evaluation: Evaluation, lists: RankedLists
) -> MeasuredRun:
    figures = {key: value for key, value in background.cut.figures.items() if key not in ("users", "items", "events")}
    facts: dict[str, Any] = {
        "name": data.name,
        "hash": data.hash,
        "users": len(background.log.users),
        "items": background.items,
        "events": len(background.log.histories.values),
        "source": data.source,
        **figures,
    }
    card: dict[str, Any] = {"title": title, "recipe": "popularity" if name == POPULARITY else None, "data": facts, "made from": source}
    return MeasuredRun(name, card, evaluation, describe_cases(background.cases, background.log), lists)
