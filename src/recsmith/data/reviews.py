"""`TrainingReviews`: what people wrote about the events that train, by index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsmith.data.histories import Cases
from recsmith.data.split import Log, Split


@dataclass(frozen=True)
class TrainingReviews:
    """One entry per review of a training event."""

    users: np.ndarray
    """User index, int64 `[review]`."""
    items: np.ndarray
    """Item index, int64 `[review]`."""
    texts: list[str]
    """What was written."""
    ratings: np.ndarray
    """Stars that came with it, NaN where there are none; float64 `[review]`."""
    aspects: list[str]
    """What it speaks about (column `aspect` or `feature`), "" where that is not known."""
    summaries: list[str]
    """Its short form (column `summary` or `title`), "" where there is none."""

    def __len__(self) -> int:
        return len(self.texts)

    @classmethod
    def of(cls, table: pl.DataFrame, log: Log, split: Split) -> TrainingReviews:
        """The reviews of pairs of user and item that train and are not held out; reviews without text are left out."""
        users, items = log.users.indices(table["user_id"]), log.items.indices(table["item_id"])
        width = split.items
        train = split.train.rows * width + split.train.values
        held = np.concatenate([_pairs(split.validation, width), _pairs(split.test, width)])
        pairs = users * width + items
        keep = (users >= 0) & (items >= 0) & np.isin(pairs, train) & ~np.isin(pairs, held)
        keep &= (table["text"].fill_null("").str.strip_chars() != "").to_numpy()
        kept = table.filter(pl.Series(keep))
        ratings = (
            kept["rating"].cast(pl.Float64).fill_null(float("nan")).to_numpy() if "rating" in kept.columns else np.full(len(kept), np.nan)
        )
        return cls(
            users[keep],
            items[keep],
            kept["text"].to_list(),
            ratings,
            _texts(kept, "aspect", "feature"),
            _texts(kept, "summary", "title"),
        )


def _pairs(cases: Cases, width: int) -> np.ndarray:
    return cases.users[cases.targets.rows] * width + cases.targets.values


def _texts(table: pl.DataFrame, *names: str) -> list[str]:
    """The first of these columns that is there, as texts."""
    found = next((name for name in names if name in table.columns), None)
    return [""] * len(table) if found is None else table[found].cast(pl.String).fill_null("").to_list()
