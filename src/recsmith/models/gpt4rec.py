"""GPT4Rec: a language model writes several search queries for a person, and a search engine answers them (Li et al., 2023)."""

from __future__ import annotations

from math import ceil
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsmith.decoding.word_search import WordSearch
from recsmith.nn.shortlist import squeezed
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.tuner import TunerConfig
from recsmith.tuning_language.writing import WritingConfig, WritingModel

_AT_ONCE = 64


class Gpt4recConfig(WritingConfig):
    """Settings of `Gpt4rec`."""

    tasks: str = "gpt4rec"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    tuner: TunerConfig = TunerConfig(method="full")
    """What of the language model learns; the paper tunes all of it."""
    queries: int = Field(5, ge=1)
    """Queries per person: as many beams are searched."""
    found: int = Field(50, ge=1)
    """Items that the queries put in front, an equal share each; those behind are ordered by popularity."""


class Gpt4rec(WritingModel):
    """Writes the likeliest queries by beam search and answers each with its best items by BM25, an equal share of the list per query.

    Paper: "GPT4Rec: a generative framework for personalized recommendation and user interests interpretation" (2023). The model learns to
    go on with the title of the item that came next; a generated query is a piece of what a person may want, so several of them tell
    several interests. `queries_of` shows them.

    Deviations: a small language model made from the catalogue's words by default, where the paper tunes GPT-2 (117 M; any causal folder
    fits `model.network.folder`); BM25 at its usual constants (`decoding.word_search`); a query that has no word in common with any item
    leaves its share to the others.
    """

    Config: ClassVar[type[Gpt4recConfig]] = Gpt4recConfig

    _search: tuple[object, WordSearch] | None = None

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: what the queries find, query after query, before everything else by popularity."""
        if not len(batch):
            return torch.zeros(0, self.items, device=self.events.device)
        places = squeezed(self.events.float().expand(len(batch), -1))
        search = self._found_by()
        written = self._written_for(batch)
        self._count(written)
        for row, queries in enumerate(map(_distinct, written)):
            found = torch.from_numpy(shared_out(search(queries), min(self.config.found, self.items))).to(places.device)
            places[row, found] = torch.arange(len(found), 0, -1, dtype=places.dtype, device=places.device)
        return places

    def queries_of(self, batch: HistoryBatch) -> list[list[str]]:
        """The queries for each row, likeliest first, each once."""
        return [_distinct(texts) for texts in self._written_for(batch)]

    def _written_for(self, batch: HistoryBatch) -> list[list[str]]:
        """`queries` texts for each row, likeliest first, as they were written."""
        questions = self.questions(batch.known())
        rows = [row for start in range(0, len(questions), _AT_ONCE) for row in self._beams(questions[start : start + _AT_ONCE])]
        count = self.config.queries
        texts = [self.network.text(row) for row in rows]
        return [texts[at : at + count] for at in range(0, len(texts), count)]

    @torch.no_grad()
    def _beams(self, questions: list[list[int]]) -> list[list[int]]:
        """`queries` continuations of each question, likeliest first, without end."""
        network, pad = self.network, int(self.network.facts["pad"])
        width = max(map(len, questions))
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in questions], device=network.device)
        real = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in questions], device=network.device)
        options: dict[str, Any] = {"num_beams": self.config.queries, "num_return_sequences": self.config.queries, "do_sample": False}
        written = network.model.generate(
            input_ids=ids,
            attention_mask=real,
            max_new_tokens=self.config.max_title,
            pad_token_id=pad,
            eos_token_id=network.end,
            **options,
        )
        rows = written[:, 1 if network.reads_first else width :].tolist()
        return [[token for token in (row[: row.index(network.end)] if network.end in row else row) if token != pad] for row in rows]

    def _found_by(self) -> WordSearch:
        """The search over the items' texts as they are now."""
        texts = self.table.texts
        if self._search is None or self._search[0] is not texts:
            self._search = (texts, WordSearch(texts))
        return self._search[1]


def _distinct(texts: list[str]) -> list[str]:
    """Texts that say something, each once; one empty text where there are none."""
    return list(dict.fromkeys(text for text in texts if text)) or [""]


def shared_out(scores: np.ndarray, k: int) -> np.ndarray:
    """At most `k` items of `scores` `[query, item]`: of each query in turn its best ones that are not there yet, k / queries of them; where
    queries leave places, the others fill them in the same order. Items that score 0 are never among them."""
    found: dict[int, None] = {}
    orders = [[int(item) for item in np.argsort(-row, kind="stable")[: 2 * k] if row[item] > 0] for row in scores]
    for share in (ceil(k / len(orders)), k):
        for order in orders:
            new = [item for item in order if item not in found]
            found.update(dict.fromkeys(new[: min(share, k - len(found))]))
    return np.array(list(found), dtype=np.int64)
