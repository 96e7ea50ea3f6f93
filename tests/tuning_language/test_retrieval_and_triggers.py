"""ReLLa, PAP-REC and fusion in the decoder: the promises of every model, and what sets each of them apart."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from title_suite import TitleModelTests

from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.language.history_retrieval import nearest_events
from recsmith.models.fusion_in_decoder import FusionInDecoder, FusionInDecoderConfig
from recsmith.models.pap_rec import PapRec, PapRecConfig
from recsmith.models.rella import Rella, RellaConfig
from recsmith.testing.logs import ITEMS, checkerboard, cycles
from recsmith.training import to_batch
from recsmith.tuning_language.fusion import fused_log_likelihood, fused_loss, require_encoder
from recsmith.tuning_language.trigger_search import TriggerConfig, TriggerSearch

SMALL = {"dim": 16, "layers": 1, "heads": 2, "ff_dim": 32, "words": 300, "dropout": 0.0}
TINY = {"network": SMALL, "pretrain_steps": 2, "told_history": 3, "candidates": 5}
TITLES = [f"{'even' if item % 2 == 0 else 'odd'} {item}" for item in range(ITEMS)]
QUICK_TRIGGERS = {"shared": 1, "personal": 1, "rounds": 4, "tries": 4, "batch": 8}


class WithParity(TitleModelTests):
    titles = TITLES


class TestRella(WithParity):
    model_class = Rella
    config = RellaConfig.parse(TINY)


class TestPapRec(WithParity):
    model_class = PapRec
    config = PapRecConfig.parse({**TINY, "groups": 2, "questions": 16, "triggers": QUICK_TRIGGERS})

    def build(self):
        model = super().build()
        model.solve(cycles())
        return model


class TestFusionInDecoder(WithParity):
    model_class = FusionInDecoder
    config = FusionInDecoderConfig.parse({**TINY, "network": {**SMALL, "kind": "t5"}, "passages": 2, "neighbours": 2})


def made(kind, config, histories: Histories | None = None):
    torch.manual_seed(0)
    model = kind(config, items=ITEMS)
    model.read(TITLES)
    learn = model.solve if isinstance(model, PapRec) else model.observe
    learn(cycles() if histories is None else histories)
    return model.eval()


def test_the_nearest_events_are_those_of_a_full_search() -> None:
    random = np.random.default_rng(0)
    history, targets = random.standard_normal((40, 6)).astype(np.float32), random.standard_normal((3, 6)).astype(np.float32)
    cosines = [max(float(row @ target) / np.linalg.norm(row) / np.linalg.norm(target) for target in targets) for row in history]
    assert nearest_events(history, targets, 7) == sorted(sorted(range(40), key=lambda place: -cosines[place])[:7])
    older = sorted(sorted(range(37), key=lambda place: -cosines[place])[:4])
    assert nearest_events(history, targets, 7, latest=3) == [*older, 37, 38, 39]
    assert nearest_events(np.ones((5, 2), dtype=np.float32), np.ones((1, 2), dtype=np.float32), 2) == [3, 4]


def test_rella_tells_what_resembles_the_item_and_mixes_both_kinds_in_training() -> None:
    model = made(Rella, RellaConfig.parse({**TINY, "pretrain_steps": 60, "examples": 20.0}), checkerboard())
    told = model.similar_events([0, 2, 4, 1, 3, 5], 8)
    assert len(told) == 3
    assert told == [item for item in [0, 2, 4, 1, 3, 5] if item in told], "in order of time"
    history = [0, 1, 2, 3, 4, 5, 6, 7]
    cases = list(model.draw(to_batch(Histories.from_rows([history])), np.random.default_rng(0)))
    latest = [
        list(case.history) == history[max(0, history.index(case.item) - 3) : history.index(case.item)]
        for case in cases
        if case.item in history
    ]
    assert 0 < sum(latest) < len(latest)
    assert {case.words["answer"] for case in cases if case.item in history} == {"Yes"}
    assert {case.words["answer"] for case in cases if case.item not in history} == {"No"}
    stranger = Rella(model.config, items=ITEMS)
    stranger.load_state_dict(model.state_dict())
    assert stranger.similar_events(history, 9) == model.similar_events(history, 9)


def test_slopes_point_where_the_loss_goes() -> None:
    """For a small step along the embedding the slope is the change of the loss, by finite differences."""
    model = made(PapRec, TestPapRec.config)
    search = TriggerSearch(model.network, TriggerConfig(shared=2, personal=0), groups=1)
    cases = list(model.draw(to_batch(cycles(users=4)), np.random.default_rng(0)))
    pairs, groups = [model.wording.pair(model.template, case) for case in cases], [0] * len(cases)
    slopes, table = search.slopes(pairs, groups, 1), model.network.model.get_input_embeddings().weight
    token, base = int(search.triggers[0, 1]), search.loss(pairs, groups)
    place = {int(word): number for number, word in enumerate(search._words)}
    for word in (5, 20):
        expected = float(slopes[place[word]] - slopes[place[token]])
        found = loss_along(search, pairs, groups, table[word] - table[token])
        assert (found - base) / 1e-2 == pytest.approx(expected, abs=2e-3 + 0.05 * abs(expected))


def loss_along(search: TriggerSearch, pairs, groups, direction: torch.Tensor) -> float:
    """The loss when what is read at the second place is moved a little."""

    def moved(_module, ids, answer):
        answer = answer.clone()
        answer[:, 1] += 1e-2 * direction
        return answer

    handle = search.network.model.get_input_embeddings().register_forward_hook(moved)
    try:
        return search.loss(pairs, groups)
    finally:
        handle.remove()


def test_found_prompts_lower_the_loss_and_leave_the_model_alone() -> None:
    wanted = {**TINY, "pretrain_steps": 60, "groups": 2, "questions": 48}
    config = PapRecConfig.parse({**wanted, "triggers": {**QUICK_TRIGGERS, "rounds": 6}})
    model = made(PapRec, config, checkerboard())
    losses = model._losses
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(losses))
    assert losses[-1] < losses[0]
    assert model.triggers.shape == (2, 2)
    assert len(set(model.triggers[:, 0].tolist())) == 1, "the first token is everybody's"
    assert len(model.figures()["prompts"]) == 2
    unsearched = made(PapRec, PapRecConfig.parse({**wanted, "triggers": {**QUICK_TRIGGERS, "rounds": 0}}), checkerboard())
    before = dict(unsearched.network.named_parameters())
    assert all(torch.equal(one, before[name]) for name, one in model.network.named_parameters())


def test_one_passage_is_read_as_an_encoder_decoder_reads_it_and_order_means_nothing() -> None:
    model = made(FusionInDecoder, TestFusionInDecoder.config)
    network, random = model.network, np.random.default_rng(0)
    passages = [random.integers(2, 200, size).tolist() for size in (5, 9, 3)]
    targets = [[7, 8, network.end], [9, network.end]]
    with torch.no_grad():
        alone = fused_loss(network, [[passages[0]], [passages[1]]], targets)
        torch.testing.assert_close(alone, network.loss([(passages[0], targets[0]), (passages[1], targets[1])]))
        found = fused_log_likelihood(network, passages, targets)
        torch.testing.assert_close(found, fused_log_likelihood(network, passages[::-1], targets), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(found, fused_log_likelihood(network, passages[:1], targets), rtol=1e-3)


def test_fusion_learns_and_wants_an_encoder() -> None:
    model = made(FusionInDecoder, TestFusionInDecoder.config, checkerboard())
    batch, optimizer = to_batch(checkerboard(users=16)), torch.optim.Adam(model.parameters(), lr=1e-2)
    torch.manual_seed(0)
    losses = []
    for step in range(20):
        optimizer.zero_grad()
        loss = model.train().loss(batch, step)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.75 * np.mean(losses[:3])
    with pytest.raises(ConfigError, match=r"needs an encoder–decoder language model; set network\.kind = t5"):
        require_encoder(made(Rella, TestRella.config).network)


def test_fusion_takes_a_prefix_but_no_tokens_before_passages() -> None:
    prefixed = made(FusionInDecoder, TestFusionInDecoder.config.override(tuner={"method": "prefix"})).network
    passage, target = [5, 6, 7], [9, prefixed.end]
    with torch.no_grad():
        torch.testing.assert_close(fused_loss(prefixed, [[passage]], [target]), prefixed.loss([(passage, target)]))
    for tuner in ({"method": "prompt"}, {"method": "p-tuning"}, {"method": "lora", "frozen_tokens": 2}):
        with pytest.raises(ConfigError, match="puts virtual tokens before each passage"):
            FusionInDecoder(TestFusionInDecoder.config.override(tuner=tuner), items=ITEMS)


def test_rella_says_yes_to_the_colour_that_people_keep_to() -> None:
    histories = checkerboard()
    network = {**SMALL, "dim": 32, "layers": 2, "ff_dim": 64}
    torch.manual_seed(0)
    model = Rella(RellaConfig.parse({**TINY, "network": network, "pretrain_steps": 60, "examples": 2.0, "components": 1}), items=ITEMS)
    model.read(["red" if item % 2 else "blue" for item in range(ITEMS)])
    model.observe(histories)
    assert model.similar_events([0, 1, 2, 3, 4, 5], 7) == [1, 3, 5], "events of the item's own colour"
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=0.01)
    for step in range(35):
        optimizer.zero_grad()
        model.train().loss(to_batch(histories), step).backward()
        optimizer.step()
    model.eval()
    rows = [to_batch(histories.slice(row, row + 1)) for row in range(20)]
    judged = torch.stack(model.judge(rows, [[10, 11]] * len(rows)))
    colour = torch.tensor([int(row.items[0]) % 2 for row in rows])
    assert (judged.argmax(dim=1) == colour).float().mean() > 0.9
