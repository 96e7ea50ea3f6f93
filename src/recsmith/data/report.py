"""`DatasetReport`: what a data set holds and what is wrong with it, before anything is learned from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from recsmith.data.dataset import Dataset

Quantiles = dict[str, float]


@dataclass(frozen=True)
class DatasetReport:
    """Counts and findings; `as_dict()` is ready for JSON."""

    name: str
    source: dict[str, Any]
    hash: str
    users: int
    items: int
    events: int
    density: float
    """Share of all user-item pairs that have an event, 0 … 1."""
    events_per_user: Quantiles
    """`min`, `q25`, `median`, `q75`, `q95`, `max`, `mean`."""
    events_per_item: Quantiles
    time_range: tuple[str, str] | None
    """First and last event, ISO, UTC; None without times."""
    ratings: dict[str, int] | None
    """Number of events per rating (at most 20 distinct), None without ratings."""
    missing: dict[str, int]
    """Missing values per column, only where there are any."""
    duplicates: int
    """Events that repeat an earlier row exactly in user, item, time and event type."""
    repeated_pairs: int
    """Events whose user and item met before."""
    out_of_order: int
    """Rows whose time lies before the same user's row above."""
    last_tie_users: int
    """Users whose last two events have the same time: leave-one-out targets then follow the tie rule."""
    last_tie_share: float
    catalogue_items: int | None
    items_without_catalogue: int
    """Items of the log that the catalogue lacks."""
    columns: dict[str, dict[str, str]]
    """Table → column → type, or kind for the catalogue."""
    warnings: list[str]
    suggestions: list[str]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def inspect_dataset(dataset: Dataset) -> DatasetReport:
    """Look at everything once; no raw data is changed and nothing raises for odd content."""
    events = dataset.interactions
    per_user = events.group_by("user_id").len()["len"]
    per_item = events.group_by("item_id").len()["len"]
    pairs = events.select(pl.struct("user_id", "item_id").n_unique()).item()
    lacking = _lacking(dataset)
    tied = _last_ties(events)
    facts: dict[str, Any] = {
        "name": dataset.name,
        "source": dataset.source,
        "hash": dataset.hash,
        "users": len(per_user),
        "items": len(per_item),
        "events": events.height,
        "density": pairs / (len(per_user) * len(per_item)) if pairs else 0.0,
        "events_per_user": _quantiles(per_user),
        "events_per_item": _quantiles(per_item),
        "time_range": _time_range(events),
        "ratings": _ratings(events),
        "missing": _missing(dataset),
        "duplicates": _duplicates(events),
        "repeated_pairs": events.height - pairs,
        "out_of_order": _out_of_order(events),
        "last_tie_users": tied,
        "last_tie_share": tied / len(per_user) if len(per_user) else 0.0,
        "catalogue_items": len(dataset.catalogue) if dataset.catalogue else None,
        "items_without_catalogue": lacking,
        "columns": _columns(dataset),
    }
    return DatasetReport(**facts, warnings=_warnings(facts, per_user), suggestions=_suggestions(facts, per_user))


def _quantiles(counts: pl.Series) -> Quantiles:
    if counts.is_empty():
        return {}
    values = counts.to_numpy()
    names = ("min", "q25", "median", "q75", "q95", "max")
    quantiles = np.quantile(values, [0, 0.25, 0.5, 0.75, 0.95, 1])
    return {**dict(zip(names, map(float, quantiles))), "mean": round(float(values.mean()), 3)}


def _time_range(events: pl.DataFrame) -> tuple[str, str] | None:
    if "timestamp" not in events.columns or events.is_empty():
        return None
    low, high = events.select(low=pl.col("timestamp").min(), high=pl.col("timestamp").max()).row(0)
    return str(np.datetime64(int(low), "s")), str(np.datetime64(int(high), "s"))


def _ratings(events: pl.DataFrame) -> dict[str, int] | None:
    if "rating" not in events.columns:
        return None
    counts = events["rating"].drop_nulls().value_counts().sort("rating")
    if len(counts) <= 20:
        return {f"{rating:g}": count for rating, count in counts.rows()}
    bins = counts.sort("count", "rating", descending=[True, False]).head(20).sort("rating")
    return {f"{rating:g}": count for rating, count in bins.rows()}


