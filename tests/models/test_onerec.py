"""OneRec: what it writes is what it learns, lists are searched exactly, and preferences are learned against a frozen reference."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recsmith.data import Histories, ItemCodes
from recsmith.decoding import CodeTrie, beam_search, score_all
from recsmith.decoding.list_search import search_lists, walk_items
from recsmith.errors import ConfigError
from recsmith.models.onerec import OneRec, OneRecConfig, Pairs
from recsmith.nn.experts import ExpertFeedForward
from recsmith.protocols import HistoryBatch, SlateModel
from recsmith.testing import CodeModelTests, SlateModelTests
from recsmith.testing.logs import cycles, full_codes
from recsmith.training import to_batch

TINY = {
    "dim": 16, "hidden": 16, "heads": 2, "head_dim": 8, "ff_dim": 32, "encoder_layers": 1, "decoder_layers": 1, "max_history": 8,
    "dropout": 0.0, "slate": 3, "experts": 2, "active_experts": 1, "preference_rows": 4, "preference_lists": 4,
}  # fmt: skip


class TestOneRec(CodeModelTests):
    model_class = OneRec
    config = OneRecConfig.parse({**TINY, "slate": 1, "experts": 1})
    steps = 150


class TestOneRecSlates(SlateModelTests):
    model_class = OneRec
    config = OneRecConfig.parse(TINY)
    sequential = True
    test_finds_the_known_answer = None  # above

    def build(self) -> Any:
        return OneRec(self.config, codes=full_codes())

    def scores(self, model: Any, histories: Histories | HistoryBatch) -> Tensor:
        batch = to_batch(histories) if isinstance(histories, Histories) else histories
        return model.slot(model.open_slate(batch, 1, None), batch.items.new_zeros(len(batch), 0))

    def test_satisfies_the_protocol(self) -> None:
        assert isinstance(self.build(), SlateModel)
        assert self.build().answers == "codes"


def catalogue() -> ItemCodes:
    numbers = np.random.default_rng(0).permutation(4 * 3 * 2)[:10]
    return ItemCodes(np.stack(np.unravel_index(numbers, (4, 3, 2)), axis=1), (4, 3, 2))


def make_model(**overrides: object) -> OneRec:
    torch.manual_seed(1)
    return OneRec(OneRecConfig.parse({**TINY, **overrides}), codes=catalogue()).eval()


def likelihoods(model: OneRec, batch: HistoryBatch, lists: Tensor) -> Tensor:
    """Log-probability of lists `[list, size]` for one history, without renormalisation to the catalogue."""
    many = HistoryBatch(batch.items.repeat(len(lists)), torch.arange(len(lists) + 1) * len(batch.items))
    return model.writer.log_likelihood(many, lists).sum((1, 2))


@torch.no_grad()
def test_a_list_is_as_likely_in_training_as_it_is_code_by_code() -> None:
    model, batch, trie = make_model(), to_batch(Histories.from_rows([[1, 2, 3], [4], []])), CodeTrie.build(catalogue())
    lists = torch.tensor([[5, 1, 0], [2, 9, 4], [3, 3, 8]])
    read, expected = model.prefill(batch), torch.zeros(3)
    for place in range(3):
        scores = walk_items(model.writer, model.writer.after(read, lists[:, :place]), trie, rows=3, beams=100)
        expected += scores.gather(1, lists[:, place, None])[:, 0]
    torch.testing.assert_close(model.writer.log_likelihood(batch, lists).sum((1, 2)), expected)
    torch.testing.assert_close(walk_items(model.writer, read, trie, rows=3, beams=100), score_all(model, batch, trie))


@torch.no_grad()
def test_a_narrow_walk_keeps_the_best_items_exact_and_loses_no_probability() -> None:
    model, batch, trie = make_model(), to_batch(Histories.from_rows([[1, 2, 3], [4]])), CodeTrie.build(catalogue())
    exact = score_all(model, batch, trie)
    narrow = walk_items(model.writer, model.prefill(batch), trie, rows=2, beams=2)
    best = torch.from_numpy(beam_search(model, batch, trie, 2, beams=2).items)
    torch.testing.assert_close(narrow.gather(1, best), exact.gather(1, best))
    assert torch.isfinite(narrow).all()
    assert (narrow.unique(dim=1).shape[1] < 10) or not torch.allclose(narrow, exact)


@torch.no_grad()
def test_a_wide_beam_finds_the_most_likely_lists_of_all() -> None:
    model, trie = make_model(), CodeTrie.build(catalogue())
    seen = to_batch(Histories.from_rows([[1, 2]]))
    read = model.prefill(seen)

    def continued(chosen: Tensor) -> Any:
        from recsmith.nn.session_writer import repeated_state

        return model.writer.after(repeated_state(read, len(chosen)), chosen)

    found, logs = search_lists(model.writer, continued, trie, 2, seen=seen, lists=56)
    free = [item for item in range(10) if item not in (1, 2)]
    pairs = torch.tensor(list(permutations(free, 2)))
    brute = likelihoods(model, seen, pairs)
    torch.testing.assert_close(logs[0], brute.sort(descending=True).values)
    assert found[0, 0].tolist() == pairs[brute.argmax()].tolist()


def test_the_margin_is_what_the_writer_prefers_beyond_the_reference() -> None:
    model, batch = make_model(dropout=0.3).train(), to_batch(Histories.from_rows([[1, 2, 3], [4]]))
    pairs = Pairs(batch, torch.tensor([[5, 1], [0, 9]]), torch.tensor([[2, 9], [6, 7]]))
    torch.testing.assert_close(model.margins(pairs), torch.zeros(2))
    assert model.preference_loss(pairs).item() == pytest.approx(np.log(2))
    with torch.no_grad():
        model.writer.embedding.weight.add_(torch.randn_like(model.writer.embedding.weight))
    model.eval()
    sides = [
        [one.log_likelihood(batch, lists).sum((1, 2)) for lists in (pairs.better, pairs.worse)] for one in (model.writer, model.reference)
    ]
    torch.testing.assert_close(model.margins(pairs), sides[0][0] - sides[0][1] - sides[1][0] + sides[1][1])
    assert model.training is False


class OddItems(nn.Module):
    """A reward that is known: how many items of a list have an odd number."""

    def people(self, histories: HistoryBatch) -> Tensor:
        return torch.zeros(len(histories), 1)

    def rewards(self, people: Tensor, lists: Tensor) -> Tensor:
        return (lists % 2).float().sum(1)


def test_alignment_raises_the_reward_of_lists_and_the_margin_and_leaves_the_reference_alone() -> None:
    model, batch = make_model(), to_batch(cycles(users=24).where(cycles(users=24).values < 10))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        slates = model.reward.reader.slates(batch)
        known, reader = OddItems(), model.reward.reader
        known.reader = reader
        model.reward = known  # type: ignore[assignment]
        histories = reader.clicked_before(slates, batch)
        pairs = model.compared(slates, batch)
        assert (known.rewards(None, pairs.better) >= known.rewards(None, pairs.worse)).all()  # type: ignore[arg-type]

        def reward() -> float:
            return known.rewards(None, model.generated(histories, 1)[0].flatten(0, 1)).mean().item()  # type: ignore[arg-type]

        before, frozen = reward(), [weight.clone() for weight in model.reference.parameters()]
        optimizer = torch.optim.Adam(model.writer.parameters(), lr=3e-3)
        for _ in range(40):
            optimizer.zero_grad()
            model.preference_loss(model.compared(slates.take(torch.randperm(len(slates))), batch)).backward()
            optimizer.step()
        assert model.margins(pairs).mean() > 1
        assert all(torch.equal(old, new) for old, new in zip(frozen, model.reference.parameters(), strict=True))
        model.begin_iteration()
        assert reward() > before + 0.5


def test_the_phases_follow_the_steps() -> None:
    model, batch = make_model(pretraining_steps=2, iteration_steps=3).train(), to_batch(cycles(users=8).where(cycles(users=8).values < 10))
    optimizer = torch.optim.Adam([one for one in model.parameters() if one.requires_grad], lr=1e-2)
    follows, judges = [], []
    for step in range(7):
        taught = [weight.clone() for weight in model.reward.parameters()]
        optimizer.zero_grad()
        before = model.writer.embedding.weight.clone()
        model.loss(batch, step).backward()
        follows.append(torch.equal(model.reference.embedding.weight, before))
        optimizer.step()
        judges.append(any(not torch.equal(old, new) for old, new in zip(taught, model.reward.parameters(), strict=True)))
    assert follows == [True, False, True, False, False, True, False]
    assert judges == [True, True, False, False, False, False, False]


def test_the_reward_model_learns_what_is_taken() -> None:
    """Of each page of three items the one with an even number is clicked."""
    random = np.random.default_rng(0)
    rows = [np.concatenate([random.permutation([random.choice([0, 2, 4, 6, 8]), 1, 3]) for _ in range(4)]) for _ in range(40)]
    histories = Histories.from_rows(rows)
    weights = (histories.values % 2 == 0).astype(np.float32)
    times = np.tile(np.repeat(np.arange(4.0), 3), 40)
    batch = to_batch(Histories(histories.values, histories.offsets, times, weights))
    model = make_model(gap=0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        slates = model.reward.reader.slates(batch)
        optimizer = torch.optim.Adam(model.reward.parameters(), lr=1e-2)
        for _ in range(80):
            optimizer.zero_grad()
            model.reward.loss(slates, batch).backward()
            optimizer.step()
    taken = model.reward.logits(model.reward.people(batch)[:2], torch.tensor([[3, 0, 1], [1, 3, -1]])).sigmoid()
    assert taken[0, 1] > 0.6
    assert max(taken[0, 0], taken[0, 2], taken[1, 0], taken[1, 1]) < 0.2
    rewards = model.reward.rewards(model.reward.people(batch)[:2], torch.tensor([[3, 0, 1], [1, 3, -1]]))
    torch.testing.assert_close(rewards, torch.stack([taken[0].sum(), taken[1, :2].sum()]))


def test_only_clicked_events_are_read() -> None:
    model, weights = make_model(), np.array([1, 0, 1, 0], dtype=np.float32)
    read = to_batch(Histories(np.array([1, 5, 2, 7]), np.array([0, 4]), None, weights))
    torch.testing.assert_close(score_all(model, read, model.trie), score_all(model, to_batch(Histories.from_rows([[1, 2]])), model.trie))


def test_experts_are_weighted_by_the_gate() -> None:
    torch.manual_seed(0)
    layer, x = ExpertFeedForward(8, 16, experts=3, active=2, dropout=0.0), torch.randn(5, 2, 8)
    normed = layer.norm(x)
    shares = layer.gate(normed).softmax(-1)
    least = shares.argmin(-1, keepdim=True)
    outputs = torch.stack([narrow(widen(normed).relu()) for widen, narrow in zip(layer.widen, layer.narrow, strict=True)], -1)
    expected = x + (outputs * shares.scatter(-1, least, 0)[..., None, :]).sum(-1)
    torch.testing.assert_close(layer(x), expected)


def test_more_active_experts_than_there_are_is_a_mistake_of_the_user() -> None:
    with pytest.raises(ConfigError, match="`active_experts` = 3 are more than the 2 experts there are"):
        OneRecConfig.parse({"experts": 2, "active_experts": 3})
