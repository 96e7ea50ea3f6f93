"""Cold items in a beam search: judged by their prefix, capped, and within limits and rules."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from recsmith.data import Catalogue, Histories, ItemCodes, Vocabulary
from recsmith.decoding import CodeTrie, Deny, Items, ItemTable, beam_search, bind_rules, score_all
from recsmith.decoding.cold_start import PrefixScored, search_with_cold_items
from recsmith.protocols import Limits
from recsmith.testing.decoders import HashedCodeModel
from recsmith.training import to_batch

ITEMS, K = 40, 10


@pytest.fixture
def codes() -> ItemCodes:
    prefixes = np.random.default_rng(1).integers(0, 4, (ITEMS, 2))
    seen: dict[tuple[int, ...], int] = {}
    digits = []
    for prefix in map(tuple, prefixes.tolist()):
        digits.append(seen.get(prefix, 0))
        seen[prefix] = digits[-1] + 1
    return ItemCodes(np.column_stack([prefixes, digits]), (4, 4, 12))


@pytest.fixture
def cold() -> np.ndarray:
    return np.random.default_rng(2).random(ITEMS) < 0.4


def histories() -> Histories:
    return Histories.from_rows([[1, 2], [3], [], [5, 6, 7]])


def expected(codes: ItemCodes, cold: np.ndarray, *, share: float, forbidden: list[list[int]]) -> list[list[int]]:
    """Score everything, then fill the list from the top, skipping cold items when their places are gone."""
    model, batch = HashedCodeModel(codes=codes), to_batch(histories())
    logits = []
    state, parents, last = model.prefill(batch), None, None
    table = torch.from_numpy(codes.table).expand(len(batch), -1, -1)
    for level in range(codes.levels):
        level_logits, state = model.step(state, level, parents, last)
        likely = level_logits.log_softmax(-1).expand(-1, ITEMS, -1)
        logits.append(likely.gather(2, table[:, :, level, None])[..., 0])
        parents = torch.zeros(len(batch), ITEMS, dtype=torch.int64) if level == 0 else torch.arange(ITEMS).expand(len(batch), -1)
        last = table[:, :, level]
    scores = (logits[0] + logits[1] + torch.where(torch.from_numpy(cold), 0.0, logits[2])).numpy()
    lists = []
    for row, banned in enumerate(forbidden):
        chosen: list[int] = []
        for item in np.lexsort((np.arange(ITEMS), -scores[row])):
            crowded = cold[item] and cold[chosen].sum() >= int(share * K)
            if item not in banned and not crowded and len(chosen) < K:
                chosen.append(int(item))
        lists.append(chosen)
    return lists


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 1.0])
def test_lists_are_those_of_scoring_everything(codes: ItemCodes, cold: np.ndarray, share: float) -> None:
    batch, limits = to_batch(histories()), Limits(exclude=histories())
    found = search_with_cold_items(
        HashedCodeModel(codes=codes), batch, CodeTrie.build(codes), K, codes=codes, cold=cold, share=share, beams=ITEMS, limits=limits
    )
    assert found.items.tolist() == expected(codes, cold, share=share, forbidden=[[1, 2], [3], [], [5, 6, 7]])
    assert (cold[found.items].sum(1) <= share * K).all()


def test_without_cold_items_it_is_the_plain_search(codes: ItemCodes) -> None:
    model, batch, trie = HashedCodeModel(codes=codes), to_batch(histories()), CodeTrie.build(codes)
    found = search_with_cold_items(model, batch, trie, K, codes=codes, cold=np.zeros(ITEMS, dtype=bool), share=0.5, beams=ITEMS)
    plain = beam_search(model, batch, trie, K, beams=ITEMS)
    assert found.items.tolist() == plain.items.tolist()
    np.testing.assert_allclose(found.scores, plain.scores, atol=1e-5)


def test_rules_hold_for_cold_items_too(codes: ItemCodes, cold: np.ndarray) -> None:
    items = Vocabulary(pl.Series("item_id", range(ITEMS)))
    banned = np.flatnonzero(cold)[:3].tolist()
    rules = bind_rules([Deny(Items(tuple(banned)))], ItemTable(items, Catalogue(pl.DataFrame({"item_id": range(ITEMS)}))))
    found = search_with_cold_items(
        HashedCodeModel(codes=codes),
        to_batch(histories()),
        CodeTrie.build(codes),
        K,
        codes=codes,
        cold=cold,
        share=0.5,
        beams=ITEMS,
        rules=rules,
    )
    assert not set(banned) & set(found.items.flatten().tolist())
    assert found.items.tolist() == expected(codes, cold, share=0.5, forbidden=[banned] * 4)


def test_the_model_inside_is_unchanged_for_warm_items(codes: ItemCodes, cold: np.ndarray) -> None:
    model, batch, trie = HashedCodeModel(codes=codes), to_batch(histories()), CodeTrie.build(codes)
    plain, free = score_all(model, batch, trie), score_all(PrefixScored(model, codes, cold), batch, trie, normalise="none")
    torch.testing.assert_close(plain[:, ~cold], free[:, ~cold])
    assert (free[:, cold] >= plain[:, cold]).all()
