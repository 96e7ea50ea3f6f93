"""A folder that `Dataset.save` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from recsmith.data.catalogue import Catalogue
from recsmith.data.dataset import Dataset
from recsmith.data.prepared import is_prepared, read_manifest
from recsmith.data.written import WrittenEvents
from recsmith.errors import UserError


class PreparedReader:
    """Reads back exactly what was saved; every file is checked against its checksum."""

    form = "folder written by `recsmith data prepare`"

    def matches(self, path: Path) -> bool:
        return is_prepared(path)

    def read(self, path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
        if columns:
            raise UserError(f"`{path}` is prepared: its columns have their final names; leave `columns` out")
        manifest = read_manifest(path)

        def table(name: str) -> pl.DataFrame | None:
            return pl.read_parquet(path / f"{name}.parquet") if f"{name}.parquet" in manifest["files"] else None

        interactions, catalogue, written = table("interactions"), table("catalogue"), table("written")
        assert interactions is not None
        dataset = Dataset(
            interactions,
            None if catalogue is None else Catalogue(catalogue, manifest["kinds"]),
            table("users"),
            table("reviews"),
            None if written is None else WrittenEvents(written, manifest["written"]),
            name=manifest["name"],
            source={**manifest["source"], "prepared": str(path)},
        )
        # The checksums say that the files are those of this hash, so it need not be computed again; a changed copy computes its own.
        dataset.__dict__["hash"] = manifest["hash"]
        return dataset
