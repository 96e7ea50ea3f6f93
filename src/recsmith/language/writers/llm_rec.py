"""LLM-Rec: items described in several ways, as further text for any content-based recommender (Lyu et al., 2024)."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar, Literal

from pydantic import Field

from recsmith.config import Config
from recsmith.data import Dataset, SplitConfig
from recsmith.language.asker import Asker
from recsmith.language.template import load_template
from recsmith.language.writers.provenance import asked, item_texts, provenance_of, training_histories, with_item_texts

Style = Literal["basic", "recommendation", "engagement"]
_TEMPLATES: dict[Style, str] = {
    "basic": "describe",
    "recommendation": "describe-to-recommend",
    "engagement": "describe-with-neighbours",
}


class LlmRecConfig(Config):
    """Which descriptions are written."""

    styles: list[Style] = ["basic", "recommendation", "engagement"]
    """basic: what it is; recommendation: what to tell to recommend it; engagement: what it shares with items of the same people."""
    neighbours: int = Field(5, ge=1)
    """engagement: items most often taken by the same people."""
    text: str | None = None
    """Template of what the model is told of an item, such as "{title}. {genres}"; None: its title."""


class LlmRec:
    """LLM-Rec: personalized recommendation via prompting large language models (Lyu, Jiang, Zeng et al., NAACL findings 2024).

    Writes one column per style, `llm_rec_<style>`; the default text of an item then holds them, which is the paper's concatenation.
    Neighbours come from training events alone; items without any are not asked about in the engagement style.

    Deviations: wording of our own; neighbours by co-occurrence in the place of the paper's personalised PageRank.
    """

    Config: ClassVar[type[LlmRecConfig]] = LlmRecConfig

    def __init__(self, config: LlmRecConfig) -> None:
        self.config = config

    def write(self, dataset: Dataset, asker: Asker, *, split: SplitConfig) -> Dataset:
        """The data set with the new columns."""
        texts = item_texts(dataset, self.config.text)
        for style in self.config.styles:
            template = load_template(_TEMPLATES[style])
            near = self._neighbours(dataset, split) if style == "engagement" else {}
            items = [item for item in texts if style != "engagement" or near.get(item)]
            values = [{"item": texts[item], **self._more(near.get(item), texts)} for item in items]
            written = dict(zip(items, asked(template, values, asker), strict=True))
            told = split if style == "engagement" else None
            record = provenance_of("llm-rec", asker, [template], split=told, written=len(written))
            dataset = with_item_texts(dataset, f"llm_rec_{style}", written, record)
        return dataset

    def _more(self, near: list[Any] | None, texts: dict[Any, str]) -> dict[str, list[str]]:
        return {"neighbours": [texts[item] for item in near]} if near else {}

    def _neighbours(self, dataset: Dataset, split: SplitConfig) -> dict[Any, list[Any]]:
        """Items most often taken by the people who took an item; equal counts in the order of first sight."""
        counts: dict[Any, Counter[Any]] = {}
        for items in training_histories(dataset, split).values():
            distinct = list(dict.fromkeys(items))
            for item in distinct:
                counts.setdefault(item, Counter()).update(other for other in distinct if other != item)
        return {item: [other for other, _ in row.most_common(self.config.neighbours)] for item, row in counts.items()}
