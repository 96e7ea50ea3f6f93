"""TIGER: a T5 encoder–decoder that reads a history as semantic IDs and generates the next item's (Rajput et al., NeurIPS 2023)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import ItemCodes
from recsmith.nn.t5 import DecoderState, Run, build_decoder, build_encoder, runs_of
from recsmith.nn.windows import Windows
from recsmith.protocols import HistoryBatch

PAD, START, SPECIAL = 0, 1, 2


class TigerConfig(Config):
    """Settings of `Tiger`; the defaults are the paper's size."""

    dim: int = 128
    """Width of the embeddings and of both stacks."""
    heads: int = 6
    """Attention heads per layer."""
    head_dim: int = 64
    """Width of one head; heads × head_dim need not be `dim`."""
    ff_dim: int = 1024
    """Width of the feed-forward layers."""
    encoder_layers: int = 4
    """Layers of the encoder."""
    decoder_layers: int = 4
    """Layers of the decoder."""
    dropout: float = 0.1
    """Probability of dropping a unit or an attention weight in training."""
    max_history: int = 20
    """Number of most recent items that are read."""
    user_tokens: int = 0
    """Number of buckets into which users are hashed, each with a token of its own (paper: 2000); 0 = no user token."""
    position_buckets: int = 32
    """Buckets of relative positions."""
    position_distance: int = 128
    """Distance, in codes, from which on all positions share the last bucket."""
    encoder_attention: Literal["bidirectional", "causal"] = "bidirectional"
    """bidirectional (paper): one encoder pass per target; causal: earlier items do not see later ones, one pass serves all targets."""
    targets_per_history: Literal["all", "next", "last"] = "all"
    """Which items of a training history are targets: all, all but the first (which follows on nothing), or the last."""
    head: Literal["tied", "untied"] = "tied"
    """Whether output weights are the embeddings scaled by dim**-0.5 (T5 1.0) or their own (T5 1.1)."""
    softmax: Literal["level", "vocabulary"] = "level"
    """What a code competes with: the other codes of its level, or every token as in the original T5."""
    label_smoothing: float = 0.0
    """Share of probability that the loss spreads over all codes."""
    loss_temperature: float = Field(1.0, gt=0)
    """Divisor of the logits in the loss alone; 1 is TIGER, less is LETTER's ranking-guided loss, harder on strong rivals."""


def tiger_paper(**overrides: Any) -> TigerConfig:
    """The paper's size: 4 + 4 layers, 6 heads of 64, width 128, 2,000 user tokens; 4.8 M parameters with four levels of 256 codes."""
    return TigerConfig.parse({"user_tokens": 2000, **overrides})


def tiger_cpu(**overrides: Any) -> TigerConfig:
    """A size that two CPU cores train: 2 + 2 layers, 4 heads of 32, and one encoder pass per history."""
    small = {"heads": 4, "head_dim": 32, "ff_dim": 512, "encoder_layers": 2, "decoder_layers": 2}
    return TigerConfig.parse({**small, "encoder_attention": "causal", **overrides})


