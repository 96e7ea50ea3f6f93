"""`ViewConfig`: which events of a log count (filters, repeats, k-core), and their selection."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from recsmith.config import Config
from recsmith.data import validation
from recsmith.data.encoding import Codes
from recsmith.errors import DataError


class ViewConfig(Config):
    """Filters of a log, applied in the order of the fields; the k-core comes last."""

    missing_items: Literal["error", "keep", "drop"] = "error"
    """What to do with events whose item the catalogue lacks; no effect without a catalogue."""
    since: float | None = None
    """Only events at or after this time, in seconds since the epoch."""
    until: float | None = None
    """Only events before this time, in seconds since the epoch."""
    event_types: list[str] | None = None
    """Only events of these types; None keeps all."""
    min_rating: float | None = None
    """Only events rated at least this; no effect on logs without ratings."""
    repeats: Literal["keep", "first", "last"] = "keep"
    """Of several events of one user with one item: keep all, the first or the last in time."""
    min_user_events: int = Field(1, ge=1)
    """Drop users with fewer events, repeatedly together with `min_item_events` until nothing changes (k-core)."""
    min_item_events: int = Field(1, ge=1)
    """Drop items with fewer events, repeatedly together with `min_user_events` until nothing changes (k-core)."""


def filter_events(events: pl.DataFrame, view: ViewConfig, *, catalogue_ids: pl.Series | None, where: str) -> tuple[pl.DataFrame, list[str]]:
    """The events that pass all filters but the k-core, in file order, and notes on settings without effect.

    Raises `DataError` when nothing is left, when a filter needs a column that the log has not, or when the catalogue lacks an item.
    """
    notes: list[str] = []
    kept = _known(events, view, catalogue_ids, where=where)
    kept = _in_time(kept, view, where=where)
    kept = _of_types(kept, view, where=where)
    if view.min_rating is not None:
        if "rating" in kept.columns:
            kept = kept.filter(pl.col("rating") >= view.min_rating)
        else:
            notes.append(f"min_rating = {view.min_rating} has no effect: the log has no ratings")
    if view.repeats != "keep":
        kept = _without_repeats(kept, view.repeats)
    if kept.is_empty():
        raise nothing_left(view, events=events.height, where=where)
    return kept, notes


def nothing_left(view: ViewConfig, *, events: int, where: str) -> DataError:
    """The view keeps no event."""
    changed = ", ".join(f"{name}={value!r}" for name, value in view.model_dump(exclude_defaults=True).items())
    return DataError(f"{where}: no event of {events:,} is left under the view ({changed}); loosen a filter")


def k_core(codes: Codes, *, users: int, items: int) -> np.ndarray:
    """Bool `[event]`: the largest part of the log in which every user has ≥ `users` events and every item ≥ `items`."""
    alive = np.arange(len(codes.rows))
    while len(alive):
        row, value = codes.rows[alive], codes.values[alive]
        keep = (np.bincount(row) >= users)[row] & (np.bincount(value) >= items)[value]
        if keep.all():
            break
        alive = alive[keep]
    mask = np.zeros(len(codes.rows), dtype=bool)
    mask[alive] = True
    return mask


def _known(events: pl.DataFrame, view: ViewConfig, catalogue_ids: pl.Series | None, *, where: str) -> pl.DataFrame:
    if catalogue_ids is None or view.missing_items == "keep":
        return events
    if view.missing_items == "error":
        validation.require_known_items(events["item_id"], catalogue_ids, where=where)
        return events
    return events.filter(pl.col("item_id").is_in(catalogue_ids.implode()))


def _in_time(events: pl.DataFrame, view: ViewConfig, *, where: str) -> pl.DataFrame:
    if view.since is None and view.until is None:
        return events
    if "timestamp" not in events.columns:
        raise DataError(f"{where} has no times, so `since` and `until` cannot be applied; name the column: --columns time=ts")
    after = pl.lit(True) if view.since is None else pl.col("timestamp") >= view.since
    before = pl.lit(True) if view.until is None else pl.col("timestamp") < view.until
    return events.filter(after & before)


def _of_types(events: pl.DataFrame, view: ViewConfig, *, where: str) -> pl.DataFrame:
    if view.event_types is None:
        return events
    if "event_type" not in events.columns:
        raise DataError(f"{where} has no event types, so `event_types` cannot be applied; name the column: --columns event=action")
    known = set(events["event_type"].drop_nulls().cast(pl.String).unique().to_list())
    unknown = [name for name in view.event_types if name not in known]
    if unknown:
        raise DataError(f"{where} has no event of type `{unknown[0]}`; it has {', '.join(f'`{name}`' for name in sorted(known))}")
    return events.filter(pl.col("event_type").cast(pl.String).is_in(view.event_types))


def _without_repeats(events: pl.DataFrame, which: Literal["first", "last"]) -> pl.DataFrame:
    ordered = events.with_row_index("row")
    if "timestamp" in events.columns:
        ordered = ordered.sort("timestamp", maintain_order=True)
    kept = ordered.unique(subset=["user_id", "item_id"], keep=which, maintain_order=True)
    return kept.sort("row").drop("row")
