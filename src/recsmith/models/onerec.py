"""OneRec: one encoder–decoder writes the whole session, and is aligned with a reward model by DPO (Deng et al., 2025, arXiv:2502.18965)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import ItemCodes
from recsmith.decoding.list_search import search_lists, walk_items
from recsmith.decoding.trie import CodeTrie
from recsmith.nn.packed import offsets_from
from recsmith.nn.session_reward import SessionReward
from recsmith.nn.session_writer import SessionWriter, repeated_state
from recsmith.nn.slates import SlateConfig, Slates
from recsmith.nn.t5 import DecoderState
from recsmith.protocols import HistoryBatch


class OneRecConfig(SlateConfig):
    """Size of the writer, and how its preferences are aligned."""

    heads: int = Field(4, ge=1)
    """Attention heads per layer."""
    head_dim: int = Field(16, ge=1)
    """Width of one head."""
    ff_dim: int = Field(256, ge=1)
    """Width of the feed-forward layers, of each expert in the decoder."""
    encoder_layers: int = Field(2, ge=1)
    """Layers of the encoder."""
    decoder_layers: int = Field(2, ge=1)
    """Layers of the decoder."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Probability of dropping a unit or an attention weight in training; none is dropped where preferences are compared."""
    max_history: int = Field(20, ge=1)
    """Clicks of a history that are read, counted from its end."""
    experts: int = Field(4, ge=1)
    """Feed-forward networks of each decoder layer (paper: 24); 1 is a plain one."""
    active_experts: int = Field(2, ge=1)
    """Experts that a token goes through (paper: 2)."""
    pretraining_steps: int = Field(1_000, ge=0)
    """Optimiser steps for sessions and the reward model, before preferences are aligned; the reward model then stays as it is."""
    iteration_steps: int = Field(500, ge=1)
    """Optimiser steps after which the model so far becomes the reference, and the source of lists, of the next iteration."""
    sessions: int = Field(256, ge=1)
    """Sessions of a batch, at most, that are learned in a step."""
    preference: float = Field(0.5, ge=0)
    """Weight of the preference loss beside that of the logged sessions; 0 leaves it out."""
    beta: float = Field(0.1, gt=0)
    """Sharpness of the preference loss: what a nat of difference from the reference counts."""
    preference_rows: int = Field(8, ge=1)
    """Sessions of a batch for whose people lists are generated and compared in a step."""
    preference_lists: int = Field(8, ge=2)
    """Lists generated for each of these, by beam (paper: 128)."""
    walk_beams: int = Field(64, ge=1)
    """Prefixes of a level below which a slot of a slate is scored exactly; items elsewhere share what their prefix has."""
    position_buckets: int = Field(32, ge=2)
    """Buckets of relative positions."""
    position_distance: int = Field(128, ge=2)
    """Distance, in codes, from which on all positions share the last bucket."""

    @model_validator(mode="after")
    def _experts_suffice(self) -> Self:
        if self.active_experts > self.experts > 1:
            raise ValueError(f"`active_experts` = {self.active_experts} are more than the {self.experts} experts there are")
        return self


@dataclass(frozen=True)
class Pairs:
    """Two lists for each history, of which the reward model prefers the first."""

    histories: HistoryBatch
    better: Tensor
    """int64 `[row, size]`."""
    worse: Tensor
    """int64 `[row, size]`."""


