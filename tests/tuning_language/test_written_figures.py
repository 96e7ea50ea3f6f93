"""What was wrong with titles that a tuned model wrote: known answers from scripted texts, for each model that writes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

from title_suite import TITLES

from recsmith.data import Histories
from recsmith.models.bigrec import Bigrec, BigrecConfig
from recsmith.models.calrec import Calrec, CalrecConfig
from recsmith.models.gpt4rec import Gpt4rec, Gpt4recConfig
from recsmith.models.recgpt import Recgpt, RecgptConfig
from recsmith.testing.logs import ITEMS, cycles
from recsmith.training import to_batch
from recsmith.tuning_language.tally import Tally

TINY = {
    "network": {"dim": 16, "layers": 1, "heads": 2, "ff_dim": 32, "words": 300, "dropout": 0.0},
    "pretrain_steps": 0,
    "told_history": 4,
    "tuner": {"method": "lora", "rank": 4},
}
RATES = ("titles written", "exact before grounding", "hallucination before grounding", "duplicate", "format error")


def made(kind: Any, config: Any) -> Any:
    torch.manual_seed(0)
    model = kind(config, items=ITEMS)
    model.read(TITLES)
    model.observe(cycles())
    return model.eval()


def rates(model: Any) -> list[float]:
    figures = model.figures()
    return [pytest.approx(figures[name]) for name in RATES]


def test_a_tally_of_lists_by_hand() -> None:
    tally = Tally()
    tally.count([["Up", "Heat", "Up", ""], ["Never", "Never", " "], []], {"Up", "Heat"})
    assert tally.figures() == {
        "titles written": 7,
        "exact before grounding": pytest.approx(3 / 7),
        "hallucination before grounding": pytest.approx(2 / 5),
        "duplicate": pytest.approx(2 / 5),
        "format error": pytest.approx(2 / 7),
    }
    assert Tally().figures()["format error"] == 0


@pytest.mark.parametrize(("kind", "config"), [(Bigrec, BigrecConfig), (Recgpt, RecgptConfig)])
def test_one_title_each(kind: Any, config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(kind, config.parse(TINY))
    texts = [model.network.tokens("Chapter 3"), model.network.tokens("Chapter Chapter"), []]
    monkeypatch.setattr(model.network, "write", lambda inputs, *, longest: texts[: len(inputs)])
    assert torch.isfinite(model.score(to_batch(Histories.from_rows([[1, 2], [], [3]])))).all()
    assert rates(model) == [3, 1 / 3, 1 / 2, 0, 1 / 3]
    model.train()
    assert rates(model)[0] == 0, "what was written before it learned more is not its answer any longer"


def test_several_queries_each(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(Gpt4rec, Gpt4recConfig.parse({**TINY, "queries": 4}))
    beams = [model.network.tokens(text) for text in ("Chapter 3", "Chapter 3", "Chapter Chapter", "")]
    monkeypatch.setattr(model, "_beams", lambda questions: beams * len(questions))
    batch = to_batch(Histories.from_rows([[1, 2], [3]]))
    model.score(batch)
    assert rates(model) == [8, 1 / 2, 1 / 3, 1 / 3, 1 / 4]
    assert model.queries_of(batch) == [["Chapter 3", "Chapter Chapter"]] * 2
    assert rates(model)[0] == 8, "only answers count"


def test_several_texts_each(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(Calrec, CalrecConfig.parse({**TINY, "texts": 2}))
    first, *rest = model.network.tokens("Chapter 3")
    logits = torch.full((1, model.network.word_count + 50), -10.0)
    logits[0, first], logits[0, model.network.end] = 9.0, 8.0
    monkeypatch.setattr(model.network, "next_logits", lambda questions: logits.expand(len(questions), -1))
    monkeypatch.setattr(model.network, "write", lambda inputs, *, longest: [rest for _ in inputs])
    model.score(to_batch(Histories.from_rows([[1, 2], [3]])))
    assert rates(model) == [4, 1 / 2, 0, 0, 1 / 2]
