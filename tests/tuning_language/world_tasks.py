"""What the five task families are worth on the simulated world: trivial answers, the model's, and those of who knows the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import polars as pl

import recsmith
from recsmith import Dataset
from recsmith.data import Cases, Histories
from recsmith.data.world import World, WorldParameters, reactions
from recsmith.evaluation import evaluate_answer
from recsmith.evaluation.text.rouge import rouge
from recsmith.recommender import Recommender
from recsmith.seeding import generator
from recsmith.training import to_batch

LEARNABLE = WorldParameters(
    friend=0, drift=0, kind_spread=0, era_spread=0, group_effect=0, activity_spread=0.3,
    next_volume=0.3, complement=0.2, mood=0.1, favourites=2, favourite_strength=4.5, taste_noise=0.2,
)  # fmt: skip
"""Two lasting favourite genres a person and no friends: what the oracle knows of a person shows in the log."""


@dataclass(frozen=True)
class Gap:
    """A measure by name: trivial, model, oracle."""

    family: str
    measure: str
    trivial: float
    model: float
    oracle: float

    @property
    def share(self) -> float:
        return (self.model - self.trivial) / (self.oracle - self.trivial)

    def __str__(self) -> str:
        figures = f"trivial {self.trivial:.4f}, model {self.model:.4f}, oracle {self.oracle:.4f}"
        return f"{self.family}: {figures}, {self.share:.0%} of the gap ({self.measure})"


def with_summaries(truth: World) -> Dataset:
    """The world's data, each review with a short form of what it says."""
    short = pl.when("praises").then(pl.lit("praises the ")).otherwise(pl.lit("blames the ")) + pl.col("aspect")
    return truth.dataset.with_tables(reviews=truth.reviews.with_columns(summary=short))


def gaps(truth: World, fitted: Recommender) -> list[Gap]:
    """All five families on the test events."""
    popularity = recsmith.fit("popularity", truth.dataset)
    reviews = _test_reviews(truth, fitted)
    return [
        _sequential(truth, fitted, popularity),
        _direct(truth, fitted, popularity),
        _rating(truth, fitted),
        _explanation(truth, fitted, reviews),
        *_reading(truth, fitted, reviews),
    ]


def _ndcg(answer, cases: Cases, items: int) -> float:
    return evaluate_answer(answer, cases, item_count=items, ks=(10,), split="test", protocol={}).metrics["NDCG@10"]


def _sequential(truth: World, fitted: Recommender, popularity: Recommender) -> Gap:
    cases, items = fitted.split().test, fitted.items
    oracle = truth.oracle.aligned(fitted.log)
    return Gap("sequential", "NDCG@10", *(_ndcg(answer, cases, items) for answer in (popularity.answer, fitted.answer, oracle.answer)))


def _direct(truth: World, fitted: Recommender, popularity: Recommender) -> Gap:
    """The oracle knows the person's tastes at the time and the friends, and no event before."""
    cases, items = fitted.split().test, fitted.items
    oracle = truth.oracle.aligned(fitted.log)
    assert cases.histories.times is not None
    times = cases.histories.times[cases.histories.offsets[1:] - 1]
    nothing = Histories.from_rows([[] for _ in range(len(cases))])
    dense = np.zeros((len(fitted.log.users), items), dtype=np.float32)
    dense[cases.users] = oracle.scores(cases.users, nothing, times)

    def knows_the_person(asked: Cases, k: int):
        scores = dense[asked.users].copy()
        scores[asked.histories.rows, asked.histories.values] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return replace(popularity.answer(asked, k), items=best, scores=np.take_along_axis(scores, best, 1))

    model = replace(fitted, model=fitted.model.answering("direct"))
    return Gap("direct", "NDCG@10", *(_ndcg(answer, cases, items) for answer in (popularity.answer, model.answer, knows_the_person)))


def _rating(truth: World, fitted: Recommender) -> Gap:
    """Root mean squared error of the stars of test events; the oracle knows how well a work suits and how good it is."""
    log, cases = fitted.log, fitted.split().test
    ends = log.histories.offsets[1:][cases.users] - 1
    assert log.histories.weights is not None
    stars = log.histories.weights[ends]
    found = _in_parts(lambda part: fitted.model.rate(_batch(cases, part), cases.targets.values[part].tolist()).numpy(), len(cases))
    mean = float(fitted.split().train.weights.mean())
    means = _expected_stars(truth)[truth.oracle.events.offsets[1:] - 1]
    world_users = truth.oracle.aligned(log).users
    oracle = means[world_users[cases.users]]
    errors = [-float(np.sqrt(np.mean((stars - guess) ** 2))) for guess in (np.full(len(stars), mean), found, oracle)]
    return Gap("rating", "-RMSE", *errors)


