"""RPG: all codes of a long, unordered semantic ID predicted in parallel (Hou et al., KDD 2025, arXiv:2506.05781)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import ItemCodes
from recsmith.nn.attention import TransformerBlock
from recsmith.nn.code_sets import CodeSets
from recsmith.nn.dropout import Dropout
from recsmith.nn.graph_walk import nearest_nodes, walk
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.next_step import Encode, NextStep
from recsmith.nn.packed import Plan, positions
from recsmith.protocols import HistoryBatch


class RpgConfig(Config):
    """Size, regularisation and sharpness of RPG; the defaults fit two CPU cores."""

    dim: int = Field(64, ge=1)
    """Width of code vectors and hidden states (paper: 448)."""
    layers: int = Field(2, ge=1)
    """Transformer blocks."""
    heads: int = Field(4, ge=1)
    """Attention heads; must divide `dim`."""
    hidden: int = Field(256, ge=1)
    """Width of the feed-forward layers (paper: 1024)."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of values dropped in the input (paper: .5)."""
    block_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of values dropped in the two parts of each block."""
    attention_dropout: float = Field(0.2, ge=0, lt=1)
    """Share of attention weights dropped (paper: .5)."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""
    norm: Literal["pre", "post"] = "pre"
    """Layer norm before or after each part of a block."""
    temperature: float = Field(0.2, gt=0)
    """Divisor of the cosine between a prediction and a code (paper: .03 to .07 at width 448); narrow vectors need more of it."""
    levels_per_step: int = Field(0, ge=0)
    """Levels, drawn anew for each step, whose loss is taken; 0 takes all, as in the paper, fewer train faster."""
    search: Literal["exact", "graph"] = "exact"
    """exact: every item is scored; graph (paper): only items met on a walk over similar items are, others only where lists stay short."""
    beams: int = Field(50, ge=1)
    """Items held on the walk; at least the length of the lists asked for."""
    edges: int = Field(50, ge=1)
    """Similar items that each item leads to."""
    walk_steps: int = Field(3, ge=1)
    """Steps of the walk."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of the initial weights."""

    @model_validator(mode="after")
    def _heads_divide(self) -> RpgConfig:
        if self.dim % self.heads:
            raise ValueError(f"`dim` = {self.dim} must be a multiple of `heads` = {self.heads}")
        return self


