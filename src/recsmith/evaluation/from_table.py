"""`evaluate`: measure a stranger's table of recommendations against a log, on the same protocol as our own models."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import polars as pl

from recsmith.data import Cases, Dataset, Histories, Log, Split, SplitConfig, ViewConfig, item_categories, split_log
from recsmith.data.split import SplitName
from recsmith.errors import DataError, UserError, suggestion
from recsmith.evaluation.answers import seen_share
from recsmith.evaluation.leaks import leak_checks
from recsmith.evaluation.metrics import DEFAULT_CUTOFFS, check_cutoffs, evaluate_lists
from recsmith.evaluation.protocol import describe_protocol
from recsmith.evaluation.recommendations import in_order, read_recommendations
from recsmith.evaluation.result import Evaluation
from recsmith.protocols import RankedLists

SplitPart = Literal["test", "validation"]


@dataclass(frozen=True)
class TableLists:
    """The rows of a table as packed lists, one per user of the log (empty for those whom the table does not name)."""

    lists: Histories
    """Item index, -1 for items that the log does not know; best first; one row per user of the log."""
    figures: dict[str, float]
    """Users and items of the table that the log does not know, and repeated items."""

    @classmethod
    def of(cls, table: pl.DataFrame, log: Log) -> TableLists:
        """Match users and items of the table with those of the log."""
        ordered = in_order(table, log.items)
        user = log.users.indices(ordered["user_id"])
        rows = ordered.with_columns(pl.Series("user", user))
        figures: dict[str, float] = {
            "unknown_users": rows.filter(pl.col("user") < 0)["user_id"].n_unique(),
            "unknown_items": rows.filter(pl.col("item") < 0)["item_id"].n_unique(),
            "repeated_items": rows.height - rows.select(pl.struct("user_id", "item_id").n_unique()).item(),
        }
        known = rows.filter(pl.col("user") >= 0).sort("user", maintain_order=True)
        lengths = np.bincount(known["user"].to_numpy(), minlength=len(log.users))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return cls(Histories(known["item"].to_numpy().astype(np.int64), offsets), figures)


def evaluate(
    table: Any,
    data: Dataset,
    *,
    split: SplitPart = "test",
    protocol: SplitConfig | str | None = None,
    view: ViewConfig | None = None,
    ks: Sequence[int] | None = None,
    columns: Mapping[str, str] | None = None,
) -> Evaluation:
    """Measure a table of recommendations `user_id, item_id, rank` (or `score`) on the held-out events of `data`.

    `table` is a Polars, pandas or Arrow table, a dictionary of columns or the path of a CSV, TSV or Parquet file; `columns` maps roles to
    other names: `{"user": "customer_no", "item": "sku"}`. Lists are sorted by rank (gaps do not count); without ranks by score, best
    first, equal scores by ascending item id. `protocol` (a name or settings; default: leave-one-out) and `view` (default: all events)
    say what was held out. `ks` defaults to those of 5, 10, 20 that the longest list reaches. Every user who has something held out
    counts, those without a list as 0. An unknown or repeated item takes its place in the list and earns nothing.

    `figures` of the result: `answered` (share of the cases with a known item in their list), `unknown_users` and `unknown_items`
    (how many of the table the log does not have), `repeated_items` (rows of the table that name an item of their user again),
    `already_seen` (share of the listed items that stand in the user's history).

    `checks` of the result are those of `leak_checks`.

    Raises `DataError` for a table or data that cannot be used, a protocol that asks several times about one user, or a cutoff beyond the
    longest list; `UserError` for another `split` or an unknown protocol.
    """
    if split not in ("test", "validation"):
        raise UserError(f"unknown split `{split}`; allowed: `test`, `validation`")
    started = time.perf_counter()
    recommendations = read_recommendations(table, columns)
    chosen = data.select(view or ViewConfig())
    config = _protocol(protocol)
    log = chosen.log_for(config)
    cut, cases, users = _cases(log, config, split)
    _require_one_list_each(users, cut.config)
    matched = TableLists.of(recommendations, log)
    rows = matched.lists.take(users)
    _require_overlap(rows, recommendations, log, split=split)
    cutoffs = _cutoffs(ks, longest=int(rows.lengths.max()))
    lists = _padded(rows, cutoffs[-1])
    found = evaluate_lists(
        lists,
        cases.targets,
        item_count=cut.items,
        ks=cutoffs,
        popularity=np.bincount(cut.train.values, minlength=cut.items),
        categories=None if chosen.catalogue is None else item_categories(chosen.catalogue, log.items),
        histories=cases.histories,
    )
    seen = seen_share(lists.items, cases.histories, item_count=cut.items)
    return replace(
        found,
        split=split,
        protocol=describe_protocol(cut.config, tie_rule=cut.figures["tie_rule"]),
        seconds=time.perf_counter() - started,
        figures={**found.figures, **matched.figures, "already_seen": seen},
        checks=leak_checks(log, cut, split=split),
    )


def _protocol(given: SplitConfig | str | None) -> SplitConfig:
    if not isinstance(given, str):
        return given or SplitConfig()
    names = get_args(SplitName)
    if given not in names:
        raise UserError(f"unknown protocol `{given}`; {suggestion(given, names)}")
    return SplitConfig.parse({"name": given})


def _require_one_list_each(users: np.ndarray, config: SplitConfig) -> None:
    if len(np.unique(users)) < len(users):
        raise DataError(
            f"protocol `{config.name}` asks several times about one user and a table names one list per user; "
            "give one row per session as the user, or use another protocol"
        )


def _cases(log: Log, protocol: SplitConfig, split: SplitPart) -> tuple[Split, Cases, np.ndarray]:
    """The log cut by the protocol, the cases of one part, and the user of each case as a row of the log, int64 `[case]`.

    `Cases.users` is -1 for people who are unseen in training, whom a table can name all the same. So each event carries its
    user through the cut in the place of its weight, which no protocol reads.
    """
    marked = replace(log, histories=replace(log.histories, weights=log.histories.rows))
    cut = split_log(marked, protocol)
    cases = cut.test if split == "test" else cut.validation
    if len(cases) == 0:
        raise DataError(f"the {split} part of the data has no cases under {protocol.name}; give longer histories or another protocol")
    assert cases.targets.weights is not None
    return cut, cases, cases.targets.weights[cases.targets.offsets[:-1]]


def _require_overlap(rows: Histories, table: pl.DataFrame, log: Log, *, split: SplitPart) -> None:
    for name, known, ids in (("user", len(rows.values) > 0, log.users.ids), ("item", (rows.values >= 0).any(), log.items.ids)):
        if not known:
            raise DataError(
                f"the table and the {split} part of the data have no {name} in common: the table has {name} ids like "
                f"{table[f'{name}_id'][0]!r}, the data like {ids[0]!r}; check the column of {name}s"
            )


def _cutoffs(ks: Sequence[int] | None, *, longest: int) -> tuple[int, ...]:
    if ks is None:
        return tuple(k for k in DEFAULT_CUTOFFS if k <= longest) or (longest,)
    return check_cutoffs(ks, length=longest)


def _padded(rows: Histories, width: int) -> RankedLists:
    """The first `width` items of each row, int64 `[case, width]`, -1 behind the end."""
    position = np.arange(len(rows.values)) - np.repeat(rows.offsets[:-1], rows.lengths)
    kept = position < width
    items = np.full((len(rows), width), -1, dtype=np.int64)
    items[rows.rows[kept], position[kept]] = rows.values[kept]
    scores = np.where(items >= 0, -np.arange(width, dtype=np.float32), -np.inf).astype(np.float32)
    return RankedLists(items, scores)
