from __future__ import annotations

import torch

from recsmith.data import Histories
from recsmith.models.latent_slate_rl import LatentSlateRl, LatentSlateRlConfig
from recsmith.testing import SlateModelTests
from recsmith.training import to_batch

SMALL = {
    "slate": 3, "dim": 16, "hidden": 24, "latent": 4, "dropout": 0.3, "max_history": 8, "init_std": 0.1, "negatives": 6,
    "pretraining_steps": 120,
}  # fmt: skip


class TestLatentSlateRl(SlateModelTests):
    model_class = LatentSlateRl
    config = LatentSlateRlConfig.parse(SMALL)
    steps = 260


def test_the_agent_leaves_decoder_and_click_model_alone() -> None:
    torch.manual_seed(0)
    model = LatentSlateRl(LatentSlateRlConfig.parse(SMALL), items=12)
    batch = to_batch(Histories.from_rows([[1, 2, 3, 4], [3], []]))

    def moved(step: int) -> set[str]:
        model.zero_grad(set_to_none=True)
        model.loss(batch, step).backward()
        return {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}

    assert moved(0) == {"items", "bias", "posterior", "decoder", "click_head", "clicks"}
    assert moved(120) == {"reader", "actor", "critic"}


def test_the_agent_finds_the_slates_that_are_clicked() -> None:
    """Pages of three items; whatever came before, only items below 4 are ever clicked."""
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(1)
    pages = torch.stack([torch.randperm(12, generator=random)[:3] for _ in range(64 * 4)]).reshape(64, 12)
    rows = Histories.from_rows(pages.tolist())
    clicks = (rows.values < 4).astype("float32")
    batch = to_batch(Histories(rows.values, rows.offsets, (torch.arange(64 * 12) // 3).double().numpy(), clicks))
    model = LatentSlateRl(LatentSlateRlConfig.parse({**SMALL, "gap": 0, "negatives": 0, "dropout": 0.0, "discount": 0.3}), items=12)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(200):
        optimizer.zero_grad()
        model.loss(batch, step).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        found = model.decode(model.actor(model._state(batch))[0])
    assert (found < 4).float().mean() > 0.8  # a third by chance
