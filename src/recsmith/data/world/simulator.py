"""`world`: the built-in data, simulated from a seed, together with the truth behind it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from recsmith.data.catalogue import Catalogue
from recsmith.data.dataset import Dataset
from recsmith.data.histories import Histories
from recsmith.data.world import reactions
from recsmith.data.world.catalogue import CATALOGUE_KINDS, make_shelf
from recsmith.data.world.oracle import Oracle
from recsmith.data.world.parameters import MAX_ITEMS, WORLD_VERSION, WorldParameters
from recsmith.data.world.people import make_friends, make_people
from recsmith.data.world.process import Process
from recsmith.data.world.schedule import make_schedule
from recsmith.data.world.slates import make_slates
from recsmith.errors import UserError


@dataclass(frozen=True)
class World:
    """Everything about one world. Ids ascend with indices: item index 17 is `i00017`, user index 42 `u00042`."""

    interactions: pl.DataFrame
    """user_id, item_id, timestamp (seconds, ascending per user, rarely tied), rating (1 … 5), event_type, session_id."""
    catalogue: Catalogue
    """All works, also those that nobody met: title, maker, year, kind, genres, series, volume, description, price, stock, provider, region,
    age_rating, composed (1 for works that do not exist outside this world, else 0)."""
    users: pl.DataFrame
    """user_id, gender, age_group, region; all synthetic."""
    oracle: Oracle
    """The truth: probabilities of the next event."""
    seed: int

    @cached_property
    def dataset(self) -> Dataset:
        """Interactions, catalogue, users and reviews as a `Dataset`."""
        name = f"world-{WORLD_VERSION}"
        return Dataset.from_frame(self.interactions, catalogue=self.catalogue, users=self.users, reviews=self.reviews, name=name)

    @property
    def parameters(self) -> WorldParameters:
        """The numbers behind it."""
        return self.oracle.process.parameters

    @cached_property
    def reviews(self) -> pl.DataFrame:
        """Short reviews of some events: user_id, item_id, timestamp, rating, text, aspect, praises."""
        return reactions.reviews(self.oracle.process, self.interactions, self.oracle.events.values, self.seed)

    @cached_property
    def friends(self) -> pl.DataFrame:
        """Mutual friendships, each in both directions: user_id, friend_id."""
        friends, ids = self.oracle.process.friends, self.users["user_id"]
        rows = np.repeat(np.arange(len(friends.counts)), friends.counts)
        return pl.DataFrame([ids.gather(rows), ids.gather(friends.ids).rename("friend_id")])

    @cached_property
    def slates(self) -> pl.DataFrame:
        """Logged slates with exact propensities and responses; see `make_slates`."""
        return make_slates(self.oracle.process, self.seed)

    @cached_property
    def bundles(self) -> pl.DataFrame:
        """Sets of works that go together: bundle_id, item_id. After one, people often take another of the set."""
        members = self.oracle.process.shelf.bundle_items
        rows = np.repeat(np.arange(len(members)), members.shape[1])
        ids = pl.select(bundle_id=pl.format("k{}", pl.int_range(len(members)).cast(pl.String).str.zfill(5)))["bundle_id"]
        return pl.DataFrame([ids.gather(rows), self.catalogue.frame["item_id"].gather(members.reshape(-1))])

    @cached_property
    def baskets(self) -> pl.DataFrame:
        """What was bought together in a session: basket_id, user_id, timestamp, item_id."""
        return reactions.baskets(self.interactions)


def world(
    users: int = 6000, items: int = 1200, events: int = 120_000, seed: int = 0, *, parameters: WorldParameters | None = None
) -> World:
    """Simulate a world: the same on every machine for the same arguments.

    The default parameters belong to `WORLD_VERSION`; other `parameters` make another world. Raises `UserError` when the sizes do not fit
    each other (each person needs 5 events at least, and nobody has more than half of the works).
    """
    chosen = parameters or WorldParameters()
    _check_sizes(users, items)
    shelf = make_shelf(items, chosen, seed)
    people = make_people(users, chosen, seed)
    schedule = make_schedule(users, events, items // 2, chosen, seed)
    process = Process(shelf, people, make_friends(people, chosen, seed), schedule, chosen)
    drawn = process.draw_events(seed)
    stars = reactions.ratings(process, drawn, seed)
    session = np.cumsum(schedule.place == 0) - 1
    interactions = pl.DataFrame(
        [
            people.frame["user_id"].gather(schedule.user),
            shelf.frame["item_id"].gather(drawn),
            pl.Series("timestamp", schedule.time),
            pl.Series("rating", stars.astype(np.float64)),
            reactions.event_types(stars, seed),
            _session_ids(session),
        ]
    )
    events_by_user = Histories(drawn, schedule.offsets, schedule.time.astype(np.float64))
    catalogue = Catalogue(shelf.frame, CATALOGUE_KINDS)
    return World(interactions, catalogue, people.frame, Oracle(process, events_by_user), seed)


def _session_ids(session: np.ndarray) -> pl.Series:
    width = max(6, len(str(int(session[-1]))))
    ids = pl.select(session_id=pl.format("s{}", pl.int_range(int(session[-1]) + 1).cast(pl.String).str.zfill(width)))["session_id"]
    return ids.gather(session)


def _check_sizes(users: int, items: int) -> None:
    if users < 1:
        raise UserError(f"a world of {users} users is empty; ask for at least 1")
    if not 20 <= items <= MAX_ITEMS:
        raise UserError(f"a world of {items} items is not possible; ask for 20 … {MAX_ITEMS}")
