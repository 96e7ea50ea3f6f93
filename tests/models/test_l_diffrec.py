from __future__ import annotations

import torch

from recsmith.data import Histories
from recsmith.models.l_diffrec import LDiffRec, LDiffRecConfig
from recsmith.nn.bags import distinct
from recsmith.testing import ScoreModelTests
from recsmith.testing.logs import ITEMS, checkerboard
from recsmith.training import to_batch

SMALL = LDiffRecConfig(hidden=[24], steps=3, cluster_dim=4, encoder_hidden=24, latent=8, item_dropout=0.2, annealing_steps=10)


class TestLDiffRec(ScoreModelTests):
    model_class = LDiffRec
    config = SMALL


class TestOneCluster(ScoreModelTests):
    model_class = LDiffRec
    config = SMALL.override(clusters=1, reweight=False, importance=False)


def test_items_of_the_same_people_share_a_cluster() -> None:
    model = LDiffRec(SMALL, items=ITEMS + 2)
    model.observe(checkerboard())
    even, odd = model.clusters[0:ITEMS:2], model.clusters[1:ITEMS:2]
    assert even.unique().tolist() != odd.unique().tolist()
    assert len(even.unique()) == len(odd.unique()) == 1
    assert model.clusters[ITEMS:].tolist() == [0, 1]  # nobody had them: dealt


@torch.no_grad()
def test_clusters_keep_to_themselves() -> None:
    """Encoder and decoder against dense products, cluster by cluster."""
    torch.manual_seed(0)
    model = LDiffRec(SMALL, items=ITEMS).eval()
    model.clusters.copy_(torch.tensor([0] * 5 + [1] * 7)[torch.randperm(ITEMS)])
    items, offsets = distinct(torch.tensor([1, 5, 7, 2, 3, 3, 9, 1]), torch.tensor([0, 3, 4, 4, 8]), size=ITEMS)
    rows = torch.zeros(4, ITEMS)
    rows[torch.arange(4).repeat_interleave(offsets.diff()), items] = 1
    rows = rows / rows.norm(dim=1, keepdim=True).clamp(min=1)
    mean, log_variance = model._encode(items, offsets)
    encoder, decoder = model.encoder, model.decoder
    for cluster in (0, 1):
        own = (model.clusters == cluster).float()
        hidden = torch.tanh((rows * own) @ encoder.embedding.weight + encoder.bias[cluster])
        expected = hidden @ encoder.out.weight[cluster] + encoder.out.bias[cluster]
        part = slice(8 * cluster, 8 * cluster + 8)
        torch.testing.assert_close(torch.cat([mean[:, part], log_variance[:, part]], 1), expected)
        hidden = torch.tanh(mean[:, part] @ decoder.first.weight[cluster] + decoder.first.bias[cluster])
        scores = decoder(mean, model.clusters)[:, own.bool()]
        torch.testing.assert_close(scores, (hidden @ decoder.weight.T + decoder.bias)[:, own.bool()])


def test_every_term_of_the_loss_reaches_its_part() -> None:
    model = LDiffRec(SMALL, items=ITEMS).train()
    model.loss(to_batch(Histories.from_rows([[1, 2], [3]])), step=100).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
