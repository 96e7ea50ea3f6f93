"""Rules hold in every list, and give what scoring the whole catalogue and picking greedily gives."""

from __future__ import annotations

import datetime

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import Catalogue, Histories, Vocabulary
from recsmith.decoding import (
    BEST,
    AgeRating,
    Allow,
    AtLeast,
    AtMost,
    Between,
    Boost,
    BoundRules,
    CodeTrie,
    Deny,
    Diverse,
    Fresh,
    InStock,
    Items,
    ItemTable,
    OneOf,
    Pin,
    PriceRange,
    Region,
    Sampled,
    beam_search,
    bind_rules,
    must_include,
    score_all,
    score_items,
    top_k,
)
from recsmith.decoding.filling import fill_lists
from recsmith.errors import UserError
from recsmith.protocols import Limits, RankedLists
from recsmith.testing.decoders import DecodingCase, decoding_case

ITEMS = 40


def table(seed: int = 0, items: int = ITEMS) -> ItemTable:
    random = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "item_id": np.arange(items),
            "brand": [["a", "b", "c", None][number] for number in random.integers(0, 4, items)],
            "genres": [list({"xyz"[i] for i in random.integers(0, 3, random.integers(0, 3))}) for _ in range(items)],
            "price": random.integers(1, 30, items).astype(float),
            "stock": random.integers(0, 3, items),
        },
        schema_overrides={"genres": pl.List(pl.String)},
    )
    return ItemTable(Vocabulary(range(items)), Catalogue(frame))


def random_rules(seed: int) -> list:
    random = np.random.default_rng(seed)
    drawn = [
        Allow(Between("price", low=int(random.integers(0, 20)))),
        Deny(OneOf("brand", ["a"]) & InStock()),
        AtMost(int(random.integers(1, 3)), "brand"),
        AtMost(int(random.integers(0, 4)), "genres"),
        AtMost(1, "brand", where=OneOf("genres", ["x", "y"])),
        AtMost(2, where=PriceRange(high=10)),
        AtLeast(int(random.integers(1, 4)), OneOf("genres", ["z"])),
        must_include([3, 17, 23]),
        Boost(OneOf("brand", ["b"]), factor=4.0),
        Boost(InStock(at_least=2), add=-1.5),
        Pin(5, 1),
        Pin(int(random.integers(6, 16)), 3),
        Pin(30, 9),
    ]
    return [rule for rule in drawn if random.random() < 0.4]


def by_hand(scores: np.ndarray, allowed: np.ndarray, rules: BoundRules, k: int) -> list[int]:
    """The definition in `rules.py`, item by item, on the scores of the whole catalogue."""
    scores = scores if rules.bonus is None else scores + rules.bonus
    allowed = allowed if rules.allowed is None else allowed & rules.allowed
    order = [int(item) for item in np.lexsort((np.arange(len(scores)), -scores)) if allowed[item]]
    places = {place: item for place, item in rules.pins.items() if place < k and allowed[item]}
    taken = list(places.values())

    def fits(item: int) -> bool:
        for cap in rules.caps:
            for group in cap.groups.row(item):
                if sum(group in cap.groups.row(other) for other in taken) >= cap.count:
                    return False
        return item not in taken

    for quota in [*rules.quotas, None]:
        for item in order:
            enough = len(taken) >= k or (quota is not None and sum(quota.items[taken]) >= quota.count)
            if not enough and (quota is None or quota.items[item]) and fits(item):
                taken.append(item)
    answer = [item for item in order if item in taken and item not in places.values()]
    for place, item in sorted(places.items()):
        answer.insert(place, item)
    return answer


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 15), distinct=st.sampled_from([None, 1]))
def test_a_full_beam_gives_what_picking_from_all_scores_gives(seed, k, distinct):
    case, rules = decoding_case(seed, distinct=distinct), bind_rules(random_rules(seed), table(seed))
    trie = CodeTrie.build(case.codes)
    scores = score_all(case.model, case.batch, trie)
    searched = beam_search(case.model, case.batch, trie, k, beams=ITEMS, limits=case.limits, rules=rules)
    ranked = top_k(scores, k, limits=case.limits, rules=rules)
    for row, allowed in enumerate(case.allowed()):
        expected = by_hand(scores[row].numpy(), allowed, rules, k)
        assert [item for item in ranked.items[row].tolist() if item >= 0] == expected
        assert [item for item in searched.items[row].tolist() if item >= 0] == expected
    np.testing.assert_allclose(searched.scores, ranked.scores, atol=1e-4)


