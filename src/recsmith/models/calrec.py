"""CALRec: next items as text, with contrastive alignment, two stages of domains, and grounding by search (Li et al., RecSys 2024)."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from recsmith.decoding.grounding_search import rank_by_search
from recsmith.decoding.word_search import WordSearch
from recsmith.nn.shortlist import squeezed
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import AT_ONCE
from recsmith.tuning_language.writing import WritingConfig, WritingModel


class CalrecConfig(WritingConfig):
    """Settings of `Calrec`."""

    tasks: str = "calrec"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    contrast: float = Field(0.125, ge=0, lt=1)
    """Share of the contrastive loss; the rest is that of writing."""
    temperature: float = Field(0.1, gt=0)
    """Divisor of the cosines in the contrastive loss."""
    texts: int = Field(4, ge=1)
    """Texts that are written for each person; they take turns in the search."""
    found: int = Field(100, ge=1)
    """Items that the search puts in front at most; those behind are ordered by popularity."""
    joint_steps: int = Field(0, ge=0)
    """Optimiser steps on items of all domains, before the stage on `target` alone."""
    target: str = ""
    """Second stage: only events of items whose text has these words; empty: all items are of the target domain."""


class Calrec(WritingModel):
    """Writes texts of the next item and lets each in turn name the item that BM25 finds nearest.

    Paper: "CALRec: contrastive alignment of generative LLMs for sequential recommendation" (2024). The loss mixes writing the target with a
    contrast, in the batch, of the mean state over the history's text and that over the target's. Stage one learns from all domains, stage
    two from the target's (`joint_steps`, `target`; item texts name the domain, as in `--set text="{genres}: {title}"`). Two logs in place
    of one: fit on the first, `model.network.save_folder(…)`, then `model.network.folder` for the second.

    Deviations: several texts begin with the likeliest first tokens and go on greedily, where the paper samples; one contrast in both
    directions; the search takes equal turns (`decoding.grounding_search`).
    """

    Config: ClassVar[type[CalrecConfig]] = CalrecConfig

    _search: tuple[object, WordSearch] | None = None

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """The mixture of both losses over questions about the batch; 0 when there are none to ask."""
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        cases = [case for case in self.draw(batch.known(), random) if step < self.config.joint_steps or self._of_target(case.item)]
        pairs = [self.pair(case) for case in cases]
        written = self.network.loss(pairs)
        if len(pairs) < 2 or not self.config.contrast:
            return written
        told = self.network.embed([source for source, _ in pairs])
        wanted = self.network.embed([target for _, target in pairs])
        apart = contrast(told, wanted, torch.tensor([case.item for case in cases], device=told.device), temperature=self.config.temperature)
        return (1 - self.config.contrast) * written + self.config.contrast * apart

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: what the search finds, in turns, before everything else by popularity."""
        places = squeezed(self.events.float().expand(len(batch), -1)) if len(batch) else torch.zeros(0, self.items)
        texts, likelihoods = self._texts(batch.known())
        found = rank_by_search(texts, self._found_by(), min(self.config.found, self.items), likelihoods=likelihoods)
        for row, items in enumerate(found.items):
            kept = torch.from_numpy(items[items >= 0]).to(places.device)
            places[row, kept] = torch.arange(len(kept), 0, -1, dtype=places.dtype, device=places.device)
        return places

    def _texts(self, batch: HistoryBatch) -> tuple[list[list[str]], list[list[float]]]:
        """Texts for each row and how likely each is."""
        told, likely = [], []
        questions = self.questions(batch)
        with torch.no_grad():
            for start, stop in pairwise([*range(0, len(questions), AT_ONCE), len(questions)]):
                part = questions[start:stop]
                first = self.network.next_logits(part)[:, : self.network.word_count].topk(self.config.texts, dim=1).indices
                begun = [[*question, token] for question, row in zip(part, first.tolist(), strict=True) for token in row]
                rows = self.network.write(begun, longest=self.config.max_title)
                whole = [_from_first(source[-1], row, self.network.end) for source, row in zip(begun, rows, strict=True)]
                pairs = [(source[:-1], [*row, self.network.end]) for source, row in zip(begun, whole, strict=True)]
                likely += self.network.log_likelihood(pairs).view(-1, self.config.texts).tolist()
                told += [
                    [self.network.text(row) for row in whole[at : at + self.config.texts]] for at in range(0, len(whole), self.config.texts)
                ]
        self._count(told)
        return told, likely

    def _of_target(self, item: int) -> bool:
        return self.config.target.casefold() in self.table.texts[item].casefold()

    def _found_by(self) -> WordSearch:
        """The search over the items' texts as they are now."""
        texts = self.table.texts
        if self._search is None or self._search[0] is not texts:
            self._search = (texts, WordSearch(texts))
        return self._search[1]


def contrast(told: Tensor, wanted: Tensor, items: Tensor, *, temperature: float) -> Tensor:
    """InfoNCE in both directions between rows of `[row, dim]` that belong together; other rows of the same item are left out."""
    cosines = functional.normalize(told, dim=1) @ functional.normalize(wanted, dim=1).T / temperature
    same = (items[:, None] == items) & ~torch.eye(len(items), dtype=torch.bool, device=items.device)
    cosines = cosines.masked_fill(same, -torch.inf)
    own = torch.arange(len(items), device=items.device)
    return (functional.cross_entropy(cosines, own) + functional.cross_entropy(cosines.T, own)) / 2


def _from_first(first: int, rest: list[int], end: int) -> list[int]:
    """A text from its first token and what followed, which is nothing where that token was the end."""
    return [] if first == end else [first, *rest]
