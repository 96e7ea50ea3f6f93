"""A retriever and a language model: candidates from the one, their order from the other (Hou et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import Histories
from recsmith.data.item_facts import ItemFacts
from recsmith.decoding.grounding import Grounding
from recsmith.decoding.grounding_catalogue import catalogue_grounding
from recsmith.encoders import CatalogueVectors, EncoderConfig
from recsmith.errors import DataError
from recsmith.language.asker import Asker
from recsmith.language.backends import BackendConfig
from recsmith.language.budget import Budget
from recsmith.language.completion import Backend
from recsmith.language.making import make_asker
from recsmith.language.rankers import RANKERS, RankCase, Ranked
from recsmith.language.rankers.case import LearningRanker, OfflineRanker, ShelfRanker
from recsmith.language.rankers.embedded import EncoderRanker
from recsmith.language.shelf import Shelf
from recsmith.models.fact_table import FactTable
from recsmith.models.lessons import draw_lessons
from recsmith.models.named_items import NamedItems
from recsmith.models.retriever import closed_form_retriever
from recsmith.nn.neighbour_table import NeighbourTable
from recsmith.nn.packed_rows import PackedRows
from recsmith.nn.shortlist import best_outside, squeezed
from recsmith.nn.text_table import TextTable
from recsmith.protocols import HistoryBatch

_NEIGHBOURS = 20
"""Items that people took besides an item, of which the knowledge of a prompt is made."""


class LanguageRankerConfig(Config):
    """Who retrieves, who ranks, and what it may cost."""

    retriever: str = "item-knn"
    """Model that proposes the candidates: one that learns in closed form, such as item-knn, ease or popularity."""
    retriever_settings: dict[str, Any] = {}
    """Settings of the retriever."""
    candidates: int = Field(20, ge=1)
    """Items that are ranked anew; those behind keep the retriever's order."""
    ranker: str = "list-wise"
    """How the language model is asked: list-wise, point-wise, pair-wise, likelihood, nir, profile, drdt and the others of the registry."""
    ranker_settings: dict[str, Any] = {}
    """Settings of the ranker."""
    backend: BackendConfig = BackendConfig()
    """Which language model; none: an encoder orders the candidates by their texts, or by template profiles, offline."""
    encoder: EncoderConfig = EncoderConfig()
    """The encoder that answers where there is no language model."""
    budget: Budget = Budget()
    """What may be spent; a spent budget ends the run, and the same command with a larger one goes on from there."""
    cache: str | None = None
    """File that keeps the answers (SQLite); None: `answers.sqlite` in `$RECSMITH_CACHE` or `~/.cache/recsmith`."""
    names: int = Field(0, ge=0)
    """Titles that the language model first names in its own words; those that the catalogue has stand before the retriever's candidates."""
    grounding: Literal["spelling", "meaning"] = "spelling"
    """How written titles find their items: exact, then fuzzy spelling; meaning: and then by the vectors of `encoder`."""
    knowledge: int = Field(0, ge=0)
    """Lines about what people took besides, for templates with a field `knowledge` (rank-with-knowledge); counted in training."""
    max_history: int = Field(20, ge=1)
    """Events of a history that are told, counted from its end."""
    lessons: int = Field(0, ge=0)
    """Last training events of as many people, from which a ranker that learns (po4isr, recprompt, re2llm, coral) is taught."""
    seed: int = 0
    """Seed of the choice of lessons."""


