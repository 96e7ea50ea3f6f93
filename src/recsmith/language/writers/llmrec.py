"""LLMRec: edges, attributes of items and profiles of people that a language model adds to a graph of interactions (Wei et al., 2024)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field

from recsmith.config import Config
from recsmith.data import Dataset, SplitConfig
from recsmith.language.asker import Asker
from recsmith.language.compiler import compile_prompt
from recsmith.language.parsing import FormatError, parse_structured
from recsmith.language.template import load_template
from recsmith.language.writers.companions import Companions
from recsmith.language.writers.provenance import (
    asked,
    item_texts,
    people_histories,
    provenance_of,
    training_histories,
    with_item_texts,
    with_training_events,
    with_user_texts,
)


class LlmRecGraphConfig(Config):
    """What is added, and how much of it is believed."""

    parts: list[Literal["attributes", "profiles", "edges"]] = ["attributes", "profiles", "edges"]
    """attributes: a text per item; profiles: a text per person; edges: an item per person that the model finds likely."""
    attributes: str = "maker, country, language, mood, audience"
    """Attributes that the model fills in, as the prompt names them."""
    pool: int = Field(10, ge=2)
    """edges: candidates per person, those that go best with the history by co-occurrence in training."""
    pruned: float = Field(0.2, ge=0, lt=1)
    """edges: share of the choices that are dropped again, those that the events contradict most."""
    text: str | None = None
    """Template of what the model is told of an item; None: its title."""
    max_history: int = Field(30, ge=1)
    """Events of a person that are told, the most recent ones."""


class _Choice(BaseModel):
    liked: int
    disliked: int


class LlmRecGraph:
    """LLMRec: large language models with graph augmentation for recommendation (Wei, Ren, Tang et al., WSDM 2024).

    Of a pool of candidates the model chooses one that a person would like and one that they would not. The choices whose pair-wise margin
    (affinity of the liked less that of the disliked candidate) is smallest are noise and dropped, as the paper drops the largest losses;
    what is liked becomes a training event beside the log, out of reach of masks, statistics and held-out cases. Writes the columns
    `llmrec_attributes` of the catalogue and `llmrec_profile` of the users too.

    Deviations: wording of our own; candidates and margins come from co-occurrence, where the paper takes a trained multimodal recommender;
    the disliked candidate serves the pruning and is no negative of the loss; features are texts, without their masked reconstruction.
    """

    Config: ClassVar[type[LlmRecGraphConfig]] = LlmRecGraphConfig

    def __init__(self, config: LlmRecGraphConfig) -> None:
        self.config = config

    def write(self, dataset: Dataset, asker: Asker, *, split: SplitConfig) -> Dataset:
        """The data set with the new columns and, beside its log, the new edges."""
        texts = item_texts(dataset, self.config.text)
        if "attributes" in self.config.parts:
            template = load_template("item-attributes")
            answers = asked(template, [{"item": text, "factors": self.config.attributes} for text in texts.values()], asker)
            record = provenance_of("llmrec", asker, [template], split=None, written=len(answers))
            dataset = with_item_texts(dataset, "llmrec_attributes", dict(zip(texts, answers, strict=True)), record)
        if "profiles" in self.config.parts:
            template, people = load_template("user-attributes"), people_histories(dataset, split, texts)
            answers = asked(template, [{"history": history[-self.config.max_history :]} for history in people.values()], asker)
            record = provenance_of("llmrec", asker, [template], split=split, written=len(answers))
            dataset = with_user_texts(dataset, "llmrec_profile", dict(zip(people, answers, strict=True)), record)
        return self._edges(dataset, asker, texts, split) if "edges" in self.config.parts else dataset

    def _edges(self, dataset: Dataset, asker: Asker, texts: dict[Any, str], split: SplitConfig) -> Dataset:
        template, histories = load_template("choose-likes"), training_histories(dataset, split)
        companions = Companions(histories)
        pools = {user: pool for user, items in histories.items() if len(pool := companions.pool(items, self.config.pool)) > 1}
        prompts = []
        for user, pool in pools.items():
            told = [texts[item] for item in histories[user][-self.config.max_history :]]
            values = {"history": told, "candidates": [texts[item] for item in pool]}
            form = _form(len(pool))
            prompts.append(compile_prompt(template, values, max_tokens=3000, count=asker.count_tokens, schema=form).prompt)
        chosen: list[tuple[float, Any, Any]] = []
        for (user, pool), answer in zip(pools.items(), asker.ask(prompts), strict=True):
            pair = _pair(answer, pool)
            if pair is not None:
                known = companions.affinities(histories[user])
                chosen.append((known[pair[0]] - known[pair[1]], user, pair[0]))
        kept = sorted(chosen, key=lambda entry: -entry[0])[: len(chosen) - round(self.config.pruned * len(chosen))]
        record = provenance_of("llmrec", asker, [template], split=split, written=len(kept))
        record |= {"unusable": len(pools) - len(chosen), "pruned": len(chosen) - len(kept)}
        return with_training_events(dataset, [(user, item) for _, user, item in kept], record, split=split)


def _form(candidates: int) -> dict[str, Any]:
    """The JSON schema of an answer: the numbers of two candidates."""
    number = {"type": "integer", "enum": list(range(1, candidates + 1))}
    names = list(_Choice.model_fields)
    return {"type": "object", "properties": dict.fromkeys(names, number), "required": names, "additionalProperties": False}


def _pair(answer: str | None, pool: list[Any]) -> tuple[Any, Any] | None:
    """The liked and the disliked candidate; None where the answer names no two different ones."""
    try:
        choice = parse_structured(answer or "", _Choice)
    except FormatError:
        return None
    if choice.liked == choice.disliked or not all(1 <= number <= len(pool) for number in (choice.liked, choice.disliked)):
        return None
    return pool[choice.liked - 1], pool[choice.disliked - 1]
