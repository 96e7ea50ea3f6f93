"""A language model that names a text by a short sequence of codes, and one that restores the text's hidden words from these codes.

Letters of the shapes: `text` = rows of a call, `token` = tokens of all texts laid end to end, `level` = codes written so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsmith.nn.packed import inserted, row_ids
from recsmith.nn.t5 import Run, StackSizes, build_decoder, build_encoder
from recsmith.nn.windows import run_places


@dataclass(frozen=True)
class PackedTexts:
    """Texts in ascending order of their lengths, so that equal ones lie side by side."""

    tokens: Tensor
    """int64 `[token]`."""
    lengths: Tensor
    """int64 `[text]`, ascending, at least 1."""

    @classmethod
    def of(cls, tokens: Tensor, offsets: Tensor, rows: Tensor) -> tuple[PackedTexts, Tensor]:
        """Some `rows` of packed texts, and these rows in the order in which the texts come, int64 `[text]`."""
        lengths = offsets.diff()[rows]
        order = lengths.argsort(stable=True)
        rows, lengths = rows[order], lengths[order]
        return cls(tokens[offsets[rows].repeat_interleave(lengths) + run_places(lengths)], lengths), rows

    def runs(self, *, more: int = 0, queries: int = 0) -> list[Run]:
        """Runs of texts of equal length, each `more` tokens longer."""
        shapes = torch.stack(torch.unique_consecutive(self.lengths, return_counts=True), 1).tolist()
        return [Run(count, length + more, queries) for length, count in shapes]


class IndexerSizes(StackSizes, Protocol):
    """What the settings say beside the sizes of the stacks."""

    @property
    def restoring(self) -> StackSizes: ...


class TextIndexer(nn.Module):
    """Encoder–decoder whose decoder writes codes: the state before each code is compared with that level's codebook.

    The likeness of a state and a code is minus their squared distance, so that k-means can start a codebook.
    """

    def __init__(self, config: IndexerSizes, *, words: int, sizes: Sequence[int]) -> None:
        super().__init__()
        dim = config.dim
        self.hidden_word = words
        self.embedding = nn.Embedding(words + 1, dim)
        self.encoder, self.decoder = build_encoder(config, bidirectional=True), build_decoder(config)
        self.restorer = build_encoder(config.restoring, bidirectional=True)
        self.begin = nn.Parameter(torch.zeros(dim))
        self.codebooks = nn.ParameterList(nn.Parameter(torch.zeros(size, dim)) for size in sizes)

    def states(self, texts: PackedTexts, codes: Tensor) -> Tensor:
        """The state before each code, given the codes int64 `[text, level]` before it; `[text, level + 1, dim]`."""
        vectors = [self.codebooks[level][column] for level, column in enumerate(codes.T)]
        inputs = torch.stack([self.begin.expand(len(codes), -1), *vectors], 1)
        read = self.encoder(self.embedding(texts.tokens), texts.runs(), None)
        return self.decoder(inputs, read, texts.runs(queries=inputs.shape[1]))

    def logits(self, states: Tensor, level: int) -> Tensor:
        """How much each state `[text, dim]` is like each code of a level, `[text, size]`."""
        return -torch.cdist(states, self.codebooks[level]).square() * states.shape[1] ** -0.5

    def written(self, states: Tensor, level: int) -> Tensor:
        """The vectors of the codes that states `[text, dim]` are most like; their gradient is that of the softmax over the codes."""
        shares = self.logits(states, level).softmax(1)
        chosen = F.one_hot(shares.argmax(1), shares.shape[1]).to(shares.dtype)
        return (chosen + shares - shares.detach()) @ self.codebooks[level]

    def restoring_loss(self, texts: PackedTexts, names: Tensor, share: float) -> Tensor:
        """Mean cross-entropy of hidden words, told the others and the vectors `names` `[text, level, dim]` of the texts' codes.

        At least one word of each text is hidden, the others with probability `share`.
        """
        levels = names.shape[1]
        offsets = torch.cat([texts.lengths.new_zeros(1), texts.lengths.cumsum(0)])
        hidden = torch.rand(len(texts.tokens), device=names.device) < share
        draw = (torch.rand(len(names), device=names.device) * texts.lengths).long()
        hidden[offsets[:-1] + draw] = True
        words = self.embedding(torch.where(hidden, self.hidden_word, texts.tokens))
        rows = row_ids(offsets, tokens=len(hidden))
        longer = offsets[:-1] + torch.arange(len(names), device=names.device) * levels
        places = (longer[:, None] + torch.arange(levels, device=names.device)).flatten()
        read = self.restorer(inserted(words, names.flatten(0, 1), places), texts.runs(more=levels), None)
        own = torch.arange(len(hidden), device=names.device) + (rows + 1) * levels
        states = read[own[hidden]] * names.shape[2] ** -0.5
        return F.cross_entropy(F.linear(states, self.embedding.weight[: self.hidden_word]), texts.tokens[hidden])


def apart(states: Tensor, prefixes: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of telling each state `[text, dim]` from those of the texts with the same codes before, int64 `[text, level]`."""
    same = (prefixes[:, None] == prefixes[None]).all(2)
    unit = F.normalize(states, dim=1)
    return F.cross_entropy((unit @ unit.T / temperature).masked_fill(~same, -torch.inf), torch.arange(len(states), device=states.device))
