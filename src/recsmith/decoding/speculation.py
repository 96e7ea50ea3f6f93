"""Speculative beam search: a draft guesses the prefixes of all levels, the model checks them in one pass.

Lin et al., 2025, "Efficient inference for large language model-based generative recommendation" (AtSpeed, ICLR), whose condition it is
that the draft's prefixes cover those that the model itself would keep. Every score comes from the model, so with tolerance 0 the lists
are those of `beam_search`, up to rounding in passes of another shape. Where the draft misses a prefix of a row, that row goes into another
pass from the level that was missed.

Deviations: the first level is never guessed, because reading the history gives it; what is missed costs a pass for the row alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recsmith.decoding.beam import BEST, take_rows
from recsmith.decoding.drafts import Draft, Guess
from recsmith.decoding.expansion import Beams, Normalise, expand, expand_by
from recsmith.decoding.limits import NO_LIMITS
from recsmith.decoding.lists import padded_lists, select_top
from recsmith.decoding.masks import Rules, SearchMask, distinct_rules
from recsmith.decoding.trie import CodeTrie
from recsmith.errors import UserError
from recsmith.protocols import CodeModel, HistoryBatch, Limits, RankedLists


@dataclass(frozen=True)
class Speculation:
    """What guessing saved."""

    accepted: float
    """Share of the guessed levels, over all rows and passes, in which no prefix was missing."""
    passes: float
    """Mean number of passes of the model per row after the history was read."""
    plain_passes: int
    """The same for plain beam search."""


@torch.inference_mode()
def speculative_search(
    model: CodeModel,
    batch: HistoryBatch,
    trie: CodeTrie,
    k: int,
    *,
    draft: Draft,
    beams: int = 20,
    margin: float = 2.0,
    tolerance: float = 0.0,
    limits: Limits = NO_LIMITS,
    rules: Rules = None,
    normalise: Normalise = "level",
) -> tuple[RankedLists, Speculation]:
    """The lists of `beam_search`, and what the draft was worth. `margin`: prefixes guessed for every one that will be kept.

    `tolerance` is the share of a row's prefixes that may be dropped because they were not guessed: 0 is strict, above 0 lists may
    differ (measure it with `compare_lists`). A model gains from it when it has a method `steps` (see `CausalCodes.steps`); others are
    stepped level by level and give the same lists. Raises `UserError` for rules whose items depend on each other.
    """
    if k < 1 or margin < 1 or not 0 <= tolerance < 1:
        raise ValueError(
            f"k = {k}, margin = {margin:g}, tolerance = {tolerance:g}; allowed: k and margin from 1 on, tolerance from 0 to below 1"
        )
    if any(rule is not None and rule.shapes_lists for rule in distinct_rules(rules, len(batch))[0]):
        raise UserError("caps, quotas and pins need searches that go on; use beam_search for them")
    trie = trie.to(batch.offsets.device)
    width, plain = min(max(beams, k), len(trie)), trie.levels - 1
    empty = torch.zeros(len(batch), 0, device=batch.offsets.device)
    if not len(batch) or not width:
        return padded_lists(empty.long(), empty, k), Speculation(1.0, 0.0, plain)
    search = _Search(model, batch, trie, draft, (k, width, round(width * margin)), tolerance, normalise)
    mask = SearchMask.build(limits, rules, trie, len(batch))
    return search.run(mask)


def compare_lists(given: RankedLists, exact: RankedLists) -> float:
    """Mean share of the items of `exact` lists that `given` lists hold too: 1 minus the loss of a relaxed search."""
    shares = [
        len(set(one[one >= 0].tolist()) & set(other[other >= 0].tolist())) / max(int((other >= 0).sum()), 1) if (other >= 0).any() else 1.0
        for one, other in zip(given.items, exact.items, strict=True)
    ]
    return float(np.mean(shares)) if shares else 1.0


@dataclass(frozen=True)
class _Search:
    model: Any
    batch: HistoryBatch
    trie: CodeTrie
    draft: Draft
    size: tuple[int, int, int]
    """k, prefixes kept and prefixes guessed."""
    tolerance: float
    normalise: Normalise

    def run(self, mask: SearchMask) -> tuple[RankedLists, Speculation]:
        """First level, then passes until every row is at its leaves."""
        rows, device = len(self.batch), self.trie.items.device
        state = self.model.prefill(self.batch)
        logits, _ = self.model.step(state, 0, None, None)
        if not hasattr(self.model, "steps"):
            state = None
        first = self._advance(mask, 0, logits, Beams.root(rows, device))
        final: dict[int, tuple[Tensor, Tensor]] = {}
        waiting = [(torch.arange(rows, device=device), 1, first)]
        passes, levels, accepted = 0, 0, 0
        while waiting:
            which, level, kept = waiting.pop()
            if level == self.trie.levels:
                final.update((row, (kept.nodes[i], kept.keys[i])) for i, row in enumerate(which.tolist()))
                continue
            passes += len(which)
            done, missed, good, tried = self._pass(which, level, kept, mask, state)
            accepted, levels = accepted + good, levels + tried
            waiting += [done, *missed]
        nodes, keys = (torch.stack(column) for column in zip(*(final[row] for row in range(rows)), strict=True))
        if keys.isnan().any():
            raise UserError("the model answers NaN; it has diverged: lower its learning rate and fit again")
        items, by_item = self.trie.items[nodes].sort(dim=1)
        keys, by_key = keys.gather(1, by_item).sort(dim=1, descending=True, stable=True)
        lists = padded_lists(items.gather(1, by_key)[:, : self.size[0]], keys[:, : self.size[0]], self.size[0])
        return lists, Speculation(accepted / levels if levels else 1.0, passes / rows, self.trie.levels - 1)

    def _pass(
        self, which: Tensor, level: int, kept: Beams, mask: SearchMask, state: Any
    ) -> tuple[tuple[Tensor, int, Beams], list[tuple[Tensor, int, Beams]], int, int]:
        """Guess from `kept` at depth `level` on, check, and say which rows came to the leaves and which were stopped where."""
        own = mask if len(which) == len(self.batch) else mask.take(which)
        batch = self.batch if len(which) == len(self.batch) else take_rows(self.batch, which.cpu().numpy())
        blocks = self._guess(self.draft.read(batch, self.trie), level, kept, own)
        logits = self._check(batch, which, state, blocks)
        missed, dropped, alive = [], torch.zeros(len(which), dtype=torch.bool), torch.ones(len(which), dtype=torch.bool)
        good = tried = 0
        stopped: list[Beams] = []
        first_drop = torch.full((len(which),), -1)
        for depth in range(level, self.trie.levels):
            place, found = _places(blocks[depth - 1], kept)
            stopped.append(kept)
            if depth > level:
                missing = ((~found) & (kept.keys > -torch.inf)).sum(dim=1) / (kept.keys > -torch.inf).sum(dim=1).clamp(min=1)
                stops = (missing > self.tolerance).cpu() & alive
                missed += self._stopped(which, stops, depth, kept)
                alive &= ~stops
                tried, good = tried + int(alive.sum()) + int(stops.sum()), good + int((alive & (missing == 0).cpu()).sum())
                drops = (missing > 0).cpu() & alive & ~dropped
                first_drop[drops], dropped = depth, dropped | drops
                kept = Beams(kept.nodes, kept.log_probabilities.masked_fill(~found, -torch.inf), kept.keys.masked_fill(~found, -torch.inf))
            chosen = logits[depth - 1].gather(1, place[..., None].expand(-1, -1, logits[depth - 1].shape[2]))
            kept = self._advance(own, depth, chosen, kept)
        short = dropped & alive & ((kept.keys > -torch.inf).sum(dim=1).cpu() < min(self.size[0], len(self.trie)))
        for depth in range(level + 1, self.trie.levels):
            again = short & (first_drop == depth)
            missed += self._stopped(which, again, depth, stopped[depth - level])
        alive &= ~short
        return (which[alive.to(which.device)], self.trie.levels, _rows_of(kept, alive)), missed, good, tried

    def _stopped(self, which: Tensor, rows: Tensor, depth: int, kept: Beams) -> list[tuple[Tensor, int, Beams]]:
        return [(which[rows.to(which.device)], depth, _rows_of(kept, rows))] if rows.any() else []

    def _guess(self, guess: Guess, level: int, kept: Beams, mask: SearchMask) -> list[Tensor]:
        """Nodes to check at each depth from 1 on, ascending: the way to what is kept, what is kept, and what the draft would keep."""
        own = _live(kept)
        leaves = self.trie.leaves[level][own]
        blocks = [self.trie.ancestors(depth, leaves) for depth in range(1, level)] + [own]
        for depth in range(level, self.trie.levels - 1):
            score = partial(_guessed, guess, depth, kept.nodes)
            expansion = expand_by(self.trie, mask, depth, kept.nodes, score, alive=True)
            totals = expansion.log_probabilities + kept.log_probabilities[..., None]
            keys = totals if expansion.hopes is None else totals + expansion.hopes
            chosen = select_top(keys.flatten(1), min(self.size[2], keys[0].numel()))
            nodes, logs = expansion.child.flatten(1).gather(1, chosen), totals.flatten(1).gather(1, chosen)
            kept = Beams(nodes, logs, keys.flatten(1).gather(1, chosen))
            blocks.append(_live(kept))
        return blocks

    def _check(self, batch: HistoryBatch, which: Tensor, state: Any, blocks: list[Tensor]) -> list[Tensor]:
        """Logits after each block of nodes."""
        codes = [self.trie.codes[depth][nodes] for depth, nodes in enumerate(blocks, start=1)]
        parents = [torch.zeros_like(codes[0])]
        for depth in range(1, len(blocks)):
            above = self.trie.ancestors(depth, self.trie.leaves[depth + 1][blocks[depth]])
            parents.append(torch.searchsorted(blocks[depth - 1].contiguous(), above).clamp_(max=blocks[depth - 1].shape[1] - 1))
        if hasattr(self.model, "steps"):
            own = state if len(which) == len(self.batch) else self.model.rows(state, which)
            return [part.float() for part in self.model.steps(own, codes, parents)]
        state, logits = self.model.prefill(batch), []
        _, state = self.model.step(state, 0, None, None)
        for level, (code, parent) in enumerate(zip(codes, parents, strict=True), start=1):
            answer, state = self.model.step(state, level, parent, code)
            logits.append(answer.float())
        return logits

    def _advance(self, mask: SearchMask, level: int, logits: Tensor, kept: Beams) -> Beams:
        expansion = expand(self.trie, mask, level, logits.float(), kept.nodes, self.normalise)
        return BEST.select(kept, expansion, self.size[1], None)[0]


def _places(block: Tensor, kept: Beams) -> tuple[Tensor, Tensor]:
    """Where the kept nodes stand among the checked ones `[batch, n]`, and whether they are there."""
    place = torch.searchsorted(block.contiguous(), kept.nodes.contiguous()).clamp_(max=block.shape[1] - 1)
    return place, block.gather(1, place) == kept.nodes


def _guessed(guess: Guess, depth: int, nodes: Tensor, child: Tensor, _codes: Tensor) -> Tensor:
    return guess(depth, nodes, child)


def _live(kept: Beams) -> Tensor:
    """The kept nodes, ascending; places without a hypothesis repeat the first that has one."""
    there = kept.keys > -torch.inf
    first = kept.nodes.gather(1, there.long().argmax(dim=1, keepdim=True))
    return torch.where(there, kept.nodes, first).sort(dim=1).values


def _rows_of(kept: Beams, rows: Tensor) -> Beams:
    chosen = rows.to(kept.nodes.device)
    return Beams(kept.nodes[chosen], kept.log_probabilities[chosen], kept.keys[chosen])
