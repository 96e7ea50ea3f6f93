from __future__ import annotations

import torch

from recsmith.data import Histories
from recsmith.models.recgpt_kuaishou import RecgptKuaishou, RecgptKuaishouConfig
from recsmith.testing import ScoreModelTests
from recsmith.testing.logs import ITEMS, cycles
from recsmith.training import to_batch

SMALL = RecgptKuaishouConfig(dim=16, layers=1, hidden=32, dropout=0.0, max_history=8, user_slots=64, pretrain_steps=60, init_std=0.1)


class TestRecgptKuaishou(ScoreModelTests):
    model_class = RecgptKuaishou
    config = SMALL
    sequential = True


def test_it_generates_what_comes_next_and_reads_it_under_its_own_segment() -> None:
    model = TestRecgptKuaishou().fit(cycles())
    batch = to_batch(Histories.from_rows([[2, 3, 4], [9]]))
    people = model.users(None, rows=2)
    assert model.generate(batch.items, batch.offsets, people).tolist() == [[5, 6], [10, 11]]
    generated = torch.tensor([[5, 6], [10, 11]])
    behind = model._behind(batch.items, batch.offsets, people, generated)
    longer = to_batch(Histories.from_rows([[2, 3, 4, 5, 6], [9, 10, 11]]))
    segments = torch.tensor([0, 0, 0, 1, 1, 0, 1, 1])
    states = model(longer.items, longer.offsets, people, segments)
    torch.testing.assert_close(behind, states[longer.offsets[1:] - 1])


@torch.no_grad()
def test_the_answer_mixes_both_recalls() -> None:
    model = TestRecgptKuaishou.shared()
    batch = to_batch(Histories.from_rows([[1, 2], []]))
    shares = {}
    for share in (0.0, 0.25, 1.0):
        model.config = SMALL.override(recall=share)
        shares[share] = model.score(batch).exp()
    model.config = SMALL
    torch.testing.assert_close(shares[0.25], 0.75 * shares[0.0] + 0.25 * shares[1.0])
    assert not torch.allclose(shares[0.0], shares[1.0])
    torch.testing.assert_close(shares[0.25].sum(1), torch.ones(2))


def test_who_asks_matters_and_strangers_share_an_answer() -> None:
    model = RecgptKuaishou(SMALL, items=ITEMS).eval()
    torch.nn.init.normal_(model.users.weight)
    history = Histories.from_rows([[1, 2, 3]] * 3)
    with torch.no_grad():
        one, two, stranger = model.score(to_batch(history, users=torch.tensor([0, 1, -1]).numpy()))
        nobody = model.score(to_batch(history))
    assert not torch.allclose(one, two)
    torch.testing.assert_close(stranger, nobody[0])
