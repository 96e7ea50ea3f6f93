"""Models that read what language models wrote: ONCE, EmbSum and MINT about people, iDreamRec about items."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from recsmith.data import Histories
from recsmith.errors import UserError
from recsmith.models.dreamrec import DreamRecConfig, IDreamRec, isotropic
from recsmith.models.embsum import Embsum, EmbsumConfig
from recsmith.models.mint import Mint, MintConfig
from recsmith.models.once import Once, OnceConfig
from recsmith.nn.poly_attention import LateTable, PolyAttention
from recsmith.testing.logs import ITEMS
from recsmith.testing.models import ScoreModelTests
from recsmith.training import to_batch


def texts(width: int = 24) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ITEMS, width)).astype(np.float32)


class WithVectors(ScoreModelTests):
    def build(self) -> Any:
        return self.model_class(self.config, items=ITEMS, vectors=texts())


class TestOnce(WithVectors):
    model_class = Once
    config = OnceConfig(dim=16, heads=2, hidden=32, dropout=0.0, max_history=8)


class TestEmbsum(WithVectors):
    model_class = Embsum
    config = EmbsumConfig(dim=16, heads=2, hidden=32, dropout=0.0, max_history=8, negatives=12)


class TestMint(WithVectors):
    model_class = Mint
    config = MintConfig(dim=16, hidden=64, dropout=0.0, max_history=8)
    steps = 150


class TestIDreamRec(ScoreModelTests):
    model_class = IDreamRec
    config = DreamRecConfig.parse(
        {"dim": 16, "layers": 1, "hidden": 32, "dropout": 0.0, "max_history": 8, "steps": 20, "answer_steps": 5, "denoiser": 64}
    )
    sequential = True
    steps = 200

    def build(self) -> Any:
        return IDreamRec(self.config, items=ITEMS, vectors=texts(24))


del WithVectors


def test_questions_take_softmax_means_of_their_rows() -> None:
    torch.manual_seed(0)
    pool = PolyAttention(4, codes=3)
    states, offsets = torch.randn(5, 4), torch.tensor([0, 2, 5])
    for row, (start, stop) in enumerate(((0, 2), (2, 5))):
        part = states[start:stop]
        weights = (torch.tanh(pool.look(part)) @ pool.codes.T).softmax(0)
        torch.testing.assert_close(pool(states, offsets)[row], weights.T @ part)


def test_strangers_have_no_words(tmp_path: Any) -> None:
    table = LateTable(2)
    assert table(torch.tensor([0, -1]), 2).tolist() == [[0, 0], [0, 0]]
    table.set(np.array([[1, 2], [3, 4]], dtype=np.float32))
    assert table(torch.tensor([1, -1, 7]), 3).tolist() == [[3, 4], [0, 0], [0, 0]]
    save_file(table.state_dict(), tmp_path / "table.safetensors")
    other = LateTable(2)
    other.load_state_dict(load_file(tmp_path / "table.safetensors"))
    assert torch.equal(other.values, table.values)


@torch.enable_grad()
def told(kind: type[Any], config: Any, *, steps: int = 80) -> tuple[Any, Histories]:
    """A model whose people's histories are noise and whose words alone tell which half of the items they take."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    rows = [(2 * random.permutation(ITEMS // 2)[:3] + user % 2).tolist() for user in range(40)]
    words = np.zeros((40, 10), dtype=np.float32)
    words[np.arange(40), np.arange(40) % 2] = 1
    vectors = np.zeros((ITEMS, 10), dtype=np.float32)
    vectors[np.arange(ITEMS), 3 + np.arange(ITEMS) % 2] = 1
    model = kind(config, items=ITEMS, vectors=vectors)
    model.read_people(words)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(steps):
        optimizer.zero_grad()
        model.loss(to_batch(Histories.from_rows(rows), users=np.arange(40)), step).backward()
        optimizer.step()
    return model.eval(), Histories.from_rows(rows)


@torch.no_grad()
@pytest.mark.parametrize(("kind", "config"), [(Once, TestOnce.config), (Mint, TestMint.config)])
def test_what_is_written_about_a_person_is_read_where_nothing_else_is_known(kind: type[Any], config: Any) -> None:
    model, _ = told(kind, config)
    empty = Histories.from_rows([[], []])
    scores = model.score(to_batch(empty, users=np.array([0, 1])))
    for person in (0, 1):
        assert (scores[person].argsort(descending=True)[: ITEMS // 2] % 2 == person).all()
    strangers = model.score(to_batch(empty, users=np.array([-1, -1])))
    assert torch.equal(strangers[0], strangers[1])


@torch.no_grad()
def test_embsums_interests_tell_the_summary_and_answers_need_none() -> None:
    model, histories = told(Embsum, TestEmbsum.config.override(summary_weight=1.0))
    interests = model._interests(torch.from_numpy(histories.values), torch.from_numpy(histories.offsets))
    found = model.summary(interests.flatten(1))[:, :2].argmax(1)
    assert (found == torch.arange(40) % 2).float().mean() > 0.95
    known, strange = (model.score(to_batch(histories, users=users)) for users in (np.arange(40), np.full(40, -1)))
    assert torch.equal(known, strange)


@torch.no_grad()
def test_items_that_do_not_fit_a_request_are_no_answers_to_it() -> None:
    model = Mint(MintConfig(dim=4, hidden=8, kept=0.5), items=3, vectors=np.eye(3, dtype=np.float32))
    requests = torch.tensor([[0.1, 0.9, 0.2], [0.0, 0.0, 1.0]])
    items, offsets = torch.tensor([0, 1, 2, 1]), torch.tensor([0, 3, 4])
    assert model.believed(items, offsets, requests).tolist() == [False, True, True, True]


def test_mint_answers_words(monkeypatch: pytest.MonkeyPatch) -> None:
    model, histories = told(Mint, TestMint.config)
    batch = to_batch(histories.slice(0, 2), users=np.array([0, 1]))
    with torch.no_grad():
        plain = model.score(batch)
        assert torch.equal(model.score_told(batch, ["", " "]), plain)
        with pytest.raises(UserError, match="words were encoded by `auto`, items by another; give the recipe's"):
            model.score_told(batch, ["something quiet", ""])


def test_the_space_of_texts_is_isotropic() -> None:
    vectors = torch.from_numpy(np.random.default_rng(1).normal(size=(200, 6)) @ np.diag([9, 4, 2, 1, 0.5, 0.0])).float() + 3
    mean, turn = isotropic(vectors, 5)
    moved = (vectors - mean) @ turn
    torch.testing.assert_close(moved.T @ moved / 200, torch.eye(5), rtol=1e-3, atol=1e-3)
    assert isotropic(vectors, 8)[1][:, 5:].abs().max() == 0
