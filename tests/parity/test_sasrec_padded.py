"""SASRec on packed rows against the same network written the textbook way: one row per prefix, padded on the left, masked."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from recsmith.data import Histories
from recsmith.models.sasrec import Sasrec, SasrecConfig
from recsmith.training import to_batch

ITEMS, LENGTH = 30, 6
ROWS = [[3, 1, 4, 1, 5], [9, 2], [6], [5, 3, 5, 8, 9, 7, 9], [2, 7, 1, 8, 2, 8, 1, 8, 2]]


def padded_states(model: Sasrec, rows: list[list[int]]) -> Tensor:
    """State of the last event of each row, `[row, dim]`, from left-padded rows and torch's own multi-head attention."""
    items = torch.tensor([[-1] * (LENGTH - len(row)) + row for row in rows])
    real = items >= 0
    places = torch.arange(LENGTH).expand_as(items)
    if model.config.positions == "start":
        places = (places - (~real).sum(1, keepdim=True)).clamp(min=0)
    else:
        places = LENGTH - 1 - places
    x = model.items(items.clamp(min=0)) + model.encoder.positions(places)
    x = model.encoder.input_norm(x) if model.config.norm == "post" else x
    hidden = torch.ones(LENGTH, LENGTH).triu(1).bool() | ~real[:, None, :]
    hidden = hidden & ~torch.eye(LENGTH).bool()  # padding sees itself, else its softmax is empty
    hidden = hidden.repeat_interleave(model.config.heads, 0)
    for block in model.encoder.blocks:
        attention, pre = block.attention, model.config.norm == "pre"

        def mix(y: Tensor, attention: torch.nn.Module = attention) -> Tensor:
            return F.multi_head_attention_forward(
                y.transpose(0, 1), y.transpose(0, 1), y.transpose(0, 1), model.config.dim, model.config.heads,
                attention.project_in.weight, attention.project_in.bias, None, None, False, 0.0,
                attention.project_out.weight, attention.project_out.bias, attn_mask=hidden, need_weights=False,
            )[0].transpose(0, 1)  # fmt: skip

        def feed(y: Tensor, part: torch.nn.Module = block.feed_forward) -> Tensor:
            return part.narrow(F.gelu(part.widen(y)))

        if pre:
            x = x + mix(block.attention_norm(x))
            x = x + feed(block.feed_forward_norm(x))
        else:
            x = block.attention_norm(x + mix(x))
            x = block.feed_forward_norm(x + feed(x))
    return model.encoder.output_norm(x)[:, -1]


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("positions", ["start", "end"])
def test_packed_equals_padded_forward_and_backward(norm: str, positions: str) -> None:
    torch.manual_seed(0)
    config = SasrecConfig(dim=12, heads=3, hidden=20, max_history=LENGTH, norm=norm, positions=positions, init_std=0.3)  # type: ignore[arg-type]
    model = Sasrec(config, items=ITEMS).eval()
    with torch.no_grad():
        model.start.normal_()
    scores = model.score(to_batch(Histories.from_rows(ROWS)))
    reference = padded_states(model, [row[-LENGTH:] for row in ROWS]) @ model.items.weight.T
    torch.testing.assert_close(scores, reference, rtol=1e-4, atol=1e-5)
    if positions == "end":
        return  # the training positions of one long row count from its own end, those of its prefixes from theirs

    kept = [row[-LENGTH - 1 :] for row in ROWS]
    prefixes = [(row[:n], row[n]) for row in kept for n in range(1, len(row))]
    states = torch.cat([padded_states(model, [prefix for prefix, _ in prefixes]), model.start.expand(len(kept), -1)])
    targets = torch.tensor([target for _, target in prefixes] + [row[0] for row in kept])
    reference = F.cross_entropy(states @ model.items.weight.T, targets)
    loss = model.loss(to_batch(Histories.from_rows(ROWS)), 0)
    torch.testing.assert_close(loss, reference, rtol=1e-5, atol=1e-6)
    parameters = list(model.parameters())
    gradients, expected = (torch.autograd.grad(x, parameters, allow_unused=True) for x in (loss, reference))
    for a, b in zip(gradients, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
