"""`TitleList`: a guide that lets a language model write nothing but a list of titles of certain items, each once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recsmith.tuning_language.candidates import AT_ONCE, TitleModel
from recsmith.tuning_language.tasks import Case


class TitleList:
    """Titles with `between` after each but the last, which the end follows; exactly `length` of them (all, if there are fewer).

    A title may begin like another: all readings of what was written are kept until one is left. Equal titles go to the earlier item.
    """

    def __init__(self, titles: Sequence[Sequence[int]], *, length: int, between: Sequence[int], end: int) -> None:
        self._titles, self._between, self._end = titles, tuple(between), end
        self._length = min(length, len(titles))
        self._readings: list[tuple[tuple[int, ...], tuple[int, ...]]] = self._openings(())
        self.chosen: tuple[int, ...] = ()
        """Places of the titles in the finished list, in order."""

    def allowed(self) -> list[int]:
        """See `Guide.allowed`."""
        return sorted({rest[0] for _, rest in self._readings}) or [self._end]

    def take(self, token: int) -> None:
        """See `Guide.take`."""
        readings = []
        for chosen, rest in self._readings:
            if rest[0] != token:
                continue
            if len(rest) > 1:
                readings.append((chosen, rest[1:]))
            elif len(chosen) == self._length:
                self.chosen = self.chosen or chosen
            else:
                readings += self._openings(chosen)
        self._readings = readings

    def longest(self) -> int:
        """Tokens of a list at most."""
        return sum(sorted((len(title) + max(1, len(self._between)) for title in self._titles), reverse=True)[: self._length])

    def _openings(self, chosen: tuple[int, ...]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """A reading for each title that may follow: the places with it, and its tokens with what comes behind it."""
        behind = (self._end,) if len(chosen) + 1 == self._length else self._between
        return [((*chosen, place), (*title, *behind)) for place, title in enumerate(self._titles) if place not in chosen]


def listed_scores(model: TitleModel, cases: Sequence[Case], *, length: int) -> list[Tensor]:
    """What a model writes when it may write nothing but `length` titles of each case's candidates: scores of these, float32 `[candidate]`.

    The first title written gets 1, those behind it less, in equal steps; candidates that were not written follow in their given order.
    """
    scores: list[Tensor] = []
    wording, network = model.wording, model.network
    for start in range(0, len(cases), AT_ONCE):
        part = cases[start : start + AT_ONCE]
        titles = [[wording.title(item) for item in case.candidates] for case in part]
        guides = [TitleList(own, length=length, between=wording.words(";"), end=network.end) for own in titles]
        network.write(model.asked(part), longest=max(guide.longest() for guide in guides), guides=guides)
        scores += [_by_place(guide.chosen, len(case.candidates)).to(network.device) for guide, case in zip(guides, part, strict=True)]
    return scores


def _by_place(chosen: Sequence[int], count: int) -> Tensor:
    order = [*chosen, *(place for place in range(count) if place not in chosen)]
    scores = torch.zeros(count)
    scores[torch.tensor(order, dtype=torch.int64)] = 1 - torch.arange(count) / max(1, count)
    return scores
