from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch

from recsmith.models.recformer import Recformer, RecformerConfig, Sentences, WindowAttention
from recsmith.nn.packed import Plan
from recsmith.testing.logs import ITEMS, cycles
from recsmith.testing.models import ScoreModelTests
from recsmith.training import to_batch

SMALL = {
    "dim": 16,
    "heads": 2,
    "layers": 1,
    "hidden": 32,
    "dropout": 0.0,
    "words": 997,
    "max_words": 4,
    "max_history": 5,
    "mask_weight": 0.02,
}
TEXTS = [f"title: chapter {word}" for word in "one two three four five six seven eight nine ten eleven twelve".split()][:ITEMS]  # noqa: SIM905


class TestRecformer(ScoreModelTests):
    model_class = Recformer
    config = RecformerConfig.parse(SMALL)
    sequential = True
    steps = 200

    def build(self) -> Any:
        model = Recformer(self.config, items=ITEMS)
        model.read(TEXTS)
        return model

    def test_finds_the_known_answer(self) -> None:
        """Asked of histories of two events and more: one event is told by its item's own sentence, and a cosine between two items cannot
        say which of them comes first."""
        histories = self._log()
        asked = histories.drop_last().take(np.flatnonzero(histories.lengths >= 3))
        last = torch.from_numpy(asked.values[asked.offsets[1:] - 1])
        found = (self.scores(self.fit(histories), asked).argmax(1) == (last + 1) % ITEMS).float().mean().item()
        assert found >= 0.95, f"only {found:.0%} of the answers are right"


def test_sentences_tell_attributes_from_values() -> None:
    told = Sentences.of(["title: Alien genres: horror", "Heat", ""], size=1000, longest=3)
    assert told.kinds.tolist() == [[1, 2, 1], [1, 2, 0], [1, 0, 0]]
    assert told.lengths.tolist() == [3, 2, 1]
    assert told.words[0, 0] == told.words[1, 0] == told.words[2, 0] != told.words[0, 1]
    assert told.words.min() >= 0


@torch.no_grad()
def test_the_window_hides_what_is_far_but_never_the_mark() -> None:
    torch.manual_seed(0)
    attention = WindowAttention(dim=8, heads=2, window=1).eval()
    plan, tokens = Plan.of(torch.tensor([0, 6])), torch.randn(6, 8)
    before = attention(tokens, plan)
    for changed, felt in ((4, {0, 3, 4, 5}), (0, {0, 1, 2, 3, 4, 5})):
        other = tokens.clone()
        other[changed] += 1
        moved = (attention(other, plan) - before).abs().amax(1) > 1e-6
        assert set(moved.nonzero().flatten().tolist()) == felt


@torch.no_grad()
def test_an_items_state_is_its_sentence_and_the_latest_item_comes_first() -> None:
    model = TestRecformer().build().eval()
    alone = model._encode(torch.tensor([3]))
    torch.testing.assert_close(model._read(torch.tensor([3]), torch.tensor([0, 1]))[0], alone)
    first = model._read(torch.tensor([3, 7]), torch.tensor([0, 2]))[0]
    assert not torch.allclose(first, model._read(torch.tensor([7, 3]), torch.tensor([0, 2]))[0], atol=1e-3)


def test_the_second_stage_keeps_the_items_still(tmp_path: Any) -> None:
    config = RecformerConfig.parse({**SMALL, "objective": "finetune", "refresh": 2, "second_stage": 4})
    torch.manual_seed(0)
    model = Recformer(config, items=ITEMS)
    model.read(TEXTS)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    tables = []
    for step in range(7):
        optimizer.zero_grad()
        model.loss(to_batch(cycles(users=8)), step).backward()
        optimizer.step()
        tables.append((model.fixed if step >= 4 else model.passing).values.clone())
    same = [torch.equal(one, other) for one, other in pairwise(tables)]
    assert same == [True, False, True, False, True, True]
    assert model.figures()["stage"] == "two"
    restored = Recformer(config, items=ITEMS)
    restored.load_state_dict(model.state_dict())
    batch = to_batch(cycles(users=3))
    with torch.no_grad():
        assert torch.equal(restored.eval().score(batch), model.eval().score(batch))
    assert np.isfinite(model.score(batch).detach().numpy()).all()
