"""The rules file: what it may say, what it may not, and lists that keep to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from recsmith.data import Catalogue, Histories, Vocabulary
from recsmith.decoding import ItemTable, top_k
from recsmith.errors import ConfigError
from recsmith.protocols import Limits
from recsmith.serving.rule_reasons import explain_item
from recsmith.serving.rule_set import Person, RuleSet, category_shares
from recsmith.serving.rules_file import PurchasedRule, RulesFile, read_rules

FULL = """
[stock]
[price]
high = 50
[freshness]
days = 365
column = "added"
[region]
[age_rating]
unknown = 18
[purchased]
events = ["purchase"]
days = 30

[[deny]]
name = "rival"
where = { provider = "Northlight" }
[[cap]]
at_most = 1
column = "series"
[[quota]]
at_least = 1
where = { genres = ["war"], not = { price = { high = 1 } } }
[[boost]]
factor = 2
items = ["i4"]
[[pin]]
item = "i5"
position = 2
"""
NOW = 1_700_000_000.0
DAY = 86_400.0


def table() -> ItemTable:
    """Ten items; each of the first few fails one rule."""
    items = pl.DataFrame(
        {
            "item_id": [f"i{number}" for number in range(10)],
            "stock": [0, 5, 5, 5, 5, 5, 5, 5, 5, 5],
            "price": [9.0, 99.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0],
            "added": [NOW, NOW, NOW - 400 * DAY, NOW, NOW, NOW, NOW, NOW, NOW, NOW],
            "region": ["EU", "EU", "EU", "US", "EU", "EU", None, "EU", "EU", "EU"],
            "age_rating": ["all"] * 7 + ["16+", "all", "all"],
            "provider": ["South"] * 8 + ["Northlight", "South"],
            "series": [None] * 4 + ["a", "a", "b", None, None, None],
            "genres": [["crime"]] * 6 + [["crime", "war"], ["war"], ["war"], ["war"]],
        }
    )
    return ItemTable(Vocabulary(items["item_id"]), Catalogue(items), now=NOW)


def answer(rules: RuleSet, person: Person, k: int, *, seen: tuple[int, ...] = (), history: tuple[int, ...] = ()) -> list[str]:
    """Lists of a model that likes small numbers."""
    scores = -torch.arange(10.0)[None]
    limits = Limits(exclude=Histories.from_rows([list(seen)]))
    lists = top_k(scores, k, limits=limits, rules=rules.bound(person, k=k, history=history))
    return [f"i{item}" for item in lists.items[0] if item >= 0]


def build(**sections: object) -> RulesFile:
    return RulesFile.build(sections)


def rules_of(**sections: object) -> RuleSet:
    return RuleSet(build(**sections), table())


@pytest.fixture
def full(tmp_path: Path) -> RuleSet:
    path = tmp_path / "rules.toml"
    path.write_text(FULL)
    return RuleSet(read_rules(path), table())


def test_lists_keep_to_every_rule(full: RuleSet) -> None:
    child = answer(full, Person(region="EU", age=12), 4)
    assert child == ["i6", "i5", "i9"]  # i4 is of the pinned item's series; 0, 1, 2, 3, 7 and 8 fail a rule each
    assert answer(full, Person(region="EU", age=30), 4) == ["i6", "i5", "i7", "i9"]
    assert answer(full, Person(region="US"), 3) == answer(full, Person(region="US", age=18), 3)
    assert set(answer(full, Person(region="US"), 3)) == {"i3", "i6"}  # the pinned item is not sold there
    assert answer(full, Person(region="EU", age=30), 3, seen=(5,)) == ["i4", "i6", "i7"]


def test_the_same_file_by_api_and_back(full: RuleSet) -> None:
    again = RulesFile.build(full.file.table())
    assert again == full.file
    assert RuleSet(again, table()).bound(Person("EU", 12)).pins == {1: 5}


def test_people_alike_share_their_rules(full: RuleSet) -> None:
    assert full.bound(Person("EU", 12)) is full.bound(Person("EU", 12))
    assert full.bound(Person("EU", 12)) is not full.bound(Person("EU", 18))
    plain = rules_of(stock={})
    assert plain.bound(Person("EU", 12)) is plain.bound(Person("US", 50))


def test_an_empty_file_changes_nothing() -> None:
    assert answer(rules_of(), Person(), 3) == ["i0", "i1", "i2"]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"genres": "war"}, [6, 7, 8, 9]),
        ({"provider": ["Northlight", "East"]}, [8]),
        ({"stock": 5, "price": {"low": 50}}, [1]),
        ({"not": {"genres": ["crime"]}}, [7, 8, 9]),
        ({"any": [{"stock": 0}, {"items": ["i3", "nobody"]}]}, [0, 3]),
        ({"added": {"days": 1}, "region": "US"}, [3]),
        ({"price": {"high": 8, "missing": True}}, []),
    ],
)
def test_conditions(where: dict[str, object], expected: list[int]) -> None:
    assert answer(rules_of(allow=[{"where": where}]), Person(), 10) == [f"i{item}" for item in expected]


def test_unknown_regions_and_ages() -> None:
    assert "i3" in answer(rules_of(region={}), Person(), 10)
    assert answer(rules_of(region={"unknown": "deny"}), Person(), 10) == ["i6"]
    assert answer(rules_of(region={"name": "US"}), Person(region="EU"), 10) == ["i3", "i6"]
    assert "i7" not in answer(rules_of(age_rating={}), Person(), 10)


def test_purchases() -> None:
    rule = PurchasedRule(days=30)
    assert rule.counts("purchase", NOW - 29 * DAY, now=NOW)
    assert not rule.counts("purchase", NOW - 31 * DAY, now=NOW)
    assert not rule.counts("view", NOW, now=NOW)
    assert PurchasedRule().counts("purchase", 0.0, now=NOW)


def test_lists_are_calibrated_to_the_history() -> None:
    rules = rules_of(calibration={"column": "genres"})
    assert answer(rules, Person(), 4, history=(0, 1, 7, 8)) == ["i0", "i1", "i6", "i7"]
    assert answer(rules, Person(), 4, history=(7, 8)) == ["i6", "i7", "i8", "i9"]
    assert answer(rules, Person(), 4) == ["i0", "i1", "i2", "i3"]
    half = rules_of(calibration={"column": "genres", "strength": 0.5})
    assert answer(half, Person(), 4, history=(7, 8)) == ["i0", "i1", "i6", "i7"]
    shares = category_shares(table().groups("genres"), np.array([0, 6, -1]))
    assert shares.tolist() == [0.75, 0.25]


# ---- why ----------------------------------------------------------------------------------------------------------------


def why(rules: RuleSet, item: str, person: Person, k: int = 3, **more: object) -> list[str]:
    explanation = explain_item(rules, item, answer(rules, person, k), person=person, **more)  # type: ignore[arg-type]
    return [reason.text for reason in explanation.reasons]


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ("i0", "rule `stock` allows only other items: its stock is 0"),
        ("i1", "rule `price` allows only other items: its price is 99.0"),
        ("i3", "rule `region` allows only other items: its region is US"),
        ("i7", "rule `age_rating` allows only other items: its age_rating is 16+"),
        ("i8", "rule `rival` denies it: its provider is Northlight"),
        ("i4", "rule `cap[1]` allows at most 1 items with its series (a), and the list has them"),
        ("nix", "`nix` is not in the catalogue of this model"),
    ],
)
def test_why_not(full: RuleSet, item: str, text: str) -> None:
    assert why(full, item, Person("EU", 12))[0] == text


def test_why_it_was_shown(full: RuleSet) -> None:
    person = Person("EU", 12)
    shown = answer(full, person, 3)
    pinned = explain_item(full, "i5", shown, person=person)
    assert (pinned.shown, pinned.position) == (True, 2)
    assert pinned.reasons[0].text == "rule `pin[1]` pins it to place 2"
    assert [reason.kind for reason in explain_item(full, "i6", shown, person=person, score=-6.0).reasons] == ["quota", "score"]


def test_why_not_without_a_rule() -> None:
    rules = rules_of(boost=[{"items": ["i9"], "factor": 0.5}])
    texts = why(rules, "i9", Person(), score=-9.7, scores=[0.0, -1.0, -2.0])
    assert texts[0] == "no rule kept it out: its score -9.7 is not above the list's lowest, -2"
    assert texts[1] == "rule `boost[1]` moves it down: -0.693 on its score"
    assert "the search did not come by it" in why(rules, "i9", Person(), score=-1.5, scores=[0.0, -2.0])[0]
    assert why(rules, "i9", Person(), excluded={"bought already": ["i9"]})[0] == "bought already"
    assert why(rules, "i9", Person())[0] == "no rule kept it out: the model prefers the items of the list"
    quota = rules_of(quota=[{"at_least": 2, "where": {"genres": "war"}}])
    assert "pins or quotas took the places" in why(quota, "i1", Person(), score=-1.0, scores=[0.0, -6.0, -7.0])[0]


# ---- mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[stok]", r"unknown section `stok`; did you mean `stock`\?"),
        ("[stock]\natleast = 2", r"unknown setting `stock.atleast`; did you mean `at_least`\?"),
        ("[[cap]]\nat_most = 1\ncolumn = 'a'\n[[cap]]\nat_mots = 1", r"unknown setting `cap\[2\].at_mots`; did you mean `at_most`\?"),
        ("[cap]\nat_most = 1", r"`cap` is a list of rules; write \[\[cap\]\]"),
        ("stock = true", r"`stock` is one section: write \[stock\]"),
        ("[price]", "a range of prices needs `low`, `high` or both"),
        ("[price]\nlow = 9\nhigh = 1", "at least 9 and at most 1; swap the two"),
        ("[[deny]]\nname = 'x'", r"settings of `deny\[1\]`: it says of no item that it is about it"),
        ("[[boost]]\nitems = ['a']", "takes either `factor` or `add`"),
        ("[[boost]]\nitems = ['a']\nfactor = 0", r"`boost\[1\].factor` = 0: input should be greater than 0"),
        ("[[pin]]\nitem = 'a'\nposition = 0", r"`pin\[1\].position` = 0"),
        ("[[deny]]\nwhere = { price = { hihg = 3 } }", r"unknown key `price.hihg` in a condition; did you mean `high`\?"),
        ("[[deny]]\nwhere = { price = { high = '3' } }", "`price.high` = '3' is not a number"),
        ("[[deny]]\nwhere = { price = { } }", "needs `low`, `high` or both, or `days` alone"),
        ("[[deny]]\nwhere = { not = 3 }", "`not` = 3 is not a condition"),
        ("[[deny]]\nwhere = { any = [] }", r"`any` = \[\] is not a list of conditions"),
        ("[[deny]]\nwhere = { genres = [[1]] }", "is not a value or a list of values"),
        ("[stock]\nlow = = 2", r"is not readable TOML: .*line 2"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as found:
        read_rules(path)
    assert "rules.toml" in str(found.value)
    assert "\n" not in str(found.value)


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("[stok]\n[[cap]]\nat_mots = 1")
    with pytest.raises(ConfigError, match=r"stok.*at_mots"):
        read_rules(path)
    with pytest.raises(ConfigError, match=r"none.toml` does not exist"):
        read_rules(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"stock": {"column": "stok"}},
            r"rule `stock` does not fit: the catalogue has no column `stok` for a rule; did you mean `stock`\?",
        ),
        ({"deny": [{"where": {"brand": "x"}}]}, r"rule `deny\[1\]` does not fit: the catalogue has no column `brand`"),
        ({"price": {"high": 3, "column": "provider"}}, "rule `price` does not fit: a rule compares column `provider` with numbers"),
        ({"pin": [{"item": "zz", "position": 1, "name": "top"}]}, "rule `top` does not fit: item `zz` is pinned but not in the catalogue"),
        ({"pin": [{"item": "i1", "position": 1}, {"item": "i2", "position": 1}]}, r"rule `pin\[2\]` does not fit: two items are pinned"),
        ({"calibration": {"column": "genre"}}, "rule `calibration` does not fit: .*did you mean `genres`"),
        ({"age_rating": {"column": "provider"}}, "rule `age_rating` does not fit: age rating '.*' in column `provider` names no age"),
    ],
)
def test_rules_that_do_not_fit_the_catalogue_are_named(sections: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rules_of(**sections)
