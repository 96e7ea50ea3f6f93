"""Packed attention against attention written plainly, row by row."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from recsmith.nn import attention
from recsmith.nn.attention import CausalSelfAttention, CrossAttention, LocalAttention, SelfAttention, TransformerBlock
from recsmith.nn.packed import Plan, offsets_from

LENGTHS = [3, 0, 1, 12, 5, 5, 40]


def plain_attention(module: SelfAttention, row: torch.Tensor) -> torch.Tensor:
    """The same weights on one row `[length, dim]`, head by head, with an explicit mask."""
    length, dim = row.shape
    query, key, value = module.project_in(row).split(dim, dim=1)
    width = dim // module.heads
    mixed = []
    for head in range(module.heads):
        part = slice(head * width, (head + 1) * width)
        logits = query[:, part] @ key[:, part].T / width**0.5
        if isinstance(module, CausalSelfAttention):
            logits = logits.masked_fill(torch.ones(length, length).triu(1).bool(), float("-inf"))
        mixed.append(logits.softmax(1) @ value[:, part])
    return module.project_out(torch.cat(mixed, 1))


@pytest.mark.parametrize("longest_plain", [0, 128], ids=["torch kernel", "plain products"])
@pytest.mark.parametrize("kind", [CausalSelfAttention, SelfAttention])
def test_packed_attention_equals_row_by_row(monkeypatch: pytest.MonkeyPatch, longest_plain: int, kind: type[SelfAttention]) -> None:
    monkeypatch.setattr(attention, "_LONGEST_PLAIN", longest_plain)
    torch.manual_seed(0)
    module = kind(dim=12, heads=3)
    offsets = offsets_from(torch.tensor(LENGTHS))
    tokens = torch.randn(sum(LENGTHS), 12, requires_grad=True)
    ours = module(tokens, Plan.of(offsets))
    plain = torch.cat([plain_attention(module, row) for row in tokens.split(LENGTHS) if len(row)])
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)
    direction = torch.randn_like(ours)
    inputs = [tokens, *module.parameters()]
    ours_gradients = torch.autograd.grad((ours * direction).sum(), inputs)
    plain_gradients = torch.autograd.grad((plain * direction).sum(), inputs)
    for a, b in zip(ours_gradients, plain_gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_block_looks_back_only_and_stays_in_its_row(norm: attention.Norm) -> None:
    torch.manual_seed(0)
    block = TransformerBlock(dim=8, heads=2, hidden=16, dropout=0.5, attention_dropout=0.5, norm=norm).eval()
    plan = Plan.of(offsets_from(torch.tensor([4, 6])))
    tokens = torch.randn(10, 8)
    changed = tokens.clone()
    changed[6] = torch.randn(8)  # third event of the second row
    same = (block(tokens, plan) == block(changed, plan)).all(1).tolist()
    assert same == [True] * 6 + [False] * 4


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    module = CausalSelfAttention(dim=8, heads=2, dropout=0.5)
    plan, tokens = Plan.of(offsets_from(torch.tensor([4, 6]))), torch.randn(10, 8)
    assert not torch.equal(module(tokens, plan), module(tokens, plan))
    module.eval()
    assert torch.equal(module(tokens, plan), module(tokens, plan))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="dim 10 does not divide into 3 heads"):
        CausalSelfAttention(dim=10, heads=3)


@pytest.mark.parametrize("local", ["window", "convolution"])
def test_local_heads_see_their_neighbourhood_alone(local: Literal["window", "convolution"]) -> None:
    torch.manual_seed(0)
    attention = LocalAttention(dim=8, heads=2, local_heads=1, local=local, reach=2)
    offsets = torch.tensor([0, 9, 9, 12, 22])
    tokens = torch.randn(22, 8, requires_grad=True)
    mixed = []
    attention.project_out.register_forward_pre_hook(lambda _, inputs: mixed.append(inputs[0]))
    attention(tokens, Plan.of(offsets))
    for half, reach in ((slice(0, 4), 99), (slice(4, 8), 2)):
        for place, row in ((4, range(9)), (9, range(9, 12)), (21, range(12, 22))):
            (gradient,) = torch.autograd.grad(mixed[0][place, half].sum(), tokens, retain_graph=True)
            assert gradient.isfinite().all()
            seen = gradient.abs().sum(1).nonzero().flatten().tolist()
            assert seen == [other for other in row if abs(other - place) <= reach]


@torch.no_grad()
def test_cross_attention_to_itself_is_self_attention() -> None:
    torch.manual_seed(0)
    cross, own = CrossAttention(dim=8, heads=2), SelfAttention(dim=8, heads=2)
    own.load_state_dict(cross.state_dict())
    plan, tokens = Plan.of(offsets_from(torch.tensor(LENGTHS))), torch.randn(sum(LENGTHS), 8)
    torch.testing.assert_close(cross(tokens, tokens, plan), own(tokens, plan))
    assert not torch.allclose(cross(tokens, tokens.flip(0), plan), own(tokens, plan), atol=1e-3)
