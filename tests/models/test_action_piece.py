"""ActionPiece: what it reads, what it learns to merge, and that training and search agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.data import Histories, ItemCodes
from recsmith.decoding import CodeTrie, score_all
from recsmith.models.action_piece import ActionPiece, ActionPieceConfig
from recsmith.protocols import HistoryBatch
from recsmith.testing import CodeModelTests
from recsmith.training import to_batch

TINY = {
    "dim": 16, "heads": 2, "head_dim": 8, "ff_dim": 32, "encoder_layers": 1, "decoder_layers": 1, "max_history": 8, "dropout": 0.0,
    "merges": 12, "rounds": 4, "segmentations": 2,
}  # fmt: skip


class TestActionPiece(CodeModelTests):
    model_class = ActionPiece
    config = ActionPieceConfig.parse(TINY)
    steps = 220


def catalogue(items: int = 30) -> ItemCodes:
    numbers = np.random.default_rng(3).permutation(4 * 4 * 4)[:items]
    return ItemCodes(np.stack(np.unravel_index(numbers, (4, 4, 4)), axis=1), (4, 4, 4))


def make_model(histories: Histories, **overrides: object) -> ActionPiece:
    torch.manual_seed(1)
    model = ActionPiece(ActionPieceConfig.parse({**TINY, **overrides}), codes=catalogue())
    model.observe(histories)
    return model.eval()


def walks(rows: int = 40) -> Histories:
    return Histories.from_rows([[(row + step) % 30 for step in range(2 + row % 6)] for row in range(rows)])


def features(model: ActionPiece, token: int) -> list[int]:
    """What a piece was merged from."""
    if token < model.features:
        return [token]
    return [feature for part in model.rules[token - model.features].tolist() for feature in features(model, part)]


def scores(model: ActionPiece, rows: list[list[int]]) -> torch.Tensor:
    trie = CodeTrie.build(ItemCodes(catalogue().table, model.sizes))
    return score_all(model, to_batch(Histories.from_rows(rows)), trie)


def test_pieces_join_what_stands_together_within_and_across_items() -> None:
    """Items 0 and 1 always follow each other, others meet by chance."""
    random = np.random.default_rng(0)
    rows = [[0, 1] if row % 2 else random.integers(2, 30, 2).tolist() for row in range(200)]
    model = make_model(Histories.from_rows(rows), merges=20, rounds=20)
    pieces = [sorted(features(model, model.features + number)) for number in range(7)]
    first, second = sorted(model.item_codes[0].tolist()), sorted(model.item_codes[1].tolist())
    assert first in pieces
    assert second in pieces
    assert sorted(first + second) in pieces


def test_the_same_item_becomes_other_pieces_in_other_company() -> None:
    histories = Histories.from_rows([[0, 1]] * 50 + [[2, 3]] * 50)
    model = make_model(histories, merges=30, rounds=15)

    def read(rows: list[list[int]]) -> list[int]:
        codes = model.item_codes[torch.tensor(rows[0])]
        plain = torch.arange(3).expand(len(codes), -1)
        return model._pieces(codes, plain, torch.tensor([len(codes)]))[0].tolist()

    alone, company = read([[1]]), read([[0, 1]])
    assert len(company) < 1 + 2 * 3
    assert company[-len(alone) + 1 :] != alone[1:]


def test_reading_loses_nothing() -> None:
    model = make_model(walks(), merges=12)

    codes, inputs = model.item_codes[torch.arange(12)], torch.tensor([5, 0, 4, 3])
    tokens, lengths, order = model._pieces(codes, torch.rand(12, 3).argsort(1), inputs)
    for row, part in zip(order.tolist(), tokens.split(lengths.tolist()), strict=True):
        first = int(inputs[:row].sum())
        wanted = codes[first : first + int(inputs[row])].flatten().tolist()
        assert part[0] == 1
        assert sorted(feature for token in part[1:].tolist() for feature in features(model, token)) == sorted(wanted)


@pytest.mark.parametrize("which", ["all", "last"])
def test_without_merges_and_with_one_order_the_loss_is_what_search_scores(which: str) -> None:
    model = make_model(walks(), merges=0, segmentations=1, targets_per_history=which)
    model.orders[:] = torch.arange(3)
    rows = [[1, 2, 3, 9], [5], [], [4, 4]]
    pairs = [(row[:place], row[place]) for row in rows for place in range(len(row)) if which == "all" or place == len(row) - 1]
    exact = scores(model, [prefix for prefix, _ in pairs])
    expected = -np.mean([exact[number, target].item() for number, (_, target) in enumerate(pairs)]) / 3

    def in_order(shape: torch.Size, **_: object) -> torch.Tensor:
        return torch.arange(3.0).expand(shape)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", in_order)
        assert model.loss(to_batch(Histories.from_rows(rows)), 0).item() == pytest.approx(expected, rel=1e-5)


def test_answers_average_the_probabilities_of_the_segmentations() -> None:
    model, rows = make_model(walks(), segmentations=2), [[1, 2, 3], [], [7, 8]]
    batch = to_batch(Histories.from_rows(rows))
    both = model.step(model.prefill(batch), 0, None, None)[0].exp()
    orders, alone = model.orders.clone(), []
    for number in range(2):
        model.orders[:] = orders[number]
        alone.append(model.step(model.prefill(batch), 0, None, None)[0].exp())
    torch.testing.assert_close(both, (alone[0] + alone[1]) / 2)


def test_pieces_are_learned_once() -> None:
    model = make_model(walks())
    before = model.rules.clone()
    model.observe(Histories.from_rows([[20, 21]] * 40))
    assert torch.equal(model.rules, before)


def test_unknown_items_are_not_read() -> None:
    model = make_model(walks())
    torch.testing.assert_close(scores(model, [[1, -1, 2, -1]]), scores(model, [[1, 2]]))


def test_a_batch_without_targets_has_no_loss() -> None:
    model = make_model(walks(), targets_per_history="next")
    batch = HistoryBatch(torch.tensor([4]), torch.tensor([0, 0, 1]))
    assert model.loss(batch, 0).item() == 0.0