class OneRec(nn.Module):
    """Reads a history as codes and writes a session of items, code after code, each item given those before it.

    First the writer learns the sessions of the log (code by code) and a reward model learns what of a list is taken. Then, iteration by
    iteration, the model so far is frozen as the reference: for some histories of each batch it generates lists by beam, the reward
    model names the best and the worst of them, and the writer learns the preference (DPO: Rafailov et al., 2023) beside the sessions.

    Slates are sessions; a list (`recommend`) is made of the first items of sessions, by beam search over one item's codes. Codes are meant
    to come from the tokenizer `balanced-rq-kmeans`. Deviations: the reward is the expected number of items taken, learned from clicks and
    random replacements, in place of several towers of watching and following; only clicked items are read and written; some histories
    of every batch are compared (paper: 1 % of samples); generated lists leave out what was read; the mixture of experts is in the
    decoder, without loss for balance, and optional (`experts = 1`); blocks are T5's; the size is a CPU's.
    """

    Config: ClassVar[type[Config]] = OneRecConfig
    answers: ClassVar[Literal["codes"]] = "codes"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: OneRecConfig, *, codes: ItemCodes) -> None:
        super().__init__()
        self.config = config
        self.size = min(config.slate, len(codes))
        table, sizes = torch.as_tensor(codes.table, dtype=torch.int64), [int(size) for size in codes.sizes]
        self.writer = SessionWriter(config, table=table, sizes=sizes)
        self.reference = deepcopy(self.writer).requires_grad_(False)
        self.reward = SessionReward(config, table=table, sizes=sizes)

    # ---- learning ----

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy per code of the sessions, plus the reward model's loss at first and the preference loss later."""
        batch = batch.known()
        judged = self.reward.reader.slates(batch, shifted=self.training)
        liked = self._clicks(batch)
        slates = self.reward.reader.slates(liked, shifted=self.training) if len(liked.items) < len(batch.items) else judged
        if not len(slates):
            return self.writer.embedding.weight.sum() * 0.0
        slates = slates.take(torch.randperm(len(slates), device=slates.items.device)[: self.config.sessions])
        histories = self.reward.reader.clicked_before(slates, liked)
        logs = self.writer.log_likelihood(histories, slates.items)
        loss = -logs.sum() / (slates.filled.sum() * logs.shape[2])
        if step < self.config.pretraining_steps:
            return loss + self.reward.loss(judged, batch)
        if not self.config.preference:
            return loss
        if (step - self.config.pretraining_steps) % self.config.iteration_steps == 0:
            self.begin_iteration()
        return loss + self.config.preference * self.preference_loss(self.compared(slates, liked))

    def begin_iteration(self) -> None:
        """The writer as it is becomes the reference."""
        self.reference.load_state_dict(self.writer.state_dict())

    @torch.no_grad()
    def compared(self, slates: Slates, liked: HistoryBatch) -> Pairs:
        """The best and the worst of the lists that the reference generates for the histories before the first of the slates."""
        histories = self.reward.reader.clicked_before(slates.take(torch.arange(min(self.config.preference_rows, len(slates)))), liked)
        lists, logs = self.generated(histories, self.config.preference_lists)
        rows, count, size = lists.shape
        people = self.reward.people(histories).repeat_interleave(count, 0)
        rewards = self.reward.rewards(people, lists.flatten(0, 1)).view(rows, count)
        none = logs == -torch.inf  # there are fewer lists than asked for
        picked = torch.stack([rewards.masked_fill(none, -torch.inf).argmax(1), rewards.masked_fill(none, torch.inf).argmin(1)], 1)
        better, worse = lists.gather(1, picked[..., None].expand(-1, -1, size)).unbind(1)
        return Pairs(histories, better, worse)

    @torch.no_grad()
    def generated(self, histories: HistoryBatch, lists: int) -> tuple[Tensor, Tensor]:
        """The reference's most probable lists of new items, best first, int64 `[row, list, size]`, and their log-probabilities."""
        self.reference.eval()
        read = self.reference.start(histories)

        def continued(chosen: Tensor) -> DecoderState:
            return self.reference.after(repeated_state(read, len(chosen) // len(histories)), chosen)

        size = min(self.size, len(self.trie) - int(histories.offsets.diff().max()))
        return search_lists(self.reference, continued, self.trie, max(size, 1), seen=histories, lists=lists)  # type: ignore[arg-type]

    def preference_loss(self, pairs: Pairs) -> Tensor:
        """−log σ(beta × how much more the writer prefers the better lists than the reference does), mean over the pairs."""
        return -F.logsigmoid(self.config.beta * self.margins(pairs)).mean()

    def margins(self, pairs: Pairs) -> Tensor:
        """Log-odds of the better against the worse list by the writer, less those by the reference; `[row]`."""
        training = self.writer.training
        self.writer.eval()  # the reference drops no units, and neither does what is compared with it
        own = self._log_odds(self.writer, pairs)
        self.writer.train(training)
        with torch.no_grad():
            usual = self._log_odds(self.reference.eval(), pairs)
        return own - usual

    def _log_odds(self, writer: SessionWriter, pairs: Pairs) -> Tensor:
        better, worse = (writer.log_likelihood(pairs.histories, lists).sum((1, 2)) for lists in (pairs.better, pairs.worse))
        return better - worse

    # ---- answers: an item, code by code ----

    def prefill(self, batch: HistoryBatch) -> DecoderState:
        """Read the last `max_history` clicks of each row."""
        return self.writer.start(self._clicks(batch.known()))

    def step(self, state: DecoderState, level: int, parents: Tensor | None, last: Tensor | None) -> tuple[Tensor, DecoderState]:
        """Logits over the codes of `level` of a session's first item, `[batch, beam, size]`."""
        return self.writer.step(state, level, parents, last)

    # ---- answers: a slate, item by item ----

    def open_slate(self, batch: HistoryBatch, size: int, generator: torch.Generator | None) -> DecoderState:
        """The histories as they were read; nothing about a slate as a whole is random."""
        return self.prefill(batch)

    def slot(self, state: DecoderState, chosen: Tensor) -> Tensor:
        """Log-probabilities of all items for the next slot, `[batch, item]`, after the items `chosen` so far."""
        written = self.writer.after(state, chosen)
        return walk_items(self.writer, written, self.trie, rows=len(chosen), beams=self.config.walk_beams)  # type: ignore[arg-type]

    @property
    def trie(self) -> CodeTrie:
        """The catalogue's codes as a search tree, where the weights are."""
        return self._built_trie.to(self.writer.item_codes.device)

    @cached_property
    def _built_trie(self) -> CodeTrie:
        return CodeTrie.build(ItemCodes(self.writer.item_codes.cpu().numpy(), self.writer.sizes))

    def _clicks(self, batch: HistoryBatch) -> HistoryBatch:
        """The events that count as clicks."""
        liked = self.reward.reader.clicks(batch) > 0
        if liked.all():
            return batch
        offsets = offsets_from(liked.long())[batch.offsets]
        times, weights = (None if tensor is None else tensor[liked] for tensor in (batch.times, batch.weights))
        return HistoryBatch(batch.items[liked], offsets, batch.users, times, weights)