class Rpg(NextStep):
    """Scores an item by the sum of the log-probabilities of its codes, each level predicted on its own from one state of the history.

    An item is read as the scaled mean of its codes' vectors; the head of a level turns the state into a prediction, whose cosine with
    the vectors of the level's codes, divided by `temperature`, gives the logits. Input and output share the vectors. With the codes
    of product quantization, whose order means nothing, this is the paper's model.

    Answers are exact by default: `levels` additions per item after one pass of the network. `search = "graph"` is the paper's
    graph-guided decoding: a walk over similar items, whose number of scored items does not grow with the catalogue. The walk knows
    nothing of limits and rules: a row whose list they leave short, or whose rules name items, is scored exactly (`best_items`). The
    graph is made of the learned vectors when the model first answers, and again after training went on.

    Deviations from the paper: the collision level is predicted like any other, so that items with equal learned codes differ; the
    size is a CPU's by default, and a step may take the loss of a few levels only; the mean of an item's vectors is scaled by the root of
    their number (validation NDCG@10 on amazon-beauty after 10 epochs .0183, without .0159); no padding; a learned
    start vector stands for the empty history and is trained to predict first items; the walk starts from items spread evenly over
    the catalogue instead of random ones, and everything that it met may be answered.
    """

    Config: ClassVar[type[Config]] = RpgConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("codes",)

    def __init__(self, config: RpgConfig, *, items: int, codes: ItemCodes) -> None:
        super().__init__()
        self.config = config
        self.levels = codes.levels
        self.items = CodeSets(torch.as_tensor(codes.table, dtype=torch.int64), codes.sizes, config.dim)
        self.positions = nn.Embedding(config.max_history, config.dim)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                dim=config.dim,
                heads=config.heads,
                hidden=config.hidden,
                dropout=config.block_dropout,
                attention_dropout=config.attention_dropout,
                norm=config.norm,
            )
            for _ in range(config.layers)
        )
        self.input_norm = nn.LayerNorm(config.dim) if config.norm == "post" else nn.Identity()
        self.output_norm = nn.LayerNorm(config.dim) if config.norm == "pre" else nn.Identity()
        self.turns = nn.Parameter(torch.zeros(codes.levels, config.dim, config.dim))  # a head starts as the state itself, as in the paper
        self.shifts = nn.Parameter(torch.zeros(codes.levels, config.dim))
        self._graph: Tensor | None = None
        self.apply(self._initialise)

    def forward(self, items: Tensor, offsets: Tensor) -> Tensor:
        """Item indices `[token]` of packed rows, at most `max_history` each → hidden states `[token, dim]`."""
        read = self.items(items) * self.levels**0.5  # a mean of many vectors is short: positions would drown it at the start
        tokens = self.dropout(self.input_norm(read + self.positions(positions(offsets, tokens=len(items)))))
        plan = Plan.of(offsets)
        for block in self.blocks:
            tokens = block(tokens, plan)
        return tokens

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy over all positions and the levels drawn for this step; 0 for a batch without events."""
        states, index = self.next_states(self._encode(batch), batch)
        states = self.output_norm(states)
        targets = self.items.codes(batch.items[index])
        vectors = self._unit_vectors()
        losses = [
            fused_cross_entropy(self._prediction(states, level), vectors[level], targets[:, level].contiguous())
            for level in self._drawn_levels()
        ]
        return torch.stack(losses).mean()

    def score(self, batch: HistoryBatch) -> Tensor:
        """Sum of the log-probabilities of each item's codes, `[batch, item]`; -inf for items that a walk did not meet."""
        return self.score_all(batch) if self.config.search == "exact" else self._walked_scores(self.code_scores(batch))

    def score_all(self, batch: HistoryBatch) -> Tensor:
        """The same for every item, whatever `search` says."""
        return self.items.item_scores(self.code_scores(batch))

    def code_scores(self, batch: HistoryBatch) -> Tensor:
        """Log-probability of every code of every level, `[batch, code]`; each level adds up to 1."""
        states = self.output_norm(self.final_states(self._encode(batch), batch))
        logits = [self._prediction(states, level) @ v.T for level, v in enumerate(self._unit_vectors())]
        return torch.cat([part.float().log_softmax(1) for part in logits], dim=1)

    def train(self, mode: bool = True) -> Rpg:
        """As of any module; the graph of similar items is forgotten, because the vectors are about to move."""
        self._graph = None
        return super().train(mode)

    @torch.no_grad()
    def similar_items(self) -> Tensor:
        """The graph of the walk: for each item the `edges` items with most similar codes, int64 `[item, edge]`.

        Two items are as similar as the mean cosine of their codes, level by level.
        """
        unit = torch.cat(self._unit_vectors())
        return nearest_nodes(unit[self.items.numbers].flatten(1), self.config.edges)

    def _walked_scores(self, code_scores: Tensor) -> Tensor:
        if self._graph is None or self._graph.device != code_scores.device:
            self._graph = self.similar_items()
        numbers, rows = self.items.numbers, len(code_scores)

        def score(items: Tensor) -> Tensor:
            return code_scores.gather(1, numbers[items].flatten(1)).view(rows, items.shape[1], -1).sum(2)

        met, scores = walk(score, self._graph, rows=rows, beams=self.config.beams, steps=self.config.walk_steps)
        empty = code_scores.new_full((rows, len(numbers)), -torch.inf)
        return empty.scatter_reduce(1, met, scores, "amax")

    def _encode(self, batch: HistoryBatch) -> Encode:
        return lambda tokens, offsets: self(batch.items[tokens], offsets)

    def _prediction(self, states: Tensor, level: int) -> Tensor:
        """What the head of `level` makes of normed states: vectors of length 1 / temperature, `[token, dim]`.

        One level at a time, so that all that happens to its vectors happens in the cache.
        """
        moved = states + F.silu(torch.addmm(self.shifts[level], states, self.turns[level]))
        return moved * (torch.linalg.vector_norm(moved, dim=1, keepdim=True).clamp(min=1e-6) * self.config.temperature).reciprocal()

    def _unit_vectors(self) -> list[Tensor]:
        """The codes' vectors, scaled to length 1, `[size, dim]` for each level."""
        return [F.normalize(vectors, dim=1) for vectors in self.items.by_level()]

    def _drawn_levels(self) -> list[int]:
        """The levels whose loss this step takes: all of them, or as many as the config says, drawn without replacement."""
        count = self.config.levels_per_step
        if not self.training or not 0 < count < self.levels:
            return list(range(self.levels))
        return torch.randperm(self.levels)[:count].tolist()

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.init_std)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