SELECTIONS = {"best": lambda _: BEST, "diverse": lambda _: Diverse(3, 2.0), "sampled": lambda seed: Sampled(2.0, seed=seed)}


@pytest.mark.parametrize("selection", SELECTIONS)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 12), beams=st.integers(1, 12))
def test_narrow_beams_break_no_rule_and_leave_no_gap(selection, seed, k, beams):
    case, bound = decoding_case(seed), bind_rules(random_rules(seed), table(seed))
    how, trie = SELECTIONS[selection](seed), CodeTrie.build(case.codes)
    answer = beam_search(case.model, case.batch, trie, k, beams=beams, limits=case.limits, rules=bound, selection=how)
    for row, allowed in enumerate(case.allowed()):
        check_rules(answer.items[row], allowed if bound.allowed is None else allowed & bound.allowed, bound, k)
    if selection != "sampled":  # drawn lists have the probability of a draw
        check_scores(case, trie, answer, bound)


def check_rules(row: np.ndarray, allowed: np.ndarray, rules: BoundRules, k: int) -> None:
    """One list against each rule; `allowed` are the items that count."""
    items = [int(item) for item in row if item >= 0]
    pinned = {place: item for place, item in rules.pins.items() if place < k and allowed[item]}
    assert allowed[items].all()
    assert len(set(items)) == len(items)
    assert set(pinned.values()) <= set(items)
    assert all(items[place] == item for place, item in pinned.items() if place < len(items))
    free = [item for item in items if item not in pinned.values()]
    for cap in rules.caps:
        held = np.bincount(np.concatenate([[0], *[cap.groups.row(item) + 1 for item in items]]), minlength=2)
        assert all(held[group + 1] <= cap.count for item in free for group in cap.groups.row(item))
    left = [item for item in np.flatnonzero(allowed) if item not in items]
    if len(items) < k:
        assert not any(fits_caps(item, items, rules) for item in left)
    early = [item for item in items if item in pinned.values() or any(quota.items[item] for quota in rules.quotas)]
    if len(early) < k:  # the quotas had places, so they lack nothing that they could have had
        for quota in rules.quotas:
            short = quota.items[items].sum() < quota.count
            assert not short or not any(fits_caps(item, early, rules) for item in left if quota.items[item])


def check_scores(case: DecodingCase, trie: CodeTrie, answer: RankedLists, rules: BoundRules) -> None:
    """Items that are not pinned descend; every score is the model's, and the bonus."""
    exact = score_all(case.model, case.batch, trie).numpy() + (0 if rules.bonus is None else rules.bonus)
    for items, scores, own in zip(answer.items, answer.scores, exact, strict=True):
        there = items >= 0
        np.testing.assert_allclose(scores[there], own[items[there]], atol=1e-4)
        free = scores[there & ~np.isin(items, list(rules.pins.values()))]
        assert (np.diff(free) <= 1e-5).all()


def test_a_quota_and_a_pin_reach_items_that_one_beam_never_sees():
    case = decoding_case(3, rows=3)
    trie = CodeTrie.build(case.codes)
    order = score_all(case.model, case.batch, trie)[0].argsort().tolist()
    rules = bind_rules([Pin(order[0], 2), must_include(order[1:3])], table())
    for selection in (BEST, Diverse(4, 1.0), Sampled(seed=1)):
        lists = beam_search(case.model, case.batch, trie, 4, beams=1, rules=rules, selection=selection)
        assert (lists.items[:, 1] == order[0]).all()
        assert all(set(order[:3]) <= set(items) for items in lists.items.tolist())


def fits_caps(item: int, items: list[int], rules: BoundRules) -> bool:
    return all(sum(group in cap.groups.row(other) for other in items) < cap.count for cap in rules.caps for group in cap.groups.row(item))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_each_row_keeps_its_own_rules(seed):
    case, own = decoding_case(seed), table(seed)
    first, second = (bind_rules(random_rules(seed + number), own) for number in (1, 2))
    each = [first, second, first, BoundRules(ITEMS), second]
    trie = CodeTrie.build(case.codes)
    together = beam_search(case.model, case.batch, trie, 6, beams=9, limits=case.limits, rules=each)
    ranked = top_k(score_all(case.model, case.batch, trie), 6, limits=case.limits, rules=each)
    for row, rules in enumerate(each):
        alone = case.row(row)
        answer = beam_search(alone.model, alone.batch, trie, 6, beams=9, limits=alone.limits, rules=rules)
        assert together.items[row].tolist() == answer.items[0].tolist()
        exact = top_k(score_all(alone.model, alone.batch, trie), 6, limits=alone.limits, rules=rules)
        assert ranked.items[row].tolist() == exact.items[0].tolist()


