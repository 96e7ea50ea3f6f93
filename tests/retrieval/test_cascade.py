"""Sources, fusion, cascades: each against an answer that can be told beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import Cases, Histories
from recsmith.encoders import UserVectorConfig
from recsmith.errors import DataError, UserError
from recsmith.protocols import Limits, RankedLists
from recsmith.retrieval import (
    Bm25Index,
    Cascade,
    CooccurrenceSource,
    CrossEncoder,
    CrossEncoderReranker,
    CrossEncoderTraining,
    DenseSource,
    ExactIndex,
    PopularitySource,
    Question,
    RecommenderSource,
    SparseSource,
    Stage,
    reciprocal_rank_fusion,
    train_cross_encoder,
)

ITEMS = 8
TEXTS = ["red car", "red bus", "red train", "red bike", "blue boat", "blue ship", "blue ferry", "blue raft"]


def lists(rows: list[list[int]]) -> RankedLists:
    items = np.array(rows, dtype=np.int64)
    scores = np.where(items < 0, -np.inf, -np.arange(items.shape[1], dtype=np.float32))
    return RankedLists(items, scores.astype(np.float32))


def colours() -> np.ndarray:
    """Items 0 … 3 near one axis, 4 … 7 near another."""
    vectors = np.random.default_rng(0).normal(size=(ITEMS, 4)).astype(np.float32) * 0.05
    vectors[np.arange(ITEMS), np.arange(ITEMS) // 4] += 1
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def dense(**settings: Any) -> DenseSource:
    index = ExactIndex()
    index.add(np.arange(ITEMS), colours())
    return DenseSource(index, colours(), UserVectorConfig(**settings))


def sparse_source() -> SparseSource:
    index = Bm25Index()
    index.add(np.arange(ITEMS), TEXTS)
    return SparseSource(index, TEXTS)


def question(*rows: list[int], words: list[str] | None = None) -> Question:
    histories = Histories.from_rows(rows)
    return Question(histories, words=words, limits=Limits(exclude=histories))


def test_fusion_is_the_formula() -> None:
    fused = reciprocal_rank_fusion([lists([[3, 1, 2]]), lists([[1, 5, -1]])], 5, weights=[1.0, 2.0], constant=10)
    assert fused.items.tolist() == [[1, 5, 3, 2, -1]]
    assert fused.scores[0, :4].tolist() == pytest.approx([1 / 12 + 2 / 11, 2 / 12, 1 / 11, 1 / 13])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.permutations(range(6)), min_size=1, max_size=4), st.integers(1, 8))
def test_fusion_does_not_depend_on_the_order_of_the_lists(orders: list[list[int]], k: int) -> None:
    parts = [lists([order]) for order in orders]
    there, back = reciprocal_rank_fusion(parts, k), reciprocal_rank_fusion(parts[::-1], k)
    assert there.items.tolist() == back.items.tolist()
    assert (np.diff(there.scores[0, : min(k, 6)]) <= 0).all()
    if len(set(map(tuple, orders))) == 1:
        assert there.items[0, : min(k, 6)].tolist() == list(orders[0])[:k]


def test_fusion_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="no list to fuse"):
        reciprocal_rank_fusion([], 3)
    with pytest.raises(UserError, match="do not fit 1 lists"):
        reciprocal_rank_fusion([lists([[1]])], 3, weights=[1, 2])
    with pytest.raises(UserError, match=r"lists of \[1, 2\] rows"):
        reciprocal_rank_fusion([lists([[1]]), lists([[1], [2]])], 3)


def test_dense_finds_the_colour_of_the_history() -> None:
    found = dense()(question([0], [5, 6], []), 3)
    assert set(found.items[0]) == {1, 2, 3}
    assert set(found.items[1][:2]) == {4, 7}
    assert (found.items[2] == -1).all()


def test_several_interests_are_served_at_once() -> None:
    asked = question([0, 4, 1])
    one, several = dense(fade=1.0)(asked, 5), dense(fade=1.0, interests=3, apart=0.7)(asked, 5)
    assert set(several.items[0].tolist()) == {2, 3, 5, 6, 7}
    assert several.scores[0].min() > one.scores[0].max()  # near one interest each, instead of far from the mean of both


def test_words_are_searched_beside_the_history() -> None:
    source = dense()
    spoken = DenseSource(source.index, source.vectors, source.config, encode=lambda texts: colours()[[TEXTS.index(text) for text in texts]])
    found = spoken(question([0], [0], words=["blue ship", " "]), 4)
    assert 5 in found.items[0].tolist()
    assert found.items[1].tolist() == source(question([0]), 4).items[0].tolist()


def test_sparse_asks_with_words_or_with_the_history() -> None:
    found = sparse_source()(question([0], [0], words=["ferry", ""]), 3)
    assert found.items[0].tolist() == [6, -1, -1]
    assert found.items[1].tolist() == [1, 2, 3]


def test_cooccurrence_is_the_cosine_of_the_people() -> None:
    train = Histories.from_rows([[0, 1], [0, 1, 2], [1, 3], [4, 4]])
    found = CooccurrenceSource(train, items=ITEMS)(question([0], [4]), 3)
    assert found.items.tolist() == [[1, 2, -1], [-1, -1, -1]]
    assert found.scores[0, :2].tolist() == pytest.approx([2 / np.sqrt(2 * 3), 1 / np.sqrt(2)])


class Fixed:
    """A recommender that always answers the same order, history masked."""

    items = ITEMS

    def answer(self, cases: Cases, k: int) -> RankedLists:
        return lists([[item for item in range(ITEMS) if item not in row][:k] for row in [cases.histories.row(0).tolist()]])


def test_any_recommender_is_a_source() -> None:
    asked = Question(Histories.from_rows([[0]]), limits=Limits(exclude=Histories.from_rows([[0, 2]])))
    assert RecommenderSource(Fixed())(asked, 3).items.tolist() == [[1, 3, 4]]


def test_a_cascade_fuses_reranks_and_falls_back() -> None:
    def backwards(asked: Question, found: RankedLists) -> RankedLists:
        assert found.items.shape == (1, 2)
        return RankedLists(found.items[:, ::-1], found.scores)

    plain = Cascade([sparse_source()], candidates=3)
    assert plain(question([0]), 5).items.tolist() == [[1, 2, 3, -1, -1]]
    staged = Cascade([sparse_source()], candidates=3, stages=[Stage(backwards, 2)], fallback=PopularitySource(np.arange(ITEMS)))
    answer = staged(question([0]), 5)
    assert answer.items.tolist() == [[2, 1, 3, 7, 6]]
    assert (np.diff(answer.scores[0]) < 0).all()
    asked = Cases(np.array([-1]), Histories.from_rows([[7]]), Histories.from_rows([[0]]))
    assert 7 not in staged.answer(asked, 5).items
    with pytest.raises(UserError, match="needs at least one source"):
        Cascade([])(question([0]), 3)


# ---- cross-encoders -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Tiny untrained BERTs with one and with five outputs (0: none), as `save_pretrained` writes them."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    made = {}
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({word for text in TEXTS for word in text.split()})]
    for outputs in (0, 1, 5):
        path = tmp_path_factory.mktemp(f"cross{outputs}")
        transformers.BertTokenizerFast(vocab={word: number for number, word in enumerate(words)}).save_pretrained(path)
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        config = transformers.BertConfig(vocab_size=len(words), num_labels=max(outputs, 1), **sizes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = (transformers.BertForSequenceClassification if outputs else transformers.BertModel)(config)
            for parameter in model.parameters():
                parameter.data.mul_(3 if outputs else 4)  # untrained weights are too small to tell words apart
        model.save_pretrained(path)
        made[outputs] = path
    return made


def test_cross_encoder_scores_do_not_depend_on_the_batch(folder: dict[int, Path]) -> None:
    pairs = [("red car", text) for text in TEXTS] + [("blue", "blue " * 400)]
    whole = CrossEncoder(folder[1], precision="fp32")(pairs)
    alone = CrossEncoder(folder[1], precision="fp32", batch_size=1, max_tokens=256)(pairs)
    assert whole.shape == (9,)
    assert len(np.unique(whole[:8].round(4))) == 8
    np.testing.assert_allclose(whole, alone, atol=1e-4)


def test_cross_encoder_ratings_are_expectations(folder: dict[int, Path]) -> None:
    ratings = CrossEncoder(folder[5], head="rating", precision="fp32")([("red", text) for text in TEXTS])
    assert (ratings > 1).all()
    assert (ratings < 5).all()
    assert len(CrossEncoder(folder[5])([])) == 0
    with pytest.raises(UserError, match=r"is no transformers folder: it has no config.json"):
        CrossEncoder(folder[1] / "nothing")


def test_cross_encoder_reranks_all_candidates() -> None:
    asked: list[tuple[str, str]] = []

    def shared_letters(pairs: Any) -> np.ndarray:
        asked.extend(pairs)
        return np.array([len(set(first) & set(second)) for first, second in pairs], dtype=np.float32)

    rerank = CrossEncoderReranker(shared_letters, TEXTS, events=2)
    found = rerank(question([4, 0, 1], words=None), lists([[6, 2, 3, -1]]))
    assert asked[0] == ("red bus; red car", "blue ferry")
    expected = sorted([6, 2, 3], key=lambda item: -len(set("red bus; red car") & set(TEXTS[item])))
    assert found.items.tolist() == [[*expected, -1]]
    rerank(question([4], words=["a raft"]), lists([[7]]))
    assert asked[-1] == ("a raft", "blue raft")


def test_a_trained_cross_encoder_knows_what_it_was_taught(folder: dict[int, Path], tmp_path: Path) -> None:
    pairs = [(first, second) for first in TEXTS for second in TEXTS if first != second]
    blue = np.array([second.startswith("blue") for _, second in pairs])
    config = CrossEncoderTraining(target="rating", epochs=50, learning_rate=8e-3, precision="fp32")
    trained = train_cross_encoder(folder[0], pairs, np.where(blue, 3, 1), out=tmp_path / "rates", config=config)
    ratings = trained(pairs)
    assert ratings[blue].min() > ratings[~blue].max() + 0.5
    assert np.array_equal(CrossEncoder(tmp_path / "rates", head="rating", precision="fp32")(pairs[:5]), trained(pairs[:5]))
    with pytest.raises(UserError, match="exists already"):
        train_cross_encoder(folder[0], pairs, blue, out=tmp_path / "rates")


@pytest.mark.parametrize(
    ("targets", "target", "message"),
    [
        ([1.0], "relevance", r"2 pairs came with targets of shape \(1,\)"),
        ([0, 2], "relevance", "target 2 does not fit `target` = 'relevance'; allowed: 0 or 1"),
        ([1, 2.5], "rating", "target 2.5 does not fit .*whole numbers from 1 to 100"),
        ([1, 1], "rating", "all ratings are 1"),
    ],
)
def test_targets_that_do_not_fit_are_named(targets: list[float], target: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        train_cross_encoder(tmp_path, [("a", "b")] * 2, targets, out=tmp_path / "out", config=CrossEncoderTraining(target=target))
