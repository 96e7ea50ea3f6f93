"""TransRec: the promises of every model, its facets, and a cycle that it learns."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch

from recsmith.data import Histories
from recsmith.models.transrec import Transrec, TransrecConfig
from recsmith.testing import ScoreModelTests
from recsmith.testing.logs import ITEMS, cycles
from recsmith.training import to_batch

TEXTS = [f"Chapter {number} | {'odd' if number % 2 else 'even'}, book" for number in range(ITEMS)]
TINY = {
    "network": {"dim": 32, "layers": 1, "heads": 2, "ff_dim": 64, "words": 300, "dropout": 0.0},
    "pretrain_steps": 2,
    "told_history": 3,
    "beams": 12,
}


def made(texts: list[str] = TEXTS, **settings: object) -> Transrec:
    model = Transrec(TransrecConfig.parse({**TINY, **settings}), items=ITEMS)
    model.read(texts)
    model.observe(cycles())
    return model


class TestTransrec(ScoreModelTests):
    model_class = Transrec
    config = TransrecConfig.parse({**TINY, "examples": 2.0})
    sequential = True
    steps = 100

    def build(self) -> Transrec:
        model = Transrec(self.config, items=ITEMS)
        model.read(TEXTS)
        model.observe(cycles())
        return model


def test_a_question_asks_for_a_part_of_its_facet() -> None:
    model = made(examples=4.0)
    runs = {name: {model.network.text(run) for run in facet.index.runs} for name, facet in model.facets.items()}
    assert runs["id"] == {str(number) for number in range(1, ITEMS + 1)}
    assert {"Chapter 3", "3"} <= runs["title"]
    assert runs["attribute"] == {"odd", "even", "book"}
    cases = list(model.draw(to_batch(cycles()), np.random.default_rng(0)))
    assert {case.template for case in cases} == {"id", "title", "attribute"}
    for case in cases[:30]:
        question, answer = model.pair(case)
        told, part = model.network.text(question), model.network.text(answer)
        own = {"id": str(case.item + 1), "title": f"Chapter {case.item}", "attribute": TEXTS[case.item].partition(" | ")[2]}
        assert part in own[case.template]
        assert ("Chapter" in told) == (case.template == "title")
        assert answer[-1] == model.network.end or len(answer) == model.facets[case.template].index.codes.levels


def test_items_with_a_written_part_stand_before_all_others() -> None:
    model = made(weights={"title": 2.0}, bias={"title": 0.5}, beams=2).eval()
    batch = to_batch(Histories.from_rows([[0, 1], [5]]))
    found, scores = model.facet_scores("title", batch), model.score(batch)
    assert ((found > 0).sum(1) > 0).all()
    torch.testing.assert_close(scores[found > 0], 1 + 2 * found[found > 0])
    assert scores[found == 0].max() <= 0.5
    assert model.figures()["items reached per answer"] == pytest.approx(float((found > 0).sum()) / 2)


def test_a_facet_that_no_item_has_is_left_out_and_named() -> None:
    model = made([f"Chapter {number}" for number in range(ITEMS)])
    assert model.figures()["facets"] == ["id", "title"]
    assert model.figures()["facets without data"] == ["attribute"]
    assert torch.isfinite(model.eval().score(to_batch(Histories.from_rows([[], [3]])))).all()
