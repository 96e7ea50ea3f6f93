"""EmbSum's summaries: what a person is interested in, as the text that a recommender learns to give back (Zhang et al., 2024)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from recsmith.config import Config
from recsmith.data import Dataset, SplitConfig
from recsmith.language.asker import Asker
from recsmith.language.template import load_template
from recsmith.language.writers.provenance import asked, item_texts, people_histories, provenance_of, with_user_texts


class EmbsumConfig(Config):
    """What is told of a person."""

    text: str | None = None
    """Template of what the model is told of an item; None: its title."""
    max_history: int = Field(60, ge=1)
    """Events of a person that are told, the most recent ones."""


class Embsum:
    """EmbSum: leveraging the summarization capabilities of large language models for content-based recommendations (Zhang et al., 2024).

    Writes the column `embsum_summary` of the users. `models.embsum` learns from it; people are answered without one.

    Deviations: wording of our own.
    """

    Config: ClassVar[type[EmbsumConfig]] = EmbsumConfig

    def __init__(self, config: EmbsumConfig) -> None:
        self.config = config

    def write(self, dataset: Dataset, asker: Asker, *, split: SplitConfig) -> Dataset:
        """The data set with the new column."""
        template, people = load_template("user-summary"), people_histories(dataset, split, item_texts(dataset, self.config.text))
        answers = asked(template, [{"history": history[-self.config.max_history :]} for history in people.values()], asker)
        record = provenance_of("embsum", asker, [template], split=split, written=len(answers))
        return with_user_texts(dataset, "embsum_summary", dict(zip(people, answers, strict=True)), record)
