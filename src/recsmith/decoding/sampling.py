"""Drawn lists: items without replacement, by their probability, from models that generate codes and from models that score.

Kool et al., 2019, "Stochastic beams and where to find them" (ICML): noise that is Gumbel-distributed for every item, but is drawn
top-down along the tree, makes the k largest noisy log-probabilities an exact sample without replacement while only k prefixes are
kept a level. For score models the same noise is added to the scores directly.

Lists come in the order in which their items were drawn. Their score is the log-probability of the item in the first draw, so that

    list_log_likelihood(lists.scores)

is the exact log-probability of the whole list in its order.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from recsmith.decoding.expansion import LEAST, Beams, Expansion, Normalise, keep
from recsmith.decoding.lists import select_top
from recsmith.errors import UserError


@dataclass(frozen=True)
class Sampled:
    """Draws items instead of taking the best. A `selection` of `beam_search`; `sampled_scores` does the same for scores.

    The distribution is that of the model over what a row may be answered: at each level, the codes that still lead to an allowed item,
    at the given temperature, cut to the nucleus. A boost multiplies, at each level, the odds of codes that lead to boosted items. Codes
    outside the nucleus are drawn only when nothing else is left, so lists are as long as without it.

    Deviation from the paper: none; the temperature applies to each code's conditional distribution, as is usual in generation.
    """

    temperature: float = 1.0
    """Above 1 evens probabilities out, below 1 sharpens them; towards 0 the lists are those of beam search."""
    nucleus: float = 1.0
    """Only the most probable codes of a level that hold this share of the probability are drawn; 1 keeps all (Holtzman et al., 2020)."""
    seed: int = 0
    """Another seed, another list."""
    normalise: Normalise | None = field(default="alive", init=False)
    _stream: torch.Generator | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UserError(f"temperature {self.temperature:g} is not above 0; give 1 for the model's own probabilities, or do not sample")
        if not 0 < self.nucleus <= 1:
            raise UserError(f"a nucleus of {self.nucleus:g} is not above 0 and at most 1; give 1 to draw from all codes")

    def begin(self) -> Sampled:
        """A copy with a stream of its own, so that equal seeds give equal lists."""
        copy = replace(self)
        object.__setattr__(copy, "_stream", torch.Generator().manual_seed(self.seed))
        return copy

    @property
    def stream(self) -> torch.Generator | None:
        """Where draws come from, in main memory; None before `begin`."""
        return self._stream

    def asked(self, k: int, beams: int) -> int:
        """k; the rest of a sample may be drawn later."""
        return k

    def width(self, k: int, beams: int) -> int:
        """k: more hypotheses would not change the sample."""
        return k

    def select(self, beams: Beams, expansion: Expansion, width: int, k: int | None) -> tuple[Beams, Tensor]:
        """The prefixes with the largest noisy log-probabilities."""
        logits = expansion.logits if expansion.hopes is None else expansion.logits + expansion.hopes
        conditional = tempered(logits, self.temperature, self.nucleus)
        totals = conditional + beams.log_probabilities[..., None]
        noise = self.gumbel(totals)
        keys = totals + noise if expansion.level == 0 else _noise_below(beams.keys, totals + noise)
        flat = keys.flatten(1)
        return keep(expansion, select_top(flat, min(width, flat.shape[1])), totals, keys)

    def gumbel(self, like: Tensor) -> Tensor:
        """Noise of a shape, drawn on the CPU so that it does not depend on the device."""
        if self._stream is None:
            raise ValueError("call begin() before drawing")
        drawn = torch.empty(like.shape).exponential_(generator=self._stream).clamp_(min=1e-30)
        return -drawn.log_().to(like.device)


def tempered(logits: Tensor, temperature: float, nucleus: float) -> Tensor:
    """Log-probabilities `[…, choice]` over the choices above -inf; those outside the nucleus get `LEAST`."""
    scaled = (logits / temperature).clamp(min=LEAST).masked_fill(logits == -torch.inf, -torch.inf)
    logs = scaled - scaled.logsumexp(dim=-1, keepdim=True).clamp(min=LEAST)
    if nucleus >= 1:
        return logs
    ordered, order = logs.sort(dim=-1, descending=True, stable=True)
    before = ordered.exp().cumsum(dim=-1) - ordered.exp()
    outside = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= nucleus) & (logs > -torch.inf)
    inside = logs.masked_fill(outside, -torch.inf)
    return (inside - inside.logsumexp(dim=-1, keepdim=True).clamp(min=LEAST)).masked_fill(outside, LEAST)


def sampled_scores(scores: Tensor, how: Sampled) -> tuple[Tensor, Tensor]:
    """Keys whose order is that of a draw, and log-probabilities, both `[batch, item]`, from scores with masks and boosts applied."""
    logs = tempered(scores.float(), how.temperature, how.nucleus)
    return logs + how.gumbel(logs), logs


def list_log_likelihood(log_probabilities: np.ndarray) -> np.ndarray:
    """Log-probability `[row]` of drawing lists in their order without replacement, from that of their items in a first draw `[row, k]`.

    Each item's probability is divided by what the items before it have left over (Plackett, 1975; Luce, 1959). Padding (-inf) is skipped.
    """
    logs = np.asarray(log_probabilities, dtype=np.float64)
    there = logs > -np.inf
    taken = np.cumsum(np.where(there, np.exp(logs), 0.0), axis=1)
    left = np.clip(1.0 - np.concatenate([np.zeros_like(taken[:, :1]), taken[:, :-1]], axis=1), 1e-12, None)
    return np.where(there, np.where(there, logs, 0.0) - np.log(left), 0.0).sum(axis=1)


def _noise_below(parents: Tensor, free: Tensor) -> Tensor:
    """Shift noisy log-probabilities of children `[batch, beam, child]` so that their maximum is that of their parent `[batch, beam]`.

    The numerically stable form of the paper's appendix B.3.
    """
    largest = free.amax(dim=2, keepdim=True)
    aim = parents[..., None]
    gap = aim - free + torch.log1p(-(free - largest).exp())
    noisy = aim - gap.clamp(min=0) - torch.log1p((-gap.abs()).exp())
    return noisy.masked_fill((free == -torch.inf) | (aim == -torch.inf), -torch.inf)
