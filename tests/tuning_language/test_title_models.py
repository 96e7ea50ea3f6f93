"""TALLRec, LlamaRec and BIGRec: the promises of every model, what they are asked, and what they find on the simulated world."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from title_suite import TITLES, TitleModelTests

import recsmith
from recsmith.data import Histories
from recsmith.data.world import world
from recsmith.errors import ConfigError, DataError, UserError
from recsmith.models.bigrec import Bigrec, BigrecConfig
from recsmith.models.llamarec import Llamarec, LlamarecConfig
from recsmith.models.tallrec import Tallrec, TallrecConfig
from recsmith.protocols import HistoryBatch
from recsmith.testing.logs import ITEMS, checkerboard, cycles
from recsmith.training import to_batch

TINY = {
    "network": {"dim": 16, "layers": 1, "heads": 2, "ff_dim": 32, "words": 300, "dropout": 0.0},
    "pretrain_steps": 2,
    "told_history": 4,
    "tuner": {"method": "lora", "rank": 4},
}


class TestTallrec(TitleModelTests):
    model_class = Tallrec
    config = TallrecConfig.parse({**TINY, "candidates": 5})


class TestLlamarec(TitleModelTests):
    model_class = Llamarec
    config = LlamarecConfig.parse({**TINY, "candidates": 5})


class TestBigrec(TitleModelTests):
    model_class = Bigrec
    config = BigrecConfig.parse(TINY)


def made(kind, config, histories: Histories | None = None):
    torch.manual_seed(0)
    model = kind(config, items=ITEMS)
    model.read(TITLES)
    model.observe(cycles() if histories is None else histories)
    return model.eval()


def test_yes_and_no_follow_the_rating_where_that_is_asked() -> None:
    config = TallrecConfig.parse({**TINY, "label": "liked", "examples": 3.0})
    rows = Histories.from_rows([[0, 1, 2, 3, 4, 5]] * 4)
    rated = replace(rows, weights=np.tile(np.array([5, 1, 4, 2, 5, 3], dtype=np.float32), 4))
    model = made(Tallrec, config, rated)
    for case in model.draw(to_batch(rated), np.random.default_rng(0)):
        assert case.words["answer"] == ("Yes" if case.item in (0, 2, 4) else "No")
        assert {*case.history} <= {0, 2, 4}
        assert {*case.disliked} <= {1, 3, 5}
        assert all(item < case.item for item in (*case.history, *case.disliked))
    with pytest.raises(DataError, match="label `liked` needs ratings and the log has none"):
        model.loss(to_batch(rows), 0)


def test_a_question_about_what_was_taken_has_a_right_answer() -> None:
    model = made(Tallrec, TallrecConfig.parse({**TINY, "examples": 5.0}))
    rows = Histories.from_rows([[0, 1, 2], [5, 6, 7]])
    batch = to_batch(rows)
    answers = {(case.words["answer"], case.item in (0, 1, 2, 5, 6, 7)) for case in model.draw(batch, np.random.default_rng(0))}
    assert answers >= {("Yes", True)}
    assert ("No", False) in answers
    likes = model.likes(batch, [3, 8])
    assert ((likes > 0) & (likes < 1)).all()


def test_the_letter_of_the_target_is_the_answer() -> None:
    model = made(Llamarec, LlamarecConfig.parse({**TINY, "candidates": 5, "examples": 8.0}))
    batch = to_batch(Histories.from_rows([[0, 1, 2, 3]]))
    cases = list(model.draw(batch, np.random.default_rng(0)))
    places = {case.words["answer"] for case in cases}
    assert len(places) > 2
    for case in cases:
        target = case.candidates["ABCDE".index(case.words["answer"])]
        assert target == case.history[-1] + 1
        assert len(set(case.candidates)) == 5
    text = model.wording.shown(model.template, cases[0])
    assert re.fullmatch(r"History: .*Candidates: \( ?A.*Chapter.*The next is", text.input)


def test_only_low_rank_updates_learn_after_the_model_can_read() -> None:
    model = made(Tallrec, TallrecConfig.parse(TINY))
    before = {name: value.clone() for name, value in model.network.named_parameters()}
    optimizer = torch.optim.Adam([one for one in model.parameters() if one.requires_grad], lr=0.1)
    model.train().loss(to_batch(cycles()), 0).backward()
    optimizer.step()
    moved = {name for name, value in model.network.named_parameters() if not torch.equal(value, before[name])}
    assert moved
    assert all(re.search(r"\.(up|down)$", name) for name in moved)


def test_whatever_is_written_only_items_of_the_catalogue_are_answered() -> None:
    model = made(Bigrec, BigrecConfig.parse(TINY))
    batch = to_batch(Histories.from_rows([[1, 2], [], [3]]))
    assert not set(model.written(batch)) & set(TITLES)  # untrained, it writes nonsense
    scores = model.score(batch)
    assert torch.isfinite(scores).all()
    assert model.figures()["titles written"] == 3
    assert model.figures()["exact before grounding"] == 0


def test_bad_input_is_named() -> None:
    with pytest.raises(DataError, match="Tallrec has read no item texts; fit it on data with a catalogue"):
        Tallrec(TallrecConfig.parse(TINY), items=ITEMS).observe(cycles())
    with pytest.raises(ConfigError, match="retriever `sasrec` does not fit"):
        Tallrec(TallrecConfig.parse({**TINY, "retriever": "sasrec"}), items=ITEMS)
    with pytest.raises(ConfigError, match="candidates"):
        LlamarecConfig.parse({**TINY, "candidates": 27})
    with pytest.raises(UserError, match="holds no language model"):
        made(Bigrec, BigrecConfig.parse({**TINY, "network": {"folder": "/nowhere"}}))
    long = made(Bigrec, BigrecConfig.parse(TINY))
    long.read(["word " * 3000, *TITLES[1:]])
    assert torch.isfinite(long.score(to_batch(Histories.from_rows([[0]])))).all()


# ---- the simulated world ----


def auc(yes: torch.Tensor, no: torch.Tensor) -> float:
    """How often a probability of `yes` stands above one of `no`, over all pairs."""
    return float((yes[:, None] > no[None]).float().mean() + 0.5 * (yes[:, None] == no[None]).float().mean())


def test_tallrec_says_yes_to_what_people_keep_to() -> None:
    """Titles tell the half of the catalogue that an item is of, and people keep to one half; low-rank updates alone learn that."""
    histories = checkerboard()
    network = {**TINY["network"], "dim": 32, "layers": 2, "ff_dim": 64}
    torch.manual_seed(0)
    config = TallrecConfig.parse({**TINY, "network": network, "pretrain_steps": 60, "told_history": 3, "examples": 2.0})
    model = Tallrec(config, items=ITEMS)
    model.read(["red" if item % 2 else "blue" for item in range(ITEMS)])
    model.observe(histories)
    batch, half = to_batch(histories), histories.values[histories.offsets[:-1]] % 2
    same, other = (half + 10).tolist(), (1 - half + 10).tolist()
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=0.01)
    for step in range(35):
        optimizer.zero_grad()
        model.train().loss(batch, step).backward()
        optimizer.step()
    model.eval()
    assert auc(model.likes(batch, same), model.likes(batch, other)) > 0.95


@pytest.mark.slow
def test_bigrec_writes_titles_and_answers_with_items() -> None:
    truth = world(users=300, items=100, events=12_000, seed=0)
    short = {"told_history": 4, "max_title": 12, "pretrain_steps": 100}
    settings = {"model": short, "training": {"epochs": 10, "validate_every": 10}, "validation_cases": 20}
    fitted = recsmith.fit("bigrec", truth.dataset, settings=settings)
    cases = fitted.split().test.take(np.arange(100))
    answer = fitted.answer(cases, 10)
    exact = fitted.model.figures()["exact before grounding"]
    print(f"\nBIGRec on the world: invalid after grounding {float((answer.items < 0).mean()):.0%}, titles exact before {exact:.0%}")
    assert ((answer.items >= 0) & (answer.items < fitted.items)).all()
    assert all(len(set(row)) == 10 for row in answer.items.tolist())


def test_rows_are_read_as_batches() -> None:
    from recsmith.tuning_language.candidates import row_of

    batch = HistoryBatch(torch.arange(5), torch.tensor([0, 2, 5]), weights=torch.ones(5))
    assert row_of(batch, 1).items.tolist() == [2, 3, 4]
    assert row_of(batch, 1, before=3).offsets.tolist() == [0, 1]
