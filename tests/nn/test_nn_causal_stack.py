from __future__ import annotations

import pytest
import torch

from recsmith.nn.causal_stack import CausalStack
from recsmith.nn.packed import offsets_from


@pytest.mark.parametrize("norm", ["pre", "post"])
@torch.no_grad()
def test_steps_give_the_states_of_one_pass_over_the_longer_rows(norm: str) -> None:
    torch.manual_seed(0)
    stack = CausalStack(dim=12, layers=2, heads=3, hidden=20, norm=norm).eval()
    lengths, written = torch.tensor([3, 1, 5]), torch.randn(3, 4, 12)
    rows = [torch.randn(int(length), 12) for length in lengths]
    state_of_last, state = stack.start(torch.cat(rows), offsets_from(lengths))
    found, parents = [state_of_last], None
    for place in range(4):
        beams = written[:, place, None]
        states, state = stack.step(beams, state, parents)
        parents = torch.zeros(3, 1, dtype=torch.int64)
        found.append(states[:, 0])
    longer = offsets_from(lengths + 4)
    whole = stack(torch.cat([torch.cat([row, more]) for row, more in zip(rows, written, strict=True)]), longer)
    for place, states in enumerate(found):
        torch.testing.assert_close(states, whole[longer[1:] - 5 + place], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_beams_follow_their_parents() -> None:
    torch.manual_seed(0)
    stack = CausalStack(dim=8, layers=2, heads=2, hidden=16).eval()
    _, state = stack.start(torch.randn(5, 8), torch.tensor([0, 2, 5]))
    first, second = torch.randn(2, 3, 8), torch.randn(2, 2, 8)
    _, before = stack.step(first, state, None)
    parents = torch.tensor([[2, 0], [1, 1]])
    together, _ = stack.step(second, before, parents)
    for row in range(2):
        for beam in range(2):
            chosen = first[:, parents[row, beam], None]
            _, alone = stack.step(chosen, state, None)
            expected, _ = stack.step(second[:, beam, None], alone, torch.zeros(2, 1, dtype=torch.int64))
            torch.testing.assert_close(together[row, beam], expected[row, 0], rtol=1e-4, atol=1e-5)
