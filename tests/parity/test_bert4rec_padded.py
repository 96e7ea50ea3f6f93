"""BERT4Rec on packed rows against the same network written the textbook way: rows padded on the left to one length, padding masked."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from recsmith.data import Histories
from recsmith.models.bert4rec import Bert4Rec, Bert4RecConfig
from recsmith.training import to_batch

ITEMS, LENGTH = 30, 6
MASK, PADDING = -2, -1
ROWS = [[3, 1, 4, 1, 5], [9, 2], [6], [5, 3, 5, 8, 9, 7, 9], [], [2, 7, 1, 8, 2, 8, 1, 8, 2]]


def padded_logits(model: Bert4Rec, rows: list[list[int]]) -> Tensor:
    """Logits at every place, `[row, LENGTH + 1, item]`, of rows in which `MASK` stands for a mask."""
    width = LENGTH + 1
    items = torch.tensor([[PADDING] * (width - len(row)) + row for row in rows])
    real = items != PADDING
    places = width - 1 - torch.arange(width).expand_as(items)
    if model.config.positions == "start":
        places = (torch.arange(width) - (~real).sum(1, keepdim=True)).clamp(min=0)
    x = torch.where((items == MASK)[:, :, None], model.mask, model.items(items.clamp(min=0))) + model.positions(places)
    x = model.input_norm(x) if model.config.norm == "post" else x
    for block in model.blocks:

        def mix(y: Tensor, attention: torch.nn.Module = block.attention) -> Tensor:
            return F.multi_head_attention_forward(
                y.transpose(0, 1), y.transpose(0, 1), y.transpose(0, 1), model.config.dim, model.config.heads,
                attention.project_in.weight, attention.project_in.bias, None, None, False, 0.0,
                attention.project_out.weight, attention.project_out.bias, key_padding_mask=~real, need_weights=False,
            )[0].transpose(0, 1)  # fmt: skip

        def feed(y: Tensor, part: torch.nn.Module = block.feed_forward) -> Tensor:
            return part.narrow(F.gelu(part.widen(y)))

        if model.config.norm == "pre":
            x = x + mix(block.attention_norm(x))
            x = x + feed(block.feed_forward_norm(x))
        else:
            x = block.attention_norm(x + mix(x))
            x = block.feed_forward_norm(x + feed(x))
    return model.head_norm(F.gelu(model.head(x))) @ model.items.weight.T + model.bias


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("positions", ["start", "end"])
def test_packed_equals_padded_forward_and_backward(norm: str, positions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = Bert4RecConfig(dim=12, heads=3, hidden=20, max_history=LENGTH, norm=norm, positions=positions, init_std=0.3)  # type: ignore[arg-type]
    model = Bert4Rec(config, items=ITEMS).eval()
    with torch.no_grad():
        model.bias.normal_()
    scores = model.score(to_batch(Histories.from_rows(ROWS)))
    torch.testing.assert_close(scores, padded_logits(model, [[*row[-LENGTH:], MASK] for row in ROWS])[:, -1], rtol=1e-4, atol=1e-5)

    kept = [row[-LENGTH - 1 :] for row in ROWS]
    hidden = [[(place + number) % 3 == 0 for place in range(len(row))] for number, row in enumerate(kept)]
    monkeypatch.setattr(model, "_draw", lambda offsets, *, tokens: torch.tensor([masked for where in hidden for masked in where]))
    loss = model.loss(to_batch(Histories.from_rows(ROWS)), 0)
    cloze = [[MASK if masked else item for item, masked in zip(*pair, strict=True)] for pair in zip(kept, hidden, strict=True)]
    logits = padded_logits(model, cloze)
    chosen = [logits[number, LENGTH + 1 - len(row) :][where] for number, (row, where) in enumerate(zip(kept, hidden, strict=True)) if row]
    targets = [item for row, where in zip(kept, hidden, strict=True) for item, masked in zip(row, where, strict=True) if masked]
    reference = F.cross_entropy(torch.cat(chosen), torch.tensor(targets))
    torch.testing.assert_close(loss, reference, rtol=1e-5, atol=1e-6)
    parameters = list(model.parameters())
    gradients, expected = (torch.autograd.grad(x, parameters, allow_unused=True) for x in (loss, reference))
    for a, b in zip(gradients, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
