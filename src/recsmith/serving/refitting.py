"""A new run from an old one and a store: the run's own log, the events of the feed since, and the items as they are now.

Two ways: `fit` trains from the start on all items that there are; `update` goes on from the old weights, which is quicker and knows no new
items. Both write into the card up to which event of the feed they have learned, so that the server knows which events to add to histories.
The recipe's filters of the log are not applied again: what the server answers from stays in the log. People who were forgotten, and events
on deleted items, are left out for good. Only the columns that a run keeps are there: a recipe that reads reviews does without.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from recsmith import fitting
from recsmith.data import Catalogue, Dataset, ViewConfig
from recsmith.errors import DataError
from recsmith.protocols import Progress
from recsmith.recommender import Recommender
from recsmith.serving.growth import as_catalogue
from recsmith.serving.making import fitted_until
from recsmith.serving.store import Store, hash_of_user

How = Literal["fit", "update"]
EVERYTHING = ViewConfig(missing_items="keep")
"""The log as the server knows it."""
_PAGE = 20_000


@dataclass(frozen=True)
class Feed:
    """What a store knows beyond a run."""

    events: list[dict[str, Any]]
    """Events behind the run's on items that there are, oldest first, without those of people who were forgotten."""
    seq: int
    """The last event that was read."""
    items: list[dict[str, Any]]
    """Items that were written and not deleted."""
    deleted: frozenset[str]
    forgotten: frozenset[str]
    """Hashes of people."""


def read_feed(store: Store, base: Recommender, *, kinds: Iterable[str]) -> Feed:
    """Events of the `kinds` that make up histories, since what `base` was fitted with."""
    seq, wanted, after = store.last_event(), frozenset(kinds), fitted_until(base, store)
    rows = store.items()
    deleted = frozenset(row["item_id"] for row in rows if row["deleted"])
    known = _known_items(base, rows) - deleted
    forgotten = frozenset(store.forgotten())
    events: list[dict[str, Any]] = []
    while after < seq:
        page = [row for row in store.feed(after=after, limit=_PAGE) if row["seq"] <= seq]
        if not page:
            break
        after = page[-1]["seq"]
        events += [row for row in page if row["kind"] in wanted and row["item_id"] in known]
    strangers = {user: hash_of_user(user) in forgotten for user in {row["user_id"] for row in events}} if forgotten else {}
    events = [row for row in events if not strangers.get(row["user_id"], False)]
    return Feed(events, seq, [row for row in rows if not row["deleted"]], deleted, forgotten)


def _known_items(base: Recommender, rows: Sequence[dict[str, Any]]) -> set[str]:
    """Items of the run, of its catalogue, and those written: an event on any other item is on a misspelt one."""
    catalogue = [] if base.catalogue is None else base.catalogue.frame["item_id"].to_list()
    return {str(item) for item in [*base.log.items.ids.to_list(), *catalogue]} | {row["item_id"] for row in rows}


def refit(
    base: Recommender,
    store: Store,
    *,
    how: How,
    kinds: Iterable[str],
    settings: fitting.Settings | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    message: Any = None,
) -> Recommender:
    """A new recommender; `save` it. Raises `DataError` when the feed has nothing new to learn from."""
    feed = read_feed(store, base, kinds=kinds)
    if not feed.events:
        raise DataError(f"the store has no events that the run has not learned from (up to {feed.seq}); wait for some")
    recipe = base.recipe.model_copy(update={"view": EVERYTHING})
    if how == "update":
        made = fitting.update(replace(base, recipe=recipe), _frame_dataset(base, feed, []), settings=settings, progress=progress)
    else:
        data = _frame_dataset(base, feed, _own_events(base, feed))
        made = fitting.fit(recipe, data, seed=seed, settings=settings, progress=progress, message=message)
    made.card["feed"] = {"store": store.identity, "seq": feed.seq, "events": len(feed.events), "how": how}
    return made


def _own_events(base: Recommender, feed: Feed) -> list[pl.DataFrame]:
    """The run's own log as a table, without people who were forgotten and items that were deleted."""
    histories = base.log.histories
    columns = {"user_id": base.log.users.raw(histories.rows), "item_id": base.log.items.raw(histories.values)}
    if histories.times is not None:
        columns["timestamp"] = pl.Series(histories.times)
    if histories.weights is not None:
        columns["rating"] = pl.Series(histories.weights)
    keep = np.ones(len(histories.values), dtype=bool)
    if feed.forgotten:
        gone = np.array([hash_of_user(str(user)) in feed.forgotten for user in base.log.users.ids.to_list()], dtype=bool)
        keep &= ~gone[histories.rows]
    if feed.deleted:
        gone = np.array([str(item) in feed.deleted for item in base.log.items.ids.to_list()], dtype=bool)
        keep &= ~gone[histories.values]
    return [pl.DataFrame(columns).filter(pl.Series(keep))]


def _frame_dataset(base: Recommender, feed: Feed, before: list[pl.DataFrame]) -> Dataset:
    """The events of the feed behind those of `before`, with the catalogue as it is now."""
    log = base.log
    columns = {
        "user_id": log.users.series([row["user_id"] for row in feed.events]),
        "item_id": log.items.series([row["item_id"] for row in feed.events]),
    }
    if log.histories.times is not None:
        columns["timestamp"] = pl.Series([row["time"] for row in feed.events], dtype=pl.Float64)
    if log.histories.weights is not None:
        columns["rating"] = pl.Series([row["value"] for row in feed.events], dtype=pl.Float32)
    frames = [*before, pl.DataFrame(columns)]
    for name in ("user_id", "item_id"):
        if len({frame.schema[name] for frame in frames}) > 1:  # a new id is text where the old ones were numbers
            frames = [frame.with_columns(pl.col(name).cast(pl.String)) for frame in frames]
    events = pl.concat(frames)
    data = base.card.get("data", {})
    return Dataset.from_frame(events, catalogue=_catalogue(base, feed.items, events.schema["item_id"]), name=data.get("name", "feed"))


def _catalogue(base: Recommender, rows: Sequence[dict[str, Any]], dtype: Any) -> Catalogue | None:
    """The run's catalogue with what was written since: new items, and newer values of old ones."""
    old = base.catalogue
    if not rows:
        return None if old is None else old.with_id_dtype(dtype)
    ids = pl.Series([str(row["item_id"]) for row in rows]).cast(dtype, strict=False)
    rows = [row for row, fits in zip(rows, ids.is_not_null().to_list(), strict=True) if fits]
    newer = as_catalogue(base, rows, dtype)
    if old is None:
        return newer
    kept = old.with_id_dtype(dtype)
    values = newer.frame.select(kept.frame.columns)
    frame = pl.concat([kept.frame.update(values, on="item_id", how="left"), values.join(kept.frame, on="item_id", how="anti")])
    return Catalogue(frame, dict(kept.kinds))
