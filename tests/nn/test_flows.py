from __future__ import annotations

import pytest
import torch
from torch import nn

from recsmith.nn.flows import CouplingFlow, Flows, PlanarFlow, log_normal


def chain(kind: str, dim: int) -> Flows:
    torch.manual_seed(1)
    flows: list[nn.Module] = []
    for number in range(3):
        flow = PlanarFlow(dim) if kind == "planar" else CouplingFlow(dim, 8, odd=bool(number % 2))
        for parameter in flow.parameters():
            nn.init.normal_(parameter, std=0.7)
        flows.append(flow.double())
    return Flows(flows)


@pytest.mark.parametrize("kind", ["planar", "coupling"])
def test_the_determinant_is_that_of_the_jacobian(kind: str) -> None:
    flows = chain(kind, 5)
    values = torch.randn(6, 5, dtype=torch.float64)
    _, change = flows(values)
    for value, found in zip(values, change, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda v: flows(v[None])[0][0], value)
        torch.testing.assert_close(found, torch.linalg.slogdet(jacobian).logabsdet, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["planar", "coupling"])
def test_the_mapped_density_adds_up_to_one(kind: str) -> None:
    """Change of variables, checked on a grid: the density of x = f(z) integrates to 1 over the image of a fine grid of z."""
    flows = chain(kind, 2)
    axis = torch.linspace(-6, 6, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    moved, change = flows(grid)
    density = (log_normal(grid) - change).exp()
    cells = moved.view(601, 601, 2)
    right, up = cells[1:, :-1] - cells[:-1, :-1], cells[:-1, 1:] - cells[:-1, :-1]
    areas = (right[..., 0] * up[..., 1] - right[..., 1] * up[..., 0]).abs()
    assert abs(float((density.view(601, 601)[:-1, :-1] * areas).sum().detach()) - 1) < 0.01


def test_a_coupling_is_undone_by_its_inverse() -> None:
    flow = CouplingFlow(6, 8, odd=True)
    nn.init.normal_(flow.network[2].weight)
    values = torch.randn(4, 6)
    torch.testing.assert_close(flow.inverse(flow(values)[0]), values, rtol=1e-4, atol=1e-5)


def test_a_planar_flow_never_folds() -> None:
    flow = PlanarFlow(3)
    with torch.no_grad():
        flow.push.copy_(-5 * flow.direction)  # would fold space without the correction
    line = torch.linspace(-4, 4, 200)[:, None] * flow.direction.detach()
    along = flow(line)[0] @ flow.direction
    assert (along.diff() > 0).all()


def test_density_of_the_normal() -> None:
    values = torch.randn(5, 3)
    expected = torch.distributions.Normal(torch.ones(3), 2.0).log_prob(values).sum(1)
    found = log_normal(values, torch.ones(3).expand(5, 3), torch.full((5, 3), 4.0).log())
    torch.testing.assert_close(found, expected)
