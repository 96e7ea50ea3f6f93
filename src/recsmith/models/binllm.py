"""BinLLM: what a recommender knows of people and items, written into the prompt as numbers between dots (Zhang et al., ACL 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.data import Histories
from recsmith.models.collaborator import collaborator
from recsmith.models.retriever import closed_form_retriever
from recsmith.protocols import HistoryBatch
from recsmith.training import to_batch
from recsmith.tuning_language.candidates import followed_events, item_outside, row_of
from recsmith.tuning_language.collaborative import CollaborativeConfig, CollaborativePart, MarkedWording
from recsmith.tuning_language.shared_prompts import require_decoder_only, require_sharing
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.wording import Wording
from recsmith.tuning_language.yes_no_model import YesNoConfig, YesNoModel

_BYTE = 8


class BinllmConfig(YesNoConfig):
    """Settings of `Binllm`."""

    tasks: str = "binllm"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    collaborative: CollaborativeConfig = CollaborativeConfig()
    """The recommender whose vectors are written down."""
    bytes: int = Field(4, ge=1, le=16)
    """Numbers of an address, each of eight bits, as in 171.0.3.96."""
    bit_steps: int = Field(200, ge=0)
    """Optimiser steps that teach the bits to tell what people take from what they do not."""


class Bits(nn.Module):
    """Vectors → signs, `[…, dim]` → `[…, bit]` of -1 and 1: a layer with tanh, a linear map, and the sign.

    Gradients pass the sign as if it were not there.
    """

    def __init__(self, dim: int, *, bits: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, 2 * bits), nn.Tanh(), nn.Linear(2 * bits, bits))

    def forward(self, vectors: Tensor) -> Tensor:
        soft = self.layers(vectors).tanh()
        hard = torch.where(soft > 0, 1.0, -1.0)
        return cast(Tensor, soft + (hard - soft).detach())


class Binllm(YesNoModel):
    """Asks TALLRec's question with two addresses in it, of the person and of the item; similar ones differ in few bits.

    Paper: "Text-like encoding of collaborative information in large language models for recommendation" (ACL 2024). A small network over
    the recommender's vectors learns bits whose inner product tells taken items from others, the sign passing gradients straight through;
    32 bits are written in dot-decimal notation. `address` shows them. Addresses are plain words.

    Deviations: those of `Tallrec`; the recommender is fitted first and the bits behind it, where the paper trains both together; a small
    model of one's own unless a folder is named, whose tokenizer knows each of the 256 numbers as a word, so that it never splits one.
    """

    Config: ClassVar[type[BinllmConfig]] = BinllmConfig

    def __init__(self, config: BinllmConfig, *, items: int) -> None:
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))
        require_sharing(config.network, config.tuner, who="BinLLM")
        self.collaborative = collaborator(config.collaborative, items=items)
        self.bits = Bits(self.collaborative.dim, bits=_BYTE * config.bytes).requires_grad_(False)
        self._people: list[str] = []

    def observe(self, histories: Histories) -> None:
        """Fit the recommender and the bits; then as every ranker of candidates. A loaded model stays as it is."""
        if not self._loaded:
            self.collaborative.fit(histories)
            learn_bits(self.bits, self.collaborative, histories, steps=self.config.bit_steps)
        super().observe(histories)
        require_decoder_only(self.network, who="BinLLM")

    def extra_words(self) -> list[str]:
        """The answers and the numbers of an address."""
        return [*super().extra_words(), *(f" {number}" for number in range(2**_BYTE) for _ in range(20)), *["."] * 20]

    def address(self, vectors: Tensor) -> list[str]:
        """What stands for each of the recommender's vectors `[row, dim]` in a prompt, such as `171.0.3.96`."""
        powers = 2 ** torch.arange(_BYTE - 1, -1, -1, device=vectors.device)
        with torch.no_grad():
            found = ((self.bits(vectors) > 0).view(len(vectors), -1, _BYTE) * powers).sum(dim=2)
        return [".".join(map(str, row)) for row in found.tolist()]

    def odds(self, groups: Sequence[tuple[HistoryBatch, list[Case]]]) -> Tensor:
        """As of every model of yes and no, after the addresses of these people were looked up."""
        self._people = self.address(self.collaborative.people([history for history, _ in groups]))
        return super().odds(groups)

    def numbered(self, cases: Sequence[Case], row: int) -> list[Case]:
        """With the number of the history, by which its person's address is found."""
        return [replace(case, user=row) for case in cases]

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and how many items have an address of their own."""
        different = len(set(self.address(self.collaborative.items())))
        return {**super().figures(), "vectors of": self.config.collaborative.name, "different addresses": different}

    @property
    def wording(self) -> Wording:
        """With addresses for people and items."""
        self._require_texts()
        if self._spoken is None:
            items = self.address(self.collaborative.items())
            self._spoken = MarkedWording(
                self.network,
                self.table.texts,
                max_title=self.config.max_title,
                mark=lambda item: self._spelled(items[item]),
                person=lambda row: self._spelled(self._people[row]),
            )
        return self._spoken

    def _spelled(self, address: str) -> list[int]:
        """Number by number: where the tokenizer knows numbers as words, each is one token."""
        parts = [self.network.tokens(number) for number in address.split(".")]
        dot = self.network.tokens(".")
        return [token for place, part in enumerate(parts) for token in ([*dot] if place else []) + part]


def learn_bits(bits: Bits, part: CollaborativePart, histories: Histories, *, steps: int, batch_size: int = 64) -> list[float]:
    """Teach the bits: their inner product, per bit, is to be higher for an event than for an item not taken; the loss of each step."""
    if not steps:
        return []
    batch, items, losses = to_batch(histories).known(), part.items(), []
    random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
    bits.requires_grad_(True)
    optimizer = torch.optim.AdamW(bits.parameters(), lr=3e-3)
    with torch.enable_grad():
        for _ in range(steps):
            drawn = list(followed_events(batch, batch_size, random))
            if not drawn:
                break
            rows = [batch.items[batch.offsets[row] : batch.offsets[row + 1]].tolist() for row, _ in drawn]
            people = bits(part.people([row_of(batch, row, before=event) for row, event in drawn]))
            taken = bits(items[[int(batch.items[event]) for _, event in drawn]])
            others = bits(items[[item_outside(row, len(items), random) for row in rows]])
            gap = (people * (taken - others)).sum(dim=1) / people.shape[1] ** 0.5
            loss = -functional.logsigmoid(gap).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    bits.requires_grad_(False)
    return losses
