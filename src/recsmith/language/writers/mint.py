"""MINT's requests: the post in which a person would ask for what they took, as training data of a retriever (Mysore et al., 2023)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from recsmith.config import Config
from recsmith.data import Dataset, SplitConfig
from recsmith.language.asker import Asker
from recsmith.language.template import load_template
from recsmith.language.writers.provenance import asked, item_texts, people_histories, provenance_of, with_user_texts


class MintConfig(Config):
    """About whom a request is written."""

    least: int = Field(3, ge=1)
    """Training events that a person must have."""
    max_history: int = Field(20, ge=1)
    """Events of a person that are told, the most recent ones."""
    text: str | None = None
    """Template of what the model is told of an item; None: its title."""


class Mint:
    """Large language model augmented narrative driven recommendations (Mysore, McCallum & Zamani, RecSys 2023).

    Writes the column `mint_request` of the users: a narrative of which the person's own items are the answer. `models.mint` drops the
    items that do not fit it and trains a retriever on the rest.

    Deviations: wording of our own; told are the most recent events, the paper draws a sample of ten users' reviews each.
    """

    Config: ClassVar[type[MintConfig]] = MintConfig

    def __init__(self, config: MintConfig) -> None:
        self.config = config

    def write(self, dataset: Dataset, asker: Asker, *, split: SplitConfig) -> Dataset:
        """The data set with the new column."""
        template, people = load_template("narrative-request"), people_histories(dataset, split, item_texts(dataset, self.config.text))
        told = {user: history[-self.config.max_history :] for user, history in people.items() if len(history) >= self.config.least}
        answers = asked(template, [{"history": history} for history in told.values()], asker)
        record = provenance_of("mint", asker, [template], split=split, written=len(answers))
        return with_user_texts(dataset, "mint_request", dict(zip(told, answers, strict=True)), record)
