from __future__ import annotations

import numpy as np
import pytest

from recsmith.data import ItemCodes
from recsmith.errors import ArtifactError, ConfigError, DataError, UserError
from recsmith.item_tokenizers.rq_kmeans import RqKMeans, RqKMeansConfig
from recsmith.item_tokenizers.rq_vae import RqVae, RqVaeConfig
from recsmith.testing.tokenizers import assert_distinct, planted_vectors

VECTORS = np.random.default_rng(0).standard_normal((400, 12)).astype(np.float32)


def small_vae(**changes: object) -> RqVae:
    return RqVae(
        RqVaeConfig.parse({"size": 8, "hidden": (32,), "latent": 6, "epochs": 10, "warm_up_epochs": 3, "device": "cpu", **changes})
    )


def test_few_items_reduce_the_codes_and_say_so() -> None:
    tokenizer = RqKMeans()
    codes = tokenizer.fit(VECTORS[:40], seed=0)
    assert codes.sizes[:-1] == (10, 10, 10)
    assert tokenizer.figures()["notes"] == ["10 codes per level instead of 256: 40 items, 40 of them distinct"]


def test_enough_items_keep_the_codes_and_say_nothing() -> None:
    tokenizer = RqKMeans(RqKMeansConfig(size=32))
    assert tokenizer.fit(VECTORS, seed=0).sizes[:-1] == (32, 32, 32)
    assert tokenizer.figures()["notes"] == []


def test_more_levels_explain_more() -> None:
    def error(levels: int) -> float:
        tokenizer = RqKMeans(RqKMeansConfig(size=16, levels=levels))
        tokenizer.fit(VECTORS, seed=0)
        return tokenizer.figures()["quantization_error"]

    errors = [error(levels) for levels in (1, 2, 4)]
    assert errors[0] > errors[1] > errors[2] > 0


def test_components_keep_the_main_variance() -> None:
    flat = VECTORS * np.array([10.0] * 3 + [0.1] * 9, dtype=np.float32)
    tokenizer = RqKMeans(RqKMeansConfig(size=16, components=3))
    tokenizer.fit(flat, seed=0)
    assert tokenizer.figures()["variance_kept"] > 0.99


def test_spreading_leaves_fewer_collisions_and_says_how_many_moved() -> None:
    vectors = np.repeat(VECTORS[:100], 4, axis=0)
    digit, spread = RqKMeans(RqKMeansConfig(size=16)), RqKMeans(RqKMeansConfig(size=16, collisions="nearest"))
    digit.fit(vectors, seed=0)
    codes = spread.fit(vectors, seed=0)
    assert_distinct(codes)
    assert digit.figures()["collision_rate"] == 1
    assert spread.figures()["collision_rate"] < 0.2
    assert spread.figures()["moved"] > 0.5


def test_a_full_prefix_sends_new_items_to_the_nearest_one_and_an_exhausted_space_is_an_error() -> None:
    tokenizer = RqKMeans(RqKMeansConfig(size=2, levels=2))
    codes = tokenizer.fit(VECTORS[:8], seed=0)
    capacity = int(np.prod(codes.sizes))
    copies = np.repeat(VECTORS[:1], capacity - 8, axis=0)
    added = tokenizer.assign(copies, taken=codes)
    full = ItemCodes(np.concatenate([codes.table, added.table]), codes.sizes)
    assert_distinct(full)
    with pytest.raises(UserError, match=r"no free code for new item 0.*fit the tokenizer again"):
        tokenizer.assign(VECTORS[:1], taken=full)


def test_overflow_changes_the_last_learned_level_first() -> None:
    tokenizer = RqKMeans(RqKMeansConfig(size=4, levels=2))
    codes = tokenizer.fit(VECTORS[:60], seed=0)
    room = codes.sizes[-1]
    added = tokenizer.assign(np.repeat(VECTORS[:1], room, axis=0), taken=codes)
    assert (added.table[:, 0] == codes.table[0, 0]).all()
    assert len(np.unique(added.table[:, 1])) == 2


def test_unfitted_and_foreign_codes_are_refused() -> None:
    with pytest.raises(UserError, match="call fit or load_state first"):
        RqKMeans().assign(VECTORS, taken=ItemCodes(np.zeros((0, 4), dtype=np.int64), (2, 2, 2, 8)))
    with pytest.raises(UserError, match="learned nothing yet"):
        RqVae().state()
    tokenizer = RqKMeans(RqKMeansConfig(size=4))
    tokenizer.fit(VECTORS, seed=0)
    with pytest.raises(UserError, match=r"codes taken have sizes \(5, 5, 5\), this tokenizer's are \(4, 4, 4\)"):
        tokenizer.assign(VECTORS, taken=ItemCodes(np.zeros((0, 4), dtype=np.int64), (5, 5, 5, 8)))


def test_text_instead_of_vectors_is_refused() -> None:
    with pytest.raises(DataError, match="table"):
        RqKMeans().fit(np.array([["a", "b"]]), seed=0)


def test_incomplete_state_is_refused() -> None:
    tokenizer = small_vae()
    tokenizer.fit(VECTORS, seed=0)
    state = tokenizer.state()
    with pytest.raises(ArtifactError, match=r"lacks `codebook\.1`"):
        small_vae().load_state({name: array for name, array in state.items() if name != "codebook.1"})
    with pytest.raises(ArtifactError, match="does not fit its settings"):
        small_vae().load_state({name: array for name, array in state.items() if not name.startswith("encoder.0")})
    with pytest.raises(ArtifactError, match="does not fit its settings"):
        small_vae(latent=7).load_state(state)


def test_figures_survive_the_state() -> None:
    tokenizer = small_vae()
    tokenizer.fit(VECTORS, seed=0)
    assert RqVae.from_state(tokenizer.config, tokenizer.state()).figures() == tokenizer.figures()


def test_rq_vae_uses_its_codes_and_reconstructs_planted_clusters() -> None:
    vectors, _ = planted_vectors(items_per_cluster=60)
    tokenizer = small_vae(size=16, epochs=40, batch_size=128, learning_rate=5e-3)
    tokenizer.fit(vectors, seed=0)
    figures = tokenizer.figures()
    assert figures["usage"][0] >= 0.9
    assert figures["reconstruction_error"] < 0.15


def test_rq_vae_without_warm_up_or_revival_still_fits() -> None:
    codes = small_vae(warm_up_epochs=0, revive_until=0).fit(VECTORS, seed=0)
    assert_distinct(codes)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="unknown setting `sise`; did you mean `size`"):
        RqKMeansConfig.parse({"sise": 3})
    with pytest.raises(ConfigError, match="setting `levels` = 0"):
        RqVaeConfig.parse({"levels": 0})


@pytest.mark.gpu
def test_rq_vae_trains_on_cuda_as_well_as_on_the_cpu() -> None:
    vectors, _ = planted_vectors(items_per_cluster=60)
    errors = []
    for device in ("cpu", "cuda"):
        tokenizer = small_vae(size=16, epochs=40, batch_size=128, learning_rate=5e-3, device=device)
        assert_distinct(tokenizer.fit(vectors, seed=0))
        errors.append(tokenizer.figures()["reconstruction_error"])
    assert errors[1] == pytest.approx(errors[0], rel=0.25)