class Tiger(nn.Module):
    """Generates the semantic ID of the next item from those of the last `max_history` items.

    Paper: "Recommender Systems with Generative Retrieval", NeurIPS 2023. The stacks are T5's in every detail and convert to
    `transformers.T5ForConditionalGeneration` (bidirectional mode). Deviations:

    * Every row begins with one token, that of the user's bucket or, for unknown people and without user tokens, a start token.
      Empty histories are therefore answered, and with targets "all" the model learns what comes first.
    * With user tokens, a row loses its user token in training with probability `dropout`, so that strangers are met there too.
    * `softmax="level"` normalises over the codes of one level, the paper over the whole vocabulary.
    * `encoder_attention="causal"` hides later items from earlier ones. The states of a prefix then do not depend on what follows,
      and one encoder pass serves every target of a history: the decoder of target t sees the states of items before t. Answers
      are exactly those of a pass over the prefix alone. Histories longer than `max_history + 1` are read in windows that overlap
      by half; a target in a later window sees between half and all of `max_history` items.
    * "bidirectional" makes each prefix with its target an example of its own.

    Cost: the table of codes is held as int64 `[item, level]`; nothing else grows with the catalogue.
    """

    Config: ClassVar[type[Config]] = TigerConfig
    answers: ClassVar[Literal["codes"]] = "codes"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    item_codes: Tensor
    level_offsets: Tensor

    def __init__(self, config: TigerConfig, *, codes: ItemCodes) -> None:
        super().__init__()
        self.config = config
        self.sizes = tuple(int(size) for size in codes.sizes)
        firsts = [SPECIAL + sum(self.sizes[:level]) for level in range(len(self.sizes))]
        vocabulary = SPECIAL + sum(self.sizes) + config.user_tokens
        self.register_buffer("item_codes", torch.as_tensor(codes.table, dtype=torch.int64).clone())
        self.register_buffer("level_offsets", torch.tensor(firsts), persistent=False)
        self._firsts = firsts
        self.embedding = nn.Embedding(vocabulary, config.dim)
        self.head = nn.Linear(config.dim, vocabulary, bias=False) if config.head == "untied" else None
        if self.head is not None:
            nn.init.normal_(self.head.weight, std=config.dim**-0.5)
        self.encoder = build_encoder(config, bidirectional=True)
        self.decoder = build_decoder(config)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy per code over all targets of the batch; 0 when no row has a target."""
        batch = batch.known()
        windows = self._windows(batch.offsets)
        if not len(windows):
            return self.embedding.weight.sum() * 0.0
        runs = self._runs(windows)
        states = self._encode(batch, windows, runs)
        targets = self.item_codes[batch.items[windows.target_events()]] + self.level_offsets
        inputs = F.pad(targets[:, :-1], (1, 0), value=PAD)
        hidden = self.decoder(self.embedding(inputs), states, runs)
        losses = [self._level_loss(hidden[:, level], targets[:, level], level) for level in range(len(self.sizes))]
        return torch.stack(losses).mean()

    def prefill(self, batch: HistoryBatch) -> DecoderState:
        """Encode the last `max_history` items of each row; the state keeps keys and values once per row."""
        batch = batch.known()
        windows = Windows.tails(batch.offsets, longest=self.config.max_history)
        packed = self._encode(batch, windows, self._runs(windows))
        lengths = 1 + windows.inputs * len(self.sizes)
        return self.decoder.start(*windows.padded(packed, lengths))

    def step(self, state: DecoderState, level: int, parents: Tensor | None, last: Tensor | None) -> tuple[Tensor, DecoderState]:
        """Logits over the codes of `level` `[batch, beam, size]`, or their log-probabilities with `softmax="vocabulary"`."""
        if last is None:
            tokens = torch.full((len(state.memory[0][0]), 1), PAD, device=self.item_codes.device)
        else:
            tokens = last + self._firsts[level - 1]
        hidden, state = self.decoder.step(self.embedding(tokens), state, parents)
        own = slice(self._firsts[level], self._firsts[level] + self.sizes[level])
        if self.config.softmax == "vocabulary":
            return self._logits(hidden, slice(None)).float().log_softmax(dim=-1)[..., own], state
        return self._logits(hidden, own), state

    def _windows(self, offsets: Tensor) -> Windows:
        cut = Windows.shared if self.config.encoder_attention == "causal" else Windows.prefixes
        return cut(offsets, longest=self.config.max_history, which=self.config.targets_per_history)

    def _runs(self, windows: Windows) -> list[Run]:
        return runs_of(windows, tokens=len(self.sizes), queries=len(self.sizes))

    def _encode(self, batch: HistoryBatch, windows: Windows, runs: list[Run]) -> Tensor:
        """States of all windows, `[token, dim]`, one first token and then the codes of the items read."""
        lengths = 1 + windows.inputs * len(self.sizes)
        first = torch.zeros(int(lengths.sum()), dtype=torch.bool, device=lengths.device)
        first[lengths.cumsum(0) - lengths] = True
        tokens = torch.empty_like(first, dtype=torch.int64)
        tokens[first] = self._first_tokens(batch.users, windows.rows)
        tokens[~first] = (self.item_codes[batch.items[windows.input_events()]] + self.level_offsets).flatten()
        return self.encoder(self.embedding(tokens), runs, self._visible(max(run.length for run in runs)))

    def _visible(self, length: int) -> Tensor | None:
        """Which keys each encoder query sees, bool `[length, length]`: the start sees itself, codes their item and all before."""
        if self.config.encoder_attention == "bidirectional":
            return None
        item = (torch.arange(length, device=self.item_codes.device) + len(self.sizes) - 1) // len(self.sizes)
        return item[None, :] <= item[:, None]

    def _first_tokens(self, users: Tensor | None, rows: Tensor) -> Tensor:
        buckets = self.config.user_tokens
        if users is None or not buckets:
            return torch.full_like(rows, START)
        user = users[rows]
        known = user >= 0
        if self.training:
            known = known & (torch.rand(len(rows), device=rows.device) >= self.config.dropout)
        return torch.where(known, SPECIAL + sum(self.sizes) + user % buckets, START)

    def _logits(self, hidden: Tensor, tokens: slice) -> Tensor:
        if self.head is not None:
            return F.linear(hidden, self.head.weight[tokens])
        return F.linear(hidden * self.config.dim**-0.5, self.embedding.weight[tokens])

    def _level_loss(self, hidden: Tensor, targets: Tensor, level: int) -> Tensor:
        own = slice(self._firsts[level], self._firsts[level] + self.sizes[level])
        if self.config.softmax == "vocabulary":
            own = slice(0, self.embedding.num_embeddings)
        logits = self._logits(hidden, own).float() / self.config.loss_temperature
        return F.cross_entropy(logits, targets - own.start, label_smoothing=self.config.label_smoothing)
