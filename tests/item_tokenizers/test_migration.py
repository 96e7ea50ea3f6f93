"""New codebooks for a catalogue that has moved: items keep their ids where they can, and ids mean what they meant."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import Histories, ItemCodes
from recsmith.errors import UserError
from recsmith.item_tokenizers import TOKENIZERS
from recsmith.item_tokenizers.migration import matched_numbers, migrate_codes, rotation_between
from recsmith.item_tokenizers.residual import ResidualTokenizer
from recsmith.protocols import Observer
from recsmith.seeding import generator

NAMES = ("rq-kmeans", "pq")
OLD, NEW, DIM = 160, 20, 12


def make(name: str, **settings: object) -> ResidualTokenizer:
    maker = TOKENIZERS.get(name)
    return maker(maker.Config.parse({"levels": 2, "size": 12, **({"rotations": 2} if name == "pq" else {}), **settings}))


def catalogue(seed: int = 0) -> np.ndarray:
    """Clustered vectors of old and new items."""
    random = generator(seed, "moving catalogue")
    centres = random.standard_normal((20, DIM)) * 3
    return (centres[random.integers(0, 20, OLD + NEW)] + random.standard_normal((OLD + NEW, DIM))).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_a_catalogue_that_did_not_move_keeps_all_its_codes(name: str) -> None:
    vectors = catalogue()[:OLD]
    tokenizer = make(name, iterations=100)
    old = tokenizer.fit(vectors, seed=3)
    again = migrate_codes(tokenizer, old, vectors, fit_on=np.arange(OLD), keep=0.0)
    assert again.kept.mean() > 0.97
    fresh = migrate_codes(make(name, iterations=100), old, vectors, fit_on=np.arange(OLD), start="fresh", keep=0.0, seed=3)
    assert np.array_equal(fresh.codes.table, old.table)
    assert fresh.kept.all()


@pytest.mark.parametrize("name", NAMES)
def test_most_items_keep_their_codes_when_some_come_and_go(name: str) -> None:
    vectors = catalogue()
    tokenizer = make(name)
    old = tokenizer.fit(vectors[:OLD], seed=1)
    before = tokenizer.errors(vectors[:OLD], old.table[:, :-1]).mean()
    result = migrate_codes(tokenizer, old, vectors, fit_on=np.arange(20, OLD + NEW), keep=0.1)
    assert result.codes.sizes == old.sizes
    assert len({tuple(row) for row in result.codes.table.tolist()}) == OLD + NEW
    assert np.array_equal(result.codes.table[:OLD][result.kept], old.table[result.kept])
    assert result.kept.mean() > 0.75
    assert result.figures["kept"] + result.figures["moved"] == OLD
    assert result.figures["error_if_none_were_kept"] <= result.figures["error"] < 1.2 * before
    more = tokenizer.errors(vectors, result.codes.table[:, :-1])
    assert more.mean() == pytest.approx(result.figures["error"])


@pytest.mark.parametrize("name", ["rq-vae", "letter"])
def test_codebooks_behind_a_network_move_too(name: str) -> None:
    vectors = catalogue()
    small = {"hidden": (16,), "latent": 8, "epochs": 10, "warm_up_epochs": 3}
    tokenizer, again = (make(name, **small) for _ in range(2))
    for one in (tokenizer, again):
        if isinstance(one, Observer):
            one.observe(Histories.from_rows(list(generator(0, "histories").integers(0, OLD, (60, 6)))))
    old = tokenizer.fit(vectors[:OLD], seed=1)
    network = {part: value for part, value in tokenizer.state().items() if part.startswith("encoder.")}
    result = migrate_codes(make_loaded(tokenizer), old, vectors, fit_on=np.arange(20, OLD + NEW), keep=0.1)
    assert len({tuple(row) for row in result.codes.table.tolist()}) == OLD + NEW
    assert result.kept.mean() > 0.5
    assert result.figures["error"] < 1.2 * tokenizer.errors(vectors, moved_codes(tokenizer, vectors)).mean()
    assert all(np.array_equal(tokenizer.state()[part], value) for part, value in network.items())
    fresh = migrate_codes(again, old, vectors[:OLD], fit_on=np.arange(OLD), start="fresh", keep=0.0, seed=1)
    assert np.array_equal(fresh.codes.table, old.table)


def moved_codes(tokenizer: ResidualTokenizer, vectors: np.ndarray) -> np.ndarray:
    """The learned codes that the vectors get, without regard to collisions."""
    sizes = tuple(len(value) for name, value in tokenizer.state().items() if name.startswith("codebook."))
    none = ItemCodes(np.zeros((0, len(sizes) + 1), dtype=np.int64), (*sizes, len(vectors)))
    return tokenizer.assign(vectors, taken=none).table[:, :-1]


def test_more_patience_keeps_more() -> None:
    vectors = catalogue()
    fitted = make("rq-kmeans")
    old = fitted.fit(vectors[:OLD], seed=1)
    kept = []
    for keep in (0.0, 0.2, 1e9):
        tokenizer = make("rq-kmeans")
        tokenizer.load_state(fitted.state())
        kept.append(migrate_codes(tokenizer, old, vectors, fit_on=np.arange(OLD + NEW), keep=keep).kept.mean())
    assert kept == sorted(kept)
    assert kept[-1] == 1


def test_fresh_codebooks_are_numbered_like_the_old_ones() -> None:
    """The same clusters under other names: after the matching nearly all items have their first codes again."""
    vectors = catalogue()
    old = make("rq-kmeans", levels=1, iterations=50).fit(vectors[:OLD], seed=1)
    tokenizer = make("rq-kmeans", levels=1, iterations=50)
    plain = make("rq-kmeans", levels=1, iterations=50).fit(vectors[:OLD], seed=2)
    result = migrate_codes(tokenizer, old, vectors[:OLD], fit_on=np.arange(OLD), start="fresh", keep=0.0, seed=2)
    same = (result.codes.table[:, 0] == old.table[:, 0]).mean()
    assert same > 0.5 > (plain.table[:, 0] == old.table[:, 0]).mean()


def test_a_space_that_turned_is_turned_back() -> None:
    vectors = catalogue()
    rotation = np.linalg.qr(generator(0, "rotation").standard_normal((DIM, DIM)))[0].astype(np.float32)
    tokenizer = make("rq-kmeans")
    old = tokenizer.fit(vectors[:OLD], seed=1)
    turned = vectors @ rotation
    tokenizer.turn(rotation_between(turned[:50], vectors[:50]))
    assert np.allclose(tokenizer.errors(turned[:OLD], old.table[:, :-1]), make_loaded(tokenizer).errors(turned[:OLD], old.table[:, :-1]))
    result = migrate_codes(tokenizer, old, turned, fit_on=np.arange(OLD + NEW))
    assert result.kept.mean() > 0.75
    again = make_loaded(tokenizer)
    assert np.array_equal(again.assign(turned[OLD:], taken=old).table, tokenizer.assign(turned[OLD:], taken=old).table)


def make_loaded(tokenizer: ResidualTokenizer) -> ResidualTokenizer:
    other = type(tokenizer)(tokenizer.config)
    other.load_state(tokenizer.state())
    return other


@pytest.mark.parametrize("name", NAMES)
def test_renumbering_changes_names_only(name: str) -> None:
    vectors = catalogue()[:OLD]
    tokenizer = make(name)
    codes = tokenizer.fit(vectors, seed=1)
    orders = [generator(level, "order").permutation(size) for level, size in enumerate(codes.sizes[:-1])]
    errors = tokenizer.errors(vectors, codes.table[:, :-1])
    tokenizer.renumber(orders)
    renamed = np.column_stack([order[column] for order, column in zip(orders, codes.table.T, strict=False)])
    assert np.allclose(tokenizer.errors(vectors, renamed), errors, atol=1e-5)
    roomy = type(codes)(codes.table[:0], (*codes.sizes[:-1], OLD))
    assert (tokenizer.assign(vectors, taken=roomy).table[:, :-1] == renamed).mean() > 0.99


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_the_matching_is_the_best_of_all(pairs: list[tuple[int, int]]) -> None:
    old, new = np.array(pairs).T
    numbers = matched_numbers(old, new, 4)
    assert sorted(numbers) == [0, 1, 2, 3]
    best = max(sum(order[after] == before for before, after in pairs) for order in permutations(range(4)))
    assert (numbers[new] == old).sum() == best


def test_the_matching_of_very_many_codes_is_a_permutation() -> None:
    random = generator(0, "many codes")
    order = random.permutation(5_000)
    old = random.integers(0, 5_000, 9_000)
    numbers = matched_numbers(old, np.argsort(order)[old], 5_000)
    assert np.array_equal(numbers[np.argsort(order)[old]], old)
    assert np.array_equal(np.sort(numbers), np.arange(5_000))


def test_mistakes() -> None:
    vectors = catalogue()
    tokenizer = make("rq-kmeans")
    old = tokenizer.fit(vectors[:OLD], seed=1)
    with pytest.raises(UserError, match="keep = -1 does not work"):
        migrate_codes(tokenizer, old, vectors, fit_on=np.arange(OLD), keep=-1)
    with pytest.raises(UserError, match="5 items are too few for codebooks of 12 codes"):
        migrate_codes(tokenizer, old, vectors, fit_on=np.arange(5))
    with pytest.raises(UserError, match=r"new codebooks on 20 items have \(5, 5\) codes, the old ones \(12, 12\)"):
        migrate_codes(make("rq-kmeans"), old, vectors, fit_on=np.arange(20), start="fresh")
