"""The numbers that govern the built-in world. Changing a default changes the world: raise `WORLD_VERSION` with it."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from recsmith.config import Config

WORLD_VERSION = 1
"""Version of the default world; a test pins the hash of its interactions."""

GENRES = (
    "adventure", "animation", "biography", "children", "comedy", "coming-of-age", "crime", "drama", "fantasy", "history",
    "horror", "musical", "mystery", "nonfiction", "romance", "satire", "science fiction", "thriller", "war", "western",
)  # fmt: skip
"""Genres of the world, in the order of their indices."""

KINDS = ("book", "film")
"""Kinds of works, in the order of their indices."""

ERA_STARTS = (1970, 2000)
"""First years of the second and the third era."""

MAX_ITEMS = 1_000_000
"""Largest catalogue for which unique titles can be composed."""


class WorldParameters(Config):
    """How people of the world choose. Probabilities that do not apply to an event (no next volume, no friend) go to taste.

    One event is drawn from a mixture, again and again until it is new to the person: the *next volume* of the last work, a
    *complement* of it (same bundle; only inside a session), something a *friend* had last (only at the start of a session), more
    in the *mood* of the last work (its cluster; only inside a session), or a draw by *taste*: a cluster by the person's taste of
    that week, then a work of the cluster by popularity. A cluster is genre × kind × era.
    """

    start: int = 1_672_531_200
    """Time of the first week, seconds since the epoch (2023-01-01)."""
    weeks: int = Field(default=104, ge=2)
    """Length of the world in weeks; a person has at most one session a week."""
    least_events: int = Field(default=5, ge=2)
    """Fewest events of a person."""
    activity_spread: float = Field(default=0.8, ge=0)
    """Standard deviation of the log of people's activity."""
    most_over_mean: float = Field(default=8.0, gt=1)
    """The busiest person has at most this many times the mean number of events."""
    stay: float = Field(default=0.55, ge=0, lt=1)
    """Probability that an event is followed by another one of the same session."""
    tie: float = Field(default=0.005, ge=0, lt=1)
    """Probability that an event carries the same time as the one before it in the session."""
    popularity_exponent: float = Field(default=0.8, gt=0)
    """Zipf exponent of the popularity of works."""
    cluster_mass: float = Field(default=0.4, ge=0)
    """Power of a cluster's total popularity in people's taste for it; 1 = proportional, 0 = none."""
    favourites: int = Field(default=3, ge=1, le=6)
    """Number of favourite genres of a person."""
    favourite_strength: float = 3.4
    """What a favourite genre adds to the logit of its clusters."""
    drift: float = Field(default=0.6, ge=0, le=1)
    """Probability that a person's first favourite fades into another genre over the weeks."""
    taste_noise: float = 0.4
    """Standard deviation of the logits of genres that are not favourites."""
    kind_spread: float = 1.0
    """Standard deviation of the preference for books over films."""
    era_spread: float = 0.9
    """Standard deviation of the preference for an era."""
    group_effect: float = 0.3
    """Standard deviation of what gender, age group and region each add to a genre; drawn at random, no claim about real groups."""
    next_volume: float = Field(default=0.45, ge=0, le=1)
    """Probability to go on with the next volume of the work just finished."""
    complement: float = Field(default=0.22, ge=0, le=1)
    """Probability, inside a session, to take a complement of the last work."""
    mood: float = Field(default=0.18, ge=0, le=1)
    """Probability, inside a session, to stay in the cluster of the last work."""
    friend: float = Field(default=0.12, ge=0, le=1)
    """Probability, at the start of a session, to take what a random friend had last."""
    friends: float = Field(default=3.0, ge=0)
    """Mean number of friends that a person names; friendship is mutual."""
    homophily: float = Field(default=0.85, ge=0, le=1)
    """Probability that a friend shares the first favourite genre."""
    series_share: float = Field(default=0.3, ge=0, lt=1)
    """Probability that a composed work continues the one before it."""
    bundle_size: int = Field(default=4, ge=2)
    """Works in a bundle of complements."""
    bundled: float = Field(default=0.7, ge=0, le=1)
    """Share of possible bundles that exist."""
    review_share: float = Field(default=0.25, ge=0, le=1)
    """Probability that an event comes with a review."""
    slates_per_user: int = Field(default=1, ge=0)
    """Logged slates per person."""
    slate_size: int = Field(default=5, ge=1)
    """Works on a slate."""
    logging_tilt: float = Field(default=0.7, ge=0)
    """Power of popularity in the logging policy of slates."""
    logging_boost: float = Field(default=6.0, ge=0)
    """What the logging policy adds, as a multiple, to works of the person's first favourite genre."""
    attention: float = Field(default=0.85, gt=0, le=1)
    """Probability to look one position further down a slate."""
    no_click: float = 2.8
    """Logit of clicking nothing on a slate."""

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.next_volume + self.complement + self.mood > 1 or self.next_volume + self.friend > 1:
            raise ValueError("next_volume with complement and mood, or with friend, exceeds 1; lower one of them")
        return self