def _missing(dataset: Dataset) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, table in _tables(dataset).items():
        for column, count in table.null_count().row(0, named=True).items():
            if count:
                found[f"{name}.{column}"] = count
    return found


def _duplicates(events: pl.DataFrame) -> int:
    key = [name for name in ("user_id", "item_id", "timestamp", "event_type") if name in events.columns]
    if "timestamp" not in key:
        return 0
    return events.height - events.select(pl.struct(key).n_unique()).item()


def _out_of_order(events: pl.DataFrame) -> int:
    if "timestamp" not in events.columns:
        return 0
    return int(events.select((pl.col("timestamp") < pl.col("timestamp").shift().over("user_id")).sum()).item())


def _last_ties(events: pl.DataFrame) -> int:
    """Users with more than one event at their last time."""
    if "timestamp" not in events.columns:
        return 0
    at_last = pl.col("timestamp") == pl.col("timestamp").max()
    return int((events.group_by("user_id").agg(at_last.sum().alias("n"))["n"] > 1).sum())


def _lacking(dataset: Dataset) -> int:
    if dataset.catalogue is None:
        return 0
    items = dataset.interactions["item_id"].unique()
    return int((~items.is_in(dataset.catalogue.frame["item_id"].implode())).sum())


def _tables(dataset: Dataset) -> dict[str, pl.DataFrame]:
    catalogue = dataset.catalogue.frame if dataset.catalogue else None
    named = {"interactions": dataset.interactions, "catalogue": catalogue, "users": dataset.users, "reviews": dataset.reviews}
    return {name: table for name, table in named.items() if table is not None}


def _columns(dataset: Dataset) -> dict[str, dict[str, str]]:
    kinds = dataset.catalogue.kinds if dataset.catalogue else {}
    return {
        name: {column: str(kinds.get(column, dtype) if name == "catalogue" else dtype) for column, dtype in table.schema.items()}
        for name, table in _tables(dataset).items()
    }


def _warnings(facts: dict[str, Any], per_user: pl.Series) -> list[str]:
    found = [str(note) for note in facts["source"].get("notes", [])]
    short = int((per_user < 3).sum())
    if facts["users"] < 2:
        found.append("only one user: nothing can be learned or split")
    if facts["time_range"] is None:
        found.append("no times: the order of the file counts as the order of events")
    if facts["duplicates"]:
        found.append(f"{facts['duplicates']:,} events repeat an earlier one exactly (user, item, time)")
    if facts["out_of_order"]:
        found.append(f"{facts['out_of_order']:,} rows are earlier than the same user's row above; they are sorted by time")
    if facts["last_tie_users"]:
        found.append(f"{facts['last_tie_users']:,} users ({facts['last_tie_share']:.1%}) have a tie at their last time; file order decides")
    if short:
        found.append(f"{short:,} users have fewer than 3 events; leave-one-out uses them for training only")
    if facts["items_without_catalogue"]:
        found.append(f"{facts['items_without_catalogue']:,} items of the log are not in the catalogue")
    return found


def _suggestions(facts: dict[str, Any], per_user: pl.Series) -> list[str]:
    found = []
    if facts["items_without_catalogue"]:
        found.append("choose what to do with items that the catalogue lacks: view.missing_items=drop or =keep")
    if facts["duplicates"]:
        found.append("if exact repeats are not meant, keep one of each: view.repeats=first")
    if facts["users"] > 1 and float((per_user < 5).mean()) > 0.5:  # type: ignore[arg-type]
        found.append(
            "most users have fewer than 5 events; published tables usually use the 5-core: view.min_user_events=5, view.min_item_events=5"
        )
    if facts["last_tie_share"] > 0.05:
        found.append("times are coarse: print figures with ties shuffled beside the others")
    if facts["catalogue_items"] is None:
        found.append("there is no catalogue: titles cannot be shown and item codes cannot be learned from text")
    return found
