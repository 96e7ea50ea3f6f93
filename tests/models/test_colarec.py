"""ColaRec: training sees what search scores, the four losses are the paper's, and ids gather what the same people had."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F

from recsmith.data import Histories, ItemCodes
from recsmith.decoding import CodeTrie, score_all
from recsmith.errors import ConfigError, UserError
from recsmith.item_tokenizers.graph_tree import GraphCodes, GraphConfig
from recsmith.models.colarec import Colarec, ColarecConfig
from recsmith.testing import CodeModelTests
from recsmith.testing.logs import ITEMS, full_codes
from recsmith.training import to_batch

TINY = {
    "dim": 16, "heads": 2, "head_dim": 8, "ff_dim": 32, "encoder_layers": 1, "decoder_layers": 1, "max_history": 8, "dropout": 0.0,
    "user_tokens": 5, "neighbours": 2, "index_items": 8,
}  # fmt: skip
TASKS_OFF = {"indexing": 0.0, "ranking": 0.0, "alignment": 0.0}
ROWS = [[1, 2, 3, 9, 4], [5], [], [4, 4]]


def vectors(items: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((items, 6)).astype(np.float32)


class TestColarec(CodeModelTests):
    model_class = Colarec
    config = ColarecConfig.parse(TINY)
    steps = 220

    def build(self) -> Any:
        return Colarec(self.config, codes=full_codes(), vectors=vectors(ITEMS))


def catalogue() -> ItemCodes:
    numbers = np.random.default_rng(0).permutation(4 * 3 * 2)[:20]
    return ItemCodes(np.stack(np.unravel_index(numbers, (4, 3, 2)), axis=1), (4, 3, 2))


def make_model(**overrides: object) -> Colarec:
    torch.manual_seed(1)
    model = Colarec(ColarecConfig.parse({**TINY, "max_history": 6, **overrides}), codes=catalogue(), vectors=vectors(20)).eval()
    model.observe(Histories.from_rows(ROWS))
    return model


def scores(model: Colarec, rows: list[list[int]], users: np.ndarray | None = None) -> torch.Tensor:
    return score_all(model, to_batch(Histories.from_rows(rows), users=users), CodeTrie.build(catalogue()))


def test_the_loss_of_next_items_is_what_search_scores_of_each_prefix() -> None:
    model = make_model(**TASKS_OFF)
    pairs = [(row, place) for row, items in enumerate(ROWS) for place in range(len(items))]
    users = np.array([7, -1, 2, 3])
    exact = scores(model, [ROWS[row][:place] for row, place in pairs], users[[row for row, _ in pairs]])
    expected = -np.mean([exact[number, ROWS[row][place]].item() for number, (row, place) in enumerate(pairs)]) / 3
    assert model.loss(to_batch(Histories.from_rows(ROWS), users=users), 0).item() == pytest.approx(expected, rel=1e-5)


def test_who_asks_matters_and_strangers_are_all_alike() -> None:
    model = make_model()
    known, other, same, nobody = scores(model, [[1, 2]] * 4, np.array([1, 2, 6, -1]))
    assert not torch.allclose(known, other, atol=1e-3)
    torch.testing.assert_close(known, same)
    torch.testing.assert_close(nobody, scores(model, [[1, 2]])[0])


def test_people_of_an_item_are_those_who_had_it() -> None:
    model = make_model(neighbours=3)
    people, counts = model._people_of(torch.tensor([4, 7, 5, 1] * 20))
    assert counts.tolist() == [2, 0, 1, 1] * 20
    drawn = people.split(counts.tolist())
    assert {int(person) for part in drawn[0::4] for person in part} == {0, 3}
    assert all(part.tolist() == [1] for part in drawn[2::4])
    assert all(part.tolist() == [0] for part in drawn[3::4])


def test_an_indexed_item_does_not_depend_on_those_beside_it() -> None:
    model = make_model(neighbours=1)
    model.observe(Histories.from_rows([[4], [5, 7]]))
    items = torch.tensor([7, 12, 4, 5])
    _, states = model.index(items)
    for place, item in enumerate(items):
        torch.testing.assert_close(model.index(item[None])[1][0], states[place])
    losses = [model.index(item[None])[0] for item in items]
    torch.testing.assert_close(model.index(items)[0], torch.stack(losses).mean())


def test_ranking_is_bpr_of_states() -> None:
    model, generator = make_model(), torch.Generator().manual_seed(0)
    people, states = torch.randn(4, 16, generator=generator), torch.randn(6, 16, generator=generator)
    items, targets = torch.tensor([3, 8, 2, 9, 8, 1]), torch.tensor([8, 5, 3, 2])  # 5 was not indexed, 8 has itself beside it
    ahead = torch.stack([people[2] @ (states[0] - states[3]), people[3] @ (states[2] - states[5])]) / 4
    torch.testing.assert_close(model.ranking_loss(people, targets, items, states), -F.logsigmoid(ahead).mean())


def test_alignment_is_between_items_whose_ids_begin_alike() -> None:
    model, first = make_model(), catalogue().table[:, 0]
    one, friend = np.flatnonzero(first == 0)[:2]
    stranger = int(np.flatnonzero(first == 1)[0])
    states = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    ahead = torch.stack([states[0] @ (states[1] - states[2]), states[1] @ (states[0] - states[2])]) / 4
    found = model.alignment_loss(torch.tensor([one, friend, stranger]), states)
    torch.testing.assert_close(found, -F.logsigmoid(ahead).mean())


def test_more_shared_levels_than_codes_is_a_mistake_of_the_user() -> None:
    with pytest.raises(ConfigError, match=r"`model\.shared_levels` = 4 of 3 codes; allowed: 1 to 3"):
        make_model(shared_levels=4)


def fitted_graph(**settings: int) -> tuple[GraphCodes, ItemCodes]:
    """Forty items in four communities; each of 200 people has five of one community."""
    random = np.random.default_rng(0)
    rows = [random.choice(np.arange(person % 4, 40, 4), 5, replace=False) for person in range(200)]
    tokenizer = GraphCodes(GraphConfig.parse({"levels": 2, "size": 4, "dim": 8, "steps": 30, **settings}))
    tokenizer.observe(Histories.from_rows(rows))
    tokenizer.bind(pl.Series("item_id", range(40)), None)
    return tokenizer, tokenizer.fit(np.empty((40, 0), dtype=np.float32), seed=0)


def test_graph_ids_begin_with_the_community_and_are_the_same_again() -> None:
    tokenizer, codes = fitted_graph()
    first = codes.table[:, 0]
    assert len({(item % 4, code) for item, code in enumerate(first.tolist())}) == 4
    assert len(np.unique(codes.table, axis=0)) == 40
    assert np.array_equal(codes.table, fitted_graph()[1].table)
    with pytest.raises(UserError, match="GraphCodes has no code for new items: nobody has met them yet; fit again"):
        tokenizer.assign(np.empty((1, 0), dtype=np.float32), taken=codes)
