"""`Background`: what figures are read against. Who was asked what, what was known in training, and what the items are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from recsmith.data import Cases, Catalogue, Dataset, Histories, Log, Split, SplitConfig, ViewConfig, item_categories, split_log
from recsmith.data import popularity as count_events
from recsmith.errors import DataError
from recsmith.run_folder import read_run

Part = Literal["test", "validation"]


@dataclass(frozen=True)
class Background:
    """A cut log with what is known about its items and people; no model."""

    name: str
    """Of the data."""
    log: Log
    cut: Split
    part: Part
    """Whose cases the figures belong to."""
    popularity: np.ndarray
    """Events per item as the system counted them, int64 `[item]`."""
    catalogue: Catalogue | None = None
    users: pl.DataFrame | None = None
    """`user_id` and what is known about each user, where it is known."""

    @classmethod
    def of_run(cls, folder: str | Path, *, part: Part = "test", users: pl.DataFrame | None = None) -> Background:
        """Of a run folder, without reading its weights. Raises `ArtifactError`."""
        state = read_run(Path(folder), weights=False)
        name = str(state.card.get("data", {}).get("name"))
        cut = split_log(state.log, state.recipe.split)
        return cls(name, state.log, cut, part, state.popularity, state.catalogue, users)

    @classmethod
    def of_data(
        cls, data: Dataset, *, part: Part = "test", protocol: SplitConfig | None = None, view: ViewConfig | None = None
    ) -> Background:
        """Of data that no run of ours was fitted on; popularity is counted in the training part. Raises `DataError`."""
        chosen = data.select(view or ViewConfig())
        log = chosen.log()
        cut = split_log(log, protocol or SplitConfig())
        if len(getattr(cut, part)) == 0:
            raise DataError(f"the {part} part of `{data.name}` has no cases under {cut.config.name}; give longer histories")
        return cls(data.name, log, cut, part, count_events(cut.train, cut.items), chosen.catalogue, data.users)

    @property
    def cases(self) -> Cases:
        """What was asked."""
        found: Cases = getattr(self.cut, self.part)
        return found

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return len(self.log.items)

    @cached_property
    def trained(self) -> np.ndarray:
        """Events per item in the training part, counted here, int64 `[item]`."""
        return count_events(self.cut.train, self.items)

    @cached_property
    def categories(self) -> Histories | None:
        """Category numbers of each item, packed; None where the catalogue has none."""
        return None if self.catalogue is None else item_categories(self.catalogue, self.log.items)

    def titles(self, items: Sequence[int] | np.ndarray) -> list[str]:
        """Titles of item indices, the raw id where there is none."""
        ids = self.log.items.raw(np.asarray(items, dtype=np.int64))
        names: list[str | None] = [None] * len(ids) if self.catalogue is None else self.catalogue.titles(ids).to_list()
        return [title or str(item) for title, item in zip(names, ids.to_list(), strict=True)]

    def user_names(self) -> list[str | None]:
        """Raw user id of each case as text, None for people unseen in training."""
        names = self.log.users.raw(np.maximum(self.cases.users, 0)).cast(pl.String).to_list()
        return [name if known else None for name, known in zip(names, self.cases.users >= 0, strict=True)]

    def attribute(self, name: str) -> list[str | None]:
        """Value of a user attribute for each case as text, None where it is not known. Raises `DataError` when the data have none such."""
        if self.users is None:
            raise DataError(f"`{self.name}` says nothing about its users; give data with a users file that has a column `{name}`")
        if name not in self.users.columns or name == "user_id":
            known = ", ".join(f"`{column}`" for column in self.users.columns if column != "user_id")
            raise DataError(f"the users of `{self.name}` have no attribute `{name}`; known: {known}")
        table = self.users.select(pl.col("user_id").cast(pl.String), pl.col(name).cast(pl.String).alias("value")).unique("user_id")
        asked = pl.DataFrame({"user_id": pl.Series(self.user_names(), dtype=pl.String)})
        return asked.join(table, on="user_id", how="left", maintain_order="left")["value"].to_list()
