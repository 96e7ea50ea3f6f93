"""Beam search over semantic IDs that cannot leave the catalogue, and the exact score of every item to compare it with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from recsmith.decoding.expansion import Beams, Expansion, Normalise, Selection, expand, keep, log_probabilities
from recsmith.decoding.filling import Found, fill_lists
from recsmith.decoding.limits import NO_LIMITS
from recsmith.decoding.lists import padded_lists, select_top
from recsmith.decoding.masks import Rules, SearchMask, distinct_rules
from recsmith.decoding.trie import CodeTrie
from recsmith.errors import UserError
from recsmith.protocols import CodeModel, HistoryBatch, Limits, RankedLists


@dataclass(frozen=True)
class Best:
    """Keeps the most probable prefixes. Ties go to the one that comes first in lexicographic order of the codes."""

    normalise: Normalise | None = None

    def begin(self) -> Best:
        """Nothing to prepare."""
        return self

    def asked(self, k: int, beams: int) -> int:
        """All beams: a list may skip some of them."""
        return max(k, beams)

    def width(self, k: int, beams: int) -> int:
        """At least k."""
        return max(k, beams)

    def select(self, beams: Beams, expansion: Expansion, width: int, k: int | None) -> tuple[Beams, Tensor]:
        """The best by log-probability plus the bonus that is still to be had below."""
        totals = expansion.log_probabilities + beams.log_probabilities[..., None]
        keys = totals if expansion.hopes is None else totals + expansion.hopes
        flat = keys.flatten(1)
        return keep(expansion, select_top(flat, min(width, flat.shape[1])), totals, keys)


BEST = Best()


@torch.inference_mode()
def beam_search(
    model: CodeModel,
    batch: HistoryBatch,
    trie: CodeTrie,
    k: int,
    *,
    beams: int = 20,
    limits: Limits = NO_LIMITS,
    rules: Rules = None,
    selection: Selection = BEST,
    normalise: Normalise = "level",
) -> RankedLists:
    """The k most probable items of each row as far as `beams` hypotheses can tell, best first, with their log-probability.

    Every hypothesis is a prefix of an item that is allowed and not excluded for its row, so each answer is in the catalogue,
    within the limits and there once. `beams` is raised to k where it is smaller. A list is shorter than k only when fewer than k
    items are allowed: a level either keeps `beams` prefixes, each with an item below it, or all there are.

    `rules` (see `recsmith.decoding.rules`), one for all rows or one each, work in the search: a boost counts from the first level
    on as the most that an item below may gain, and is in the score that is answered. Rules that tie items of a list together
    continue the search where a list would stay short. `selection` says which hypotheses are kept: `BEST`, `Sampled` or `Diverse`.

    Ties between prefixes go to the one that comes first in lexicographic order of the codes, ties between answers to the smaller
    item index. Put the model into `eval()` mode first. Raises `UserError` when the model answers NaN.
    """
    if k < 1:
        raise ValueError(f"k = {k} items cannot be answered; ask for at least 1")
    trie, selection = trie.to(batch.offsets.device), selection.begin()
    sets, which = distinct_rules(rules, len(batch))
    if not any(rule is not None and rule.shapes_lists for rule in sets):
        return _lists(_found(model, batch, trie, (k, beams), limits, rules, selection, normalise), k)

    def search(rows: np.ndarray, limits: Limits, rules: Rules, count: int) -> Found:
        part = batch if len(rows) == len(batch) else take_rows(batch, rows)
        return _found(model, part, trie, (count, beams), limits, rules, selection, normalise)

    def score(rows: np.ndarray, items: np.ndarray) -> np.ndarray:
        part = take_rows(batch, rows)
        return score_items(model, part, trie, torch.from_numpy(items).to(batch.offsets.device), normalise=normalise).cpu().numpy()

    return fill_lists(search, score, k, pool=selection.asked(k, beams), limits=limits, rules=[sets[number] for number in which])


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
        total = total[:, parent] + log_probabilities(logits.float(), normalise)[:, parent, code]
        parents, last = parent.expand(len(batch), -1), code.expand(len(batch), -1)
    return total[:, trie.leaves_of]


@torch.inference_mode()
def score_items(model: CodeModel, batch: HistoryBatch, trie: CodeTrie, items: Tensor, *, normalise: Normalise = "level") -> Tensor:
    """Exact log-probability of given `items` `[batch, n]` for each row, float32 `[batch, n]`; -inf for item -1.

    For answers that did not come out of a search: a pinned item, a list of another system. `normalise="alive"` is that of "level",
    because what is alive is known only to a search.
    """
    total = torch.zeros(items.shape, device=batch.offsets.device)
    for logs in score_levels(model, batch, trie, items, normalise=normalise).unbind(2):
        total = total + logs
    return total.masked_fill(items < 0, -torch.inf)


@torch.inference_mode()
def score_levels(model: CodeModel, batch: HistoryBatch, trie: CodeTrie, items: Tensor, *, normalise: Normalise = "level") -> Tensor:
    """Log-probability of each code of given `items` `[batch, n]`, given the codes before it, float32 `[batch, n, level]`.

    What `score_items` adds up; means nothing for item -1.
    """
    trie = trie.to(batch.offsets.device)
    if not items.numel():
        return torch.zeros(*items.shape, trie.levels, device=batch.offsets.device)
    leaves = trie.leaves_of[items.clamp(min=0)]
    state, parents, last = model.prefill(batch), None, None
    levels = []
    for level in range(trie.levels):
        logits, state = model.step(state, level, parents, last)
        code = trie.codes[level + 1][trie.ancestors(level + 1, leaves)]
        logs = log_probabilities(logits.float(), normalise).expand(-1, items.shape[1], -1)
        levels.append(logs.gather(2, code[..., None])[..., 0])
        parents = torch.zeros_like(code) if level == 0 else torch.arange(items.shape[1], device=code.device).expand_as(code)
        last = code
    return torch.stack(levels, dim=2)


def take_rows(batch: HistoryBatch, rows: np.ndarray) -> HistoryBatch:
    """The given rows of a batch, in the given order."""
    chosen = torch.from_numpy(np.asarray(rows, dtype=np.int64)).to(batch.offsets.device)
    lengths = batch.offsets.diff()[chosen]
    offsets = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    shift = (batch.offsets[chosen] - offsets[:-1]).repeat_interleave(lengths)
    index = torch.arange(len(shift), device=shift.device) + shift

    def part(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor[index]

    users = None if batch.users is None else batch.users[chosen]
    return HistoryBatch(batch.items[index], offsets, users, part(batch.times), part(batch.weights))


def _found(
    model: CodeModel,
    batch: HistoryBatch,
    trie: CodeTrie,
    size: tuple[int, int],
    limits: Limits,
    rules: Rules,
    selection: Selection,
    normalise: Normalise,
) -> Found:
    """The k best items in order of their keys, of `size` = k and beams."""
    k, beams = size
    mask = SearchMask.build(limits, rules, trie, len(batch))
    width = min(selection.width(k, beams), len(trie))
    if not len(batch) or not width:
        return Found.nothing(len(batch))
    kept = run_search(model, model.prefill(batch), trie, mask, selection, (k, width), selection.normalise or normalise, rows=len(batch))
    if kept.keys.isnan().any():
        raise UserError("the model answers NaN; it has diverged: lower its learning rate and fit again")
    items, by_item = trie.items[kept.nodes].sort(dim=1)
    keys, by_key = kept.keys.gather(1, by_item).sort(dim=1, descending=True, stable=True)
    logs = kept.log_probabilities.gather(1, by_item).gather(1, by_key)
    scores = keys if selection.normalise is None else logs
    return Found(items.gather(1, by_key)[:, :k], keys[:, :k], scores[:, :k])


def run_search(
    model: CodeModel,
    state: Any,
    trie: CodeTrie,
    mask: SearchMask,
    selection: Selection,
    size: tuple[int, int],
    normalise: Normalise,
    *,
    rows: int,
) -> Beams:
    """The search itself, from a prefilled state to the leaves; `size` = k and the hypotheses kept."""
    k, width = size
    kept = Beams.root(rows, trie.items.device)
    parents, last = None, None
    for level in range(trie.levels):
        logits, state = model.step(state, level, parents, last)
        expansion = expand(trie, mask, level, logits.float(), kept.nodes, normalise)
        kept, parents = selection.select(kept, expansion, width, k if level == trie.levels - 1 else None)
        last = trie.codes[level + 1][kept.nodes]
    return kept


def _lists(found: Found, k: int) -> RankedLists:
    return padded_lists(found.items, found.scores.masked_fill(found.keys == -torch.inf, -torch.inf), k)
