"""RDRec, SLIM, LLM-TRSR and DEALRec: what a teacher writes reaches the student, and the histories that count are found."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from title_suite import TITLES, TitleModelTests

from recsmith.data import Histories, TrainingReviews
from recsmith.errors import BackendError
from recsmith.language import ScriptedBackend
from recsmith.language.asker import Asker
from recsmith.models.dealrec import Dealrec, DealrecConfig
from recsmith.models.llm_trsr import LlmTrsr, LlmTrsrConfig
from recsmith.models.rdrec import Rdrec, RdrecConfig
from recsmith.models.slim import Slim, SlimConfig
from recsmith.testing import CodeModelTests
from recsmith.testing.logs import ITEMS, checkerboard, cycles, full_codes
from recsmith.training import to_batch
from recsmith.tuning_language.portraits import Portraits
from recsmith.tuning_language.selection import SelectionConfig, influence_scores, stratified

NETWORK = {"dim": 16, "layers": 1, "heads": 2, "ff_dim": 32, "words": 300, "dropout": 0.0}
TINY = {"network": NETWORK, "pretrain_steps": 2, "told_history": 4, "tuner": {"method": "lora", "rank": 4}}


class TestDealrec(TitleModelTests):
    model_class = Dealrec
    config = DealrecConfig.parse({**TINY, "selection": {"steps": 5, "share": 0.2}})


class TestSlim(TitleModelTests):
    model_class = Slim
    config = SlimConfig.parse({**TINY, "people": 20, "max_rationale": 6})
    sequential = True
    personalised = True


class TestLlmTrsr(TitleModelTests):
    model_class = LlmTrsr
    config = LlmTrsrConfig.parse({**TINY, "candidates": 5, "block": 2})


@pytest.mark.slow
class TestRdrec(CodeModelTests):
    model_class = Rdrec
    config = RdrecConfig.parse(
        {"network": {**NETWORK, "dim": 32, "words": 500}, "mix": {"sequential": 4.0}, "max_history": 8, "vectors": 1}
    )
    steps = 300


def cache(tmp_path, **teacher) -> dict:
    return {"teacher": {"cache": str(tmp_path / "answers.sqlite"), **teacher}}


# ---- RDRec ----


def reviews(count: int = 6) -> TrainingReviews:
    number = np.arange(count)
    texts = [f"I read chapter {place} in one go" for place in range(count)]
    return TrainingReviews(number, number, texts, np.full(count, 4.0), [""] * count, [""] * count)


def test_what_the_teacher_reads_out_of_reviews_is_a_task(tmp_path) -> None:
    def say(prompt) -> str:
        number = re.search(r"read chapter (\d+)", prompt.messages[-1].content).group(1)
        return f"**Preference:** long chapters like {number}\nAttributes: gripping" if number != "3" else "hard to say"

    backend = ScriptedBackend(say)
    config = RdrecConfig.parse({"network": NETWORK, "reviews": 5, "mix": {"sequential": 1.0, "rationale": 3.0}, **cache(tmp_path)})
    model = Rdrec(config, codes=full_codes(), backend=backend)
    model.read(TITLES)
    model.read_reviews(reviews())
    model.observe(cycles())
    assert len(backend.asked) == 5
    assert model.network.facts["notes"]["trained"] == ["sequential", "rationale"]
    pairs = [pair for pair in model.examples(to_batch(cycles(), users=np.arange(48))) if pair.family == "rationale"]
    for pair in pairs:
        if pair.item == 3:
            assert pair.target == "hard to say"
        else:
            assert pair.target == ("gripping" if pair.template.startswith("attributes") else f"long chapters like {pair.item}")
    assert {pair.template for pair in pairs} == {"preference-ids", "attributes-ids", "preference", "attributes"}
    figures = model.figures()
    assert figures["rationales"] == 5
    assert figures["without the asked form"] == sum(asked.text.count("chapter 3 ") for asked in backend.asked)
    assert figures["written by"]["backend"] == "scripted"


def test_without_reviews_there_are_no_rationales() -> None:
    model = Rdrec(RdrecConfig.parse({"network": NETWORK}), codes=full_codes())
    model.observe(cycles())
    assert model.network.facts["notes"]["trained"] == ["sequential", "direct"]


# ---- SLIM ----


def test_the_student_learns_to_reason_as_the_teacher_does(tmp_path) -> None:
    def reason(prompt) -> str:
        return "likes red; next red" if "red" in prompt.messages[-1].content else "likes blue; next blue"

    histories = checkerboard()
    network = {**NETWORK, "dim": 32, "layers": 2, "ff_dim": 64}
    config = SlimConfig.parse(
        {**TINY, "network": network, "pretrain_steps": 40, "tuner": {"method": "full"}, "people": 30, **cache(tmp_path)}
    )
    torch.manual_seed(0)
    model = Slim(config, items=ITEMS, backend=ScriptedBackend(reason))
    model.read(["red" if item % 2 else "blue" for item in range(ITEMS)])
    model.observe(histories)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(40):
        optimizer.zero_grad()
        model.train().loss(to_batch(histories), step).backward()
        optimizer.step()
    model.eval()
    asked = to_batch(Histories.from_rows([[1, 3, 5], [0, 2, 4]]))
    assert model.reasons(asked) == ["likes red; next red", "likes blue; next blue"]
    assert model.figures()["histories reasoned about"] == 30
    with torch.no_grad():
        plain = model._queries([[1]], [[]]) @ model._items().T
        reasoned = model._queries([[1]], [model.network.tokens("likes red; next red")]) @ model._items().T
    assert not torch.allclose(plain, reasoned)


# ---- teachers that do not answer everything ----


def silent_about(word: str):
    def script(prompt) -> str:
        if word in prompt.messages[-1].content:
            raise BackendError("no answer")
        return "Preference: long\nAttributes: red"

    return ScriptedBackend(script)


def test_nobody_is_taught_by_answers_that_never_came(tmp_path) -> None:
    kept = cache(tmp_path, backend={"on_failure": "keep"})
    student = Slim(SlimConfig.parse({**TINY, "people": 48, "max_rationale": 4, **kept}), items=ITEMS, backend=silent_about(TITLES[3]))
    student.read(TITLES)
    student.observe(cycles())
    told = student.figures()
    assert len(student._lessons) == told["histories reasoned about"] - told["written by"]["failed"] < told["histories reasoned about"]
    assert all(case.words["answer"] for case in student._lessons)
    distiller = Rdrec(RdrecConfig.parse({"network": NETWORK, "reviews": 6, **kept}), codes=full_codes(), backend=silent_about("chapter 3 "))
    distiller.read(TITLES)
    distiller.read_reviews(reviews())
    assert sorted(distiller._rationales) == [0, 1, 2, 4, 5]
    portraits = Portraits(4)
    asker = Asker(silent_about(TITLES[3]), on_failure="keep")
    portraits.write(cycles(), TITLES, asker, people=48, seed=0)
    assert 0 < len(portraits) == len(portraits.tastes) == len(portraits.wishes) < 48
    assert not (portraits.events == 3).any()
    with pytest.raises(BackendError, match="no answer"):
        Portraits(4).write(cycles(), TITLES, Asker(silent_about(TITLES[3])), people=48, seed=0)


# ---- LLM-TRSR ----


@pytest.mark.parametrize("way", ["recurrent", "hierarchical"])
def test_full_blocks_are_summed_up_once_and_the_rest_is_told(tmp_path, way: str) -> None:
    def sum_up(prompt) -> str:
        text = prompt.messages[-1].content
        before = re.search(r'Summary so far: "(.*?)"', text)
        block = re.findall(r'"(?:Chapter )?([\d+]+)"', text[text.index("What came then") :])
        return "+".join([*([before.group(1)] if before else []), *block])

    backend = ScriptedBackend(sum_up)
    config = LlmTrsrConfig.parse({**TINY, "block": 2, "summary": way, "candidates": 5, **cache(tmp_path)})
    model = LlmTrsr(config, items=ITEMS, backend=backend)
    model.read(TITLES)
    model.observe(cycles())
    assert model.summaries([[1], [1, 2, 3], [1, 2, 3, 4, 5]]) == ["", "1+2", "1+2+3+4"]
    count = len(backend.asked)
    assert count == (2 if way == "recurrent" else 3)
    assert model.summaries([[1, 2, 7]]) == ["1+2"]
    assert len(backend.asked) == count
    case = model._case([1, 2, 3, 4, 5], "1+2+3+4", 7)
    assert case.history == [3, 4, 5]
    assert case.words["summary"] == "1+2+3+4"
    for case in model.draw(to_batch(cycles()), np.random.default_rng(0)):
        follows = case.item == (case.history[-1] + 1) % ITEMS
        assert follows or case.words["answer"] == "No"


# ---- DEALRec ----


def test_influence_is_what_leaving_a_history_out_and_training_again_does() -> None:
    """Against the truth: a convex surrogate is retrained without each history; the order of the scores agrees."""
    import recsmith.tuning_language.selection as selection

    random = np.random.default_rng(0)
    rows = Histories.from_rows([random.permutation(ITEMS)[:4].tolist() if row < 3 else [row % 3, 3, 6, 9] for row in range(10)])
    config = SelectionConfig(steps=200, dim=4, damping=0.02, rounds=200)
    scores = influence_scores(rows, config, items=ITEMS)
    before, target = selection._lessons(rows, np.arange(10), last=config.last, items=ITEMS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = selection.Surrogate(ITEMS, config.dim)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.01)
    for _ in range(config.steps):
        optimizer.zero_grad()
        model(before, target).mean().backward()
        optimizer.step()
    start = {name: one.detach().clone() for name, one in model.named_parameters()}

    def whole_loss(without: int) -> float:
        """Of all histories, after the weights moved to where they would be without one: a few Newton steps by gradient descent."""
        model.load_state_dict({**model.state_dict(), **start})
        descent = torch.optim.SGD(model.parameters(), lr=0.5)
        for _ in range(80):
            descent.zero_grad()
            shift = sum(((one - start[name]) ** 2).sum() for name, one in model.named_parameters())
            (model(before, target).mean() - model(before, target)[without] / 10 + config.damping / 2 * shift).backward()
            descent.step()
        return float(model(before, target).mean().detach())

    truth = np.array([whole_loss(row) for row in range(10)])
    assert np.corrcoef(scores.argsort().argsort(), truth.argsort().argsort())[0, 1] > 0.6


def test_the_chosen_histories_cover_the_range_of_scores() -> None:
    scores = np.concatenate([np.linspace(0, 0.1, 90), [0.5, 0.55, 0.9, 1.0]])
    kept = stratified(scores, share=0.1, groups=4, seed=0)
    assert len(kept) == 9
    assert {90, 91, 92, 93} & set(kept.tolist())
    assert len(stratified(scores, share=1e-9, groups=4, seed=0)) == 1
    assert len(stratified(scores, share=1.0, groups=4, seed=0)) == 94
    assert len(stratified(np.zeros(5), share=0.4, groups=3, seed=0)) == 2


def test_only_chosen_histories_tune_the_model() -> None:
    torch.manual_seed(0)
    model = Dealrec(TestDealrec.config, items=ITEMS)
    model.read(TITLES)
    model.observe(cycles())
    assert int(model.chosen.sum()) == round(0.2 * 48)
    kept = model.kept(to_batch(cycles(), users=np.arange(48)))
    assert kept.users.tolist() == torch.where(model.chosen)[0].tolist()
    assert [kept.items[start:stop].tolist() for start, stop in zip(kept.offsets, kept.offsets[1:])] == [
        cycles().row(int(user)).tolist() for user in kept.users
    ]
    left_out = int(torch.where(~model.chosen)[0][0])
    alone = replace(to_batch(cycles().slice(left_out, left_out + 1)), users=torch.tensor([left_out]))
    assert model.loss(alone, 0).item() == 0.0
    assert model.figures()["histories tuned on"] == 10