def test_a_boost_reaches_an_item_that_a_narrow_beam_would_lose():
    case = decoding_case(3, rows=1)
    free = DecodingCase(case.codes, case.model, case.histories, Limits())
    trie = CodeTrie.build(case.codes)
    worst = int(score_all(free.model, free.batch, trie)[0].argmin())
    boosted = bind_rules([Boost(Items([worst]), add=50.0)], table())
    assert beam_search(free.model, free.batch, trie, 1, beams=1, rules=boosted).items.tolist() == [[worst]]


def test_scores_of_given_items_are_those_of_the_whole_catalogue():
    case = decoding_case(4)
    trie = CodeTrie.build(case.codes)
    items = torch.tensor([[3, -1, 7], [0, 1, 39], [5, 5, 5], [2, 3, 4], [-1, -1, 0]])
    scores = score_all(case.model, case.batch, trie).gather(1, items.clamp(min=0)).masked_fill(items < 0, -torch.inf)
    assert torch.allclose(score_items(case.model, case.batch, trie, items), scores, atol=1e-5)
    assert score_items(case.model, case.batch, trie, items[:, :0]).shape == (5, 0)


def test_a_search_is_asked_again_only_for_lists_that_stay_short():
    asked = []
    scores = torch.arange(ITEMS, dtype=torch.float32).repeat(2, 1)

    def search(rows, limits, rules, count):
        asked.append((rows.tolist(), count))
        keys = torch.stack([scores[row].masked_fill(~torch.from_numpy(open_mask(rule)), -torch.inf) for row, rule in zip(rows, rules)])
        best = keys.sort(dim=1, descending=True)
        from recsmith.decoding.filling import Found

        return Found(best.indices[:, :count], best.values[:, :count], best.values[:, :count])

    capped = BoundRules(ITEMS, caps=bind_rules([AtMost(1, where=Between("price", low=0))], table()).caps)
    lists = fill_lists(search, lambda *_: np.zeros((1, 0)), 4, pool=4, limits=Limits(), rules=[BoundRules(ITEMS), capped])
    assert lists.items.tolist() == [[39, 38, 37, 36], [39, -1, -1, -1]]
    assert asked == [([0, 1], 4), ([1], 3)]


def open_mask(rule: BoundRules) -> np.ndarray:
    return np.ones(ITEMS, dtype=bool) if rule.allowed is None else rule.allowed


# ---- conditions ----

SHOP = pl.DataFrame(
    {
        "item_id": ["a", "b", "c", "d"],
        "price": [5.0, 20.0, None, 8.0],
        "stock": [0, 3, 1, None],
        "region": ["EU", None, "US", "EU"],
        "age_rating": ["12+", "all", "FSK 18", None],
        "tags": [["x", "y"], [], None, ["y"]],
        "added": [datetime.date(2024, 5, 1), datetime.date(2024, 5, 30), None, datetime.date(2020, 1, 1)],
        "live": [True, False, True, None],
    }
)
NOW = datetime.datetime(2024, 6, 1, tzinfo=datetime.UTC).timestamp()


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Items(["a", "nobody", "d"]), "ad"),
        (OneOf("tags", ["y", "z"]), "ad"),
        (OneOf("region", ["US"]), "c"),
        (~OneOf("region", ["US"]), "abd"),
        (PriceRange(high=10), "ad"),
        (PriceRange(high=10, missing=True), "acd"),
        (PriceRange(low=6, high=8), "d"),
        (InStock(), "bc"),
        (InStock("live", missing=True), "acd"),
        (InStock(missing=True) & PriceRange(high=10), "d"),
        (Fresh(31, "added"), "ab"),
        (Fresh(3, "added", missing=True), "bc"),
        (Region("EU"), "abd"),
        (Region("EU", missing=False), "ad"),
        (AgeRating(12), "ab"),
        (AgeRating(17, missing=True), "abd"),
        (AgeRating(18) | Items(["d"]), "abcd"),
    ],
)
def test_conditions_hold_where_they_should(condition, expected):
    own = ItemTable(Vocabulary(SHOP["item_id"]), Catalogue.from_frame(SHOP), now=NOW)
    assert "".join(own.items.raw(np.flatnonzero(condition.holds(own))).to_list()) == expected


