"""Beam search over semantic IDs that cannot leave the catalogue, and the exact score of every item to compare it with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from recsmith.decoding.limits import allowed_items, excluded_pairs
from recsmith.decoding.ranking import NO_LIMITS, padded_lists, select_top
from recsmith.decoding.trie import CodeTrie
from recsmith.errors import UserError
from recsmith.protocols import CodeModel, HistoryBatch, Limits, RankedLists

Normalise = Literal["level", "alive", "none"]
"""How the model's outputs become log-probabilities: log-softmax over all codes of the level, over those that still lead to an
allowed item, or not at all because the model already answers log-probabilities."""

LEAST = -1e37
"""Stands in for log 0 of a code that the model rules out but the catalogue offers, so that only masks give -inf."""


@torch.inference_mode()
def beam_search(
    model: CodeModel,
    batch: HistoryBatch,
    trie: CodeTrie,
    k: int,
    *,
    beams: int = 20,
    limits: Limits = NO_LIMITS,
    normalise: Normalise = "level",
) -> RankedLists:
    """The k most probable items of each row as far as `beams` hypotheses can tell, best first, with their log-probability.

    Every hypothesis is a prefix of an item that is allowed and not excluded for its row, so each answer is in the catalogue,
    within the limits and there once. `beams` is raised to k where it is smaller. A list is shorter than k only when fewer than k
    items are allowed: a level either keeps `beams` prefixes, each with an item below it, or all there are.

    Ties between prefixes go to the one that comes first in lexicographic order of the codes, ties between answers to the smaller
    item index. Put the model into `eval()` mode first. Raises `UserError` when the model answers NaN.
    """
    if k < 1:
        raise ValueError(f"k = {k} items cannot be answered; ask for at least 1")
    device = batch.offsets.device
    trie = trie.to(device)
    width = min(max(beams, k), len(trie))
    mask = _Mask.build(limits, trie, len(batch), device)
    nodes = torch.zeros(len(batch), 1, dtype=torch.int64, device=device)
    scores = torch.zeros(len(batch), 1, device=device)
    if not len(batch) or not width:
        return padded_lists(nodes, torch.full_like(scores, -torch.inf), k)
    state, parents, last = model.prefill(batch), None, None
    for level in range(trie.levels):
        logits, state = model.step(state, level, parents, last)
        scores, parents, nodes = _advance(trie, mask, level, logits.float(), (scores, nodes), width, normalise)
        last = trie.codes[level + 1][nodes]
    if scores.isnan().any():
        raise UserError("the model answers NaN; it has diverged: lower its learning rate and fit again")
    return _answer(trie.items[nodes], scores, k)


@torch.inference_mode()
def score_all(model: CodeModel, batch: HistoryBatch, trie: CodeTrie, *, normalise: Literal["level", "none"] = "level") -> Tensor:
    """Exact log-probability of every item, float32 `[batch, item]`, by walking the whole trie.

    Takes memory for `batch × nodes × codes` of the widest level: for small catalogues, tests, and to measure what beams miss.
    """
    trie = trie.to(batch.offsets.device)
    if not len(batch):
        return torch.zeros(0, len(trie), device=batch.offsets.device)
    total = torch.zeros(len(batch), 1, device=batch.offsets.device)
    state, parents, last = model.prefill(batch), None, None
    for level in range(trie.levels):
        logits, state = model.step(state, level, parents, last)
        parent, code = trie.parents(level + 1), trie.codes[level + 1]
        total = total[:, parent] + _log_probabilities(logits.float(), normalise)[:, parent, code]
        parents, last = parent.expand(len(batch), -1), code.expand(len(batch), -1)
    return total[:, trie.leaves_of]


@dataclass(frozen=True)
class _Mask:
    """Which nodes lead to nothing: for everybody (`alive`), and per row (`dead`)."""

    alive: list[Tensor] | None
    """Per depth, whether a node has an allowed leaf, bool `[node]`; None when all items are allowed."""
    dead: list[tuple[Tensor, Tensor]]
    """Per depth, row and node `[pair]` whose allowed leaves are all excluded for that row."""

    @classmethod
    def build(cls, limits: Limits, trie: CodeTrie, rows: int, device: torch.device) -> _Mask:
        before = None
        if limits.allowed is not None:
            allowed = allowed_items(limits, len(trie), device)[trie.items]
            before = torch.nn.functional.pad(allowed.cumsum(0), (1, 0))
        alive = None if before is None else [before[starts[1:]] > before[starts[:-1]] for starts in trie.leaves]
        if limits.exclude is None:
            return cls(alive, [])
        row, item = excluded_pairs(limits.exclude, rows, len(trie), device)
        leaf = trie.leaves_of[item]
        keys = (row * len(trie) + leaf).unique()
        if alive is not None:
            keys = keys[alive[-1][keys % len(trie)]]
        row, leaf = keys // max(len(trie), 1), keys % max(len(trie), 1)
        return cls(alive, [_exhausted(trie, depth, (row, leaf), before) for depth in range(trie.levels + 1)])

    def apply(self, candidates: Tensor, trie: CodeTrie, level: int, nodes: Tensor, child: Tensor) -> None:
        """Set `candidates` `[batch, beam, child]` of dead children of `nodes` `[batch, beam]` to -inf, in place."""
        if self.alive is not None:
            candidates.masked_fill_(~self.alive[level + 1][child], -torch.inf)
        if not self.dead:
            return
        row, node = self.dead[level + 1]
        parent = trie.ancestors(level, trie.leaves[level + 1][node])
        pair, beam = (nodes[row] == parent[:, None]).nonzero(as_tuple=True)
        candidates[row[pair], beam, node[pair] - trie.children[level][parent[pair]]] = -torch.inf


def _exhausted(trie: CodeTrie, depth: int, excluded: tuple[Tensor, Tensor], before: Tensor | None) -> tuple[Tensor, Tensor]:
    """Row and node `[pair]` at a depth that hold as many excluded leaves as allowed ones; `before` counts allowed leaves."""
    row, leaf = excluded
    nodes = max(trie.nodes(depth), 1)
    keys, counts = (row * nodes + trie.ancestors(depth, leaf)).unique(return_counts=True)
    row, node = keys // nodes, keys % nodes
    first, end = trie.leaves[depth][node], trie.leaves[depth][node + 1]
    allowed = end - first if before is None else before[end] - before[first]
    return row[counts == allowed], node[counts == allowed]


def _advance(
    trie: CodeTrie, mask: _Mask, level: int, logits: Tensor, beams: tuple[Tensor, Tensor], width: int, normalise: Normalise
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, parents and nodes `[batch, beam]` of the best prefixes that are one code longer.

    Beams stay in the order of their nodes, so that the position of a candidate is its place in lexicographic order.
    """
    scores, nodes = beams
    first = trie.children[level][nodes]
    span = torch.arange(trie.widest[level], device=nodes.device)
    beyond = span >= (trie.children[level][nodes + 1] - first)[..., None]
    child = (first[..., None] + span).clamp_(max=trie.nodes(level + 1) - 1)
    logits = logits if normalise == "alive" else _log_probabilities(logits, normalise)
    candidates = logits.gather(2, trie.codes[level + 1][child]).clamp_(min=LEAST)
    candidates.masked_fill_(beyond, -torch.inf)
    mask.apply(candidates, trie, level, nodes, child)
    if normalise == "alive":
        candidates = candidates - candidates.logsumexp(dim=2, keepdim=True).clamp(min=LEAST)
    candidates += scores[..., None]
    flat = candidates.flatten(1)
    chosen = select_top(flat, min(width, flat.shape[1]))
    return flat.gather(1, chosen), chosen // len(span), child.flatten(1).gather(1, chosen)


def _log_probabilities(logits: Tensor, normalise: Normalise) -> Tensor:
    return logits if normalise == "none" else logits.log_softmax(dim=-1)


def _answer(items: Tensor, scores: Tensor, k: int) -> RankedLists:
    items, by_item = items.sort(dim=1)
    scores, by_score = scores.gather(1, by_item).sort(dim=1, descending=True, stable=True)
    return padded_lists(items.gather(1, by_score)[:, :k], scores[:, :k], k)
