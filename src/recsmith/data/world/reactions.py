"""What people do with what they chose: ratings, event types, short reviews, baskets."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsmith.data.world import words
from recsmith.data.world.parameters import GENRES
from recsmith.data.world.process import Process
from recsmith.seeding import generator

_ASPECTS = ("plot", "characters", "pacing", "style", "ending", "atmosphere", "dialogue", "opening")
_OPENINGS = {
    1: ("Not for me.", "I gave up early.", "A real disappointment.", "I expected far more."),
    2: ("Below my hopes.", "It has its moments, few of them.", "I struggled with this one.", "Half an idea."),
    3: ("Decent.", "Fine for a rainy evening.", "A mixed bag.", "Neither good nor bad."),
    4: ("Very good.", "I enjoyed this a lot.", "Well worth the time.", "A pleasant surprise."),
    5: ("Wonderful.", "One of my favourites now.", "I could not stop.", "As good as it gets."),
}
_MIDDLES = (
    ("The {aspect} let it down", "I could not warm to the {aspect}", "The {aspect} felt thin", "The {aspect} needed more care"),
    ("The {aspect} won me over", "The {aspect} is excellent", "I loved the {aspect}", "The {aspect} stays with me"),
)
"""Blame, praise."""
_CLOSINGS = (
    ("even for {genre}.", "and I usually like {genre}.", "so look elsewhere for {genre}.", "though fans of {genre} may disagree."),
    ("yet as {genre} it falls short.", "but {genre} needs more than that.", "which does not make it good {genre}.", "the {genre} less so."),
    ("but as {genre} it delivers.", "which I forgive, because the {genre} is so good.", "yet it is fine {genre}.", "but what {genre}!"),
    ("just what I want from {genre}.", "a treat for anyone who likes {genre}.", "and the {genre} is first rate.", "{genre} done well."),
)
"""Few stars and blame, few stars and praise, many stars and blame, many stars and praise."""


def ratings(process: Process, items: np.ndarray, seed: int) -> np.ndarray:
    """Stars 1 … 5 of each event: how well the work suits the person, how good it is, and chance; int64 `[event]`."""
    random = generator(seed, "world", "ratings")
    quality = random.standard_normal(len(process.shelf))
    schedule = process.schedule
    progress = schedule.progress(schedule.slot)
    suits = process.people.affinity(schedule.user, progress, process.shelf, process.shelf.cluster[items])
    stars = 2.9 + 0.35 * suits + 0.45 * quality[items] + 0.6 * random.standard_normal(len(items))
    return np.clip(np.floor(stars + 0.5), 1, 5).astype(np.int64)


def event_types(stars: np.ndarray, seed: int) -> pl.Series:
    """`view`, `save` or `purchase` of each event; what pleases is bought more often."""
    random = generator(seed, "world", "event types").random(len(stars))
    bought = random < 0.1 + 0.07 * stars
    saved = ~bought & (random > 0.85)
    return pl.Series("event_type", np.where(bought, "purchase", np.where(saved, "save", "view")))


def reviews(process: Process, interactions: pl.DataFrame, items: np.ndarray, seed: int) -> pl.DataFrame:
    """Reviews of some events: user_id, item_id, timestamp, rating, text, aspect (what it speaks about), praises (whether it likes that)."""
    random = generator(seed, "world", "reviews")
    chosen = np.flatnonzero(random.random(len(items)) < process.parameters.review_share)
    count = len(chosen)
    stars = interactions["rating"].to_numpy()[chosen].astype(np.int64)
    aspect = random.integers(0, len(_ASPECTS), count)
    praises = random.random(count) < (stars - 0.5) / 5
    pick = random.integers(0, 4, (3, count))
    openings = np.array([_OPENINGS[star] for star in range(1, 6)])
    closing = 2 * (stars >= 4) + praises
    texts = pl.DataFrame(
        {
            "opening": openings[stars - 1, pick[0]],
            "middle": np.array(_MIDDLES)[praises.astype(np.int64), pick[1]],
            "closing": np.array(_CLOSINGS)[closing, pick[2]],
            "aspect": words.chosen(_ASPECTS, aspect),
            "genre": words.chosen(GENRES, process.shelf.genre[items[chosen]]),
        }
    )
    text = texts.select(
        pl.concat_str(
            "opening",
            pl.col("middle").str.replace("{aspect}", pl.col("aspect"), literal=True),
            pl.col("closing").str.replace("{genre}", pl.col("genre"), literal=True),
            separator="\x1f",
        )
        .str.replace("\x1f", " ", literal=True)
        .str.replace("\x1f", ", ", literal=True)
        .alias("text")
    )
    table = interactions[chosen].select("user_id", "item_id", "timestamp", "rating")
    return table.with_columns(text["text"], texts["aspect"], pl.Series("praises", praises))


def baskets(interactions: pl.DataFrame) -> pl.DataFrame:
    """What was bought together, two works or more of one session: basket_id, user_id, timestamp, item_id."""
    bought = interactions.filter(pl.col("event_type") == "purchase")
    together = bought.filter(pl.len().over("session_id") >= 2)
    return together.select(pl.col("session_id").str.replace("s", "b", literal=True).alias("basket_id"), "user_id", "timestamp", "item_id")
