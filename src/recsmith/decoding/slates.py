"""Slates: items picked slot by slot, each given those before it, with limits and rules applied at every slot.

Rules mean what they mean for lists (`recsmith.decoding.rules`), with the order of the slate in place of the order by score: a pinned item
stands in its slot, a cap that is full closes its group for the slots that follow, and a quota that is not met by choice is met in
the last slots that can still meet it (in the first ones where there are caps too, which could otherwise shut it out).

A slate comes as a row of `RankedLists` whose scores are log-probabilities: of each item at its slot, given the items before it and what may
stand there; 0 for a pinned item, which nobody chose. So `slate_log_likelihood` of the answer is the log-probability of drawing this slate,
given its latent where the model has one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recsmith.decoding.filling import Entry, ListDraft, counting_pins
from recsmith.decoding.limits import NO_LIMITS
from recsmith.decoding.lists import padded_lists, select_top
from recsmith.decoding.masks import Rules, distinct_rules
from recsmith.decoding.ranking import masked_scores, require_numbers
from recsmith.decoding.rules import BoundRules
from recsmith.decoding.sampling import Sampled, sampled_scores
from recsmith.errors import UserError
from recsmith.protocols import HistoryBatch, Limits, RankedLists, SlateModel

Told = Callable[[Tensor, Tensor], None]
"""`told(items, scores)`: a slot of all slates of a batch is filled."""


@torch.no_grad()
def fill_slates(
    model: SlateModel,
    batch: HistoryBatch,
    size: int,
    *,
    limits: Limits = NO_LIMITS,
    rules: Rules = None,
    sampled: Sampled | None = None,
    wanted: float | None = None,
    told: Told | None = None,
) -> RankedLists:
    """One slate of up to `size` items per row of the batch, in slot order, without repetition; short only where no item is left.

    Without `sampled` each slot takes the most probable item (ties: the smaller index) and latents their mean; with it, both are drawn,
    equal seeds giving equal slates of a batch. `wanted` is for models that learn from responses (see `SlateModel`). `told` hears of
    each slot as soon as it is filled, with items and scores `[batch]` (-1 where nothing was left). Raises `UserError` for NaN, for
    `wanted` outside 0 … 1 or where the model does not know it, `ValueError` when size, limits or rules do not fit.
    """
    if size < 1:
        raise ValueError(f"slates of {size} items cannot be filled; ask for at least 1")
    drawn = None if sampled is None else sampled.begin()
    state = _opened(model, batch, size, None if drawn is None else drawn.stream, wanted)
    chosen = batch.offsets.new_zeros(len(batch), 0)
    scores = torch.zeros(len(batch), 0, device=chosen.device)
    marks: Tensor | None = None
    shaped: dict[int, _Shaped] = {}
    for place in range(size):
        logits = model.slot(state, chosen.clamp(min=0)).float()
        if marks is None:  # the size of the catalogue is that of the first logits
            marks = masked_scores(torch.zeros_like(logits), limits, rules)
            shaped = _shaped_rows(rules, size, limits, len(batch))
        item, score = _pick(logits + _closed(marks, shaped, place), drawn)
        for row, slate in shaped.items():
            _settle(slate, place, item[row], score[row])
        filled = (item >= 0).nonzero()[:, 0]
        marks[filled, item[filled]] = -torch.inf
        chosen, scores = torch.cat([chosen, item[:, None]], 1), torch.cat([scores, score[:, None]], 1)
        if told is not None:
            told(item, score)
    return _without_gaps(chosen, scores)


@torch.no_grad()
def judge_slates(model: SlateModel, batch: HistoryBatch, slates: Tensor, *, wanted: float | None = None) -> Tensor:
    """Log-probability of each item of given slates, int64 `[batch, size]` without repetition, given those before it; `[batch, size]`.

    Latents are at their mean, and everything but what stands before may be chosen: the same as `fill_slates` without limits.
    """
    state = _opened(model, batch, slates.shape[1], None, wanted)
    scores = []
    for place in range(slates.shape[1]):
        before = slates[:, :place]
        logits = model.slot(state, before).float().scatter(1, before, -torch.inf)
        scores.append(logits.log_softmax(1).gather(1, slates[:, place, None]))
    return torch.cat(scores, 1)


def slate_log_likelihood(slates: RankedLists) -> np.ndarray:
    """Log-probability of each slate, float64 `[row]`: the sum over its slots; padding is skipped."""
    return np.where(slates.items >= 0, slates.scores, 0.0).astype(np.float64).sum(axis=1)


def _opened(model: SlateModel, batch: HistoryBatch, size: int, stream: torch.Generator | None, wanted: float | None) -> Any:
    if wanted is None:
        return model.open_slate(batch, size, stream)
    if not getattr(model, "conditioned", False):
        raise UserError(f"{type(model).__name__} does not learn from responses, so it cannot be asked for one; leave `wanted` out")
    if not 0 <= wanted <= 1:
        raise UserError(f"wanted = {wanted:g} does not work; give a response between 0 (the worst in training) and 1 (the best)")
    return model.open_slate(batch, size, stream, wanted=wanted)  # type: ignore[call-arg]


def _pick(logits: Tensor, drawn: Sampled | None) -> tuple[Tensor, Tensor]:
    """The item of each row, -1 where none is left, and its log-probability, `[batch]` each."""
    keys, logs = (logits, logits.log_softmax(1)) if drawn is None else sampled_scores(logits, drawn)
    item = select_top(keys, 1)
    best = logits.gather(1, item)
    require_numbers(best)
    none = best[:, 0] == -torch.inf
    return item[:, 0].masked_fill(none, -1), logs.gather(1, item)[:, 0].masked_fill(none, -torch.inf)


def _without_gaps(items: Tensor, scores: Tensor) -> RankedLists:
    """Empty slots at the end: a pinned item may stand behind places for which nothing was left."""
    order = (items < 0).int().argsort(dim=1, stable=True)
    return padded_lists(items.gather(1, order), scores.gather(1, order), items.shape[1])


# ---- rules under which the items of a slate depend on each other --------------------------------------------------------


class _Shaped:
    """The slate of one row under pins, caps and quotas."""

    def __init__(self, rules: BoundRules, row: int, size: int, limits: Limits) -> None:
        self.draft = ListDraft(rules, size)
        self.pins = counting_pins(rules, row, size, limits)
        for item in self.pins.values():
            self.draft.take(Entry(item, 0.0, 0.0))

    def candidates(self, free: np.ndarray) -> np.ndarray:
        """What may stand in the next slot, bool `[item]`, out of what no mask forbids."""
        possible = free & self.draft.open()
        quotas = self.draft.rules.quotas
        missing = [quota.count - sum(bool(quota.items[item]) for item in self.draft.entries) for quota in quotas]
        useful = [(count, possible & quota.items) for count, quota in zip(missing, quotas, strict=True) if count > 0]
        needed = sum(min(count, int(items.sum())) for count, items in useful)
        if needed < self.draft.room and not self.draft.rules.caps:
            return possible
        return next((items for _, items in useful if items.any()), possible)


def _shaped_rows(rules: Rules, size: int, limits: Limits, rows: int) -> dict[int, _Shaped]:
    """Row → its slate, for the rows whose rules are more than masks and bonuses."""
    sets, which = distinct_rules(rules, rows)
    own = [sets[number] for number in which.tolist()]
    return {row: _Shaped(rule, row, size, limits) for row, rule in enumerate(own) if rule is not None and rule.shapes_lists}


def _closed(marks: Tensor, shaped: dict[int, _Shaped], place: int) -> Tensor:
    """The marks `[batch, item]` of the slot `place`: those of the batch, and -inf for what a row's own rules forbid there."""
    if not shaped:
        return marks
    closed = marks.clone()
    for row, slate in shaped.items():
        if place in slate.pins:
            still = np.arange(marks.shape[1]) == slate.pins[place]
        else:
            still = slate.candidates((marks[row] > -torch.inf).cpu().numpy())
        closed[row, torch.from_numpy(~still).to(marks.device)] = -torch.inf
    return closed


def _settle(slate: _Shaped, place: int, item: Tensor, score: Tensor) -> None:
    """Write down what stands in a slot; a pinned item was certain."""
    if place in slate.pins:
        score.zero_()
    elif item >= 0:
        slate.draft.take(Entry(int(item), 0.0, 0.0))
