from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.data import ItemCodes
from recsmith.errors import ArtifactError, DataError, UserError
from recsmith.item_tokenizers.axes import principal_axes
from recsmith.item_tokenizers.hierarchical import HierarchicalConfig, HierarchicalKMeans, balanced_kmeans
from recsmith.item_tokenizers.product import ProductCodes, ProductConfig
from recsmith.item_tokenizers.random_codes import RandomCodes
from recsmith.testing.tokenizers import assert_distinct

RANDOM = np.random.default_rng(0)
CORRELATED = RANDOM.standard_normal((600, 4)) @ RANDOM.standard_normal((4, 16))
CORRELATED = (CORRELATED + 0.1 * RANDOM.standard_normal((600, 16))).astype(np.float32)


def product(**settings: object) -> ProductCodes:
    return ProductCodes(ProductConfig.parse({"size": 16, "levels": 4, "components": 0, **settings}))


def test_rotation_lowers_the_error_of_correlated_vectors() -> None:
    errors = []
    for rotation in ("none", "balanced", "learned"):
        tokenizer = product(rotation=rotation)
        tokenizer.fit(CORRELATED, seed=0)
        errors.append(tokenizer.figures()["quantization_error"])
    assert errors[0] > errors[1] > errors[2] > 0


def test_codes_are_those_of_k_means_on_each_part() -> None:
    """The code of a part depends on nothing outside it."""
    tokenizer = product(rotation="none")
    codes = tokenizer.fit(CORRELATED, seed=0)
    other = CORRELATED.copy()
    other[:, 4:] = other[::-1, 4:]
    moved = tokenizer.assign(other, taken=ItemCodes(codes.table[:0], codes.sizes))
    np.testing.assert_array_equal(moved.table[:, 0], codes.table[:, 0])
    np.testing.assert_array_equal(moved.table[:, 1:4], codes.table[::-1, 1:4])


def test_parts_of_unequal_length_and_too_many_parts() -> None:
    codes = product(levels=5).fit(CORRELATED, seed=0)
    assert codes.levels == 6
    with pytest.raises(DataError, match=r"16 numbers per item cannot be cut into 17 parts; set `tokenizer.levels` to 16 or less"):
        product(levels=17).fit(CORRELATED, seed=0)
    state = {name: array for name, array in fitted_state().items() if name != "rotation"}
    with pytest.raises(ArtifactError, match="lacks `mean` or `rotation`"):
        product().load_state(state)


def fitted_state() -> dict[str, np.ndarray]:
    tokenizer = product()
    tokenizer.fit(CORRELATED, seed=0)
    return tokenizer.state()


def test_principal_axes_are_orthonormal_and_in_order() -> None:
    mean, axes = principal_axes(torch.from_numpy(CORRELATED), 6)
    torch.testing.assert_close(axes.T @ axes, torch.eye(6), atol=1e-5, rtol=0)
    variances = ((torch.from_numpy(CORRELATED) - mean) @ axes).var(0)
    assert (variances.diff() <= 1e-6).all()


# ---- the tree -----------------------------------------------------------------------------------------------------------


def test_clusters_are_of_equal_size_even_where_the_items_are_not() -> None:
    dense = torch.from_numpy(RANDOM.standard_normal((190, 4)).astype(np.float32)) * 0.1
    sparse = torch.from_numpy(RANDOM.standard_normal((10, 4)).astype(np.float32)) * 5
    x = torch.cat([dense, sparse])
    centroids, prices, assignment = balanced_kmeans(x, 8, seed=0)
    counts = torch.bincount(assignment, minlength=8)
    assert counts.max() <= 25
    assert counts.min() >= 20
    rule = (torch.cdist(x, centroids).square() + prices).argmin(1)
    assert (rule == assignment).float().mean() > 0.75


def test_first_branches_are_balanced_and_every_item_has_a_leaf_of_its_own() -> None:
    tokenizer = HierarchicalKMeans(HierarchicalConfig(levels=3))
    codes = tokenizer.fit(CORRELATED, seed=0)
    figures = tokenizer.figures()
    assert codes.sizes[:-1] == (9, 9, 9)
    assert figures["largest_first_branch"] - figures["smallest_first_branch"] <= 20
    assert figures["collision_rate"] < 0.1
    assert_distinct(codes)


def test_same_path_means_near() -> None:
    codes = HierarchicalKMeans(HierarchicalConfig(levels=3, size=4)).fit(CORRELATED, seed=0)
    distance = ((CORRELATED[:, None] - CORRELATED[None]) ** 2).sum(-1)
    equal = [(codes.table[:, None, :depth] == codes.table[None, :, :depth]).all(-1) for depth in (1, 2, 3)]
    means = [distance[same].mean() for same in equal]
    assert distance.mean() > means[0] > means[1] > means[2]


def test_a_full_leaf_sends_new_items_to_the_next_and_an_exhausted_tree_is_an_error() -> None:
    tokenizer = HierarchicalKMeans(HierarchicalConfig(levels=2, size=2))
    codes = tokenizer.fit(CORRELATED[:6], seed=0)
    capacity = int(np.prod(codes.sizes))
    added = tokenizer.assign(np.repeat(CORRELATED[:1], capacity - 6, axis=0), taken=codes)
    full = ItemCodes(np.concatenate([codes.table, added.table]), codes.sizes)
    assert_distinct(full)
    with pytest.raises(UserError, match="no free code for new item 0"):
        tokenizer.assign(CORRELATED[:1], taken=full)


@pytest.mark.parametrize("kind", [HierarchicalKMeans, RandomCodes])
def test_unfitted_foreign_and_incomplete_are_refused(kind: type) -> None:
    with pytest.raises(UserError, match="call fit or load_state first"):
        kind().state()
    tokenizer = kind()
    tokenizer.fit(CORRELATED, seed=0)
    with pytest.raises(UserError, match="pass the codes that it made"):
        tokenizer.assign(CORRELATED, taken=ItemCodes(np.zeros((0, 3), dtype=np.int64), (5, 5, 8)))
    with pytest.raises(ArtifactError, match="lacks `figures`"):
        kind().load_state({name: array for name, array in tokenizer.state().items() if name != "figures"})
    restored = kind()
    restored.load_state(tokenizer.state())
    assert restored.figures() == tokenizer.figures()
