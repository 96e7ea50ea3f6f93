"""Conformance of item tokenizers: inherit `ItemTokenizerTests`, define `make`, and pytest runs what every tokenizer promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recsmith.data import ItemCodes
from recsmith.errors import DataError
from recsmith.item_tokenizers.figures import code_figures
from recsmith.protocols import ItemTokenizer

_CLUSTERS = 8
_ITEMS_PER_CLUSTER = 30
_DIM = 24


def planted_vectors(*, seed: int = 0, items_per_cluster: int = _ITEMS_PER_CLUSTER) -> tuple[np.ndarray, np.ndarray]:
    """Vectors float32 `[item, dim]` around eight well-separated centres, and the cluster of each, int64 `[item]`."""
    centres = np.random.default_rng(0).standard_normal((_CLUSTERS, _DIM)) * 3
    clusters = np.repeat(np.arange(_CLUSTERS), items_per_cluster)
    noise = np.random.default_rng([seed, 1]).standard_normal((len(clusters), _DIM)) * 0.5
    return (centres[clusters] + noise).astype(np.float32), clusters


class ItemTokenizerTests:
    """The promises of `recsmith.protocols.ItemTokenizer`. Keep `make` small: it is fitted about twenty times.

    class TestMine(ItemTokenizerTests):
        def make(self, **overrides):
            return MyTokenizer(MyConfig(**overrides))
    """

    least_purity: float = 0.9
    """Share of items whose first code belongs mostly to their own planted cluster."""

    def make(self, **overrides: Any) -> ItemTokenizer:
        """A new, unfitted tokenizer; the suite itself passes no overrides."""
        raise TypeError("a suite of an item tokenizer overrides `make`")

    def fitted(self, vectors: np.ndarray | None = None, *, seed: int = 0) -> tuple[ItemTokenizer, ItemCodes]:
        """A tokenizer fitted on `vectors`, by default the planted ones, and its codes."""
        tokenizer = self.make()
        codes = tokenizer.fit(planted_vectors()[0] if vectors is None else vectors, seed=seed)
        return tokenizer, codes

    def test_satisfies_the_protocol(self) -> None:
        tokenizer = self.make()
        assert isinstance(tokenizer, ItemTokenizer)
        assert isinstance(tokenizer.config, type(tokenizer).Config)

    def test_is_rebuilt_from_its_config(self) -> None:
        tokenizer = self.make()
        config = type(tokenizer).Config.parse(tokenizer.config.model_dump(mode="json"))
        assert config == tokenizer.config
        vectors, _ = planted_vectors()
        rebuilt = type(tokenizer)(config)  # type: ignore[call-arg]
        assert_same_codes(tokenizer.fit(vectors, seed=0), rebuilt.fit(vectors, seed=0))

    def test_codes_are_distinct_and_one_row_per_item(self) -> None:
        vectors, _ = planted_vectors()
        _, codes = self.fitted(vectors)
        assert len(codes) == len(vectors)
        assert_distinct(codes)

    def test_same_seed_same_codes(self) -> None:
        assert_same_codes(self.fitted(seed=3)[1], self.fitted(seed=3)[1])

    def test_another_seed_is_answered_too(self) -> None:
        assert_distinct(self.fitted(seed=4)[1])

    def test_leaves_its_input_alone(self) -> None:
        vectors, _ = planted_vectors()
        before = vectors.copy()
        self.fitted(vectors)
        np.testing.assert_array_equal(vectors, before)

    def test_leaves_global_randomness_alone(self) -> None:
        before = np.random.get_state(legacy=False)["state"]["key"]
        self.fitted()
        np.testing.assert_array_equal(before, np.random.get_state(legacy=False)["state"]["key"])

    def test_second_fit_starts_from_scratch(self) -> None:
        tokenizer, _ = self.fitted(planted_vectors(seed=5)[0][:100])
        again = tokenizer.fit(planted_vectors()[0], seed=0)
        assert_same_codes(again, self.fitted()[1])

    def test_state_round_trip_gives_the_same_codes(self) -> None:
        tokenizer, codes = self.fitted()
        state = tokenizer.state()
        assert all(isinstance(array, np.ndarray) and array.dtype != object for array in state.values())
        restored = type(tokenizer)(tokenizer.config)  # type: ignore[call-arg]
        restored.load_state({name: array.copy() for name, array in state.items()})
        new, _ = planted_vectors(seed=7, items_per_cluster=3)
        assert_same_codes(tokenizer.assign(new, taken=codes), restored.assign(new, taken=codes))
        assert restored.state().keys() == state.keys()

    def test_new_items_collide_with_nobody(self) -> None:
        vectors, _ = planted_vectors()
        tokenizer, codes = self.fitted(vectors)
        new = np.concatenate([vectors[:3], vectors[:3], planted_vectors(seed=9, items_per_cluster=2)[0]])
        assigned = tokenizer.assign(new, taken=codes)
        assert assigned.sizes == codes.sizes
        assert_distinct(ItemCodes(np.concatenate([codes.table, assigned.table]), codes.sizes))

    def test_new_items_one_after_the_other(self) -> None:
        vectors, _ = planted_vectors()
        tokenizer, codes = self.fitted(vectors)
        for row in range(4):
            added = tokenizer.assign(vectors[row : row + 1], taken=codes)
            codes = ItemCodes(np.concatenate([codes.table, added.table]), codes.sizes)
        assert_distinct(codes)

    def test_no_new_items(self) -> None:
        tokenizer, codes = self.fitted()
        assert len(tokenizer.assign(np.zeros((0, _DIM), dtype=np.float32), taken=codes)) == 0

    def test_new_copies_share_the_learned_codes_of_the_original(self) -> None:
        vectors, _ = planted_vectors()
        tokenizer, codes = self.fitted(vectors)
        assigned = tokenizer.assign(vectors, taken=codes)
        assert (assigned.table[:, 0] == codes.table[:, 0]).mean() >= 0.9

    def test_near_items_share_first_codes_more_often_than_far_ones(self) -> None:
        vectors, clusters = planted_vectors()
        _, codes = self.fitted(vectors)
        equal = codes.table[:, None, 0] == codes.table[None, :, 0]
        near = clusters[:, None] == clusters[None, :]
        others = ~np.eye(len(codes), dtype=bool)
        assert equal[near & others].mean() > 2 * equal[~near].mean()

    def test_no_level_collapses(self) -> None:
        _, codes = self.fitted()
        assert code_figures(codes)["collapsed_levels"] == []

    def test_first_code_recovers_planted_clusters(self) -> None:
        vectors, clusters = planted_vectors()
        _, codes = self.fitted(vectors)
        table = np.zeros((codes.sizes[0], _CLUSTERS), dtype=np.int64)
        np.add.at(table, (codes.table[:, 0], clusters), 1)
        assert table.max(axis=1).sum() / len(codes) >= self.least_purity

    @pytest.mark.parametrize("items", [1, 2, 3, 7])
    def test_few_items(self, items: int) -> None:
        vectors, _ = planted_vectors(items_per_cluster=1)
        tokenizer, codes = self.fitted(vectors[:items])
        assert len(codes) == items
        assert_distinct(codes)
        assigned = tokenizer.assign(vectors[:1], taken=codes)
        assert_distinct(ItemCodes(np.concatenate([codes.table, assigned.table]), codes.sizes))

    @pytest.mark.parametrize("items", [2, 50])
    def test_identical_items(self, items: int) -> None:
        tokenizer, codes = self.fitted(np.ones((items, _DIM), dtype=np.float32))
        assert_distinct(codes)
        assert tokenizer.figures()["collision_rate"] == 1

    def test_zero_vectors(self) -> None:
        vectors, _ = planted_vectors()
        vectors[::3] = 0
        assert_distinct(self.fitted(vectors)[1])

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_vectors_that_are_not_finite_are_refused(self, bad: float) -> None:
        vectors, _ = planted_vectors()
        vectors[5, 2] = bad
        with pytest.raises(DataError, match="5"):
            self.fitted(vectors)

    @pytest.mark.parametrize("shape", [(0, _DIM), (12,)])
    def test_vectors_that_are_no_table_are_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(DataError, match="shape"):
            self.fitted(np.zeros(shape, dtype=np.float32))

    def test_new_vectors_of_another_length_are_refused(self) -> None:
        tokenizer, codes = self.fitted()
        with pytest.raises(DataError, match=str(_DIM)):
            tokenizer.assign(np.zeros((1, _DIM + 1), dtype=np.float32), taken=codes)

    def test_double_precision_gives_the_same_codes(self) -> None:
        vectors, _ = planted_vectors()
        assert_same_codes(self.fitted(vectors)[1], self.fitted(vectors.astype(np.float64))[1])

    def test_figures_are_there_and_in_range(self) -> None:
        tokenizer, codes = self.fitted()
        figures = tokenizer.figures()
        assert 0 <= figures["collision_rate"] <= 1
        assert 1 <= figures["largest_collision"] <= codes.sizes[-1]
        assert len(figures["usage"]) == len(figures["entropy_bits"]) == codes.levels - 1
        for usage, entropy, size in zip(figures["usage"], figures["entropy_bits"], codes.sizes[:-1], strict=True):
            assert 0 < usage <= 1
            assert 0 <= entropy <= np.log2(size) + 1e-9

    def test_progress_is_told(self) -> None:
        calls: list[tuple[str, int, int]] = []
        self.make().fit(planted_vectors()[0], seed=0, progress=lambda *call: calls.append(call))
        assert all(0 <= done <= total for _, done, total in calls)
        assert not calls or calls[-1][1] == calls[-1][2]


def assert_distinct(codes: ItemCodes) -> None:
    """No two items share all their codes."""
    assert len(np.unique(codes.table, axis=0)) == len(codes)


def assert_same_codes(one: ItemCodes, other: ItemCodes) -> None:
    """Same sizes, same table."""
    assert one.sizes == other.sizes
    np.testing.assert_array_equal(one.table, other.table)