def test_newer_stock_replaces_older_and_adds_columns():
    own = ItemTable(Vocabulary(SHOP["item_id"]), Catalogue.from_frame(SHOP), now=NOW)
    newer = own.updated(pl.DataFrame({"item_id": ["a", "b", "nobody"], "stock": [7, 0, 1], "sale": [True, None, True]}))
    assert newer.numbers("stock")[:3].tolist() == [7, 0, 1]
    assert newer.column("sale").to_list() == [True, None, None, None]
    assert own.numbers("stock")[:2].tolist() == [0, 3]


def test_columns_follow_the_order_of_the_items_not_of_the_file():
    own = ItemTable(Vocabulary(["z", "c", "a"]), Catalogue.from_frame(SHOP))
    assert own.column("region").to_list() == ["EU", "US", None]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bind_rules([Allow(PriceRange(high=3, column="prise"))], table()), "no column `prise` for a rule; did you mean `price`"),
        (lambda: bind_rules([Allow(Between("brand", low=1))], table()), "compares column `brand` with numbers, but it holds String"),
        (lambda: bind_rules([Pin(99, 1)], table()), "item `99` is pinned but not in the catalogue"),
        (lambda: bind_rules([Pin(1, 1), Pin(2, 1)], table()), "two items are pinned to position 1"),
        (lambda: bind_rules([Pin(1, 1), Pin(1, 2)], table()), "item `1` is pinned twice"),
        (lambda: bind_rules([InStock()], table()), "is not a rule; allowed: Allow"),
        (lambda: Pin(1, 0), "positions count from 1"),
        (lambda: AtMost(2), "a cap needs a `column`"),
        (lambda: AtMost(-1, "brand"), "give 0 or more"),
        (lambda: AtLeast(0, InStock()), "give 1 or more"),
        (lambda: Boost(InStock()), "either `factor` or `add`"),
        (lambda: Boost(InStock(), factor=0), "give a number above 0"),
        (lambda: Boost(InStock(), add=float("inf")), "give a finite number"),
        (lambda: PriceRange(low=9, high=1), "swap the two"),
        (lambda: Fresh(0, "added"), "give a number above 0"),
        (
            lambda: AgeRating(12, "brand").holds(table()),
            "names no age; write a number such as `12\\+`",
        ),
        (lambda: Fresh(3, "genres").holds(table()), "reads column `genres` as times"),
        (lambda: ItemTable(Vocabulary([1])).column("price"), "it has no columns; give a catalogue"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_rules_of_another_catalogue_or_batch_are_refused():
    case = decoding_case(1)
    with pytest.raises(ValueError, match="bound to a catalogue of 7 items, but this one has 40"):
        beam_search(case.model, case.batch, CodeTrie.build(case.codes), 3, rules=BoundRules(7))
    with pytest.raises(ValueError, match="bound to a catalogue of 7 items"):
        top_k(torch.zeros(1, 40), 3, rules=BoundRules(7))
    with pytest.raises(ValueError, match="rules for 2 rows and a batch of 3"):
        top_k(torch.zeros(3, 40), 3, rules=[BoundRules(40), BoundRules(40)])


def test_marks_of_rules_that_are_used_again_are_kept():
    from recsmith.decoding.masks import marks_of

    trie = CodeTrie.build(decoding_case(1).codes)
    rules = bind_rules([Allow(InStock())], table())
    assert marks_of(rules, Limits(), trie) is marks_of(rules, Limits(), trie)
    allowed = np.arange(40) < 20
    assert marks_of(rules, Limits(allowed=allowed), trie).alive[-1].sum() == (rules.allowed & allowed).sum()


def test_an_excluded_item_is_not_pinned():
    answer = top_k(torch.zeros(2, 40), 2, limits=Limits(exclude=Histories.from_rows([[5], []])), rules=bind_rules([Pin(5, 1)], table()))
    assert answer.items.tolist() == [[0, 1], [5, 0]]
