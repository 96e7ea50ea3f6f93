"""Aspects of items, the reasons for which people take them, as further text of the items (Maragheh et al., 2023)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from recsmith.config import Config
from recsmith.data import Dataset, SplitConfig
from recsmith.language.asker import Asker
from recsmith.language.parsing import parse_list
from recsmith.language.template import load_template
from recsmith.language.writers.provenance import asked, item_texts, provenance_of, with_item_texts


class AspectsConfig(Config):
    """How many aspects are named, from which words."""

    aspects: int = Field(5, ge=1)
    """Aspects per item."""
    text: str | None = None
    """Template of what the model is told of an item, such as "{title}. {description}"; None: its title."""


class Aspects:
    """LLM-based aspect augmentations for recommendation systems (Maragheh, Morishetti, Giahi et al., 2023).

    Writes the column `aspects` of the catalogue, phrases with commas between them; any recommender over item texts reads it.

    Deviations: wording of our own; the paper's ranker takes the vector of each aspect apart, here they are words of the item's text.
    """

    Config: ClassVar[type[AspectsConfig]] = AspectsConfig

    def __init__(self, config: AspectsConfig) -> None:
        self.config = config

    def write(self, dataset: Dataset, asker: Asker, *, split: SplitConfig) -> Dataset:
        """The data set with the new column."""
        template, texts = load_template("item-aspects"), item_texts(dataset, self.config.text)
        answers = asked(template, [{"item": text, "count": self.config.aspects} for text in texts.values()], asker)
        phrases = [", ".join(parse_list(answer, most=self.config.aspects).entries) for answer in answers]
        record = provenance_of("aspects", asker, [template], split=None, written=sum(map(bool, phrases)))
        return with_item_texts(dataset, "aspects", dict(zip(texts, phrases, strict=True)), record)
