"""TF-DCon: a small data set in the place of a large one: shortened item texts, and few histories that stand for many (Wu et al., 2024)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.data import Dataset, SplitConfig
from recsmith.language.asker import Asker
from recsmith.language.compiler import compile_prompt
from recsmith.language.parsing import FormatError, parse_order
from recsmith.language.template import load_template
from recsmith.language.writers.provenance import (
    asked,
    item_texts,
    provenance_of,
    training_histories,
    with_item_texts,
    with_training_events,
)
from recsmith.seeding import generator

_WORD = re.compile(r"[^\W\d_]{3,}")
_ROUNDS = 25


class TfDconConfig(Config):
    """How small the condensed data are."""

    parts: list[Literal["content", "people"]] = ["content", "people"]
    """content: a short text per item; people: histories that stand for groups of people and train in their place."""
    share: float = Field(0.05, gt=0, le=1)
    """people: condensed histories per person of the log."""
    length: int = Field(10, ge=2)
    """people: events of a condensed history, at most."""
    pool: int = Field(40, ge=2)
    """people: the group's most taken items, of which the model chooses."""
    topics: int = Field(5, ge=1)
    """people: interests per person, by which people are grouped."""
    max_history: int = Field(30, ge=1)
    """Events of a person that are told, the most recent ones."""
    text: str | None = None
    """Template of what the model is told of an item's content; None: its title."""
    seed: int = 0
    """Seed of the groups."""


class TfDcon:
    """Leveraging large language models to empower training-free dataset condensation for content-based recommendation (Wu et al., 2024).

    Content: each item's text is shortened into the column `tf_dcon_text`. People: the model names everybody's interests, people are grouped
    by them (k-means), and for each group it chooses, of the items that the group takes most, those that tell the most; in the order in
    which the group takes them they are one training history, beside the log and instead of everybody's own. Held-out cases stay as they
    are, so that any model is measured as if it had been trained on everything.

    Deviations: wording of our own; interests are grouped as bags of words, the paper also uses vectors of people; prompts do not evolve. A
    group for which no answer can be used keeps its most taken items, and the record counts such groups.
    """

    Config: ClassVar[type[TfDconConfig]] = TfDconConfig

    def __init__(self, config: TfDconConfig) -> None:
        self.config = config

    def write(self, dataset: Dataset, asker: Asker, *, split: SplitConfig) -> Dataset:
        """The data set with the short texts, and the condensed histories to train on."""
        titles = item_texts(dataset)
        if "content" in self.config.parts:
            template, texts = load_template("condense-item"), item_texts(dataset, self.config.text)
            answers = asked(template, [{"item": text} for text in texts.values()], asker)
            record = provenance_of("tf-dcon", asker, [template], split=None, written=len(answers))
            dataset = with_item_texts(dataset, "tf_dcon_text", dict(zip(texts, answers, strict=True)), record)
        return self._people(dataset, asker, titles, split) if "people" in self.config.parts else dataset

    def _people(self, dataset: Dataset, asker: Asker, titles: dict[Any, str], split: SplitConfig) -> Dataset:
        histories = training_histories(dataset, split)
        template = load_template("topics")
        told = [[titles[item] for item in items[-self.config.max_history :]] for items in histories.values()]
        interests = asked(template, [{"history": history, "count": self.config.topics} for history in told], asker)
        groups = self._groups(list(histories), interests)
        chooser = load_template("condense-people")
        pools = [self._pool([histories[user] for user in users]) for users, _ in groups]
        prompts = [
            compile_prompt(
                chooser,
                {"interests": shared, "candidates": [titles[item] for item in pool], "count": self.config.length},
                max_tokens=3000,
                count=asker.count_tokens,
            ).prompt
            for (_, shared), pool in zip(groups, pools, strict=True)
        ]
        events: list[tuple[Any, Any]] = []
        by_frequency = 0
        for (users, _), pool, answer in zip(groups, pools, asker.ask(prompts), strict=True):
            chosen = _chosen(answer, pool)
            by_frequency += chosen is None
            ordered = _as_taken((chosen or pool)[: self.config.length], [histories[user] for user in users])
            events += [(users[0], item) for item in ordered]
        record = provenance_of("tf-dcon", asker, [template, chooser], split=split, written=len(groups))
        record |= {"of people": len(histories), "groups by frequency alone": by_frequency}
        return with_training_events(dataset, events, record, split=split, instead=True)

    def _groups(self, users: Sequence[Any], interests: Sequence[str]) -> list[tuple[list[Any], str]]:
        """Groups of users, the one nearest to its middle first, and the words that the group shares most."""
        bags = [Counter(word.casefold() for word in _WORD.findall(text)) for text in interests]
        words = {word: place for place, word in enumerate(dict.fromkeys(word for bag in bags for word in bag))}
        table = np.zeros((len(users), max(1, len(words))), dtype=np.float32)
        for row, bag in enumerate(bags):
            for word in bag:
                table[row, words[word]] = 1
        table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)
        middles, belongs = _k_means(table, max(1, round(self.config.share * len(users))), seed=self.config.seed)
        found = []
        for group, middle in enumerate(middles):
            members = np.flatnonzero(belongs == group)
            if len(members):
                order = members[np.argsort(-(table[members] @ middle), kind="stable")]
                shared = Counter(word for row in members for word in bags[row]).most_common(2 * self.config.topics)
                found.append(([users[row] for row in order], ", ".join(word for word, _ in shared)))
        return found

    def _pool(self, histories: Sequence[Sequence[Any]]) -> list[Any]:
        taken = Counter(item for items in histories for item in dict.fromkeys(items))
        return [item for item, _ in taken.most_common(self.config.pool)]


def _chosen(answer: str | None, pool: list[Any]) -> list[Any] | None:
    try:
        return [pool[place] for place in parse_order(answer or "", len(pool))]
    except FormatError:
        return None


def _as_taken(items: Sequence[Any], histories: Sequence[Sequence[Any]]) -> list[Any]:
    """The items by their mean relative place in the histories."""
    places: dict[Any, list[float]] = {item: [] for item in items}
    for history in histories:
        for place, item in enumerate(history):
            if item in places:
                places[item].append(place / len(history))
    return sorted(places, key=lambda item: sum(places[item]) / len(places[item]))


def _k_means(table: np.ndarray, groups: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Middles `[group, word]` and the group of each row, by cosine; rows start the groups at random."""
    random = generator(seed, "groups of people")
    middles = table[random.choice(len(table), size=min(groups, len(table)), replace=False)]
    for _ in range(_ROUNDS):
        belongs = (table @ middles.T).argmax(axis=1)
        sums = np.zeros_like(middles)
        np.add.at(sums, belongs, table)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        middles = np.where(norms > 0, sums / np.maximum(norms, 1e-9), middles)
    return middles, (table @ middles.T).argmax(axis=1)
