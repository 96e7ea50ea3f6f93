"""LLM4MSR: knowledge about the parts of a catalogue (scenarios) and people's interests across them, as texts (Wang et al., 2024)."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from pydantic import Field

from recsmith.config import Config
from recsmith.data import Dataset, SplitConfig
from recsmith.errors import DataError, suggestion
from recsmith.language.asker import Asker
from recsmith.language.template import load_template
from recsmith.language.writers.provenance import asked, item_texts, provenance_of, training_histories, with_item_texts, with_user_texts


class Llm4MsrConfig(Config):
    """What a scenario is, and how much of each is told."""

    scenario: str = "kind"
    """Column of the catalogue that says which scenario an item belongs to."""
    shown: int = Field(8, ge=1)
    """Items of a scenario that are told: the most taken in training; of a person's: the latest."""


class Llm4Msr:
    """LLM4MSR: an LLM-enhanced paradigm for multi-scenario recommendation (Wang, Wang, Fu et al., CIKM 2024).

    The model explains how each scenario relates to the others, and what each person looks for everywhere and in one scenario alone. Writes
    the columns `llm4msr_scenario` of the catalogue (the same for all items of a scenario) and `llm4msr_interests` of the users.

    The model of the same name turns the texts into layers of a backbone.

    Deviations: wording of our own; a scenario is a part of the catalogue, not a surface on which items are shown.
    """

    Config: ClassVar[type[Llm4MsrConfig]] = Llm4MsrConfig

    def __init__(self, config: Llm4MsrConfig) -> None:
        self.config = config

    def write(self, dataset: Dataset, asker: Asker, *, split: SplitConfig) -> Dataset:
        """The data set with the new columns. Raises `DataError` without the column, or where it does not divide the catalogue."""
        texts, histories, belongs = item_texts(dataset), training_histories(dataset, split), self._scenarios(dataset)
        dataset = self._knowledge(dataset, asker, texts, histories, belongs, split)
        template = load_template("scenario-interests")
        values = [{"parts": self._parts(items, texts, belongs)} for items in histories.values()]
        answers = asked(template, values, asker)
        record = provenance_of("llm4msr", asker, [template], split=split, written=len(answers))
        return with_user_texts(dataset, "llm4msr_interests", dict(zip(histories, answers, strict=True)), record)

    def _knowledge(
        self,
        dataset: Dataset,
        asker: Asker,
        texts: dict[Any, str],
        histories: dict[Any, list[Any]],
        belongs: dict[Any, str],
        split: SplitConfig,
    ) -> Dataset:
        taken = Counter(item for items in histories.values() for item in items)
        best: dict[str, list[str]] = {}
        for item, _ in taken.most_common():
            best.setdefault(belongs[item], []).append(texts[item])
        best = {name: titles[: self.config.shown] for name, titles in best.items()}
        if len(best) < 2:
            raise DataError(
                f"column `{self.config.scenario}` of `{dataset.name}` makes {len(best)} scenarios with events; it takes 2 or more"
            )
        lines = {name: f"{name}: {'; '.join(titles)}" for name, titles in best.items()}
        template = load_template("scenario-knowledge")
        values = [
            {"scenario": name, "items": titles, "others": [line for other, line in lines.items() if other != name]}
            for name, titles in best.items()
        ]
        told = dict(zip(best, asked(template, values, asker), strict=True))
        record = provenance_of("llm4msr", asker, [template], split=split, written=len(told))
        return with_item_texts(dataset, "llm4msr_scenario", {item: told.get(name, "") for item, name in belongs.items()}, record)

    def _scenarios(self, dataset: Dataset) -> dict[Any, str]:
        assert dataset.catalogue is not None  # item_texts has asked for it
        frame, column = dataset.catalogue.frame, self.config.scenario
        if column not in frame.columns:
            raise DataError(
                f"the catalogue of `{dataset.name}` has no column `{column}`; {suggestion(column, frame.columns)}; set `scenario`"
            )
        return {item: str(name) for item, name in zip(frame["item_id"].to_list(), frame[column].to_list(), strict=True)}

    def _parts(self, items: list[Any], texts: dict[Any, str], belongs: dict[Any, str]) -> list[str]:
        parts: dict[str, list[str]] = {}
        for item in items:
            parts.setdefault(belongs[item], []).append(texts[item])
        return [f"{name}: {'; '.join(titles[-self.config.shown :])}" for name, titles in parts.items()]
