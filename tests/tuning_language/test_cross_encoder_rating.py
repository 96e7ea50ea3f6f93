"""The cross-encoder with a rating head: every model's promises, ratings that only a joint reading can tell, and its place in a cascade."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

pytest.importorskip("transformers")

import recsmith
from recsmith.data import Dataset, Histories
from recsmith.errors import DataError
from recsmith.models.cross_encoder_rating import CrossEncoderRating, CrossEncoderRatingConfig
from recsmith.protocols import RankedLists
from recsmith.retrieval import Cascade, JudgingReranker, PopularitySource, Question, Stage
from recsmith.testing import ScoreModelTests
from recsmith.testing.logs import ITEMS, cycles
from recsmith.training import to_batch

TINY = {
    "network": {"dim": 32, "layers": 1, "heads": 2, "ff_dim": 32, "words": 300, "dropout": 0.0},
    "pretrain_steps": 2, "told_history": 4, "candidates": 4, "hidden": 16, "dropout": 0.0,
}  # fmt: skip


class TestCrossEncoderRating(ScoreModelTests):
    model_class = CrossEncoderRating
    config = CrossEncoderRatingConfig.parse(TINY)
    personalised = False  # what it learns is tested below

    def build(self) -> Any:
        model = super().build()
        model.read([f"Chapter {number}" for number in range(ITEMS)])
        model.observe(cycles())
        return model


def camps(*, rated: bool, users: int = 60) -> Dataset:
    """Even people love red items and odd people blue ones, and take five of these; rated ones get five stars, and two others one star."""
    random = np.random.default_rng(0)
    rows = []
    for user in range(users):
        loved, others = (random.permutation(np.arange(12)[np.arange(12) % 2 == (user + shift) % 2]) for shift in (0, 1))
        shown = random.permutation([*loved[:5], *others[:2]]) if rated else loved[:5]
        rows += [(str(user), str(item), 5.0 if item % 2 == user % 2 else 1.0) for item in shown]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "rating"], orient="row").with_columns(timestamp=pl.int_range(len(rows)))
    titles = pl.DataFrame({"item_id": [str(item) for item in range(12)], "title": ["blue" if item % 2 else "red" for item in range(12)]})
    return Dataset.from_frame(frame if rated else frame.drop("rating"), catalogue=titles, name="camps")


def test_ratings_that_item_and_person_tell_only_together(tmp_path: Path) -> None:
    data, split = camps(rated=True), {"split": {"name": "explicit-rating"}}
    training = {"epochs": 30, "batch_size": 30, "learning_rate": 0.005, "validate_every": 15, "device": "cpu"}
    learned = recsmith.fit("cross-encoder-rating", data, settings={**split, "model": TINY, "training": training}, out=tmp_path / "run")
    simple = recsmith.fit("rating-means", data, settings=split).evaluate("test")
    found = learned.evaluate("test")
    assert found.metrics["RMSE"] < 1.0 < simple.metrics["RMSE"]
    loaded = recsmith.load(tmp_path / "run")
    assert loaded.evaluate("test").metrics == found.metrics
    ids = np.array([int(item) for item in loaded.log.items.ids])
    for colour in (0, 1):
        liked = np.flatnonzero(ids % 2 == colour)[:3]
        stranger = to_batch(Histories(liked, np.array([0, 3]), None, np.full(3, 5, dtype=np.float32)))
        stars = torch.cat([loaded.model.rate(stranger, [item]) for item in range(12)]).numpy()
        assert ((stars > 3) == (ids % 2 == colour)).all()


def test_without_ratings_it_learns_clicks_and_orders_any_cascade() -> None:
    training = {"epochs": 16, "batch_size": 30, "learning_rate": 0.005, "validate_every": 8, "device": "cpu"}
    fitted = recsmith.fit("cross-encoder-rating", camps(rated=False), settings={"model": TINY, "training": training})
    model = fitted.model
    with pytest.raises(DataError, match="has learned clicks, because its log had no ratings"):
        model.rate(to_batch(Histories.from_rows([[0]])), [1])
    ids = np.array([int(item) for item in fitted.log.items.ids])
    red, blue = np.flatnonzero(ids % 2 == 0), np.flatnonzero(ids % 2 == 1)
    cascade = Cascade([PopularitySource(np.arange(12))], candidates=12, stages=[Stage(JudgingReranker(model.judge), keep=12)])
    question = Question(Histories.from_rows([red[:2].tolist(), blue[:2].tolist(), []]))
    lists = cascade(question, 12)
    assert set(lists.items[0, :6]) == set(red)
    assert set(lists.items[1, :6]) == set(blue)
    assert lists.items[2].tolist() == list(range(11, -1, -1))  # nobody to judge by: the source's order


def test_a_stage_orders_by_what_is_judged() -> None:
    def judge(histories: Any, candidates: Any) -> list[torch.Tensor]:
        assert [one.items.tolist() for one in histories] == [[7], [8, 9]]
        return [torch.tensor([float(item % 3) for item in chosen]) for chosen in candidates]

    lists = RankedLists(np.array([[4, 2, 5, -1], [0, 1, 2, 3], [6, 3, -1, -1]]), np.full((3, 4), 1.0, dtype=np.float32))
    found = JudgingReranker(judge)(Question(Histories.from_rows([[7], [8, 9], []])), lists)
    assert found.items.tolist() == [[2, 5, 4, -1], [2, 1, 0, 3], [6, 3, -1, -1]]
    assert found.scores[0].tolist() == [2.0, 2.0, 1.0, -np.inf]


def test_questions_about_one_history_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    model = TestCrossEncoderRating().build().eval()
    history = to_batch(Histories.from_rows([[0, 1, 2]]))
    together = model.judge([history], [[3, 4, 5, 6]])[0]
    apart = torch.cat([model.judge([history], [[item]])[0] for item in (3, 4, 5, 6)])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)
