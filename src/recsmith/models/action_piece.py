"""ActionPiece: a history as sets of features, tokenized in context and by chance order (Hou et al., ICML 2025, arXiv:2502.13581)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import Histories, ItemCodes
from recsmith.nn.packed import offsets_from, tail_index
from recsmith.nn.pieces import MergeRules, learn_merges, segment
from recsmith.nn.t5 import DecoderState, Run, build_decoder, build_encoder
from recsmith.nn.windows import Windows, run_places
from recsmith.protocols import HistoryBatch

PAD, START, SPECIAL = 0, 1, 2
_ORDERS_SEED = 20250213


class ActionPieceConfig(Config):
    """Size of the stacks, of the vocabulary and of the ensemble."""

    dim: int = Field(128, ge=1)
    """Width of the embeddings and of both stacks (paper: 256 on Beauty)."""
    heads: int = Field(4, ge=1)
    """Attention heads per layer."""
    head_dim: int = Field(32, ge=1)
    """Width of one head."""
    ff_dim: int = Field(512, ge=1)
    """Width of the feed-forward layers."""
    encoder_layers: int = Field(2, ge=1)
    """Layers of the encoder."""
    decoder_layers: int = Field(2, ge=1)
    """Layers of the decoder."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Probability of dropping a unit or an attention weight in training."""
    max_history: int = Field(20, ge=1)
    """Number of most recent items that are read."""
    merges: int = Field(4000, ge=0)
    """Pieces beside the features themselves (paper: 40,000 pieces in all); 0 reads plain features."""
    rounds: int = Field(40, ge=1)
    """Times that neighbours are counted while the pieces are learned, each time in a new order of every set."""
    segmentations: int = Field(5, ge=1)
    """Orders of the sets under which a history is read when answering; the probabilities are averaged."""
    targets_per_history: Literal["all", "next", "last"] = "all"
    """Which items of a training history are targets: all, all but the first, or the last."""
    position_buckets: int = Field(32, ge=2)
    """Buckets of relative positions."""
    position_distance: int = Field(128, ge=2)
    """Distance, in pieces, from which on all positions share the last bucket."""


@dataclass(frozen=True)
class SegmentedState:
    """The decoder's state with `segmentations` rows per row of the batch."""

    decoder: DecoderState
    rows: int


