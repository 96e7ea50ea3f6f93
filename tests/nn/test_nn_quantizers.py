from __future__ import annotations

import pytest
import torch

from recsmith.nn import quantizers
from recsmith.nn.quantizers import ResidualQuantizer, kmeans, nearest, residual_codes


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_nearest_agrees_with_all_distances_whatever_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    x, centroids = gaussian(57, 5), gaussian(9, 5, seed=1)
    monkeypatch.setattr(quantizers, "_CELLS", 40)
    index, distance = nearest(x, centroids)
    expected = torch.cdist(x, centroids).square()
    assert torch.equal(index, expected.argmin(1))
    torch.testing.assert_close(distance, expected.min(1).values, rtol=1e-4, atol=1e-4)
    assert len(nearest(x[:0], centroids)[0]) == 0


def test_kmeans_finds_separated_clusters_and_their_means() -> None:
    centres = 20 * gaussian(6, 4)
    members = torch.arange(6).repeat_interleave(20)
    x = centres[members] + 0.1 * gaussian(120, 4, seed=1)
    centroids, assignment = kmeans(x, 6, seed=0)
    for cluster in range(6):
        assert len(assignment[members == cluster].unique()) == 1
        torch.testing.assert_close(centroids[assignment[members == cluster][0]], x[members == cluster].mean(0))


def test_kmeans_repeats_by_seed_and_uses_every_centroid() -> None:
    x = gaussian(500, 8)
    one, other = kmeans(x, 100, seed=1), kmeans(x, 100, seed=1)
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
    assert not torch.equal(one[0], kmeans(x, 100, seed=2)[0])
    assert len(one[1].unique()) == 100


def test_kmeans_never_gets_worse_with_iterations() -> None:
    x = gaussian(300, 6)
    errors = [(x - c[a]).square().sum() for c, a in (kmeans(x, 12, seed=0, iterations=i) for i in (1, 3, 10, 30))]
    assert errors == sorted(errors, reverse=True)


def test_kmeans_revives_an_empty_centroid() -> None:
    x = gaussian(50, 2)
    far = torch.full((3, 2), 1e3)
    assignment, distances = nearest(x, torch.cat([x[:1], far]))
    means = quantizers._means(x, assignment, distances, torch.cat([x[:1], far]))
    assert len(nearest(x, means)[0].unique()) == 4


@pytest.mark.parametrize("k", [1, 3, 5])
def test_kmeans_of_identical_rows(k: int) -> None:
    centroids, _ = kmeans(torch.ones(5, 3), k, seed=0)
    assert torch.equal(centroids, torch.ones(k, 3))


def test_kmeans_samples_many_rows_for_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantizers, "_SEEDING_ROWS", 20)
    assert len(kmeans(gaussian(200, 3), 10, seed=0)[1].unique()) == 10


@pytest.mark.parametrize("k", [0, 6])
def test_kmeans_refuses_more_centroids_than_rows(k: int) -> None:
    with pytest.raises(ValueError, match=f"k = {k} needs 1 ≤ k ≤ 5 rows"):
        kmeans(gaussian(5, 3), k, seed=0)


def test_residual_codes_and_what_is_left_add_up() -> None:
    x, books = gaussian(30, 4), [gaussian(8, 4, seed=1), 0.3 * gaussian(8, 4, seed=2)]
    codes, rest = residual_codes(x, books)
    torch.testing.assert_close(books[0][codes[:, 0]] + books[1][codes[:, 1]] + rest, x)


def test_quantizer_passes_gradients_straight_through_and_trains_its_codebooks() -> None:
    quantizer = ResidualQuantizer([8, 8], 4)
    x = gaussian(64, 4).requires_grad_()
    quantizer.start(x.detach(), seed=0)
    quantized, codes, pull, commitment = quantizer(x)
    assert torch.equal(codes, residual_codes(x.detach(), list(quantizer.codebooks))[0])
    quantized.sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))
    assert all(book.grad is None for book in quantizer.codebooks)
    x.grad = None
    pull.backward(retain_graph=True)
    assert x.grad is None
    assert all(book.grad is not None and book.grad.abs().sum() > 0 for book in quantizer.codebooks)
    commitment.backward()
    residuals = [x - quantizer.codebooks[0][codes[:, 0]]]
    residuals.append(residuals[0] - quantizer.codebooks[1][codes[:, 1]])
    torch.testing.assert_close(x.grad, 2 * (residuals[0] + residuals[1]).detach() / x.numel())


def test_reviving_moves_dead_codes_onto_residuals() -> None:
    quantizer = ResidualQuantizer([4, 4], 3)
    with torch.no_grad():
        for book in quantizer.codebooks:
            book.copy_(gaussian(4, 3))
            book[2:] = 1e3
    x = gaussian(40, 3, seed=5)
    dead = [torch.tensor([False, False, True, True])] * 2
    assert quantizer.revive(x, dead, generator=torch.Generator().manual_seed(0)) == 4
    codes, _ = residual_codes(x, [book.detach() for book in quantizer.codebooks])
    assert {2, 3} <= set(codes[:, 0].tolist())
