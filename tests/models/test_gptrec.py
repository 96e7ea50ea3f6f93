from __future__ import annotations

import torch

from recsmith.data import Histories
from recsmith.decoding import fill_slates
from recsmith.models.gptrec import GptRec, GptRecCodes, GptRecConfig
from recsmith.protocols import SlateModel
from recsmith.testing import CodeModelTests, ScoreModelTests
from recsmith.testing.logs import ITEMS, cycles
from recsmith.training import to_batch

SMALL = GptRecConfig(dim=16, layers=1, hidden=32, dropout=0.0, max_history=8, init_std=0.1)


class TestGptRec(ScoreModelTests):
    model_class = GptRec
    config = SMALL
    sequential = True


class TestGptRecCodes(CodeModelTests):
    model_class = GptRecCodes
    config = SMALL
    steps = 200


def test_next_k_goes_on_from_what_it_wrote() -> None:
    """In a cycle the best list begins with the next item and goes on from it; the best K by score would not."""
    model = TestGptRec().fit(cycles(), steps=100)
    assert isinstance(model, SlateModel)
    asked = Histories.from_rows([[0, 1, 2], [7]])
    slates = fill_slates(model, to_batch(asked), 4)
    assert slates.items.tolist() == [[3, 4, 5, 6], [8, 9, 10, 11]]


@torch.no_grad()
def test_a_slot_is_an_answer_to_the_longer_history() -> None:
    torch.manual_seed(0)
    model = GptRec(SMALL, items=ITEMS).eval()
    state = model.open_slate(to_batch(Histories.from_rows([[1, 2], [], [3]])), 3, None)
    longer = to_batch(Histories.from_rows([[1, 2, 5, 6], [7, 8], [3, 9, 10]]))
    torch.testing.assert_close(model.slot(state, torch.tensor([[5, 6], [7, 8], [9, 10]])), model.score(longer))