class LanguageRanker(nn.Module):
    """Retrieve, then rank in words: "Large language models are zero-shot rankers for recommender systems" (Hou et al., ECIR 2024) and, by
    `ranker`, the other ways of `recsmith.language.rankers`, each with its paper.

    Only the retriever learns from events. The candidates of a history are its best items outside the history; the ranker puts them into
    an order, grounded so that nothing but a candidate can be answered, and everything else follows in the retriever's order. Rows without
    history are answered by the retriever alone. `figures()` says which backend spoke, what it cost, and how many of its answers could
    not be used. A ranker that learns is taught on `lessons`: training events that the retriever has seen, so candidates are shuffled there;
    what it learned is saved with the weights. Without a language model it learns nothing, and the card says so.

    Deviations: candidates come from a retriever of this library, not from the papers' random or popular sets.
    """

    Config: ClassVar[type[LanguageRankerConfig]] = LanguageRankerConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["closed-form"]] = "closed-form"
    reads: ClassVar[tuple[str, ...]] = ("texts", "facts")

    def __init__(self, config: LanguageRankerConfig, *, items: int, backend: Backend | None = None) -> None:
        """`backend` takes the place of the one that the config names."""
        super().__init__()
        self.config = config
        self.items = items
        self.retriever = closed_form_retriever(config.retriever, config.retriever_settings, items=items)
        self.table, self.facts, self.people, self.learned = TextTable(), FactTable(), PackedRows(), TextTable()
        self.besides = NeighbourTable(items if config.knowledge else 0, _NEIGHBOURS)
        make = RANKERS.get(config.ranker)
        self._ranker = make(make.Config.parse(config.ranker_settings, where="model.ranker_settings"), ground=self._ground_in)
        self._backend = backend
        self._asker: Asker | None = None
        self._encoded: CatalogueVectors | None = None
        self.notes: list[str] = []
        """What the ranker wrote about each case of the last call (profiles, analyses); empty where it did not."""
        self._figures: list[tuple[int, dict[str, Any]]] = []
        self._lesson_figures: dict[str, Any] = {}
        self._named = NamedItems(config.names)
        self._catalogue: Grounding | None = None
        self._ready = False

    def read(self, texts: Sequence[str]) -> None:
        """The items' own words, one text per item; stored with the weights."""
        if len(texts) != self.items:
            raise ValueError(f"{self.items} items have {len(texts)} texts")
        self.table, self._encoded, self._catalogue, self._ready = TextTable(texts), None, None, False

    def read_facts(self, facts: ItemFacts) -> None:
        """Categories and places of the items; stored with the weights."""
        self.facts, self._ready = FactTable(facts), False

    def solve(self, histories: Histories) -> None:
        """Fit the retriever, count what people took besides where the prompts tell it, and teach a ranker that learns."""
        self.retriever.solve(histories)  # type: ignore[operator]
        if self.config.knowledge:
            self.besides.fit(histories.values, histories.offsets)
        wants = self._ranker.wants if isinstance(self._ranker, ShelfRanker) else ()
        self.facts.require(wants, ranker=self.config.ranker)
        if "people" in wants:
            self.people = PackedRows(histories.values, histories.offsets)
        self._ready = False
        if isinstance(self._ranker, LearningRanker) and self.config.lessons:
            self._teach(self._ranker, histories)

    def _teach(self, ranker: LearningRanker, histories: Histories) -> None:
        """Let the ranker learn from last training events. What it learned before is forgotten."""
        asker = self._speaker()
        self._look_at()
        if asker is None:
            self._lesson_figures = {"lessons": "none: no language model"}
            return
        lessons = draw_lessons(
            histories,
            self.retriever,
            count=self.config.lessons,
            candidates=min(self.config.candidates, self.items),
            max_history=self.config.max_history,
            seed=self.config.seed,
        )
        cases = [self._case(lesson.history, lesson.candidates, "", lesson.times, lesson.person) for lesson in lessons]
        figures = ranker.learn(cases, [lesson.right for lesson in lessons], asker) if cases else {}
        self.learned = TextTable([ranker.learned()])
        self._lesson_figures = {"lessons": len(cases), **figures}

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: candidates in the ranker's order above everything else in the retriever's order."""
        return self.score_told(batch, [""] * len(batch))

    def score_told(self, batch: HistoryBatch, words: Sequence[str]) -> Tensor:
        """As `score`, when each person also says something in their own words, one text per row ("" for nothing)."""
        if len(self.table) != self.items:
            raise DataError("the language ranker has read no item texts; fit it on data with a catalogue")
        scores = self.retriever.score(batch)  # type: ignore[operator]
        rows = [batch.items[batch.offsets[row] : batch.offsets[row + 1]] for row in range(len(batch))]
        known = [row for row, items in enumerate(rows) if len(items)]
        places = squeezed(scores)
        candidates = self._named_first(self._candidates(scores, rows, words), rows, words)
        known = [row for row in known if len(candidates[row]) > 1]
        if not known:
            return places
        histories = [rows[row][-self.config.max_history :].tolist() for row in known]
        times = [
            [] if batch.times is None else batch.times[: batch.offsets[row + 1]][-len(told) :].tolist()
            for row, told in zip(known, histories)
        ]
        people = [-1] * len(batch) if batch.users is None else batch.users.tolist()
        ranked = self._rank(
            [
                self._case(told, candidates[row], words[row], when, people[row])
                for told, row, when in zip(histories, known, times, strict=True)
            ]
        )
        for row, order in zip(known, ranked.orders, strict=True):
            ordered = torch.tensor([candidates[row][place] for place in order], dtype=torch.int64, device=scores.device)
            places[row, ordered] = torch.arange(len(ordered), 0, -1, dtype=places.dtype, device=scores.device)
        return places

    def _candidates(self, scores: Tensor, rows: list[Tensor], words: Sequence[str]) -> list[list[int]]:
        """Items to be ranked, per row: the retriever's best outside the history."""
        return best_outside(scores, rows, min(self.config.candidates, self.items))

    def _named_first(self, candidates: list[list[int]], rows: list[Tensor], words: Sequence[str]) -> list[list[int]]:
        """The candidates with what the language model names by itself in front, as many as there were; without one, as they were."""
        told = [row for row, items in enumerate(rows) if len(items)]
        if not self.config.names or not told:
            return candidates
        asker = self._speaker()
        if asker is None:
            return candidates
        texts, most = self.table.texts, self.config.max_history
        histories = [[texts[item] for item in rows[row][-most:].tolist()] for row in told]
        taken = [set(rows[row].tolist()) for row in told]
        grounding = self._catalogue = self._catalogue or self._grounding(texts)
        found = self._named.find(histories, taken, [words[row] for row in told], asker, grounding)
        for row, items in zip(told, found, strict=True):
            candidates[row] = list(dict.fromkeys([*items, *candidates[row]]))[: min(self.config.candidates, self.items)]
        return candidates

    def _ground_in(self, titles: Sequence[str], candidates: Sequence[str]) -> list[int]:
        """The candidate that each title names; -1 for none."""
        return self._grounding(candidates).ground(titles).items.tolist()

    def _grounding(self, titles: Sequence[str]) -> Grounding:
        encode = self._vectors_of if self.config.grounding == "meaning" else None
        return catalogue_grounding(titles, encode=encode, encode_queries=self._query_vectors_of)

    @property
    def reads_words(self) -> bool:
        """Whether somebody's own words can change the answer: there is a language model to read them."""
        return self._backend is not None or self.config.backend.kind != "none"

    def figures(self) -> dict[str, Any]:
        """Which backend spoke, what it was asked and cost, and means of the ranker's own figures over all cases asked about."""
        offline = self._ranker.offline if isinstance(self._ranker, OfflineRanker) else "none"
        spoke = {"backend": f"{offline}; {self._vectors.encoder_name}"} if self._asker is None else self._asker.figures()
        cases = sum(count for count, _ in self._figures)
        names = {name for _, figures in self._figures for name, value in figures.items() if isinstance(value, int | float)}
        means = {name: sum(count * figures.get(name, 0.0) for count, figures in self._figures) / max(1, cases) for name in sorted(names)}
        named = {"named": "none: no language model"} if self._asker is None else self._named.figures()
        named = named if self.config.names else {}
        return {"ranker": self.config.ranker, **spoke, "cases": cases, **means, **named, **self._lesson_figures}

    def _case(self, history: list[int], candidates: list[int], words: str, times: Sequence[float], person: int) -> RankCase:
        texts = self.table.texts
        told, shown = [texts[item] for item in history], [texts[item] for item in candidates]
        return RankCase(told, shown, words, self._lines(history, candidates), history, candidates, times, person)

    def _look_at(self) -> None:
        """Show the shelf to a ranker that looks things up."""
        if isinstance(self._ranker, ShelfRanker):
            people = Histories(self.people.values.cpu().numpy(), self.people.offsets.cpu().numpy())
            self._ranker.look_at(Shelf(self.table.texts, self._item_facts(), self._vectors_of, people, self._query_vectors_of))

    def _item_facts(self) -> ItemFacts:
        return self.facts.facts if len(self.facts) else ItemFacts([()] * self.items, [None] * self.items)

    def _make_ready(self) -> None:
        """The shelf and what was learned, once after reading, solving or loading."""
        if self._ready:
            return
        self._look_at()
        if isinstance(self._ranker, LearningRanker) and len(self.learned):
            self._ranker.restore(self.learned.texts[0])
        self._ready = True

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Runs of earlier versions hold no facts, people or lessons."""
        self._ready, self._encoded, self._catalogue = False, None, None
        for part in ("facts", "people", "learned"):
            for name, empty in getattr(self, part).state_dict().items():
                state_dict.setdefault(f"{prefix}{part}.{name}", empty)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _lines(self, history: list[int], candidates: list[int]) -> list[str]:
        """How many people took a candidate besides an item of the history, the most first (DOKE's collaborative knowledge)."""
        if self.config.knowledge == 0:
            return []
        wanted, texts = set(candidates), self.table.texts
        rows = [(item, self.besides.neighbours[item].tolist(), self.besides.people[item].tolist()) for item in dict.fromkeys(history)]
        pairs = [(people, item, other) for item, others, counts in rows for other, people in zip(others, counts) if other in wanted]
        best = sorted(pairs, key=lambda pair: -pair[0])[: self.config.knowledge]
        return [f"{people} people who took {texts[item]} also took {texts[other]}" for people, item, other in best]

    def _rank(self, cases: list[RankCase]) -> Ranked:
        asker = self._speaker()
        if asker is None:
            ranked = self._rank_offline(cases)
        else:
            self._make_ready()
            ranked = self._ranker.rank(cases, asker)
        self.notes = ranked.notes
        self._figures.append((len(cases), ranked.figures))
        return ranked

    def _rank_offline(self, cases: list[RankCase]) -> Ranked:
        """Without a language model: by an encoder, or as the ranker itself does then."""
        by_likeness = EncoderRanker(self._vectors_of, encode_queries=self._query_vectors_of).rank
        if not isinstance(self._ranker, OfflineRanker):
            return by_likeness(cases)
        self._make_ready()
        return self._ranker.rank_offline(cases, by_likeness)

    @property
    def _vectors(self) -> CatalogueVectors:
        if self._encoded is None:
            self._encoded = CatalogueVectors(self.table.texts, self.config.encoder)
        return self._encoded

    def _vectors_of(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts about items, float32 `[text, dim]`."""
        return self._vectors.of(texts)

    def _query_vectors_of(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of what people say, float32 `[text, dim]`."""
        return self._vectors.of_queries(texts)

    def _speaker(self) -> Asker | None:
        """Whom to ask, made at the first call; None where there is no language model."""
        self._asker = self._asker or self._make_asker()
        return self._asker

    def _make_asker(self) -> Asker | None:
        config = self.config
        return make_asker(config.backend, budget=config.budget, cache=config.cache, backend=self._backend)


def ground_in(titles: Sequence[str], candidates: Sequence[str]) -> list[int]:
    """The candidate that each title names: exact, then fuzzy; -1 for none."""
    return catalogue_grounding(candidates).ground(titles).items.tolist()
