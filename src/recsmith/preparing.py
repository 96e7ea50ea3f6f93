"""What a fit needs before it trains: the log and its split, what generators wrote, and the items' vectors, words and codes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recsmith.augmentation import WRITERS, write_events
from recsmith.building import build_tokenizer
from recsmith.card import deviations
from recsmith.data import (
    Dataset,
    Histories,
    ItemCodes,
    Log,
    Split,
    TrainingReviews,
    WrittenEvents,
    fingerprint,
    require_single_events,
    split_log,
)
from recsmith.data.item_facts import ItemFacts
from recsmith.data.validation import require_two_users
from recsmith.encoders import EncoderConfig, encode_texts, given_vectors
from recsmith.errors import ConfigError, DataError
from recsmith.models import MODELS
from recsmith.protocols import BoundItemTokenizer, ItemTokenizer, Observer, Progress
from recsmith.recipe import Recipe
from recsmith.seeding import derive_seed
from recsmith.writing import item_words, people_vectors


@dataclass(frozen=True)
class Account:
    """What the card will say about the preparation."""

    facts: dict[str, Any] = field(default_factory=dict)
    """About data, encoder, tokenizer and writer."""
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timing(self, what: str) -> Iterator[None]:
        """Add the seconds that the block took."""
        started = time.perf_counter()
        yield
        self.seconds[what] = time.perf_counter() - started


@dataclass(frozen=True)
class Prepared:
    """A recipe's view of the data: the log, its split, and the items' vectors and codes where the recipe asks for them."""

    log: Log
    split: Split
    codes: ItemCodes | None = None
    tokenizer: ItemTokenizer | None = None
    vectors: np.ndarray | None = None
    """What the recipe's encoder made of the items, float32 `[item, dim]`."""
    texts: list[str] | None = None
    """The items' own words, for models that read them."""
    reviews: TrainingReviews | None = None
    """What people wrote about training events, for models that read it."""
    written: WrittenEvents | None = None
    """Events that a generator wrote; the model learns from them, no statistic counts them."""
    item_facts: ItemFacts | None = None
    """Categories and places of the items, for models that read them."""
    people: np.ndarray | None = None
    """Vectors of what is written about each person, for models that read them."""
    account: Account = field(default_factory=Account)

    def lessons(self) -> tuple[Histories, np.ndarray | None]:
        """What a model learns from: the training events, written ones in front; and the epoch in which each enters (None: the first)."""
        return (self.split.train, None) if self.written is None else self.written.lessons(self.split.train, self.log)


def prepare(recipe: Recipe, data: Dataset, *, seed: int, progress: Progress | None = None) -> Prepared:
    """Select, split, and make the items' vectors and codes where the recipe has an encoder or a tokenizer."""
    account = Account()
    with account.timing("prepare data"):
        chosen = data.select(recipe.view)
        require_two_users(chosen.interactions["user_id"], where=f"`{data.name}`")
        log = chosen.log_for(recipe.split)
        split = split_log(log, recipe.split)
    if len(split.train.values) == 0:
        raise DataError(f"`{data.name}` leaves no training events under {recipe.split.name}; give more events or another split")
    account.facts["data"] = _data_facts(chosen, log, split)
    written = _written_events(recipe, chosen, log, split, account, seed=seed, progress=progress)
    vectors = None if recipe.encoder is None else _item_vectors(recipe, recipe.encoder, chosen, log, account, progress=progress)
    codes, tokenizer = _tokenize(recipe, chosen, log, split.train, vectors, account, seed=seed, progress=progress)
    reads = getattr(MODELS.get(recipe.model.name), "reads", ())
    return Prepared(
        log,
        split,
        codes,
        tokenizer,
        vectors,
        texts=item_words(recipe, chosen, log) if "texts" in reads else None,
        reviews=TrainingReviews.of(chosen.reviews, log, split) if "reviews" in reads and chosen.reviews is not None else None,
        written=written,
        item_facts=ItemFacts.of(chosen.catalogue, log.items) if "facts" in reads else None,
        people=people_vectors(recipe, chosen, log, account.facts) if "people" in reads else None,
        account=account,
    )


def _written_events(
    recipe: Recipe, data: Dataset, log: Log, split: Split, account: Account, *, seed: int, progress: Progress | None
) -> WrittenEvents | None:
    """What the recipe's writer writes, or what came with the data."""
    written, part = data.written, recipe.augmentation
    if written is not None and part is not None:
        raise ConfigError(
            f"`{data.name}` already holds events written by `{written.facts['writer']}` and `{recipe.name}` has a section [augmentation]; "
            "give the data without written events, or leave the section out"
        )
    if written is not None:
        require_single_events(split.config)
        written.require(source=data.hash, split=split.config)
        account.facts["augmentation"] = written.facts
    if part is not None:
        kind = WRITERS.get(part.name)
        writer = kind(kind.Config.parse(part.settings, where="augmentation"))
        with account.timing("write events"):
            written = write_events(
                writer, log, split, name=part.name, source=data.hash, seed=seed, progress=progress, catalogue=data.catalogue
            )
        account.facts["augmentation"] = {**written.facts, "deviations": deviations(kind)}
    return written


def _item_vectors(
    recipe: Recipe, encoder: EncoderConfig, data: Dataset, log: Log, account: Account, *, progress: Progress | None
) -> np.ndarray:
    if encoder.name.startswith("file:"):
        account.facts["encoder"] = {"name": encoder.name}
        return given_vectors(encoder.name.removeprefix("file:"), log.items.ids)
    if data.catalogue is None:
        raise DataError(f"`{recipe.name}` works on item texts, but `{data.name}` has no catalogue; give a folder with an items file")
    texts = data.catalogue.texts(log.items.ids, template=recipe.text)
    encoded = encode_texts(texts, encoder, progress=progress)
    account.facts["encoder"] = {
        "name": encoded.encoder_name,
        "text": recipe.text or data.catalogue.default_template(),
        "texts": fingerprint(texts),
        "cached": encoded.cached,
    }
    account.seconds["encode texts"] = encoded.seconds
    return encoded.vectors


def _tokenize(
    recipe: Recipe,
    data: Dataset,
    log: Log,
    train: Histories,
    vectors: np.ndarray | None,
    account: Account,
    *,
    seed: int,
    progress: Progress | None,
) -> tuple[ItemCodes | None, ItemTokenizer | None]:
    if recipe.tokenizer is None:
        return None, None
    tokenizer = build_tokenizer(recipe.tokenizer)
    if isinstance(tokenizer, BoundItemTokenizer):
        tokenizer.bind(log.items.ids, data.catalogue)
    elif vectors is None:
        raise ConfigError(f"recipe `{recipe.name}` has a [tokenizer] but no [encoder]; add a section [encoder]")
    if isinstance(tokenizer, Observer):
        tokenizer.observe(train)
    if vectors is None:
        vectors = np.empty((len(log.items), 0), dtype=np.float32)
    with account.timing("tokenize items"):
        codes = tokenizer.fit(vectors, seed=derive_seed(seed, "tokenizer"), progress=progress)
    account.facts["tokenizer"] = {"name": recipe.tokenizer.name, **tokenizer.figures()}
    return codes, tokenizer


def _data_facts(data: Dataset, log: Log, split: Split) -> dict[str, Any]:
    return {
        "name": data.name,
        "hash": data.hash,
        "users": len(log.users),
        "items": len(log.items),
        "events": len(log.histories.values),
        "source": data.source,
        **split.figures,
    }
