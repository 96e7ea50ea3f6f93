"""The scan answers what all scores answer: on random vectors, under limits and rules, with ties, and where it cannot prove its list."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.data import Histories, ItemCodes
from recsmith.decoding import BoundRules, Scan, faster_scan, top_k
from recsmith.errors import UserError
from recsmith.models import MODELS
from recsmith.protocols import HistoryBatch, InnerProductModel, Limits, Observer

ITEMS, DIM = 5000, 24


@pytest.fixture(scope="module")
def vectors() -> torch.Tensor:
    return torch.randn(ITEMS, DIM, generator=torch.Generator().manual_seed(1))


def queries(rows: int) -> torch.Tensor:
    return torch.randn(rows, DIM, generator=torch.Generator().manual_seed(2))


def check(scan: Scan, asked: torch.Tensor, k: int, **choices: object) -> None:
    got, wanted = scan.top_k(asked, k, **choices), top_k(scan.scores(asked), k, **choices)  # type: ignore[arg-type]
    np.testing.assert_array_equal(got.items, wanted.items)
    np.testing.assert_allclose(got.scores, wanted.scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 33, 70])
@pytest.mark.parametrize("biased", [False, True])
def test_lists_are_those_of_all_scores_and_proved(vectors: torch.Tensor, rows: int, biased: bool) -> None:
    scan = Scan(vectors, torch.linspace(-1, 1, ITEMS) if biased else None)
    check(scan, queries(rows), 10)
    assert (scan.proved, scan.scored_in_full) == (rows, 0)


def test_limits_and_rules_hold(vectors: torch.Tensor) -> None:
    scan, asked = Scan(vectors), queries(40)
    best = top_k(scan.scores(asked), 30).items
    exclude = Histories.from_rows([row[::2].tolist() for row in best])
    check(scan, asked, 10, limits=Limits(exclude=exclude))
    allowed = np.arange(ITEMS) % 3 == 0
    check(scan, asked, 10, limits=Limits(exclude=exclude, allowed=allowed), rules=BoundRules(ITEMS, allowed=np.arange(ITEMS) > 900))
    each = [BoundRules(ITEMS, allowed=np.arange(ITEMS) % 40 == row) for row in range(40)]
    check(scan, asked, 10, rules=each)
    assert scan.scored_in_full == 0
    check(scan, asked, 10, rules=BoundRules(ITEMS, bonus=np.linspace(0, 3, ITEMS).astype(np.float32), pins={1: 7}))


def test_fewer_items_than_asked_for(vectors: torch.Tensor) -> None:
    check(Scan(vectors), queries(3), 10, limits=Limits(allowed=np.arange(ITEMS) < 4))


def test_what_cannot_be_proved_is_scored_in_full() -> None:
    """All items nearly alike: the rounded ones are equal."""
    vectors = 1 + 1e-4 * torch.rand(ITEMS, DIM, generator=torch.Generator().manual_seed(3))
    scan = Scan(vectors)
    check(scan, queries(5), 10)
    assert scan.scored_in_full == 5


def test_equal_scores_go_to_the_smaller_item(vectors: torch.Tensor) -> None:
    scan = Scan(torch.cat([vectors[:2500], vectors[:2500]]))
    items = scan.top_k(queries(8), 6).items
    np.testing.assert_array_equal(items[:, 0::2] + 2500, items[:, 1::2])


def test_a_diverged_model_is_named(vectors: torch.Tensor) -> None:
    with pytest.raises(UserError, match="scores of 1 of 1 rows are NaN; the model diverged"):
        Scan(vectors).top_k(torch.full((1, DIM), torch.nan), 5)


def test_small_catalogues_are_not_scanned(vectors: torch.Tensor) -> None:
    assert faster_scan(queries(2), vectors, None) is None


SCANNED = ("sasrec", "gru4rec", "lrurec", "bert4rec", "hstu", "sse-pt", "alpharec", "rlmrec", "unisrec", "vqrec", "zesrec")


@pytest.mark.parametrize("name", SCANNED)
def test_models_score_by_the_inner_product_that_they_name(name: str) -> None:
    cls = MODELS.get(name)
    torch.manual_seed(4)
    random, reads = np.random.default_rng(0), getattr(cls, "reads", ())
    given = {"vectors": random.normal(size=(50, 24)).astype(np.float32), "codes": ItemCodes(random.integers(0, 8, (50, 3)), (8, 8, 8))}
    model = cls(cls.Config.parse({"dim": 16}), items=50, **{part: given[part] for part in reads}).eval()
    if isinstance(model, Observer):
        model.observe(Histories.from_rows([[1, 2, 3], [2, 4, 5], [7, 8]]))
    batch = HistoryBatch(torch.randint(0, 50, (9,)), torch.tensor([0, 4, 4, 9]))
    assert isinstance(model, InnerProductModel)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
        vectors, bias = model.answer_vectors()
        scores = model.queries(batch) @ vectors.T
        torch.testing.assert_close(scores if bias is None else scores + bias, model.score(batch))
