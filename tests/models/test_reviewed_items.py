"""Reviewed-item retrieval: its scores against those of `ReviewSource`, what it reads, and what words and aspects do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.models.test_content_knn import parity_vectors

import recsmith
from recsmith import Dataset
from recsmith.data import Histories
from recsmith.encoders.encode import EncodedTexts
from recsmith.errors import DataError, UserError
from recsmith.language.asker import Asker
from recsmith.language.request_aspects import request_aspects
from recsmith.language.scripted import ScriptedBackend
from recsmith.models import reviewed_items
from recsmith.models.reviewed_items import ReviewedItems, ReviewedItemsConfig
from recsmith.nn.grouped_members import best_of_groups, group_slots
from recsmith.retrieval import ExactIndex, Question, ReviewSource
from recsmith.systems import systems
from recsmith.testing.logs import ITEMS
from recsmith.testing.models import ScoreModelTests
from recsmith.training import to_batch

DIRECTIONS = {"cheap": [1, 0, 0], "near the sea": [0, 1, 0], "quiet": [0, 0, 1]}


class TestReviewedItems(ScoreModelTests):
    """Three reviews an item, which resemble those of the items of its parity."""

    model_class = ReviewedItems
    config = ReviewedItemsConfig(best=2, max_history=8)
    steps = 20

    def build(self) -> Any:
        model = ReviewedItems(self.config, items=ITEMS)
        noise = 0.05 * np.random.default_rng(1).normal(size=(3 * ITEMS, 6))
        model.take(np.tile(parity_vectors(), (3, 1)) + noise.astype(np.float32), np.tile(np.arange(ITEMS), 3))
        return model


class TestAspects(TestReviewedItems):
    config = ReviewedItemsConfig(asks="aspects", max_history=4)


class TestWorstAspect(TestReviewedItems):
    config = ReviewedItemsConfig(asks="aspects", fusion="least", max_history=4)


def encoded(texts: list[str], *_: object, **__: object) -> EncodedTexts:
    return EncodedTexts(np.array([DIRECTIONS[text] for text in texts], dtype=np.float32), "directions", 0.0, 0)


@pytest.fixture
def reviews() -> tuple[np.ndarray, np.ndarray]:
    """Vectors of length 1 and the item of each."""
    vectors = np.random.default_rng(0).normal(size=(14, 3)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.arange(14) % 5


@pytest.mark.parametrize("settings", [{}, {"asks": "aspects"}, {"asks": "aspects", "fusion": "least"}])
def test_untuned_it_scores_as_the_source_over_reviews_does(
    settings: dict[str, Any], reviews: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviewed_items, "encode_texts", encoded)
    vectors, owners = reviews
    model = ReviewedItems(ReviewedItemsConfig(best=2, **settings), items=5)
    model.take(vectors, owners)
    index = ExactIndex()
    index.add(np.arange(len(vectors)), vectors)
    words = "cheap and near the sea" if settings else "quiet"
    split = (lambda text: text.split(" and ")) if settings else None
    source = ReviewSource(index, owners, lambda texts: encoded(texts).vectors, best=2, aspects=split, fusion=settings.get("fusion", "mean"))
    expected = source(Question(Histories.from_rows([[]]), words=[words]), 5)
    with torch.no_grad():
        scores = model.score_told(to_batch(Histories.from_rows([[1, 2]])), [words])[0].numpy()
    assert scores[expected.items[0]] == pytest.approx(expected.scores[0], abs=1e-5)


@torch.no_grad()
def test_a_history_asks_by_the_reviews_of_what_was_taken() -> None:
    model = ReviewedItems(ReviewedItemsConfig(best=1, fade=0.0), items=3)
    model.take(np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], dtype=np.float32), np.array([0, 1, 2, 2]))
    assert model.score(to_batch(Histories.from_rows([[1, 0], []]))).tolist() == [pytest.approx([1, 0, 0.6]), [0, 0, 0]]
    apart = ReviewedItems(ReviewedItemsConfig(best=1, asks="aspects"), items=3)
    apart.load_state_dict(model.state_dict())
    assert apart.score(to_batch(Histories.from_rows([[1, 0]])))[0].tolist() == pytest.approx([0.5, 0.5, 0.7])
    least = ReviewedItems(ReviewedItemsConfig(best=1, asks="aspects", fusion="least"), items=3)
    least.load_state_dict(model.state_dict())
    assert least.score(to_batch(Histories.from_rows([[1, 0]])))[0].tolist() == pytest.approx([0, 0, 0.6])


def test_training_brings_reviews_of_one_item_together() -> None:
    """What reviewers share says nothing; the tuned layer learns to look at the rest."""
    random = np.random.default_rng(0)
    own, people = random.normal(size=(ITEMS, 4)), random.normal(size=(5, 4))
    vectors = np.concatenate([np.concatenate([own, np.tile(3 * voice, (ITEMS, 1))], axis=1) for voice in people])
    torch.manual_seed(0)
    model = ReviewedItems(ReviewedItemsConfig(), items=ITEMS)
    model.take(vectors.astype(np.float32), np.tile(np.arange(ITEMS), 5))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    batch = to_batch(Histories.from_rows([list(range(ITEMS))]))

    def found() -> float:
        """Share of reviews whose nearest other review is of the same item."""
        with torch.no_grad():
            table = model._moved(model.vectors)
            nearest = (table @ table.T).fill_diagonal_(-2).argmax(1)
            return (model.owners[nearest] == model.owners).float().mean().item()

    before = found()
    for step in range(150):
        optimizer.zero_grad()
        model.loss(batch, step).backward()
        optimizer.step()
    assert before < 0.2
    assert found() > 0.9


def shop(*, reviewed: bool = True) -> Dataset:
    """Twelve people with five events each, all reviewed; the reviews of the last two say so."""
    rows = [(user, (user + step) % 8, step) for user in range(12) for step in range(5)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    texts = [f"{'held out' if step > 2 else 'trained'}: user {user} on item {item}" for user, item, step in rows]
    titles = pl.DataFrame({"item_id": range(8), "title": [f"Thing {item}" for item in range(8)]})
    return Dataset.from_frame(frame, catalogue=titles, reviews=frame.with_columns(text=pl.Series(texts)) if reviewed else None, name="shop")


QUICK = {"training": {"epochs": 1}, "model": {"encoder": {"name": "tfidf", "dim": 16}, "reviews": 3}}


@pytest.mark.parametrize("recipe", ["reviewed-items", "multi-aspect-retrieval"])
def test_reviews_of_held_out_events_are_never_read(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def listening(texts: list[str], *rest: Any, **named: Any) -> EncodedTexts:
        read.extend(texts)
        return original(texts, *rest, **named)

    original = reviewed_items.encode_texts
    monkeypatch.setattr(reviewed_items, "encode_texts", listening)
    fitted = recsmith.fit(recipe, shop(), settings=QUICK, out=tmp_path / "run")
    assert len(read) == 24  # three of each item's trained ones
    assert all(text.startswith("trained: ") for text in read)
    loaded = recsmith.load(tmp_path / "run")
    assert loaded.recommend(users=[1, 2], k=3).equals(fitted.recommend(users=[1, 2], k=3))
    assert fitted.model.figures()["encoder"].startswith("hashed-tfidf")
    assert loaded.model.figures()["items with two or more"] == 8
    assert loaded.recommend(users=[1], k=3).columns == ["user_id", "item_id", "score", "rank"]
    with pytest.raises(UserError, match=r"cannot be asked in words; .*encoder\.name=minilm"):
        loaded.model.score_told(to_batch(Histories.from_rows([[1]])), ["cheap"])


def test_items_without_a_review_stand_with_their_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = reviewed_items.encode_texts
    monkeypatch.setattr(
        reviewed_items, "encode_texts", lambda texts, *rest, **named: (read.extend(texts), original(texts, *rest, **named))[1]
    )
    data = shop()
    silent = Dataset.from_frame(
        data.interactions, catalogue=data.catalogue, reviews=data.reviews.filter(pl.col("item_id") != 5), name="silent"
    )
    fitted = recsmith.fit("reviewed-items", silent, settings=QUICK)
    assert [text for text in read if not text.startswith("trained")] == ["Thing 5"]
    assert len(fitted.recommend(histories=[[0]], k=7)) == 7


def test_data_without_reviews_are_refused() -> None:
    with pytest.raises(DataError, match="needs reviews of training events, and there are none; give data with a table of reviews"):
        recsmith.fit("reviewed-items", shop(reviewed=False), settings=QUICK)


def test_requests_are_taken_apart_by_a_language_model_or_by_punctuation() -> None:
    requests = ["cheap, near the sea and quiet", "?!"]
    assert request_aspects(requests, None, most=2) == [["cheap", "near the sea"], ["?!"]]
    backend = ScriptedBackend(["1. close to a beach\n2. cheap\n3. cheap", "none of it"])
    assert request_aspects(requests, Asker(backend), most=3) == [["close to a beach", "cheap"], ["none of it"]]
    assert ["cheap, near the sea and quiet" in prompt.messages[-1].content for prompt in backend.asked] == [True, False]


def test_groups_are_judged_by_their_best_members() -> None:
    slots = group_slots(torch.tensor([2, 0, 2, 2]), 4)
    assert slots.tolist() == [[1, -1, -1], [-1, -1, -1], [0, 2, 3], [-1, -1, -1]]
    values = torch.tensor([[0.1, -0.5, 0.3, 0.2]])
    torch.testing.assert_close(best_of_groups(values, slots, 2), torch.tensor([[-0.5, 0.0, 0.25, 0.0]]))
    torch.testing.assert_close(best_of_groups(values, slots, 9), torch.tensor([[-0.5, 0.0, 0.2, 0.0]]))


def test_the_table_of_systems_names_both() -> None:
    rows = {row.id: row for row in systems()}
    assert (rows["4.17"].recipe, rows["4.18"].recipe) == ("reviewed-items", "multi-aspect-retrieval")
