"""Ids in words: titles, "item_57", and those that IDGenRec writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("transformers")

import torch
from torch.nn.functional import one_hot

from recsmith.data import Catalogue, Histories, ItemCodes
from recsmith.errors import DataError, UserError
from recsmith.item_tokenizers import TOKENIZERS
from recsmith.item_tokenizers.idgenrec import soft_loss
from recsmith.item_tokenizers.spelled import told_apart
from recsmith.protocols import BoundItemTokenizer, ItemTokenizer, Observer
from recsmith.testing.tokenizers import assert_distinct, assert_same_codes
from recsmith.tuning_language import LanguageNetwork, NetworkConfig, TunerConfig
from recsmith.tuning_language.id_writer import IdWriter

TITLES = [
    "The quiet harbour",
    "The last lantern",
    "The quiet harbour",
    "Örtchen an der Au",
    "",
    "The last lantern of the quiet harbour town",
]
NEW = ["The quiet harbour", "A new lantern"]
NETWORK = {"dim": 16, "layers": 1, "heads": 2, "ff_dim": 32, "words": 300, "dropout": 0.0}
QUICK = {"network": NETWORK, "tag_steps": 3, "rounds": 1, "recommender_steps": 2, "writer_steps": 2, "longest": 8}
SETTINGS: dict[str, dict[str, Any]] = {"title": {"longest": 6}, "numeric": {"digits": 3}, "idgenrec": QUICK}


def catalogue() -> Catalogue:
    return Catalogue(pl.DataFrame({"item_id": range(len(TITLES) + len(NEW)), "title": [*TITLES, *NEW]}))


def made(name: str, **settings: Any) -> Any:
    kind = TOKENIZERS.get(name)
    tokenizer = kind(kind.Config.parse({**SETTINGS[name], **settings}))
    if isinstance(tokenizer, Observer):
        tokenizer.observe(Histories.from_rows([[0, 1, 2, 3], [3, 4, 5], [2], []]))
    tokenizer.bind(pl.Series("item_id", range(len(TITLES))), catalogue())
    return tokenizer


def fit(tokenizer: Any, count: int = len(TITLES)) -> ItemCodes:
    return tokenizer.fit(np.empty((count, 0), dtype=np.float32), seed=1)


@pytest.mark.parametrize("name", list(SETTINGS))
def test_ids_are_words_and_nobody_has_those_of_another(name: str) -> None:
    tokenizer = made(name)
    assert isinstance(tokenizer, ItemTokenizer)
    assert isinstance(tokenizer, BoundItemTokenizer)
    codes = fit(tokenizer)
    assert_distinct(codes)
    assert not codes.table[:, -1].any()  # told apart in words, not by a collision code
    assert len(set(codes.spelled())) == len(TITLES)
    ended = np.maximum.accumulate(codes.table == 0, axis=1)
    assert not codes.table[ended].any()
    assert ended[:, -2].all()
    assert not ended[:, 0].any()
    assert_same_codes(codes, fit(made(name)))


@pytest.mark.parametrize("name", list(SETTINGS))
def test_a_restored_tokenizer_names_new_items_alike(name: str) -> None:
    tokenizer = made(name)
    codes = fit(tokenizer)
    restored = type(tokenizer)(tokenizer.config)
    restored.load_state({key: array.copy() for key, array in tokenizer.state().items()})
    assert restored.figures() == tokenizer.figures()
    new = pl.Series("item_id", range(len(TITLES), len(TITLES) + len(NEW)))
    found = []
    for one in (tokenizer, restored):
        one.bind(new, catalogue())
        found.append(one.assign(np.empty((len(NEW), 0), dtype=np.float32), taken=codes))
    assert_same_codes(*found)
    assert_distinct(ItemCodes(np.concatenate([codes.table, found[0].table]), codes.sizes))


def test_a_title_is_its_id_and_a_number_tells_equal_ones_apart() -> None:
    codes = fit(made("title", longest=16))
    assert codes.spelled()[:3] == ["The quiet harbour", "The last lantern", "The quiet harbour 2"]
    assert codes.spelled()[4] == "item 4"
    assert fit(made("title", longest=16)).words == codes.words


def test_digits_are_shared() -> None:
    codes = fit(made("numeric"))
    assert codes.spelled() == [f"item_{number}" for number in range(6)]
    assert codes.words[1:] == (*"0123456789", "item_")
    assert fit(made("numeric", prefix="")).spelled()[5] == "5"
    tokenizer = made("numeric", digits=1)
    tokenizer.bind(pl.Series("item_id", ["a", "b"]), None)
    assert fit(tokenizer, 2).spelled() == ["item_1", "item_2"]
    tokenizer.bind(pl.Series("item_id", [str(number) for number in range(10)]), None)
    with pytest.raises(UserError, match=r"number 10 has more than 1 digits; set `tokenizer\.digits` higher"):
        fit(tokenizer, 10)


def test_ids_too_short_to_differ_are_refused() -> None:
    assert told_apart([(1, 2), (1, 2), (1, 9)], longest=2, number=lambda one: (one + 1,)) == [(1, 2), (1, 3), (1, 9)]
    with pytest.raises(UserError, match="ids of 1 pieces are too short to tell 3 items apart"):
        told_apart([(1,)] * 3, longest=1, number=lambda one: (5, one))
    bare = made("title")
    bare.bind(pl.Series("item_id", [1, 2]), None)
    with pytest.raises(DataError, match="title ids are made of item titles, and there are none"):
        fit(bare, 2)


# ---- IDGenRec ----


@pytest.fixture(scope="module")
def networks() -> tuple[LanguageNetwork, LanguageNetwork, IdWriter]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        writer, reader = (LanguageNetwork(NetworkConfig.parse(NETWORK), TunerConfig()) for _ in range(2))
        texts = ["a quiet harbour at night", "lantern of the last night", "a harbour and a lantern"]
        for network in (writer, reader):
            network.make([*texts, *IdWriter.phrases()])
            network.eval()
    return writer, reader, IdWriter(writer, texts, longest=8, longest_text=20)


def test_an_id_takes_each_word_once_and_from_the_text(networks: tuple[LanguageNetwork, LanguageNetwork, IdWriter]) -> None:
    writer, _, ids = networks
    for text, rows in zip(ids.texts, ids.write(range(3), groups=4, penalty=1.0), strict=True):
        assert 1 < len(rows) == len(set(rows)) <= 4
        for row in rows:
            words = writer.text(row).split()
            assert 1 <= len(row) <= 8
            assert len(words) == len(set(words))
            assert all(any(own.startswith(word) for own in text.split()) for word in words[:-1])


def test_distinct_ids_leave_those_that_are_taken(networks: tuple[LanguageNetwork, LanguageNetwork, IdWriter]) -> None:
    ids = networks[2]
    first = [rows[0] for rows in ids.write(range(3), groups=2, penalty=1.0)]
    used = set(first)
    others = ids.distinct(groups=2, penalty=1.0, attempts=3, used=used)
    assert not set(others) & set(first)
    assert len(set(others)) == 3
    assert used == {*first, *others}


def test_a_writer_that_is_sure_leaves_the_readers_loss_as_it_is(networks: tuple[LanguageNetwork, LanguageNetwork, IdWriter]) -> None:
    """With all probability on the tokens of the ids, their mixed vectors are their vectors: the loss is that of the ids as told."""
    _, reader, ids = networks
    names = [tuple(reader.tokens(text)) for text in (" quiet harbour", " lantern", " harbour lantern")]
    lessons, ask = [[0, 1, 2], [2, 0]], reader.tokens("Taken:")

    class Sure:
        def shares(self, items: list[int], rows: list[tuple[int, ...]]) -> torch.Tensor:
            return one_hot(torch.tensor([token for row in rows for token in row]), reader.word_count).float()

    soft = soft_loss(Sure(), reader, lessons, names, ask=ask)  # type: ignore[arg-type]
    told = [(ask, [token for item in lesson for token in (*names[item], reader.end)]) for lesson in lessons]
    torch.testing.assert_close(soft, reader.loss(told))


def test_the_writer_learns_from_a_reader_that_stands_still(networks: tuple[LanguageNetwork, LanguageNetwork, IdWriter]) -> None:
    writer, reader, ids = networks
    names, ask = [rows[0] for rows in ids.write(range(3), groups=1, penalty=0.0)], reader.tokens("Taken:")
    reader.requires_grad_(False)
    optimizer = torch.optim.Adam(writer.parameters(), lr=0.01)
    losses = []
    for _ in range(12):
        loss = soft_loss(ids, reader, [[0, 1, 2], [2, 0, 1]], names, ask=ask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1e-3
    assert all(one.grad is None for one in reader.parameters())
