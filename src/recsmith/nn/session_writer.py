"""An encoder–decoder that reads a history as item codes and writes a whole list of items, code by code.

Letters of the shapes: `row` = histories, `size` = items of a list, `level` = codes of an item, `beam` = hypotheses kept per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsmith.nn.experts import use_experts
from recsmith.nn.t5 import DecoderState, Run, StackSizes, build_decoder, build_encoder
from recsmith.nn.windows import Windows
from recsmith.protocols import HistoryBatch

BEGIN, START, SPECIAL = 0, 1, 2


class WriterSizes(StackSizes, Protocol):
    """What a model's settings say about the writer."""

    @property
    def max_history(self) -> int: ...
    @property
    def experts(self) -> int: ...
    @property
    def active_experts(self) -> int: ...


class SessionWriter(nn.Module):
    """Reads the codes of the last `max_history` items behind a start token; each item of the list is a begin token and its codes.

    A code sees the history, all items of the list before, and the codes before it of its own item; it competes with its level's.
    """

    item_codes: Tensor
    firsts: Tensor

    def __init__(self, config: WriterSizes, *, table: Tensor, sizes: Sequence[int]) -> None:
        """`table` int64 `[item, level]` with codes below `sizes` of their level."""
        super().__init__()
        self.config = config
        self.sizes = tuple(sizes)
        borders = [SPECIAL + sum(self.sizes[:level]) for level in range(len(self.sizes))]
        self.register_buffer("item_codes", table.clone())
        self.register_buffer("firsts", torch.tensor(borders), persistent=False)
        self._borders = borders
        self.embedding = nn.Embedding(SPECIAL + sum(self.sizes), config.dim)
        self.encoder = build_encoder(config, bidirectional=True)
        self.decoder = build_decoder(config)
        if config.experts > 1:
            use_experts(self.decoder, config.dim, config.ff_dim, experts=config.experts, active=config.active_experts)

    def log_likelihood(self, histories: HistoryBatch, lists: Tensor) -> Tensor:
        """Log-probability of every code of `lists` int64 `[row, size]` given all before it, `[row, size, level]`; 0 for item -1."""
        windows = Windows.tails(histories.offsets, longest=self.config.max_history)
        queries = lists.shape[1] * (len(self.sizes) + 1) - 1
        states = self._encode(histories, windows, self._runs(windows, queries))
        wanted = lists[windows.rows]
        tokens = self.item_codes[wanted.clamp(min=0)] + self.firsts
        inputs = F.pad(tokens, (1, 0), value=BEGIN).flatten(1)[:, :-1]
        hidden = self.decoder(self.embedding(inputs), states, self._runs(windows, queries))
        hidden = F.pad(hidden, (0, 0, 0, 1)).unflatten(1, (lists.shape[1], -1))
        codes = tokens - self.firsts
        logs = [
            self._logits(hidden[:, :, level], level).float().log_softmax(-1).gather(2, codes[:, :, level, None])
            for level in range(len(self.sizes))
        ]
        found = torch.cat(logs, 2) * (wanted >= 0)[..., None]
        return found[windows.rows.argsort()]

    def start(self, histories: HistoryBatch) -> DecoderState:
        """Read the histories, one row each; nothing is written yet."""
        windows = Windows.tails(histories.offsets, longest=self.config.max_history)
        packed = self._encode(histories, windows, self._runs(windows, 0))
        lengths = 1 + windows.inputs * len(self.sizes)
        return self.decoder.start(*windows.padded(packed, lengths))

    def after(self, state: DecoderState, chosen: Tensor) -> DecoderState:
        """The state of rows that have written nothing yet once they have written the items `chosen` int64 `[row, filled]`."""
        tokens = F.pad(self.item_codes[chosen] + self.firsts, (1, 0), value=BEGIN).flatten(1)
        for token in tokens.unbind(1):
            _, state = self.decoder.step(self.embedding(token[:, None]), state, _only_beam(state, token))
        return state

    def step(self, state: DecoderState, level: int, parents: Tensor | None, last: Tensor | None) -> tuple[Tensor, DecoderState]:
        """Logits over the codes of `level` of the next item, `[row, beam, size of level]`; see `CodeModel`."""
        if last is None:
            tokens = torch.full((len(state.memory[0][0]), 1), BEGIN, device=self.item_codes.device)
            parents = _only_beam(state, tokens[:, 0])
        else:
            tokens = last + self._borders[level - 1]
        hidden, state = self.decoder.step(self.embedding(tokens), state, parents)
        return self._logits(hidden, level), state

    def _encode(self, histories: HistoryBatch, windows: Windows, runs: list[Run]) -> Tensor:
        """States of all windows, `[token, dim]`: a start token and then the codes of the items read."""
        lengths = 1 + windows.inputs * len(self.sizes)
        first = torch.zeros(int(lengths.sum()), dtype=torch.bool, device=lengths.device)
        first[lengths.cumsum(0) - lengths] = True
        tokens = torch.full_like(first, START, dtype=torch.int64)
        tokens[~first] = (self.item_codes[histories.items[windows.input_events()]] + self.firsts).flatten()
        return self.encoder(self.embedding(tokens), runs, None)

    def _runs(self, windows: Windows, queries: int) -> list[Run]:
        return [Run(rows, 1 + inputs * len(self.sizes), queries) for rows, inputs, _ in windows.shapes]

    def _logits(self, hidden: Tensor, level: int) -> Tensor:
        own = self.embedding.weight[self._borders[level] : self._borders[level] + self.sizes[level]]
        return F.linear(hidden * self.config.dim**-0.5, own)


def repeated_state(state: DecoderState, times: int) -> DecoderState:
    """Each row of a state that has written nothing yet `times` times, next to each other."""
    memory = [(key.repeat_interleave(times, 0), value.repeat_interleave(times, 0)) for key, value in state.memory]
    return replace(state, memory=memory, hidden=None if state.hidden is None else state.hidden.repeat_interleave(times, 0))


def _only_beam(state: DecoderState, rows: Tensor) -> Tensor | None:
    """Each row goes on from the one beam that it has; None where nothing was written."""
    return rows.new_zeros(len(rows), 1) if state.past else None
