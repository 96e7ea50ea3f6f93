"""CoLLM, BinLLM and what they share: what a prompt with vectors means, and who learns when."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from title_suite import TITLES, TitleModelTests

from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.models.binllm import Binllm, BinllmConfig, Bits, learn_bits
from recsmith.models.cllm4rec import Cllm4rec, Cllm4recConfig
from recsmith.models.collm import Collm, CollmConfig
from recsmith.models.llara import Llara, LlaraConfig
from recsmith.models.reclora import Reclora, RecloraConfig
from recsmith.models.reindex_then_adapt import ReindexThenAdapt, ReindexThenAdaptConfig
from recsmith.nn.low_rank import MixedLowRank, Mixture
from recsmith.testing.logs import ITEMS, checkerboard, cycles
from recsmith.training import TrainingConfig, to_batch
from recsmith.tuning_language import LanguageNetwork, NetworkConfig, TunerConfig
from recsmith.tuning_language.collaborative import CollaborativePart
from recsmith.tuning_language.shared_prompts import Prompt, choice_logits, first_slot, way_likelihoods

NETWORK = {"dim": 16, "layers": 1, "heads": 2, "ff_dim": 32, "words": 300, "dropout": 0.0}
SASREC = {"settings": {"dim": 8, "layers": 1, "heads": 1, "hidden": 8, "dropout": 0.0}, "training": {"epochs": 2, "batch_size": 16}}
TINY = {"network": NETWORK, "pretrain_steps": 2, "told_history": 4, "candidates": 5, "tuner": {"method": "lora", "rank": 4}}


class TestCollm(TitleModelTests):
    model_class = Collm
    config = CollmConfig.parse({**TINY, "collaborative": SASREC, "language_steps": 3, "hidden": 8})


class TestBinllm(TitleModelTests):
    model_class = Binllm
    config = BinllmConfig.parse({**TINY, "network": {**NETWORK, "words": 900}, "collaborative": SASREC, "bytes": 2, "bit_steps": 5})


class TestLlara(TitleModelTests):
    model_class = Llara
    config = LlaraConfig.parse({**TINY, "collaborative": SASREC, "curriculum_steps": 4, "hidden": 8})


class TestReindexThenAdapt(TitleModelTests):
    model_class = ReindexThenAdapt
    config = ReindexThenAdaptConfig.parse(
        {
            **{name: TINY[name] for name in ("network", "pretrain_steps", "told_history")},
            "collaborative": SASREC,
            "reindex_steps": 3,
            "width": 8,
        }
    )


class TestCllm4rec(TitleModelTests):
    model_class = Cllm4rec
    config = Cllm4recConfig.parse({"network": NETWORK, "pretrain_steps": 2, "token_steps": 60, "user_tokens": 4, "max_history": 8})
    personalised = True


class TestReclora(TitleModelTests):
    model_class = Reclora
    config = RecloraConfig.parse({**TINY, "collaborative": SASREC, "parts": 2, "few_to_many_steps": 2})


def network(**settings) -> LanguageNetwork:
    torch.manual_seed(0)
    made = LanguageNetwork(NetworkConfig.parse({**NETWORK, "layers": 2, **settings}), TunerConfig())
    made.make(["one two three four five six"] * 20)
    return made.eval()


# ---- prompts that begin alike ----


def test_reading_a_beginning_once_changes_no_answer() -> None:
    reader = network()
    words = [reader.tokens(word)[0] for word in ["one", "two", "three", "four", "five", "six"]]
    rows = [[*words[:3], 0, 1], [*words[:3], *words[3:5]], [*words[:3], words[5]], words[1:4]]
    prompts = [Prompt.of(rows[:3]), Prompt.of(rows[3:])]
    assert prompts[0].shared == rows[0][:3]
    found = choice_logits(reader, prompts, words[:2])
    alone = reader.next_logits(rows)[:, words[:2]]
    torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-4)
    likely = way_likelihoods(reader, [Prompt(words[:3], [words[3:5], words[5:]])])
    pairs = [(words[:3], words[3:5]), (words[:3], words[5:])]
    torch.testing.assert_close(likely * torch.tensor([2.0, 1.0]), reader.log_likelihood(pairs), rtol=1e-4, atol=1e-4)


def test_a_vector_at_a_slot_is_read_as_the_word_with_that_vector() -> None:
    reader = network()
    one, two, three = (reader.tokens(word)[0] for word in ("one", "two", "three"))
    table = reader.model.get_input_embeddings().weight[[two, three]]
    slots = [first_slot(reader), first_slot(reader) + 1]
    found = choice_logits(reader, [Prompt([one, slots[0]], [[slots[1], one]])], [two], lambda slot: table[slot])
    torch.testing.assert_close(found, reader.next_logits([[one, two, three, one]])[:, [two]], rtol=1e-4, atol=1e-4)


# ---- CoLLM ----


def test_first_the_language_model_learns_and_then_the_mapping() -> None:
    model, batch = TestCollm().build(), to_batch(cycles())
    for step, learns, stays in ((0, "network", "project"), (3, "project", "network")):
        model.zero_grad(set_to_none=True)
        model.train().loss(batch, step).backward()
        moved = {name.partition(".")[0] for name, one in model.named_parameters() if one.grad is not None}
        assert moved == {learns}, f"{stays} learns in step {step}"
    assert bool(model.mapped)
    assert model.figures()["reads vectors"]


def test_a_loaded_model_goes_on_with_the_second_step() -> None:
    model, again = TestCollm().build(), Collm(TestCollm.config, items=ITEMS)
    model.loss(to_batch(cycles()), 3)
    again.load_state_dict(model.state_dict())
    again.observe(cycles())
    again.loss(to_batch(cycles()), 0)
    assert bool(again.mapped)


def test_a_folder_of_another_width_is_tuned_and_needed_no_more(tmp_path: Path) -> None:
    source = LanguageNetwork(NetworkConfig.parse({**NETWORK, "dim": 8}), TunerConfig())
    source.make(["Liked: Chapter 1; Does this person like Yes No"] * 5)
    source.save_folder(tmp_path / "model")
    config = CollmConfig.parse({**TINY, "network": {"folder": str(tmp_path / "model")}, "collaborative": SASREC, "language_steps": 0})
    model = Collm(config, items=ITEMS)
    model.read(TITLES)
    model.observe(cycles())
    model.loss(to_batch(cycles()), 0)
    (tmp_path / "model").rename(tmp_path / "gone")
    other = Collm(config, items=ITEMS)
    other.load_state_dict(model.state_dict())
    asked = to_batch(Histories.from_rows([[1, 2], [3]]))
    assert torch.equal(other.eval().likes(asked, [3, 4]), model.eval().likes(asked, [3, 4]))


def test_answers_depend_on_the_vectors_once_they_are_read() -> None:
    model = TestCollm().build().eval()
    asked = to_batch(Histories.from_rows([[0, 1], [4, 5]]))
    in_words = model.likes(asked, [2, 6])
    with torch.no_grad():
        model.project.second.bias += 5.0
        torch.testing.assert_close(model.likes(asked, [2, 6]), in_words)
        model.mapped.fill_(True)
        assert not torch.allclose(model.likes(asked, [2, 6]), in_words)


def test_what_cannot_lend_vectors_is_refused() -> None:
    with pytest.raises(ConfigError, match="collaborative model `ease` does not fit: it must learn by gradient"):
        Collm(CollmConfig.parse({**TINY, "collaborative": {"name": "ease"}}), items=ITEMS)
    with pytest.raises(ConfigError, match="CoLLM needs a decoder-only model without virtual tokens; use kind = causal"):
        Collm(CollmConfig.parse({**TINY, "tuner": {"method": "prefix"}}), items=ITEMS)


# ---- BinLLM ----


def test_an_address_is_the_signs_byte_by_byte_and_each_number_is_one_token() -> None:
    model = TestBinllm().build().eval()
    vectors = torch.randn(5, model.collaborative.dim)
    with torch.no_grad():
        signs = model.bits(vectors) > 0
    for row, address in zip(signs, model.address(vectors), strict=True):
        numbers = [int("".join("1" if bit else "0" for bit in row[start : start + 8]), 2) for start in (0, 8)]
        assert address == ".".join(map(str, numbers))
        assert len(model._spelled(address)) == 3


class Parity(torch.nn.Module):
    """Knows the half of the catalogue that items and people are of."""

    def answer_vectors(self):
        return torch.tensor([[1.0, 0.2], [-1.0, 0.2]]).repeat(ITEMS // 2, 1), None

    def queries(self, batch):
        rows = torch.repeat_interleave(torch.arange(len(batch)), batch.offsets.diff())
        vectors = self.answer_vectors()[0][batch.items]
        return torch.zeros(len(batch), 2).index_add(0, rows, vectors) / batch.offsets.diff()[:, None]


def test_bits_learn_to_tell_what_is_taken_and_gradients_pass_the_sign() -> None:
    torch.manual_seed(0)
    bits, part = Bits(2, bits=16), CollaborativePart(Parity(), TrainingConfig())
    losses = learn_bits(bits, part, checkerboard(), steps=60)
    assert np.mean(losses[-10:]) < 0.35  # by chance: log 2
    signs = bits(part.items())
    assert torch.equal(signs[0], signs[2])
    assert (signs[0] != signs[1]).float().mean() > 0.5
    bits.requires_grad_(True)(torch.randn(3, 2)).sum().backward()
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in bits.parameters())


# ---- LLaRA ----


def test_prompts_with_vectors_come_little_by_little() -> None:
    model, batch = TestLlara().build(), to_batch(cycles())
    asked = model.case(to_batch(Histories.from_rows([[0, 1]])), 2, [2, 7])
    first = first_slot(model.network)
    in_words, with_vectors = (model.prompt(asked, [2], hybrid=hybrid).shared for hybrid in (False, True))
    assert [token - first for token in with_vectors if token >= first] == [0, 1, 2, 7]
    assert [token for token in with_vectors if token < first] == in_words
    for step, learns in ((0, False), (4, True)):
        model.zero_grad(set_to_none=True)
        model.train().loss(batch, step).backward()
        assert (model.project.second.weight.grad is not None) == learns
    assert float(model.share) == 1.0


# ---- Reindex-Then-Adapt ----


def test_titles_are_learned_first_then_bias_and_gate_and_never_the_language_model() -> None:
    model, batch = TestReindexThenAdapt().build(), to_batch(cycles())
    for step, learns in ((0, {"index.reader", "index.change"}), (3, {"index.bias", "gate.weight", "gate.bias"})):
        model.zero_grad(set_to_none=True)
        model.train().loss(batch, step).backward()
        moved = {".".join(name.split(".")[:2]) for name, one in model.named_parameters() if one.grad is not None}
        assert moved == learns
    scores = model.eval().score(to_batch(Histories.from_rows([[0, 1], []])))
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(2))


def test_the_gate_chooses_between_the_language_model_and_the_recommender() -> None:
    model, asked = TestReindexThenAdapt().build().eval(), to_batch(Histories.from_rows([[0, 1], [4]]))
    with torch.no_grad():
        in_words = model.score(asked)
        model.adapted.fill_(True)
        model.gate.weight.zero_()
        for bias, wanted in ((50.0, in_words), (-50.0, model.collaborative.model.eval().score(asked).log_softmax(dim=1))):
            model.gate.bias.fill_(bias)
            torch.testing.assert_close(model.score(asked), wanted, rtol=1e-4, atol=1e-4)


# ---- CLLM4Rec ----


def test_first_only_tokens_learn_and_the_two_of_an_item_pull_at_each_other() -> None:
    model, batch = TestCllm4rec().build(), to_batch(cycles())
    for step, frozen in ((0, True), (60, False)):
        model.zero_grad(set_to_none=True)
        model.train().loss(batch, step).backward()
        assert all(one.grad is None for one in model.network.parameters()) == frozen
        assert model.tokens.collaborative.weight.grad.abs().sum() > 0
    with torch.no_grad():
        apart = float(model.tokens.distance(torch.arange(ITEMS)))
        model.tokens.content.weight.copy_(model.tokens.collaborative.weight + 1.0)
        assert apart != pytest.approx(1.0)
        assert float(model.tokens.distance(torch.arange(ITEMS))) == pytest.approx(1.0)
    assert model.tokens.person(7) == 2 * ITEMS + 1 + 3
    assert model.tokens.person(-1) == 2 * ITEMS


# ---- RecLoRA ----


def test_a_mixture_of_updates_is_the_update_of_the_mixture() -> None:
    torch.manual_seed(0)
    mixture, base, x = Mixture(), torch.nn.Linear(5, 3), torch.randn(2, 4, 5)
    part = MixedLowRank(base, mixture, parts=2, rank=3, scale=6.0)
    torch.testing.assert_close(part(x), base(x))
    torch.nn.init.normal_(part.up)
    mixture.shares = torch.tensor([[1.0, 0.0], [0.3, 0.7]])
    for row, shares in enumerate(mixture.shares):
        update = sum(share * part.up[:, 3 * one : 3 * one + 3] @ part.down[3 * one : 3 * one + 3] for one, share in enumerate(shares))
        torch.testing.assert_close(part(x)[row], base(x[row]) + 2.0 * x[row] @ update.T)


def test_only_updates_and_their_shares_learn_and_people_get_their_own() -> None:
    model, batch = TestReclora().build(), to_batch(cycles())
    for step in range(2):  # the shares have a gradient once the updates are not zero
        model.zero_grad(set_to_none=True)
        model.train().loss(batch, step).backward()
        with torch.no_grad():
            for one in model.parameters():
                if one.grad is not None:
                    one -= 0.5 * one.grad
    moved = {name for name, one in model.named_parameters() if one.grad is not None and one.grad.abs().sum() > 0}
    assert any(name.startswith("route.") for name in moved)
    assert all(name.startswith("route.") or name.rpartition(".")[2] in ("up", "down") for name in moved)


def test_mixed_updates_refuse_a_rounded_base() -> None:
    with pytest.raises(ConfigError, match="several are mixed; leave it at float"):
        Reclora(RecloraConfig.parse({**TINY, "tuner": {"method": "lora", "base": "nf4"}}), items=ITEMS)


def test_a_question_tells_the_events_that_are_nearest_to_its_item() -> None:
    model = TestReclora().build()
    model.told.fill_(2)
    vectors = torch.eye(ITEMS)
    vectors[7], vectors[3] = vectors[1] + 0.1 * vectors[2], vectors[1] + vectors[2]
    model.collaborative.model.items.weight.data = vectors
    case = model.case(to_batch(Histories.from_rows([[0, 3, 5, 7, 9]])), 1)
    assert case.history == [3, 7]
    model.told.fill_(4)
    model.loss(to_batch(Histories.from_rows([[]])), 0)
    assert int(model.told) == 2  # half of the four events, after the first of two steps
