"""The people of the world: who they are, what they like, how that drifts, and who their friends are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsmith.data.histories import offsets_of
from recsmith.data.world import words
from recsmith.data.world.catalogue import Shelf
from recsmith.data.world.parameters import GENRES, KINDS, WorldParameters
from recsmith.seeding import generator


@dataclass(frozen=True)
class People:
    """Latent tastes, by user index. A taste is a logit per genre, kind and era; the genre part drifts from `early` to `late`."""

    early: np.ndarray
    """Logits of the genres at the beginning of the world, float64 `[user, genre]`."""
    late: np.ndarray
    """Logits of the genres at its end, float64 `[user, genre]`."""
    kind: np.ndarray
    """Logits of book and film, float64 `[user, kind]`."""
    era: np.ndarray
    """Logits of the eras, float64 `[user, era]`."""
    favourite: np.ndarray
    """First favourite genre at the beginning, int64 `[user]`."""
    frame: pl.DataFrame
    """The table: user_id, gender, age_group, region."""

    def __len__(self) -> int:
        return len(self.favourite)

    def affinity(self, users: np.ndarray, progress: np.ndarray, shelf: Shelf, clusters: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Logit of each pair of user and cluster (popularity left out) when the share `progress` of the world is over.

        With a slice: `[user, cluster]`; with one cluster per user: `[user]`. Index -1 of `users` stands for the average person.
        """
        genre, kind, era = shelf.cluster_genre[clusters], shelf.cluster_kind[clusters], shelf.cluster_era[clusters]
        if isinstance(clusters, slice):
            rows, share = users[:, None], progress[:, None]
        else:
            rows, share = users, progress
        taste = (1 - share) * self.early[rows, genre] + share * self.late[rows, genre]
        taste += self.kind[rows, kind] + self.era[rows, era]
        return np.where(rows < 0, 0.0, taste)

    def cluster_tastes(self, users: np.ndarray, progress: np.ndarray, shelf: Shelf, parameters: WorldParameters) -> np.ndarray:
        """Probability of each cluster in a draw by taste, float64 `[user, cluster]`; rows sum to 1."""
        logits = self.affinity(users, progress, shelf)
        logits += parameters.cluster_mass * np.log(shelf.cluster_popularity)
        logits -= logits.max(axis=1, keepdims=True)
        weights = np.exp(logits, out=logits)
        weights /= weights.sum(axis=1, keepdims=True)
        return weights


@dataclass(frozen=True)
class Friends:
    """Mutual friendships, packed: the friends of user u are `ids[offsets[u]:offsets[u + 1]]`."""

    ids: np.ndarray
    offsets: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Number of friends, int64 `[user]`."""
        return np.diff(self.offsets)


def make_people(users: int, parameters: WorldParameters, seed: int) -> People:
    """Draw everybody."""
    random = generator(seed, "world", "people")
    gender = np.searchsorted([0.49, 0.97], random.random(users), side="right")
    age = np.searchsorted([0.06, 0.22, 0.45, 0.7, 0.88], random.random(users), side="right")
    region = random.integers(0, len(words.REGIONS), users)
    effects = [parameters.group_effect * random.standard_normal((size, len(GENRES))) for size in (3, 6, len(words.REGIONS))]
    base = parameters.taste_noise * random.standard_normal((users, len(GENRES)))
    base += effects[0][gender] + effects[1][age] + effects[2][region]
    early, late, favourite = _favourites(base, parameters, random)
    width = max(5, len(str(users - 1)))
    frame = pl.select(
        user_id=pl.format("u{}", pl.int_range(users).cast(pl.String).str.zfill(width)),
        gender=words.chosen(words.GENDERS, gender),
        age_group=words.chosen(words.AGE_GROUPS, age),
        region=words.chosen(words.REGIONS, region),
    )
    return People(
        early=early,
        late=late,
        kind=parameters.kind_spread * random.standard_normal((users, len(KINDS))),
        era=parameters.era_spread * random.standard_normal((users, 3)),
        favourite=favourite,
        frame=frame,
    )


def make_friends(people: People, parameters: WorldParameters, seed: int) -> Friends:
    """Each person names about `friends` / 2 others, mostly of the same first favourite genre; naming makes it mutual."""
    random = generator(seed, "world", "friends")
    users = len(people)
    names = np.floor(parameters.friends * random.random(users) + 0.5).astype(np.int64)
    one = np.repeat(np.arange(users), names)
    order = np.argsort(people.favourite, kind="stable")
    counts = np.bincount(people.favourite, minlength=len(GENRES))
    start = np.cumsum(counts) - counts
    genre = people.favourite[one]
    alike = order[start[genre] + (random.random(len(one)) * counts[genre]).astype(np.int64)]
    anybody = (random.random(len(one)) * users).astype(np.int64)
    other = np.where(random.random(len(one)) < parameters.homophily, alike, anybody)
    one, other = one[one != other], other[one != other]
    pairs = np.unique(np.concatenate([one * users + other, other * users + one]))
    return Friends(pairs % users, offsets_of(np.bincount(pairs // users, minlength=users)))


def _favourites(base: np.ndarray, parameters: WorldParameters, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Raise each person's favourite genres; for those who drift, the first one fades into one that was not a favourite."""
    users, count = len(base), parameters.favourites
    # Some genres are favourites more often than others, so the catalogue's genres differ in popularity.
    bias = 0.6 * random.standard_normal(len(GENRES))
    order = np.argsort(-(bias + _gumbel(random.random(base.shape))), axis=1, kind="stable")
    everyone = np.arange(users)
    early, late = base.copy(), base.copy()
    for place in range(count):
        strength = parameters.favourite_strength * (1 - 0.15 * place)
        drifts = random.random(users) < parameters.drift if place == 0 else np.zeros(users, dtype=bool)
        early[everyone, order[:, place]] += strength
        late[everyone, np.where(drifts, order[:, count], order[:, place])] += strength
    return early, late, order[:, 0]


def _gumbel(uniform: np.ndarray) -> np.ndarray:
    return -np.log(-np.log(np.clip(uniform, 1e-12, 1 - 1e-12)))
