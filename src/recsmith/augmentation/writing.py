"""From a data set to the same data set with written events beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from recsmith.data import Catalogue, Dataset, Log, Split, SplitConfig, ViewConfig, WrittenEvents, require_single_events, split_log
from recsmith.errors import DataError
from recsmith.protocols import Augmenter, Progress
from recsmith.seeding import derive_seed


def augment(
    data: Dataset, writer: Augmenter, *, name: str, view: ViewConfig, split: SplitConfig, seed: int = 0, progress: Progress | None = None
) -> Dataset:
    """A copy of `data` with the events that `writer` makes of the training part under `view` and `split`.

    The log itself stays as it is, so that every split cuts it as before. Raises `DataError` for data that already hold written events,
    and what `split_log` and `write_events` raise.
    """
    if data.written is not None:
        raise DataError(f"`{data.name}` already holds events written by `{data.written.facts['writer']}`; give the data without them")
    chosen = data.select(view)
    log = chosen.log()
    cut = split_log(log, split)
    written = write_events(writer, log, cut, name=name, source=chosen.hash, seed=seed, progress=progress, catalogue=chosen.catalogue)
    return replace(data, written=written)


def write_events(
    writer: Augmenter,
    log: Log,
    split: Split,
    *,
    name: str,
    source: str,
    seed: int = 0,
    progress: Progress | None = None,
    catalogue: Catalogue | None = None,
) -> WrittenEvents:
    """Let `writer` learn from `split.train` alone and write; `source` is the content hash of the log.

    A writer that says `reads = ("texts",)` is given the items' titles by `read` first, from the `catalogue`.

    Raises `DataError` for a split of sessions, baskets or ratings, and where the writer writes nothing.
    """
    require_single_events(split.config)
    if "texts" in getattr(writer, "reads", ()):
        cast(Any, writer).read(_titles(catalogue, log, name=name))
    rows, enters = writer.write(split.train, items=split.items, seed=derive_seed(seed, "augmentation"), progress=progress)
    if not len(rows.values):
        raise DataError(f"writer `{name}` wrote nothing: nobody fits its settings ({writer.config.model_dump_json()}); raise `longest`")
    facts: dict[str, Any] = {
        "writer": name,
        "events": len(rows.values),
        "people": int((rows.lengths > 0).sum()),
        "seed": seed,
        "source": source,
        "split": split.config.hash,
        "settings": writer.config.model_dump(mode="json"),
        **writer.figures(),
    }
    return WrittenEvents.of(rows, enters, log, facts)


def _titles(catalogue: Catalogue | None, log: Log, *, name: str) -> list[str]:
    if catalogue is None or catalogue.title_column is None:
        raise DataError(f"writer `{name}` speaks about items by title, but the data have no titles; give a folder with an items file")
    titles = catalogue.titles(log.items.ids).to_list()
    return [title or f"item {item}" for title, item in zip(titles, log.items.ids, strict=True)]