def _expected_stars(truth: World) -> np.ndarray:
    """Mean stars of each event of the world, as `reactions.ratings` draws them."""
    process, drawn = truth.oracle.process, truth.oracle.events.values
    quality = generator(truth.seed, "world", "ratings").standard_normal(len(process.shelf))
    schedule = process.schedule
    suits = process.people.affinity(schedule.user, schedule.progress(schedule.slot), process.shelf, process.shelf.cluster[drawn])
    middle = 2.9 + 0.35 * suits + 0.45 * quality[drawn]
    noise = 0.6 * np.random.default_rng(0).standard_normal(200)
    return np.mean([np.clip(np.floor(middle + one + 0.5), 1, 5) for one in noise], axis=0)


def _test_reviews(truth: World, fitted: Recommender) -> pl.DataFrame:
    """Reviews of test events, with indices of user and item."""
    cases = fitted.split().test
    held = pl.DataFrame(
        {
            "user_id": fitted.log.users.raw(cases.users[cases.targets.rows]),
            "item_id": fitted.log.items.raw(cases.targets.values),
            "user": cases.users[cases.targets.rows],
            "item": cases.targets.values,
        }
    )
    return with_summaries(truth).reviews.join(held, on=["user_id", "item_id"], how="inner").head(400)


def _explanation(truth: World, fitted: Recommender, reviews: pl.DataFrame) -> Gap:
    """ROUGE-L of reviews of test events, given stars and aspect; the oracle knows the grammar and the chance of praise."""
    told = reviews["text"].to_list()
    stars, aspects = reviews["rating"].to_list(), reviews["aspect"].to_list()
    written = fitted.model.explain(reviews["user"].to_list(), reviews["item"].to_list(), stars, aspects)
    pool = with_summaries(truth).reviews["text"].sample(60, seed=1).to_list()
    medoid = max(pool, key=lambda text: rouge([text] * len(pool), pool)["ROUGE-L"].mean())
    genre = truth.oracle.process.shelf.genre[_world_items(truth, reviews["item_id"])]
    best = [_likeliest(int(star), aspect, int(one)) for star, aspect, one in zip(stars, aspects, genre, strict=True)]
    return Gap("explanation", "ROUGE-L", *(float(rouge(texts, told)["ROUGE-L"].mean()) for texts in ([medoid] * len(told), written, best)))


def _world_items(truth: World, ids: pl.Series) -> np.ndarray:
    order = {one: place for place, one in enumerate(truth.catalogue.frame["item_id"])}
    return np.array([order[one] for one in ids])


_BEST: dict[tuple[int, bool], tuple[int, int, int]] = {}


def _likeliest(stars: int, aspect: str, genre: int) -> str:
    """The most likely praise or blame, in the wording that is nearest to all its wordings."""
    praises = (stars - 0.5) / 5 > 0.5
    if (stars, praises) not in _BEST:
        picks = list(product(range(4), repeat=3))
        texts = [_sentence(stars, praises, pick, "plot", 0) for pick in picks]
        some = texts[::3]
        _BEST[stars, praises] = max(
            picks, key=lambda pick: rouge([_sentence(stars, praises, pick, "plot", 0)] * len(some), some)["ROUGE-L"].mean()
        )
    return _sentence(stars, praises, _BEST[stars, praises], aspect, genre)


def _sentence(stars: int, praises: bool, pick: tuple[int, int, int], aspect: str, genre: int) -> str:
    from recsmith.data.world import GENRES

    opening, middle = reactions._OPENINGS[stars][pick[0]], reactions._MIDDLES[int(praises)][pick[1]]
    closing = reactions._CLOSINGS[2 * (stars >= 4) + praises][pick[2]]
    return f"{opening} {middle.format(aspect=aspect)}, {closing.format(genre=GENRES[genre])}"


def _reading(truth: World, fitted: Recommender, reviews: pl.DataFrame) -> list[Gap]:
    """Stars out of a review, and its short form; the oracle reads perfectly."""
    told, stars, short = reviews["text"].to_list(), reviews["rating"].to_numpy(), reviews["summary"].to_list()
    train = with_summaries(truth).reviews
    mean, common = train["rating"].mean(), train["summary"].mode().sort()[0]
    found = fitted.model.stars_of(told).numpy()
    errors = [-float(np.sqrt(np.mean((stars - guess) ** 2))) for guess in (np.full(len(stars), mean), found, stars)]
    right = [
        float(np.mean([one == other for one, other in zip(guess, short)]))
        for guess in ([common] * len(short), fitted.model.summarise(told), short)
    ]
    return [Gap("review, stars", "-RMSE", *errors), Gap("review, summary", "equal", *right)]


def _batch(cases: Cases, part: np.ndarray):
    return to_batch(cases.histories.take(part), users=cases.users[part])


def _in_parts(call, count: int, size: int = 256) -> np.ndarray:
    return np.concatenate([call(np.arange(start, min(start + size, count))) for start in range(0, count, size)])
