"""KAR: knowledge of items and reasoning about people, as texts that a recommender reads (Xi et al., 2024)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from recsmith.config import Config
from recsmith.data import Dataset, SplitConfig
from recsmith.language.asker import Asker
from recsmith.language.template import load_template
from recsmith.language.writers.provenance import asked, item_texts, people_histories, provenance_of, with_item_texts, with_user_texts


class KarConfig(Config):
    """What is asked along which factors."""

    parts: list[Literal["facts", "preferences"]] = ["facts", "preferences"]
    """facts: a text per item; preferences: a text per person."""
    factors: str = "genre, makers, theme, mood, style, audience, time"
    """Factors that people's choices depend on, as the prompts name them."""
    text: str | None = None
    """Template of what the model is told of an item; None: its title."""
    max_history: int = Field(30, ge=1)
    """Events of a person that are told, the most recent ones."""


class Kar:
    """Towards open-world recommendation with knowledge augmentation from large language models (Xi, Liu, Lin et al., RecSys 2024).

    Factorised prompts: preferences of people are reasoned about and facts of items recalled along the same factors. Writes the columns
    `kar_facts` of the catalogue and `kar_preferences` of the users; people are described by their training events alone.

    Deviations: wording of our own; factors are set, not asked of the model; the adaptor that turns both texts into features is whatever
    model reads them.
    """

    Config: ClassVar[type[KarConfig]] = KarConfig

    def __init__(self, config: KarConfig) -> None:
        self.config = config

    def write(self, dataset: Dataset, asker: Asker, *, split: SplitConfig) -> Dataset:
        """The data set with the new columns."""
        if "facts" in self.config.parts:
            template, texts = load_template("kar-facts"), item_texts(dataset, self.config.text)
            answers = asked(template, [{"item": text, "factors": self.config.factors} for text in texts.values()], asker)
            record = provenance_of("kar", asker, [template], split=None, written=len(answers))
            dataset = with_item_texts(dataset, "kar_facts", dict(zip(texts, answers, strict=True)), record)
        if "preferences" in self.config.parts:
            template, people = load_template("kar-preferences"), people_histories(dataset, split, item_texts(dataset))
            values = [{"history": history[-self.config.max_history :], "factors": self.config.factors} for history in people.values()]
            answers = asked(template, values, asker)
            record = provenance_of("kar", asker, [template], split=split, written=len(answers))
            dataset = with_user_texts(dataset, "kar_preferences", dict(zip(people, answers, strict=True)), record)
        return dataset
