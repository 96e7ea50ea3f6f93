from __future__ import annotations

import torch

from recsmith.data import Histories
from recsmith.models.genrec_seq2seq import GenrecSeq2seq, GenrecSeq2seqConfig, cloze, cut
from recsmith.testing import ScoreModelTests
from recsmith.testing.logs import ITEMS, cycles
from recsmith.training import to_batch

SMALL = GenrecSeq2seqConfig.parse(
    {
        "dim": 32,
        "heads": 4,
        "head_dim": 8,
        "ff_dim": 64,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "dropout": 0.0,
        "max_history": 8,
        "mask_share": 0.4,
        "pretrain_steps": 30,
        "cuts": 4,
    }
)


class TestGenrecSeq2seq(ScoreModelTests):
    model_class = GenrecSeq2seq
    config = SMALL
    sequential = True
    learning_rate = 0.005


def test_masked_items_are_written_in_order_and_hidden_from_the_encoder() -> None:
    row = torch.tensor([4, 5, 6, 7])
    told, wanted = cloze(row, torch.tensor([True, False, True, False]), ITEMS)
    assert told.tolist() == [ITEMS, 5, ITEMS, 7]
    assert wanted.tolist() == [4, 6]
    torch.manual_seed(0)
    for _ in range(8):
        told, wanted = cut(row, ITEMS)
        assert told.tolist() == [*range(4, int(wanted)), ITEMS]


@torch.no_grad()
def test_a_mask_in_the_middle_is_filled_from_both_sides() -> None:
    """Pre-training alone teaches what stands between two items of a cycle."""
    model = TestGenrecSeq2seq()
    model.config = SMALL.override(pretrain_steps=10_000)
    fitted = model.fit(cycles(), steps=200)
    rows = [torch.tensor([start, ITEMS, (start + 2) % ITEMS]) for start in range(ITEMS)]
    begin = torch.full((ITEMS, 1), fitted.begin)
    filled = fitted._logits(rows, begin)[:, 0].argmax(1)
    assert (filled == (torch.arange(ITEMS) + 1) % ITEMS).float().mean() > 0.8


@torch.no_grad()
def test_what_the_decoder_wrote_before_counts() -> None:
    model = TestGenrecSeq2seq.shared()
    rows = [torch.tensor([1, ITEMS, ITEMS, 4])]
    one, two = (model._logits(rows, torch.tensor([[model.begin, first]])) for first in (2, 9))
    torch.testing.assert_close(one[:, 0], two[:, 0])
    assert not torch.allclose(one[:, 1], two[:, 1])


def test_an_empty_batch_has_no_loss() -> None:
    model = GenrecSeq2seq(SMALL, items=ITEMS)
    assert model.loss(to_batch(Histories.from_rows([[], []])), 0) == 0
