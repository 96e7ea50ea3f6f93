"""DELRec, ReAT, domain plug-ins and prompts of people: which small part learns when, and what it is asked."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

pytest.importorskip("transformers")

from title_suite import TITLES, TitleModelTests

import recsmith
from recsmith import Dataset
from recsmith.data import Histories
from recsmith.data.item_facts import ItemFacts
from recsmith.errors import ConfigError, DataError
from recsmith.models.delrec import Delrec, DelrecConfig
from recsmith.models.domain_lora import DomainLora, DomainLoraConfig
from recsmith.models.reat import Reat, ReatConfig
from recsmith.models.user_prompts import UserPrompts, UserPromptsConfig
from recsmith.nn.plug_ins import Mixture, PlugIns
from recsmith.testing import CodeModelTests
from recsmith.testing.logs import ITEMS, checkerboard, cycles, full_codes
from recsmith.training import to_batch

NETWORK = {"dim": 16, "layers": 1, "heads": 2, "ff_dim": 32, "words": 300, "dropout": 0.0}
TINY = {"network": NETWORK, "pretrain_steps": 2, "told_history": 4, "candidates": 5}
HALVES = ItemFacts([["odd" if item % 2 else "even"] for item in range(ITEMS)], [None] * ITEMS)


class TestDelrec(TitleModelTests):
    model_class = Delrec
    config = DelrecConfig.parse(
        {
            **TINY,
            "tuner": {"method": "lora", "rank": 4, "frozen_tokens": 2},
            "teacher_settings": {"dim": 8, "layers": 1, "hidden": 8},
            "teacher_epochs": 1,
            "distil_steps": 2,
        }
    )


class TestDomainLora(TitleModelTests):
    model_class = DomainLora
    config = DomainLoraConfig.parse({**TINY, "rank": 2, "domains": 3})

    def tell(self, model):
        model.read_facts(HALVES)


class TestUserPrompts(TitleModelTests):
    model_class = UserPrompts
    config = UserPromptsConfig.parse({**TINY, "prompt": 2, "dim": 4, "user_slots": 50})


@pytest.mark.slow
class TestReat(CodeModelTests):
    model_class = Reat
    config = ReatConfig.parse(
        {"network": {**NETWORK, "dim": 32, "words": 500}, "mix": {"sequential": 4.0, "masked": 2.0}, "max_history": 8}
    )
    steps = 300


def made(kind, config, histories: Histories | None = None):
    torch.manual_seed(0)
    model = kind(config, items=ITEMS)
    model.read(TITLES)
    if kind is DomainLora:
        model.read_facts(HALVES)
    model.observe(cycles() if histories is None else histories)
    return model


def learns(model) -> set[str]:
    return {name.rpartition(".")[2] for name, one in model.network.named_parameters() if one.requires_grad}


# ---- DELRec ----


def test_soft_prompts_learn_first_and_low_rank_updates_after_them() -> None:
    settings = TestDelrec.config.model_dump() | {"distil_steps": 0}
    before = made(Delrec, DelrecConfig.parse(settings)).network.model.virtual.detach().clone()
    model = made(Delrec, DelrecConfig.parse({**settings, "distil_steps": 20}))
    assert not torch.allclose(model.network.model.virtual, before)
    assert all(one.abs().sum().item() == 0 for name, one in model.network.named_parameters() if name.endswith(".up"))
    assert learns(model) == {"up", "down"}
    first, last = model.figures()["first and last loss"]
    assert np.isfinite([first, last]).all()
    with pytest.raises(ConfigError, match=r"set tuner.method = lora and tuner.frozen_tokens above 0"):
        Delrec(DelrecConfig.parse({"tuner": {"method": "lora"}}), items=ITEMS)


def test_the_first_stage_asks_for_the_teachers_choice_and_for_what_stood_before() -> None:
    model = made(Delrec, TestDelrec.config)

    class Teacher(torch.nn.Module):
        def score(self, batch):
            return torch.arange(ITEMS, dtype=torch.float32).expand(len(batch), -1)

    batch = to_batch(Histories.from_rows([[3, 4, 5, 6, 7, 8]] * 30))
    shorter = {}
    for case in model.lessons(Teacher(), batch, np.random.default_rng(0)):
        assert case.template == "imitate"
        named = case.candidates["ABCDE".index(case.words["answer"])]
        imitates = named == max(case.candidates)
        follows = named == case.history[-1] + 1 if case.history else False
        assert imitates or follows
        shorter[follows] = True
    assert set(shorter) == {True, False}


# ---- ReAT ----


def test_auxiliary_questions_are_about_the_history() -> None:
    config = ReatConfig.parse({"network": NETWORK, "mix": {"sequential": 1.0, "masked": 3.0, "pairwise": 3.0, "alignment": 1.0}})
    model = Reat(config, codes=full_codes())
    model.read(TITLES)
    model.observe(cycles())
    batch, random = to_batch(cycles()), np.random.default_rng(0)
    for family in ("masked", "pairwise"):
        cases = [case for _, case in model.draw(family, batch, 60, random)]
        assert len(cases) > 30
        for case in cases:
            if family == "masked":
                gap = case.history.index(-1)
                around = [*case.history[gap - 1 : gap], *case.history[gap + 1 : gap + 2]]
                assert all((item - case.item) % ITEMS in (1, ITEMS - 1) for item in around)
            else:
                assert case.item in case.candidates
                assert len(set(case.candidates)) == 2
                assert case.item == (case.history[-1] + 1) % ITEMS
    families = {pair.family for pair in model.examples(batch)}
    assert families == {"sequential", "masked", "pairwise", "alignment"}
    masked = [pair for pair in model.examples(batch) if pair.family == "masked"]
    assert all(" ? " in pair.input or pair.input.endswith("It is") for pair in masked)


# ---- domain plug-ins ----


def test_a_mixture_of_plug_ins_is_the_sum_of_their_updates() -> None:
    base, mixture = torch.nn.Linear(4, 3), Mixture()
    part = PlugIns(base, mixture, count=2, rank=2, scale=6.0)
    torch.nn.init.normal_(part.up)
    x = torch.randn(3, 5, 4)
    assert torch.equal(part(x), base(x))
    mixture.weights = torch.tensor([[1.0, 0.0], [0.25, 0.75], [0.0, 0.0]])
    updates = [part.up[one] @ part.down[one] * 3.0 for one in range(2)]
    for row in range(3):
        wanted = base(x[row]) + sum(float(mixture.weights[row, one]) * x[row] @ updates[one].T for one in range(2))
        torch.testing.assert_close(part(x)[row].detach(), wanted.detach(), rtol=1e-5, atol=1e-5)


def test_a_question_trains_the_plug_in_of_its_domain_alone() -> None:
    model = made(DomainLora, TestDomainLora.config)
    assert learns(model) == {"up", "down"}
    even = to_batch(Histories.from_rows([[0, 2, 4, 6]] * 4))
    model.train().loss(even, 0).backward()
    domain = model.names.texts.index("even")
    for name, one in model.network.named_parameters():
        if name.endswith(".up"):
            moved = one.grad.flatten(1).norm(dim=1) > 0
            assert moved.tolist() == [place == domain for place in range(3)]
    shares = dict(zip(model.names.texts, model.shares.tolist()))
    assert abs(shares["even"] + shares["odd"] - 1) < 1e-6


def test_a_domain_that_was_left_out_is_answered_by_the_others() -> None:
    model = made(DomainLora, DomainLoraConfig.parse({**TINY, "rank": 2, "domains": 3, "without": ["odd"]}))
    assert model.names.texts == ["even"]
    assert model.mixture_of([0, 1], others=0.1).tolist() == [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    odd = to_batch(Histories.from_rows([[1, 3, 5]] * 4))
    assert model.loss(odd, 0).item() == 0.0
    both = made(DomainLora, TestDomainLora.config)
    mixed = both.mixture_of([1], others=0.0)[0]
    assert mixed[both.names.texts.index("odd")].item() == 1.0
    weights = both.mixture_of([0], others=0.1)[0]
    assert weights[both.names.texts.index("even")].item() == pytest.approx(0.9)
    assert weights.sum().item() == pytest.approx(1.0)
    with pytest.raises(DataError, match="there is no domain `od` to leave out; did you mean `odd`"):
        made(DomainLora, DomainLoraConfig.parse({**TINY, "without": ["od"]}))
    with pytest.raises(DataError, match="domain plug-ins need items with categories"):
        DomainLora(TestDomainLora.config, items=ITEMS).read_facts(ItemFacts([()] * ITEMS, [None] * ITEMS))
    with pytest.raises(ConfigError, match=r"set model.rank and model.scale instead of model.tuner"):
        DomainLora(DomainLoraConfig.parse({"tuner": {"method": "lora"}}), items=ITEMS)


def test_the_recipe_takes_domains_from_the_catalogue() -> None:
    rows = [(user, (user + step) % ITEMS, step) for user in range(12) for step in range(6)]
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    catalogue = pl.DataFrame(
        {"item_id": range(ITEMS), "title": TITLES, "genres": [["odd" if item % 2 else "even"] for item in range(ITEMS)]}
    )
    settings = {"training": {"epochs": 1}, "model": {**TINY, "rank": 2}}
    fitted = recsmith.fit("domain-lora", Dataset.from_frame(log, catalogue=catalogue, name="halves"), settings=settings)
    assert set(fitted.model.figures()["domains"]) == {"odd", "even"}
    assert len(fitted.recommend(users=[3], k=3)) == 3


# ---- prompts of people ----


def test_prompts_made_from_people_alone_learn_who_keeps_to_which_half(tmp_path) -> None:
    """Questions tell nothing of the history here; only what is made from the person can say which half they keep to."""
    template = 'family = "preference"\nname = "alone"\ninput = "Takes {title}"\ntarget = "{answer}"'
    (tmp_path / "alone.toml").write_text(f'title = "Alone"\nsource = "ours"\n[[template]]\n{template}', encoding="utf-8")
    histories = checkerboard()
    torch.manual_seed(0)
    config = UserPromptsConfig.parse(
        {
            **TINY,
            "network": {**NETWORK, "dim": 32, "layers": 2},
            "tasks": str(tmp_path / "alone.toml"),
            "told_history": 3,
            "dim": 8,
            "examples": 2,
        }
    )
    model = UserPrompts(config, items=ITEMS)
    model.read(["red" if item % 2 else "blue" for item in range(ITEMS)])
    model.observe(histories)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=0.01)
    batch = to_batch(histories, users=np.arange(len(histories)))
    for step in range(90):
        optimizer.zero_grad()
        model.train().loss(batch, step).backward()
        optimizer.step()
    model.eval()
    row = torch.arange(len(histories))
    rows, candidates = [to_batch(histories.slice(one, one + 1)) for one in row.tolist()], [[10, 11]] * len(row)
    for judged in (model._judged(row.tolist(), rows, candidates), model.judge(rows, candidates)):  # people of the log, strangers
        chances = torch.stack(judged)
        assert (chances[row, row % 2] > chances[row, 1 - row % 2]).float().mean() > 0.9
    nobody = torch.stack(model.judge([to_batch(Histories.from_rows([[]]))] * 2, candidates[:2]))
    assert torch.equal(nobody[0], nobody[1])
    assert model.figures()["numbers per person"] == 8


def test_beside_prompts_the_tuner_says_what_learns() -> None:
    model = made(UserPrompts, UserPromptsConfig.parse({**TINY, "tuner": {"method": "lora", "rank": 2}}))
    assert learns(model) == {"virtual", "up", "down"}
    with pytest.raises(ConfigError, match=r"choose tuner\.method full, lora or adapter"):
        UserPrompts(UserPromptsConfig.parse({"tuner": {"method": "prefix"}}), items=ITEMS)
