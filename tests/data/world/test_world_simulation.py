"""The simulated people: determinism, sizes, the structure that the parameters promise, and the oracle that knows it."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import pytest

from recsmith.data import Cases, Dataset, Histories, Split
from recsmith.data.world import GENRES, World, WorldParameters, world
from recsmith.errors import ConfigError, UserError
from recsmith.protocols import RankedLists

PINNED = "4bae5f6e21ac9f4936c6e639e9f09561fd65816c56fe03fe016cd0b7a807df2d"
"""sha256 of the default world of version 1. If this changes, the world changed: raise WORLD_VERSION."""


@pytest.fixture(scope="module")
def default() -> World:
    return world()


@pytest.fixture(scope="module")
def split(default: World) -> Split:
    return default.dataset.split()


def digest(made: World) -> str:
    table = made.interactions.select(
        pl.col("user_id").str.slice(1).cast(pl.Int64),
        pl.col("item_id").str.slice(1).cast(pl.Int64),
        "timestamp",
        pl.col("rating").cast(pl.Int64),
        pl.col("event_type").replace_strict({"view": 0, "save": 1, "purchase": 2}, return_dtype=pl.Int64),
        pl.col("session_id").str.slice(1).cast(pl.Int64),
    )
    return hashlib.sha256(np.ascontiguousarray(table.to_numpy()).astype("<i8").tobytes()).hexdigest()


def recall(lists: RankedLists, cases: Cases) -> float:
    return float((lists.items == cases.targets.values[:, None]).any(axis=1).mean())


def popularity_lists(split: Split, k: int) -> RankedLists:
    scores = np.tile(np.bincount(split.train.values, minlength=split.items).astype(np.float32), (len(split.test), 1))
    scores[split.test.histories.rows, split.test.histories.values] = -np.inf
    items = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return RankedLists(items, np.take_along_axis(scores, items, axis=1))


class TestDefaultWorld:
    def test_is_pinned(self, default: World) -> None:
        assert digest(default) == PINNED

    def test_has_the_promised_sizes(self, default: World) -> None:
        events = default.interactions
        per_user = events.group_by("user_id").len()["len"]
        assert (len(default.users), len(default.catalogue), len(events)) == (6000, 1200, 120_000)
        assert per_user.len() == 6000
        assert per_user.min() == 5
        assert per_user.max() > 60

    def test_nobody_has_a_work_twice_and_nothing_is_empty(self, default: World) -> None:
        assert not default.interactions.select("user_id", "item_id").is_duplicated().any()
        assert sum(default.interactions.null_count().row(0)) == 0
        assert sum(default.users.null_count().row(0)) == 0
        assert sum(default.reviews.null_count().row(0)) == 0

    def test_times_ascend_with_rare_ties_and_sessions_are_compact(self, default: World) -> None:
        same_user = default.interactions["user_id"] == default.interactions["user_id"].shift(1)
        gaps = default.interactions["timestamp"].diff().filter(same_user)
        assert gaps.min() == 0
        assert 0 < (gaps == 0).sum() / len(gaps) < 0.01
        spans = default.interactions.group_by("session_id").agg(span=pl.col("timestamp").max() - pl.col("timestamp").min())
        assert spans["span"].max() < 6 * 3600

    def test_ids_ascend_with_indices(self, default: World) -> None:
        assert default.catalogue.frame["item_id"][17] == "i00017"
        assert default.users["user_id"][42] == "u00042"
        log = default.dataset.log()
        assert np.array_equal(log.histories.values, default.oracle.events.values)
        assert log.users.ids.to_list() == default.users["user_id"].to_list()

    def test_popularity_is_skewed(self, default: World) -> None:
        counts = np.sort(np.bincount(default.oracle.events.values, minlength=1200))
        gini = 1 - 2 * np.cumsum(counts).sum() / counts.sum() / len(counts) + 1 / len(counts)
        assert 0.4 < gini < 0.8

    def test_favourite_genres_show_in_events(self, default: World) -> None:
        process = default.oracle.process
        genre = process.shelf.genre[default.oracle.events.values]
        early = process.schedule.slot < process.schedule.slots // 4
        own = (genre == process.people.favourite[process.schedule.user])[early].mean()
        others = (genre == np.roll(process.people.favourite, 1)[process.schedule.user])[early].mean()
        assert own > 3 * others

    def test_tastes_drift(self, default: World) -> None:
        process = default.oracle.process
        own = process.shelf.genre[default.oracle.events.values] == process.people.favourite[process.schedule.user]
        early, late = process.schedule.slot < process.schedule.slots // 4, process.schedule.slot > process.schedule.slots * 3 // 4
        assert own[late].mean() < 0.8 * own[early].mean()

    def test_next_volumes_follow(self, default: World) -> None:
        rate, chance = self._follow(default, lambda item: default.oracle.process.shelf.next_volume[item])
        assert rate > 0.25
        assert rate > 30 * chance

    def test_complements_follow_inside_sessions(self, default: World) -> None:
        shelf, schedule = default.oracle.process.shelf, default.oracle.process.schedule
        items = default.oracle.events.values
        inside = schedule.place[1:] > 0
        together = (shelf.bundle[items[1:]] == shelf.bundle[items[:-1]]) & (shelf.bundle[items[1:]] >= 0)
        assert together[inside].mean() > 5 * together[~inside].mean()

    @staticmethod
    def _follow(made: World, successor: object) -> tuple[float, float]:
        items, users = made.oracle.events.values, made.oracle.process.schedule.user
        wanted = successor(items[:-1])  # type: ignore[operator]
        asked = (wanted >= 0) & (users[1:] == users[:-1])
        shares = np.bincount(items, minlength=1200) / len(items)
        return float((items[1:] == wanted)[asked].mean()), float(shares[wanted[asked]].mean())

    def test_friends_are_alike_and_mutual(self, default: World) -> None:
        process = default.oracle.process
        users = np.repeat(np.arange(len(process.people)), process.friends.counts)
        alike = (process.people.favourite[users] == process.people.favourite[process.friends.ids]).mean()
        assert alike > 0.7
        pairs = set(default.friends.iter_rows())
        assert all((friend, user) in pairs and user != friend for user, friend in pairs)

    def test_ratings_reflect_taste(self, default: World) -> None:
        process = default.oracle.process
        own = process.shelf.genre[default.oracle.events.values] == process.people.favourite[process.schedule.user]
        stars = default.interactions["rating"].to_numpy()
        assert set(stars) == {1.0, 2.0, 3.0, 4.0, 5.0}
        assert stars[own].mean() > stars[~own].mean() + 0.3

    def test_reviews_say_what_they_are_about(self, default: World) -> None:
        for text, aspect in default.reviews.select("text", "aspect").head(500).iter_rows():
            assert aspect in text
            assert any(genre in text for genre in GENRES)
        liked = default.reviews.group_by("praises").agg(pl.col("rating").mean()).sort("praises")["rating"]
        assert liked[1] > liked[0]

    def test_baskets_and_bundles_hold_several_works(self, default: World) -> None:
        assert default.baskets.group_by("basket_id").len()["len"].min() >= 2
        assert (default.bundles.group_by("bundle_id").len()["len"] == default.parameters.bundle_size).all()
        assert set(default.baskets["item_id"]) <= set(default.catalogue.frame["item_id"])

    def test_is_a_dataset(self, default: World) -> None:
        assert isinstance(default.dataset, Dataset)
        assert default.dataset.name == "world-1"
        assert default.dataset.catalogue is not None
        assert default.dataset.reviews is not None


class TestOracle:
    def test_is_far_above_popularity(self, default: World, split: Split) -> None:
        oracle = recall(default.oracle.answer(split.test, 10), split.test)
        popularity = recall(popularity_lists(split, 10), split.test)
        print(f"Recall@10 of the default world, test: popularity {popularity:.4f}, oracle {oracle:.4f}")
        assert 0.03 < popularity < 0.08
        assert 0.25 < oracle < 0.45

    def test_probabilities_sum_to_one_and_leave_out_the_history(self, default: World, split: Split) -> None:
        cases = split.test.take(np.arange(200))
        scores = default.oracle.scores(cases.users, cases.histories)
        assert scores.dtype == np.float32
        assert np.allclose(scores.sum(axis=1), 1, atol=1e-4)
        assert (scores[cases.histories.rows, cases.histories.values] == 0).all()

    def test_probabilities_are_true(self, default: World, split: Split) -> None:
        cases = split.test.take(np.arange(0, 6000, 3))
        scores = default.oracle.scores(cases.users, cases.histories, cases.targets.times)
        best = np.sort(scores, axis=1)[:, -10:]
        hits = (scores[np.arange(len(cases)), cases.targets.values] >= best[:, 0]).mean()
        expected = float(best.sum(axis=1).mean())
        assert hits == pytest.approx(expected, abs=4 * (expected * (1 - expected) / len(cases)) ** 0.5)

    def test_answers_are_ranked_and_unseen(self, default: World, split: Split) -> None:
        cases = split.test.take(np.arange(50))
        lists = default.oracle.answer(cases, 20)
        scores = default.oracle.scores(cases.users, cases.histories)
        for row in range(50):
            order = np.lexsort((np.arange(1200), -scores[row]))
            assert np.array_equal(lists.items[row], order[:20])
            assert not set(lists.items[row]) & set(cases.histories.row(row))

    def test_answers_strangers_and_empty_histories(self, default: World) -> None:
        cases = Cases(np.array([-1, 3]), Histories.from_rows([[], []]), Histories.from_rows([[0], [0]]))
        lists = default.oracle.answer(cases, 5)
        assert np.isfinite(lists.scores).all()
        assert (default.oracle.answer(cases.take(np.arange(0)), 5).items.shape) == (0, 5)

    def test_pads_lists_longer_than_the_catalogue(self) -> None:
        small = world(users=20, items=40, events=200)
        cases = small.dataset.split().test
        aligned = small.oracle.aligned(small.dataset.log())
        lists = aligned.answer(cases, 60)
        left = len(small.dataset.log().items) - cases.histories.lengths
        assert ((lists.items >= 0).sum(axis=1) == left).all()
        assert np.isneginf(lists.scores[lists.items == -1]).all()

    def test_follows_the_indices_of_a_log(self, default: World) -> None:
        part = default.interactions.filter(pl.col("user_id") >= "u05000").filter(pl.col("item_id") >= "i00100")
        log = Dataset.from_frame(part).log()
        oracle = default.oracle.aligned(log)
        users, items = (np.array([int(raw[1:]) for raw in ids.to_list()]) for ids in (log.users.ids, log.items.ids))
        rows = np.arange(30)
        histories = log.histories.take(rows)
        expected = default.oracle.scores(users[rows], histories.with_values(items[histories.values]))
        assert np.allclose(oracle.scores(rows, histories), expected[:, items])
        lists = oracle.answer(Cases(rows, histories, histories), 10)
        assert lists.items.max() < len(items) < 1200

    def test_refuses_a_foreign_log(self, default: World) -> None:
        foreign = Dataset.from_frame({"user_id": ["a", "b"], "item_id": ["x", "y"]}).log()
        with pytest.raises(UserError, match="align the oracle with data of the same world"):
            default.oracle.aligned(foreign)


class TestSettings:
    def test_same_seed_same_world(self) -> None:
        one, two, other = (world(users=300, items=200, events=3000, seed=seed) for seed in (5, 5, 6))
        assert digest(one) == digest(two) != digest(other)
        for table in ("reviews", "slates", "friends", "bundles", "baskets", "users"):
            assert getattr(one, table).equals(getattr(two, table))
        assert one.catalogue.frame.equals(two.catalogue.frame)

    def test_fewer_items_are_the_first_works(self, default: World) -> None:
        small = world(users=50, items=100, events=600)
        assert small.catalogue.frame["title"].to_list() == default.catalogue.frame["title"].head(100).to_list()

    @pytest.mark.parametrize(("users", "items", "events"), [(50, 30, 400), (3, 20, 30), (40, 60, 1200), (1, 30, 5)])
    def test_small_and_crowded_worlds_work(self, users: int, items: int, events: int) -> None:
        made = world(users=users, items=items, events=events)
        assert len(made.interactions) == events
        assert not made.interactions.select("user_id", "item_id").is_duplicated().any()
        assert len(made.slates) == 5 * users

    def test_a_few_people_with_long_histories(self) -> None:
        made = world(users=10, items=1200, events=5000)
        assert made.interactions.group_by("user_id").len()["len"].max() <= 600
        assert (made.interactions.group_by("user_id").agg(pl.col("timestamp").diff().min())["timestamp"] >= 0).all()

    def test_impossible_sizes_are_refused(self) -> None:
        with pytest.raises(UserError, match="ask for 50 … 500 events"):
            world(users=10, items=100, events=20)
        with pytest.raises(UserError, match="ask for 20 … 1000000"):
            world(items=2_000_000)
        with pytest.raises(UserError, match="ask for at least 1"):
            world(users=0)

    def test_parameters_are_checked(self) -> None:
        with pytest.raises(ConfigError, match="did you mean `stay`"):
            WorldParameters.parse({"stays": 0.5})
        with pytest.raises(ConfigError, match="next_volume"):
            WorldParameters.parse({"next_volume": 0.8, "complement": 0.3})

    def test_parameters_change_the_world(self) -> None:
        loyal = world(users=300, items=300, events=3000, parameters=WorldParameters(next_volume=0, friends=0, bundled=0, slates_per_user=0))
        assert loyal.friends.is_empty()
        assert loyal.bundles.is_empty()
        assert loyal.slates.is_empty()
