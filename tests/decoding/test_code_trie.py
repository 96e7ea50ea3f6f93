"""The trie holds exactly the catalogue, and builds without Python per item."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import ItemCodes
from recsmith.decoding import CodeTrie


def random_codes(seed: int, sizes: tuple[int, ...], items: int) -> ItemCodes:
    numbers = np.random.default_rng(seed).permutation(int(np.prod(sizes)))[:items]
    return ItemCodes(np.stack(np.unravel_index(numbers, sizes), axis=1).astype(np.int64), sizes)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple), items=st.integers(0, 50))
def test_paths_of_the_trie_are_the_codes(seed, sizes, items):
    codes = random_codes(seed, sizes, items)
    trie = CodeTrie.build(codes)
    paths = [()] if len(codes) else []
    for depth in range(trie.levels):
        ends = trie.children[depth].tolist()
        paths = [
            (*paths[node], int(trie.codes[depth + 1][child])) for node in range(len(paths)) for child in range(ends[node], ends[node + 1])
        ]
        prefixes = sorted({tuple(row[: depth + 1]) for row in codes.table.tolist()})
        assert paths == prefixes
        counts = [sum(tuple(row[: depth + 1]) == prefix for row in codes.table.tolist()) for prefix in prefixes]
        assert trie.leaves[depth + 1].diff().tolist() == counts
    assert [tuple(codes.table[item]) for item in trie.items.tolist()] == paths
    assert trie.items[trie.leaves_of].tolist() == list(range(len(codes)))


def test_parents_and_ancestors():
    trie = CodeTrie.build(random_codes(1, (3, 3, 3), 15))
    assert trie.parents(1).tolist() == [0] * trie.nodes(1)
    assert torch.equal(trie.ancestors(2, trie.leaves[3][:-1]), trie.parents(3))


def test_very_wide_codes_are_sorted_too():
    table = np.array([[2**40, 1, 5], [3, 2**40, 2], [3, 7, 9]])
    trie = CodeTrie.build(ItemCodes(table, (2**41,) * 3))
    assert trie.items.tolist() == [2, 1, 0]


def test_items_that_share_all_codes_are_refused():
    with pytest.raises(ValueError, match="1 of 3 items share all codes"):
        CodeTrie.build(ItemCodes(np.array([[0, 1], [0, 1], [1, 1]]), (2, 2)))


def test_a_million_items_build_in_seconds_and_megabytes():
    numbers = np.random.default_rng(0).permutation(256**3)[:1_000_000]
    table = np.concatenate([np.stack(np.unravel_index(numbers, (256,) * 3), axis=1), np.zeros((1_000_000, 1), dtype=np.int64)], axis=1)
    begin = time.process_time()
    trie = CodeTrie.build(ItemCodes(table, (256, 256, 256, 8)))
    assert time.process_time() - begin < 8
    tensors = [trie.items, trie.leaves_of, *trie.codes, *trie.children, *trie.leaves]
    assert sum(tensor.nbytes for tensor in tensors) < 200e6
