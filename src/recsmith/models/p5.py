"""P5: recommendation as language processing (Geng et al., RecSys 2022), with the item indexings of OpenP5 (Xu et al., 2023)."""

from __future__ import annotations

from typing import ClassVar

from recsmith.tuning_language.text_to_items import TextToItems, TextToItemsConfig


class P5Config(TextToItemsConfig):
    """Settings of `P5`."""


class P5(TextToItems):
    """One text-to-text model for five task families: what comes next, what to recommend, how many stars, why, and what a review says.

    Papers: "Recommendation as language processing (RLP): a unified pretrain, personalized prompt & predict paradigm (P5)" (RecSys 2022);
    "OpenP5: an open-source platform for developing, training, and evaluating LLM-based recommender systems" (2023), whose indexings are the
    item tokenizers `random`, `sequential`, `collaborative`, `independent`, `categories` and `hybrid`. Lists come from constrained beam
    search over the index; ratings, explanations and summaries from `rate`, `explain`, `stars_of` and `summarise`.

    Deviations: a small language model from scratch with its own words unless `network.folder` names another; decoder-only, as OpenP5's
    LLaMA, unless `network.kind` is t5: from scratch that learns far more slowly (docs/negative-results.md). Decoder-only, each item of a
    history is learned, not the last one alone. Templates in our words, fewer of them. Codes and people are single tokens, so there are no
    whole-word embeddings. A rating is the expectation over the possible ones, not the likeliest text. The loss is the mean over families,
    whose shares `mix` sets; with probability `strangers` a question does not say who asks.
    """

    Config: ClassVar[type[P5Config]] = P5Config
    reads: ClassVar[tuple[str, ...]] = ("reviews",)
