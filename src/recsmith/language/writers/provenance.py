"""Writing into a data set: columns, profiles and events beside what is there, never over it, and a record of who wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from recsmith.data import Catalogue, Dataset, SplitConfig, WrittenEvents, split_log
from recsmith.errors import DataError
from recsmith.language.asker import Asker
from recsmith.language.compiler import compile_prompt
from recsmith.language.template import Template


def provenance_of(writer: str, asker: Asker, templates: Sequence[Template], *, split: SplitConfig | None, written: int) -> dict[str, Any]:
    """Who wrote what by which words: one entry of `dataset.source["written"]`."""
    return {
        "writer": writer,
        "backend": asker.backend.name,
        "templates": {template.name: template.hash for template in templates},
        "told": None if split is None else f"training events of {split.name} ({split.hash})",
        "written": written,
        "cost": asker.figures(),
    }


def training_histories(dataset: Dataset, split: SplitConfig) -> dict[Any, list[Any]]:
    """Raw user id → raw item ids of the training events, oldest first: all that a writer may be told of people."""
    log = dataset.log()
    train = split_log(log, split).train
    users, items = log.users.ids.to_list(), log.items.ids.to_list()
    return {user: [items[item] for item in train.row(row)] for row, user in enumerate(users) if train.lengths[row] > 0}


def people_histories(dataset: Dataset, split: SplitConfig, titles: Mapping[Any, str]) -> dict[Any, list[str]]:
    """The same in words."""
    return {user: [titles[item] for item in items] for user, items in training_histories(dataset, split).items()}


def item_texts(dataset: Dataset, template: str | None = None) -> dict[Any, str]:
    """Raw item id → its text (by default its title), for every item of the catalogue; the id where there are no words."""
    if dataset.catalogue is None or dataset.catalogue.title_column is None:
        raise DataError(f"`{dataset.name}` has no titles, so there is nothing to tell a language model about; give a catalogue with titles")
    ids = dataset.catalogue.frame["item_id"]
    texts = dataset.catalogue.texts(ids, template=template or f"{{{dataset.catalogue.title_column}}}")
    return {item: text or f"item {item}" for item, text in zip(ids.to_list(), texts, strict=True)}


def asked(template: Template, values: Sequence[dict[str, Any]], asker: Asker, *, max_tokens: int = 3000) -> list[str]:
    """The answers to a template filled in many times, "" where there is none."""
    count = asker.count_tokens
    prompts = [compile_prompt(template, entry, max_tokens=max_tokens, count=count).prompt for entry in values]
    return [answer or "" for answer in asker.ask(prompts)]


def with_item_texts(dataset: Dataset, column: str, texts: Mapping[Any, str], provenance: dict[str, Any]) -> Dataset:
    """A copy whose catalogue has one more text column; items without a text get null. Raises `DataError` when the column exists."""
    catalogue = dataset.catalogue
    assert catalogue is not None
    _require_free(column, catalogue.frame.columns, dataset)
    values = [_line(texts.get(item)) for item in catalogue.frame["item_id"].to_list()]
    frame = catalogue.frame.with_columns(pl.Series(column, values, dtype=pl.String))
    wider = Catalogue(frame, {**catalogue.kinds, column: "text"})
    return _recorded(replace(dataset, catalogue=wider), {**provenance, "column": f"catalogue.{column}"})


def with_user_texts(dataset: Dataset, column: str, texts: Mapping[Any, str], provenance: dict[str, Any]) -> Dataset:
    """A copy whose table of users has one more text column. Raises `DataError` when the column exists."""
    table = dataset.users if dataset.users is not None else dataset.interactions.select(pl.col("user_id").unique().sort())
    _require_free(column, table.columns, dataset)
    values = [_line(texts.get(user)) for user in table["user_id"].to_list()]
    wider = table.with_columns(pl.Series(column, values, dtype=pl.String))
    return _recorded(replace(dataset, users=wider), {**provenance, "column": f"users.{column}"})


def with_events(dataset: Dataset, events: Sequence[tuple[Any, Any]], provenance: dict[str, Any]) -> Dataset:
    """A copy with more events (user, item), all of type `written:<writer>` and at each person's first known time, so that they train but
    are never a target of a protocol that cuts by time; a view's `event_types` takes them out again.

    What was there is of type `event` where it had none.
    """
    log = dataset.interactions
    kind = f"written:{provenance['writer']}"
    marked = log if "event_type" in log.columns else log.with_columns(pl.lit("event").alias("event_type"))
    new = pl.DataFrame(
        {"user_id": [user for user, _ in events], "item_id": [item for _, item in events]},
        schema={"user_id": log.schema["user_id"], "item_id": log.schema["item_id"]},
    ).with_columns(pl.lit(kind).alias("event_type"))
    if "timestamp" in log.columns:
        first = log.group_by("user_id").agg(pl.col("timestamp").min())
        new = new.join(first, on="user_id", how="left", maintain_order="left")
    both = pl.concat([new, marked], how="diagonal_relaxed").select(marked.columns)
    return _recorded(replace(dataset, interactions=both), {**provenance, "event_type": kind})


def with_training_events(
    dataset: Dataset, events: Sequence[tuple[Any, Any]], provenance: dict[str, Any], *, split: SplitConfig, instead: bool = False
) -> Dataset:
    """A copy with training events (user, item) beside the log, where no mask, statistic or held-out case sees them; a person's in order.

    They train besides a person's own events, or, with `instead`, in the place of everybody's. No events leave the data as they are but for
    the record. Raises `DataError` for data that hold such events already.
    """
    if dataset.written is not None:
        raise DataError(f"`{dataset.name}` already holds events written by `{dataset.written.facts['writer']}`; give the data without them")
    recorded = _recorded(dataset, {**provenance, "event_type": f"written:{provenance['writer']}"})
    if not events:
        return recorded
    schema = {name: dataset.interactions.schema[name] for name in ("user_id", "item_id")}
    table = pl.DataFrame({"user_id": [user for user, _ in events], "item_id": [item for _, item in events]}, schema=schema)
    facts = {
        **provenance,
        "events": len(events),
        "people": table["user_id"].n_unique(),
        "source": dataset.hash,
        "split": split.hash,
        **({"instead": True} if instead else {}),
    }
    return replace(recorded, written=WrittenEvents(table.with_columns(enters=pl.lit(0, pl.Int64)), facts))


def _line(text: str | None) -> str | None:
    """A text on one line, None for an empty one."""
    return " ".join((text or "").split()) or None


def _recorded(dataset: Dataset, entry: dict[str, Any]) -> Dataset:
    return replace(dataset, source={**dataset.source, "written": [*dataset.source.get("written", []), entry]})


def _require_free(column: str, columns: Sequence[str], dataset: Dataset) -> None:
    if column in columns:
        raise DataError(f"`{dataset.name}` already has a column `{column}`; drop it first, or go on with what it holds")
