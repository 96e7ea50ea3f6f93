"""Whole lists out of models that generate items as codes: all items scored by a walk that goes deep only where it pays, and lists by beam.

Letters of the shapes: `batch` = rows, `item` = size of the catalogue, `list` = lists kept per row, `size` = items of a list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recsmith.data import Histories
from recsmith.decoding.beam import BEST, run_search
from recsmith.decoding.expansion import Beams, expand
from recsmith.decoding.limits import NO_LIMITS
from recsmith.decoding.masks import SearchMask
from recsmith.decoding.trie import CodeTrie
from recsmith.nn.packed import offsets_from
from recsmith.protocols import CodeModel, HistoryBatch, Limits


@torch.no_grad()
def walk_items(model: CodeModel, state: Any, trie: CodeTrie, *, rows: int, beams: int) -> Tensor:
    """Log-probability of every item from a prefilled `state`, float32 `[batch, item]`, exact below the `beams` best prefixes of a level.

    Items below other prefixes share what their prefix has equally, so that each item has a finite score and probabilities add up to what
    the codes of the catalogue have. With at least as many beams as prefixes every item is exact.
    """
    mask = SearchMask.build(NO_LIMITS, None, trie, rows)
    kept, parents, last = Beams.root(rows, trie.items.device), None, None
    leaves = torch.arange(len(trie), device=trie.items.device)
    scores = torch.zeros(rows, len(trie), device=trie.items.device)
    for level in range(trie.levels):
        logits, state = model.step(state, level, parents, last)
        expansion = expand(trie, mask, level, logits.float(), kept.nodes, "level")
        totals = expansion.log_probabilities + kept.log_probabilities[..., None]
        known = totals.new_full((rows, trie.nodes(level + 1)), -torch.inf)
        known = known.scatter_reduce(1, expansion.child.flatten(1), totals.flatten(1), "amax")
        known = known - trie.leaves[level + 1].diff().log()
        shared = known[:, trie.ancestors(level + 1, leaves)]
        scores = torch.where(shared > -torch.inf, shared, scores)
        kept, parents = BEST.select(kept, expansion, beams, None)
        last = trie.codes[level + 1][kept.nodes]
    return scores[:, trie.leaves_of]


@torch.no_grad()
def search_lists(
    model: CodeModel, continued: Callable[[Tensor], Any], trie: CodeTrie, size: int, *, seen: HistoryBatch, lists: int
) -> tuple[Tensor, Tensor]:
    """The `lists` most probable lists of `size` different items per row, as far as a beam of as many can tell, best first.

    `continued(chosen)` is the prefilled state of the model after items int64 `[batch · list, filled]`, lists of a row next to each other.
    Items `seen` by a row are left out. Returns items int64 `[batch, list, size]` and log-probabilities `[batch, list]`; where the catalogue
    has fewer lists, the last ones have log-probability -inf and mean nothing.
    """
    rows = len(seen)
    chosen = seen.offsets.new_zeros(rows, 1, 0)
    totals = torch.zeros(rows, 1, device=chosen.device)
    for _ in range(size):
        flat = chosen.flatten(0, 1)
        mask = SearchMask.build(Limits(exclude=_excluded(seen, chosen)), None, trie, len(flat))
        width = min(lists, len(trie))
        kept = run_search(model, continued(flat), trie, mask, BEST, (width, width), "level", rows=len(flat))
        found = totals[..., None] + kept.log_probabilities.view(rows, chosen.shape[1], -1)
        best = found.flatten(1).topk(min(lists, found[0].numel()), 1)
        items = trie.items[kept.nodes].view(rows, -1).gather(1, best.indices)
        parent = best.indices // found.shape[2]
        before = chosen.gather(1, parent[..., None].expand(-1, -1, chosen.shape[2]))
        chosen, totals = torch.cat([before, items[..., None]], 2), best.values
    return chosen, totals


def _excluded(seen: HistoryBatch, chosen: Tensor) -> Histories:
    """What each list may not take: the row's items, and its own so far."""
    rows, lists, filled = chosen.shape
    lengths = seen.offsets.diff()
    values = [torch.cat([part.expand(lists, -1), own], 1).flatten() for part, own in zip(seen.items.split(lengths.tolist()), chosen)]
    offsets = offsets_from((lengths + filled).repeat_interleave(lists))
    return Histories(torch.cat(values).cpu().numpy(), offsets.cpu().numpy())
