"""The suites themselves: a small honest model passes, and each kind of mistake is caught by the test that is meant for it."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.data import Histories, ItemCodes
from recsmith.models.popularity import Popularity, PopularityConfig
from recsmith.nn.packed import next_token
from recsmith.protocols import HistoryBatch
from recsmith.testing import CodeModelTests, ScoreModelTests


class LastItemConfig(Config):
    """Settings of `LastItemCodes`."""

    dim: int = 16
    """Width of the vectors."""


class LastItemCodes(nn.Module):
    """Generates the codes of the next item from the vector of the last one and the codes so far."""

    Config: ClassVar[type[LastItemConfig]] = LastItemConfig
    answers: ClassVar[str] = "codes"
    learns: ClassVar[str] = "gradient"

    def __init__(self, config: LastItemConfig, *, codes: ItemCodes) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("table", torch.from_numpy(codes.table.copy()))
        self.items = nn.Embedding(len(codes) + 1, config.dim)
        self.codes = nn.ModuleList(nn.Embedding(size, config.dim) for size in codes.sizes)
        self.heads = nn.ModuleList(nn.Linear(config.dim, size) for size in codes.sizes)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        shift = next_token(batch.offsets, tokens=len(batch.items))
        if not len(shift.inputs):
            return self.items.weight.sum() * 0
        targets = batch.items[shift.targets]
        hidden, total = self.items(batch.items[shift.inputs]), torch.zeros(())
        for level, head in enumerate(self.heads):
            total = total + functional.cross_entropy(head(torch.tanh(hidden)), self.table[targets, level])
            hidden = hidden + self.codes[level](self.table[targets, level])
        return total

    def prefill(self, batch: HistoryBatch) -> Tensor:
        last = torch.full((len(batch),), len(self.items.weight) - 1, device=batch.items.device)
        filled = batch.offsets.diff() > 0
        last[filled] = batch.items[batch.offsets[1:][filled] - 1]
        return self.items(last)[:, None]

    def step(self, state: Tensor, level: int, parents: Tensor | None, last: Tensor | None) -> tuple[Tensor, Tensor]:
        if parents is not None and last is not None:
            state = state.gather(1, parents[:, :, None].expand(-1, -1, state.shape[2])) + self.codes[level - 1](last)
        return self.heads[level](torch.tanh(state)), state


class TestLastItemCodes(CodeModelTests):
    model_class = LastItemCodes
    config = LastItemConfig()


class IgnoresParents(LastItemCodes):
    def step(self, state: Tensor, level: int, parents: Tensor | None, last: Tensor | None) -> tuple[Tensor, Tensor]:
        if level == 2 and last is not None:
            return super().step(state[:, :1].expand(-1, last.shape[1], -1), level, torch.zeros_like(last), last)
        return super().step(state, level, parents, last)


class Aliasing(Popularity):
    """Hands out its own memory."""

    def score(self, batch: HistoryBatch) -> Tensor:
        return self.counts.expand(len(batch), -1)


class Accumulating(Popularity):
    """A second fit adds to the first."""

    def solve(self, histories: Histories) -> None:
        before = self.counts.clone()
        super().solve(histories)
        self.counts += before


class Noisy(Popularity):
    """Random when it answers."""

    def score(self, batch: HistoryBatch) -> Tensor:
        return super().score(batch) + torch.rand(len(batch), 1)


class Contagious(Popularity):
    """Rows see each other."""

    def score(self, batch: HistoryBatch) -> Tensor:
        return super().score(batch) + len(batch.items)


class BreaksOnNothing(Popularity):
    """Divides by the length of the history."""

    def score(self, batch: HistoryBatch) -> Tensor:
        return super().score(batch) / batch.offsets.diff()[:, None]


class ForgetsItsState(Popularity):
    """Keeps what it learned outside the state dictionary."""

    def score(self, batch: HistoryBatch) -> Tensor:
        return getattr(self, "kept", self.counts).repeat(len(batch), 1)

    def solve(self, histories: Histories) -> None:
        super().solve(histories)
        self.kept = self.counts.clone()
        self.counts.zero_()


class MutatesHistories(Popularity):
    """Sorts its input in place."""

    def solve(self, histories: Histories) -> None:
        histories.values.sort()
        super().solve(histories)


def suite_for(model: type[Popularity]) -> ScoreModelTests:
    class Suite(ScoreModelTests):
        model_class = model
        config = PopularityConfig()

    return Suite()


@pytest.mark.parametrize(
    ("model", "test"),
    [
        (Aliasing, "test_answering_changes_neither_input_nor_model"),
        (Accumulating, "test_second_fit_forgets_the_first"),
        (Noisy, "test_answers_are_not_random"),
        (Contagious, "test_a_batch_equals_its_rows_one_by_one"),
        (BreaksOnNothing, "test_awkward_histories_get_finite_scores"),
        (MutatesHistories, "test_learning_leaves_the_histories_alone"),
        (Popularity, "test_finds_the_known_answer"),
    ],
)
def test_mistakes_are_caught(model: type[Popularity], test: str) -> None:
    with pytest.raises((AssertionError, RuntimeError)):
        getattr(suite_for(model), test)()


def test_state_outside_the_state_dictionary_is_caught(tmp_path: Any) -> None:
    with pytest.raises(AssertionError):
        suite_for(ForgetsItsState).test_saved_weights_give_equal_scores(tmp_path)


def test_search_over_beams_that_ignores_parents_is_caught() -> None:
    class Suite(CodeModelTests):
        model_class = IgnoresParents
        config = LastItemConfig()

    with pytest.raises(AssertionError):
        Suite().test_beams_follow_their_parents()