class ActionPiece(nn.Module):
    """A T5 that reads pieces: sets of codes that often stand in one item or in neighbouring items, merged into one token.

    An item is the unordered set of its codes. Merge rules are learned once from the training histories (`observe`). To read a
    history, each set is put in a random order, all are laid end to end, and the rules merge neighbours, within and across items: the
    same item becomes different pieces in different company. Training draws a new order at each visit (set permutation
    regularisation); answering averages the probabilities under `segmentations` fixed orders.

    Deviations from the paper: the decoder writes the target's own codes, level by level, which keeps the search inside the
    catalogue, instead of pieces; neighbours are counted in random orders of the sets, whose mean are the paper's weights, and many
    rules are added per count; a rule may join what two items' sets have at their border only; probabilities are averaged at each level
    instead of lists being ensembled; the size is a CPU's by default.
    """

    Config: ClassVar[type[Config]] = ActionPieceConfig
    answers: ClassVar[Literal["codes"]] = "codes"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    learned_buffers: ClassVar[tuple[str, ...]] = ("rules",)
    """Whole numbers that were learned, which a migration to new codes has to keep."""

    item_codes: Tensor
    rules: Tensor
    orders: Tensor

    def __init__(self, config: ActionPieceConfig, *, codes: ItemCodes) -> None:
        super().__init__()
        self.config = config
        self.sizes = tuple(int(size) for size in codes.sizes)
        self.firsts = [SPECIAL + sum(self.sizes[:level]) for level in range(len(self.sizes))]
        self.features = SPECIAL + sum(self.sizes)
        table = torch.as_tensor(codes.table, dtype=torch.int64)
        self.register_buffer("item_codes", table + torch.tensor(self.firsts))
        self.register_buffer("rules", torch.full((config.merges, 2), -1))
        chance = torch.rand(config.segmentations, config.max_history, codes.levels, generator=torch.Generator().manual_seed(_ORDERS_SEED))
        self.register_buffer("orders", chance.argsort(2), persistent=False)
        self.embedding = nn.Embedding(self.features + config.merges, config.dim)
        self.encoder = build_encoder(config, bidirectional=True)
        self.decoder = build_decoder(config)

    @torch.no_grad()
    def observe(self, histories: Histories) -> None:
        """Learn the merge rules from the training histories; events of unknown items (-1) are left out.

        Rules that are there stay, because the vectors of the pieces belong to them: an update goes on with the pieces it has.
        """
        if (self.rules >= 0).any():
            return
        known = histories.where(histories.values >= 0)
        codes = self.item_codes.cpu()[torch.from_numpy(known.values)]
        offsets = torch.from_numpy(known.offsets) * len(self.sizes)

        def corpus(number: int) -> tuple[Tensor, Tensor]:
            random = torch.Generator().manual_seed(_ORDERS_SEED + number)
            order = torch.rand(codes.shape, generator=random).argsort(1)
            return codes.gather(1, order).flatten(), offsets

        rules = learn_merges(corpus, first=self.features, merges=self.config.merges, rounds=self.config.rounds)
        self.rules.copy_(rules)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy per code over all targets of the batch; 0 when no row has a target."""
        batch = batch.known()
        windows = Windows.prefixes(batch.offsets, longest=self.config.max_history, which=self.config.targets_per_history)
        if not len(windows):
            return self.embedding.weight.sum() * 0.0
        codes = self.item_codes[batch.items[windows.input_events()]]
        tokens, lengths, order = self._pieces(codes, torch.rand(codes.shape, device=codes.device).argsort(1), windows.inputs)
        runs = _runs(lengths, queries=len(self.sizes))
        states = self.encoder(self.embedding(tokens), runs, None)
        targets = self.item_codes[batch.items[windows.target_events()]][order]
        hidden = self.decoder(self.embedding(F.pad(targets[:, :-1], (1, 0), value=PAD)), states, runs)
        losses = [
            F.cross_entropy(self._logits(hidden[:, level], level), targets[:, level] - first) for level, first in enumerate(self.firsts)
        ]
        return torch.stack(losses).mean()

    def prefill(self, batch: HistoryBatch) -> SegmentedState:
        """Read the last `max_history` items of each row under each of the fixed orders."""
        batch, copies = batch.known(), self.config.segmentations
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history)
        inputs, codes = offsets.diff(), self.item_codes[batch.items[kept]]
        back = inputs.repeat_interleave(inputs, output_size=len(kept)) - 1 - run_places(inputs)
        orders = self.orders[:, back].flatten(0, 1)
        tokens, lengths, order = self._pieces(codes.repeat(copies, 1), orders, inputs.repeat(copies))
        packed = self.encoder(self.embedding(tokens), _runs(lengths), None)
        real = torch.arange(int(lengths.max()), device=lengths.device) < lengths[:, None]
        padded = packed.new_zeros(*real.shape, packed.shape[1])
        padded[real] = packed
        inverse = order.argsort()
        return SegmentedState(self.decoder.start(padded[inverse], real[inverse]), len(batch))

    def step(self, state: SegmentedState, level: int, parents: Tensor | None, last: Tensor | None) -> tuple[Tensor, SegmentedState]:
        """Log of the mean probability of each code of `level` over the segmentations, `[batch, beam, size]`."""
        copies, rows = self.config.segmentations, state.rows
        if last is None:
            tokens = torch.full((copies * rows, 1), PAD, device=self.item_codes.device)
        else:
            tokens = (last + self.firsts[level - 1]).repeat(copies, 1)
        hidden, decoder = self.decoder.step(self.embedding(tokens), state.decoder, None if parents is None else parents.repeat(copies, 1))
        likely = self._logits(hidden, level).log_softmax(-1).unflatten(0, (copies, rows))
        return likely.logsumexp(0) - torch.tensor(float(copies), device=likely.device).log(), SegmentedState(decoder, rows)

    def _pieces(self, codes: Tensor, orders: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes `[event, level]` in the given orders, merged, one start token before each row, rows sorted by length.

        Returns tokens `[token]`, lengths `[row]` ascending, and the row behind each, `[row]`.
        """
        flat = codes.gather(1, orders).flatten()
        tokens, offsets = segment(flat, offsets_from(inputs * len(self.sizes)), MergeRules.of(self.rules, first=self.features))
        counts = offsets.diff()
        order = counts.argsort(stable=True)
        lengths = counts[order] + 1
        ends = lengths.cumsum(0)
        total = int(ends[-1]) if len(ends) else 0
        starts = ends - lengths
        index = torch.arange(total, device=tokens.device) - starts.repeat_interleave(lengths, output_size=total)
        begins = index == 0
        source = offsets[:-1][order].repeat_interleave(lengths, output_size=total) + index - 1
        padded = torch.cat([tokens, tokens.new_full((1,), START)])
        return padded[torch.where(begins, len(tokens), source)], lengths, order

    def _logits(self, hidden: Tensor, level: int) -> Tensor:
        own = self.embedding.weight[self.firsts[level] : self.firsts[level] + self.sizes[level]]
        return F.linear(hidden * self.config.dim**-0.5, own).float()


def _runs(lengths: Tensor, *, queries: int = 0) -> list[Run]:
    """Runs of rows of equal length, from lengths in ascending order."""
    shapes, counts = lengths.unique_consecutive(return_counts=True)
    return [Run(count, length, queries) for length, count in zip(shapes.tolist(), counts.tolist(), strict=True)]
