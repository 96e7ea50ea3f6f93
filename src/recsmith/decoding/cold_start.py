"""Beam search in which items without training events are judged by the codes that they share with others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from recsmith.data import Histories, ItemCodes, offsets_of
from recsmith.decoding.beam import BEST, beam_search
from recsmith.decoding.expansion import Selection
from recsmith.decoding.masks import Rules
from recsmith.decoding.ranking import NO_LIMITS
from recsmith.decoding.rules import BoundRules, Cap
from recsmith.decoding.trie import CodeTrie
from recsmith.protocols import CodeModel, HistoryBatch, Limits, RankedLists


def search_with_cold_items(
    model: CodeModel,
    batch: HistoryBatch,
    trie: CodeTrie,
    k: int,
    *,
    codes: ItemCodes,
    cold: np.ndarray,
    share: float,
    beams: int = 20,
    limits: Limits = NO_LIMITS,
    rules: Rules = None,
    selection: Selection = BEST,
) -> RankedLists:
    """`beam_search`, where the items of `cold` (bool `[item]`) have the probability of their codes without the last, collision level.

    No more than `share` of the k places, rounded down, go to them. This is how TIGER (Rajput et al., 2023, section 4.3) answers with items
    that no training event holds: their learned codes are those of similar items, but nothing has taught the model their last
    code. Deviation: theirs are sorted among the others by the same score too, but come from prefixes of the finished beams; here they
    are searched for like all others. The scores of cold items are log-probabilities of their prefixes. All else, `limits`, `rules` and
    `selection` included, is as for `beam_search`.
    """
    places = int(share * k + 1e-9)
    capped = _capped(rules, cold, places)
    return beam_search(
        PrefixScored(model, codes, cold), batch, trie, k, beams=beams, limits=limits, rules=capped, selection=selection, normalise="none"
    )


@dataclass(frozen=True)
class PrefixState:
    """The state of the model inside, and the codes of each beam as one number, int64 `[batch, beam]`."""

    inner: Any
    prefix: Tensor | None


class PrefixScored:
    """A code model whose last level costs cold items nothing. Its logits are log-probabilities of the model inside, and 0 for these."""

    Config: ClassVar[Any] = None
    answers: ClassVar[Literal["codes"]] = "codes"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, model: CodeModel, codes: ItemCodes, cold: np.ndarray) -> None:
        self.model = model
        self.config = model.config
        self.sizes = codes.sizes
        prefixes = np.zeros(len(codes), dtype=np.int64)
        for column, size in zip(codes.table.T[:-1], self.sizes[:-1], strict=True):
            prefixes = prefixes * size + column
        numbers, group = np.unique(prefixes[cold], return_inverse=True)
        free = np.zeros((len(numbers) + 1, self.sizes[-1]), dtype=bool)  # the last row is that of prefixes without cold items
        free[group.reshape(-1), codes.table[cold, -1]] = True
        self.numbers, self.free = torch.from_numpy(numbers), torch.from_numpy(free)

    def prefill(self, batch: HistoryBatch) -> PrefixState:
        """As the model inside."""
        return PrefixState(self.model.prefill(batch), None)

    def step(self, state: PrefixState, level: int, parents: Tensor | None, last: Tensor | None) -> tuple[Tensor, PrefixState]:
        """Log-probabilities `[batch, beam, size]`."""
        logits, inner = self.model.step(state.inner, level, parents, last)
        likely, prefix = logits.float().log_softmax(-1), state.prefix
        if last is not None and parents is not None:
            before = torch.zeros_like(last) if prefix is None else prefix.gather(1, parents)
            prefix = before * self.sizes[level - 1] + last
        if level == len(self.sizes) - 1:
            likely = likely.masked_fill(self._free(prefix, likely), 0.0)
        return likely, PrefixState(inner, prefix)

    def _free(self, prefix: Tensor | None, like: Tensor) -> Tensor:
        """Which last codes belong to cold items, bool `[batch, beam, size]`."""
        if prefix is None:  # ids of one level: every cold item's prefix is the empty one
            prefix = torch.zeros(like.shape[:2], dtype=torch.int64, device=like.device)
        numbers, free = self.numbers.to(like.device), self.free.to(like.device)
        if not len(numbers):
            return torch.zeros(1, dtype=torch.bool, device=like.device)
        place = torch.searchsorted(numbers, prefix).clamp(max=len(numbers) - 1)
        return free[torch.where(numbers[place] == prefix, place, len(numbers))]


def _capped(rules: Rules, cold: np.ndarray, places: int) -> Rules:
    """The rules, and at most so many cold items in a list."""
    if rules is None or isinstance(rules, BoundRules):
        return _with_cap(rules, cold, places)
    return [_with_cap(rule, cold, places) for rule in rules]


def _with_cap(rules: BoundRules | None, cold: np.ndarray, places: int) -> BoundRules:
    rules = BoundRules(size=len(cold)) if rules is None else rules
    if places == 0:
        return replace(rules, allowed=~cold if rules.allowed is None else rules.allowed & ~cold)
    groups = Histories(np.zeros(int(cold.sum()), dtype=np.int64), offsets_of(cold.astype(np.int64)))
    return replace(rules, caps=(*rules.caps, Cap(places, groups)))
