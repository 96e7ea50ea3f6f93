"""Beams in groups that avoid each other's codes, for lists that cover more of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recsmith.decoding.expansion import Beams, Expansion, Normalise, keep
from recsmith.decoding.lists import select_top
from recsmith.errors import UserError


@dataclass(frozen=True)
class Diverse:
    """Diverse beam search (Vijayakumar et al., 2018, AAAI). A `selection` of `beam_search`.

    The beams of a row are split into groups that choose one after the other. A group pays `penalty` for a code as often as the
    groups before it have chosen that code at this level. Codes of upper levels are the coarse kinds of items, so other groups look
    elsewhere.

    Deviations: a prefix belongs to the group that chose it, so groups never hold the same item; places that a group cannot fill go to the
    best prefixes that are left; the answer of k items takes k / groups from each group, ordered by log-probability.
    """

    groups: int = 5
    """Number of groups; at most k are used."""
    penalty: float = 1.0
    """Log-probability that a code loses for each time it was chosen by earlier groups."""
    normalise: Normalise | None = None

    def __post_init__(self) -> None:
        if self.groups < 1:
            raise UserError(f"{self.groups} groups cannot share the beams; give 1 (plain beam search) or more")
        if self.penalty < 0:
            raise UserError(f"a penalty of {self.penalty:g} would make lists less diverse; give 0 or more")

    def begin(self) -> Diverse:
        """Nothing to prepare."""
        return self

    def asked(self, k: int, beams: int) -> int:
        """k: the last level shares k places among the groups."""
        return k

    def width(self, k: int, beams: int) -> int:
        """At least k."""
        return max(k, beams)

    def select(self, beams: Beams, expansion: Expansion, width: int, k: int | None) -> tuple[Beams, Tensor]:
        """Group by group, then the best of the rest where places are left; at the last level k prefixes, before `width`."""
        totals = expansion.log_probabilities + beams.log_probabilities[..., None]
        keys = totals if expansion.hopes is None else totals + expansion.hopes
        flat, codes = keys.flatten(1), expansion.codes.flatten(1)
        alive = int((flat > -torch.inf).sum(dim=1).max())
        places = max(1, min(width if k is None else k, alive))
        groups = min(self.groups, places)
        owner = None if beams.marks is None else beams.marks[..., None].expand_as(keys).flatten(1)
        free, counts = flat.clone(), torch.zeros(len(flat), int(codes.max()) + 1, device=flat.device)
        picked = []
        for group in range(groups):
            own = free if owner is None else free.masked_fill(owner != group, -torch.inf)
            best = select_top(own - self.penalty * counts.gather(1, codes), places // groups + (group < places % groups))
            there = own.gather(1, best) > -torch.inf
            picked.append((best, there, torch.full_like(best, group)))
            counts.scatter_add_(1, codes.gather(1, best), there.float())
            free.scatter_(1, best, free.gather(1, best).masked_fill(there, -torch.inf))
        taken = torch.stack([there.sum(dim=1) for _, there, _ in picked]).sum(dim=0)
        picked.append(_rest(free, owner, places, groups, taken))
        position, counted, mark = (torch.cat(column, dim=1) for column in zip(*picked, strict=True))
        return _kept(expansion, totals, keys, (position, counted, mark), places)


def _rest(free: Tensor, owner: Tensor | None, places: int, groups: int, taken: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Positions, whether they count, and groups of the best children that nobody chose, as many as there are `places` left."""
    best = select_top(free, places)
    rank = free.gather(1, best).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    there = (free.gather(1, best) > -torch.inf) & (rank < places - taken[:, None])
    return best, there, best % groups if owner is None else owner.gather(1, best)


def _kept(expansion: Expansion, totals: Tensor, keys: Tensor, picked: tuple[Tensor, Tensor, Tensor], places: int) -> tuple[Beams, Tensor]:
    """What counts, in ascending order of nodes; rows with less than `places` end in hypotheses of -inf."""
    position, there, group = picked
    first = (~there).long().argsort(dim=1, stable=True)[:, :places]
    position, order = position.gather(1, first).sort(dim=1)
    there, group = (column.gather(1, first).gather(1, order) for column in (there, group))
    kept, parents = keep(expansion, position, totals, keys)
    logs, ranked = (values.masked_fill(~there, -torch.inf) for values in (kept.log_probabilities, kept.keys))
    return Beams(kept.nodes, logs, ranked, group), parents
