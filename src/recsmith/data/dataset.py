"""`Dataset`: a log of interactions with, where there are any, a catalogue, users and reviews; the start of everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from recsmith.data import prepared, validation
from recsmith.data.catalogue import Catalogue
from recsmith.data.columns import canonical_ids, canonical_interactions
from recsmith.data.encoding import Codes, event_order
from recsmith.data.frames import as_frame, content_hash
from recsmith.data.histories import Histories, offsets_of
from recsmith.data.readers import detect, reader_named
from recsmith.data.report import DatasetReport, inspect_dataset
from recsmith.data.row_logs import basket_log
from recsmith.data.split import Log, Split, SplitConfig
from recsmith.data.splitting import split_log
from recsmith.data.view import ViewConfig, filter_events, k_core, nothing_left
from recsmith.data.views import baskets
from recsmith.data.written import WrittenEvents
from recsmith.errors import DataError

if TYPE_CHECKING:
    from os import PathLike


@dataclass(frozen=True, eq=False)
class Dataset:
    """Tables in canonical columns; `from_…` makes one from anything else.

    Raises `DataError` when a required column is missing or of the wrong type.
    """

    interactions: pl.DataFrame
    """`user_id`, `item_id` (Int64 or String), optional `timestamp` (seconds), `rating`, `event_type`, `session_id`, then context columns;
    rows in file order."""
    catalogue: Catalogue | None = None
    users: pl.DataFrame | None = None
    """`user_id` and what is known about each user."""
    reviews: pl.DataFrame | None = None
    """`user_id`, `item_id`, `text`, and further columns."""
    written: WrittenEvents | None = None
    """Events that a generator wrote for training; no filter, split or statistic sees them."""
    name: str = "data"
    source: dict[str, Any] = field(default_factory=dict)
    """Where it came from: `reader`, `path`, `columns` (canonical → source), `notes`."""

    def __post_init__(self) -> None:
        for column in ("user_id", "item_id"):
            if column not in self.interactions.columns:
                raise DataError(f"interactions have no column `{column}`; make the data set with Dataset.from_frame(…, columns=…)")
            if self.interactions.schema[column] not in (pl.Int64, pl.String):
                raise validation.wrong_type(column, self.interactions.schema[column], "Int64 or String ids", where="interactions")
        if self.catalogue is not None:
            object.__setattr__(self, "catalogue", self._matching(self.catalogue))

    # ---- making one ------------------------------------------------------------------------------------------------------

    @classmethod
    def from_frame(
        cls,
        interactions: Any,
        *,
        catalogue: Any = None,
        users: Any = None,
        reviews: Any = None,
        columns: Mapping[str, str] | None = None,
        name: str = "data",
    ) -> Dataset:
        """From a Polars, pandas or Arrow table or a dictionary of columns; `columns` maps roles to names: `{"user": "customer_no"}`.

        Raises `DataError` naming row and column where something cannot be used.
        """
        result = canonical_interactions(as_frame(interactions, what="interactions"), columns, where="interactions")
        source = {"reader": "frame", "path": None, "columns": result.columns, "notes": result.notes}
        tables = cls(result.frame, name=name, source=source)
        return tables.with_tables(catalogue=catalogue, users=users, reviews=reviews)

    @classmethod
    def from_csv(cls, path: str | PathLike[str], *, columns: Mapping[str, str] | None = None, catalogue: Any = None) -> Dataset:
        """From one delimited file (CSV, TSV, `;`, `|`; `.gz` too); `catalogue` is a table, a `Catalogue` or the path of a file."""
        return cls._read("csv", path, columns).with_tables(catalogue=catalogue)

    @classmethod
    def from_parquet(cls, path: str | PathLike[str], *, columns: Mapping[str, str] | None = None, catalogue: Any = None) -> Dataset:
        """From one Parquet file."""
        return cls._read("parquet", path, columns).with_tables(catalogue=catalogue)

    @classmethod
    def from_jsonl(cls, path: str | PathLike[str], *, columns: Mapping[str, str] | None = None, catalogue: Any = None) -> Dataset:
        """From one file with a JSON object per line (`.gz` too)."""
        return cls._read("jsonl", path, columns).with_tables(catalogue=catalogue)

    @classmethod
    def from_path(cls, path: str | PathLike[str], *, columns: Mapping[str, str] | None = None, reader: str = "auto") -> Dataset:
        """From a file or folder of any known form; `reader` is a name of `READERS`, or "auto" to detect it.

        Raises `DataError` when the form is unknown or the content cannot be used, `ArtifactError` when a prepared folder was changed.
        """
        folder = Path(path)
        if not folder.exists():
            raise DataError(f"`{folder}` does not exist; give a file or a folder")
        return cls._read(detect(folder) if reader == "auto" else reader, folder, columns)

    @classmethod
    def from_world(cls, **settings: Any) -> Dataset:
        """The built-in simulated world (`recsmith.data.world.world`), with its settings."""
        from recsmith.data.world import world

        return world(**settings).dataset

    @classmethod
    def _read(cls, reader: str, path: str | PathLike[str], columns: Mapping[str, str] | None) -> Dataset:
        location = Path(path)
        if not location.exists():
            raise DataError(f"`{location}` does not exist; give a file or a folder")
        return reader_named(reader).read(location, columns=columns)

    def with_tables(self, *, catalogue: Any = None, users: Any = None, reviews: Any = None) -> Dataset:
        """A copy with these tables beside the log; None leaves what is there."""
        changes: dict[str, Any] = {}
        if catalogue is not None:
            changes["catalogue"] = catalogue if isinstance(catalogue, Catalogue) else _catalogue_from(catalogue)
        if users is not None:
            table = as_frame(users, what="users")
            changes["users"] = self._with_user_ids(table, where="users")
        if reviews is not None:
            changes["reviews"] = as_frame(reviews, what="reviews")
        return replace(self, **changes)

    def _with_user_ids(self, table: pl.DataFrame, *, where: str) -> pl.DataFrame:
        validation.require_column("user_id", table.columns, role="user", where=where)
        ids = canonical_ids(table["user_id"], name="user_id", where=where)
        return table.with_columns(ids.cast(self.interactions.schema["user_id"], strict=False))

    def _matching(self, catalogue: Catalogue) -> Catalogue:
        wanted = self.interactions.schema["item_id"]
        if wanted == pl.Int64 and catalogue.frame.schema["item_id"] == pl.String:
            object.__setattr__(self, "interactions", self.interactions.with_columns(pl.col("item_id").cast(pl.String)))
            return catalogue
        return catalogue.with_id_dtype(wanted)

    # ---- what it is ------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.interactions.height

    @cached_property
    def hash(self) -> str:
        """Content hash of all tables but the written events, the same however their rows are chunked; 32 hexadecimal digits."""
        catalogue = self.catalogue.frame if self.catalogue else None
        return content_hash({"interactions": self.interactions, "catalogue": catalogue, "users": self.users, "reviews": self.reviews})

    @cached_property
    def codes(self) -> Codes:
        """User and item of each event by index, in file order."""
        return Codes.of(self.interactions)

    @property
    def where(self) -> str:
        """How errors name this data: the file it came from, else its name."""
        return str(self.source.get("path") or self.name)

    def inspect(self) -> DatasetReport:
        """What is in it and what is wrong with it."""
        return inspect_dataset(self)

    # ---- using it --------------------------------------------------------------------------------------------------------

    def select(self, view: ViewConfig) -> Dataset:
        """The part of the log that the view keeps. Raises `DataError` when nothing is left, or the catalogue lacks an item of the log."""
        ids = self.catalogue.frame["item_id"] if self.catalogue else None
        events, notes = filter_events(self.interactions, view, catalogue_ids=ids, where=self.where)
        source = {**self.source, "view": view.model_dump(exclude_defaults=True), "notes": [*self.source.get("notes", []), *notes]}
        chosen = replace(self, interactions=events, source=source)
        if events is self.interactions:
            chosen.__dict__["codes"] = self.codes
        if max(view.min_user_events, view.min_item_events) == 1:
            return chosen
        keep = k_core(chosen.codes, users=view.min_user_events, items=view.min_item_events)
        if not keep.any():
            raise nothing_left(view, events=len(self), where=self.where)
        core = replace(chosen, interactions=events.filter(pl.Series(keep)))
        core.__dict__["codes"] = chosen.codes.where(keep)
        return core

    def log(self) -> Log:
        """The interactions by index: one row per user, oldest first, ties in file order; users and items are those of the log.

        Without times the order of the file is the order of events. `weights` are the ratings where there are any (1 where one is missing).
        """
        events, codes = self.interactions, self.codes
        times = events["timestamp"].to_numpy().astype(np.float64) if "timestamp" in events.columns else None
        order = event_order(codes.rows, times)
        weights = events["rating"].fill_null(1.0).to_numpy().astype(np.float32)[order] if "rating" in events.columns else None
        offsets = offsets_of(np.bincount(codes.rows, minlength=len(codes.users)).astype(np.int64))
        histories = Histories(codes.values[order], offsets, None if times is None else times[order], weights)
        return Log(codes.users, codes.items, histories)

    def log_for(self, config: SplitConfig) -> Log:
        """`log()` as this protocol reads it: `next-basket` on a log that names its baskets and has no times takes `basket_log`."""
        names_baskets = "basket_id" in self.interactions.columns and "timestamp" not in self.interactions.columns
        return basket_log(baskets(self)) if config.name == "next-basket" and names_baskets else self.log()

    def split(self, config: SplitConfig | None = None, *, view: ViewConfig | None = None) -> Split:
        """The log cut by a protocol, after `view`.

        Without a view, everything counts, but a log that no view has been applied to must not have items that its catalogue lacks.
        """
        chosen = self if view is None and "view" in self.source else self.select(view or ViewConfig())
        validation.require_two_users(chosen.interactions["user_id"], where=self.where)
        config = config or SplitConfig()
        return split_log(chosen.log_for(config), config)

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write a prepared data set (Parquet files and `dataset.json`) that `from_path` reads back; what was there is replaced at the end.

        Raises `StorageError` when writing fails; an older data set in `folder` then stays as it was.
        """
        return prepared.write(self, Path(folder))


def _catalogue_from(table: Any) -> Catalogue:
    if isinstance(table, str | Path):
        from recsmith.data.readers.tables import read_catalogue

        return read_catalogue(Path(table))
    return Catalogue.from_frame(table)
