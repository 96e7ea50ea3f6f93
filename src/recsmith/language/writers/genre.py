"""GENRE, the prompting half of ONCE: clearer titles, topics of people, and invented items for people with few events (Liu et al., 2024)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import Field

from recsmith.config import Config
from recsmith.data import Catalogue, Dataset, SplitConfig
from recsmith.language.asker import Asker
from recsmith.language.parsing import parse_list
from recsmith.language.template import load_template
from recsmith.language.writers.provenance import (
    asked,
    item_texts,
    people_histories,
    provenance_of,
    with_events,
    with_item_texts,
    with_user_texts,
)


class GenreConfig(Config):
    """What is written, and for whom."""

    parts: list[Literal["titles", "topics", "regions", "items"]] = ["titles", "topics", "items"]
    """titles: a clearer title per item; topics and regions: interests per person; items: one invented item per person with few events."""
    topics: int = Field(3, ge=1)
    """Topics (and regions, at most) per person."""
    few: int = Field(5, ge=1)
    """items: people with at most so many training events get one."""
    text: str | None = None
    """Template of what the model is told of an item; None: its title."""
    max_history: int = Field(30, ge=1)
    """Events of a person that are told, the most recent ones."""


class Genre:
    """ONCE: boosting content-based recommendation with both open- and closed-source large language models (Liu et al., WSDM 2024).

    Writes the columns `genre_title` of the catalogue, `genre_topics` and `genre_regions` of the users, and for people with few events
    one new item each (id `written-<user>`, title by the model) with an event of the type `written:genre`.

    Deviations: wording of our own; the paper's tuned open model is any recommender that reads the columns, such as `models.once`; regions,
    which are for news, only where asked for.
    """

    Config: ClassVar[type[GenreConfig]] = GenreConfig

    def __init__(self, config: GenreConfig) -> None:
        self.config = config

    def write(self, dataset: Dataset, asker: Asker, *, split: SplitConfig) -> Dataset:
        """The data set with the new columns, items and events."""
        texts = item_texts(dataset)
        if "titles" in self.config.parts:
            dataset = self._titles(dataset, asker)
        people = {user: history[-self.config.max_history :] for user, history in people_histories(dataset, split, texts).items()}
        if "topics" in self.config.parts:
            dataset = self._interests(dataset, asker, people, split, "topics")
        if "regions" in self.config.parts:
            dataset = self._interests(dataset, asker, people, split, "regions")
        if "items" in self.config.parts:
            dataset = self._items(dataset, asker, people, split)
        return dataset

    def _titles(self, dataset: Dataset, asker: Asker) -> Dataset:
        template, told = load_template("summarise-item"), item_texts(dataset, self.config.text)
        answers = asked(template, [{"item": text} for text in told.values()], asker)
        record = provenance_of("genre", asker, [template], split=None, written=len(answers))
        return with_item_texts(dataset, "genre_title", dict(zip(told, answers, strict=True)), record)

    def _interests(self, dataset: Dataset, asker: Asker, people: dict[Any, list[str]], split: SplitConfig, what: str) -> Dataset:
        template = load_template(what)
        values = [{"history": history, "count": self.config.topics} for history in people.values()]
        answers = [", ".join(parse_list(answer, most=self.config.topics).entries) for answer in asked(template, values, asker)]
        record = provenance_of("genre", asker, [template], split=split, written=len(answers))
        return with_user_texts(dataset, f"genre_{what}", dict(zip(people, answers, strict=True)), record)

    def _items(self, dataset: Dataset, asker: Asker, people: dict[Any, list[str]], split: SplitConfig) -> Dataset:
        template = load_template("write-item")
        few = {user: history for user, history in people.items() if len(history) <= self.config.few}
        answers = asked(template, [{"history": history} for history in few.values()], asker)
        titles = {user: " ".join(answer.split()).strip("\"'“” ") for user, answer in zip(few, answers, strict=True)}
        titles = {user: title for user, title in titles.items() if title}
        record = provenance_of("genre", asker, [template], split=split, written=len(titles))
        if not titles:
            return with_events(dataset, [], record)
        longer = _with_items(dataset, {f"written-{user}": title for user, title in titles.items()})
        return with_events(longer, [(user, f"written-{user}") for user in titles], record)


def _with_items(dataset: Dataset, titles: dict[str, str]) -> Dataset:
    """The data set with further items; ids become text where they were numbers."""
    catalogue = dataset.catalogue
    assert catalogue is not None
    column = catalogue.title_column
    assert column is not None
    new = pl.DataFrame({"item_id": list(titles), column: list(titles.values())})
    old = catalogue.frame.with_columns(pl.col("item_id").cast(pl.String))
    log = dataset.interactions.with_columns(pl.col("item_id").cast(pl.String))
    return replace(dataset, interactions=log, catalogue=Catalogue(pl.concat([old, new], how="diagonal_relaxed"), catalogue.kinds))
