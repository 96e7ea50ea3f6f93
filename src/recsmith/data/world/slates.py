"""Logged slates: what a known, stochastic policy showed, how likely it was to show it, and what people clicked."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsmith.data.world.process import Process
from recsmith.errors import UserError
from recsmith.seeding import generator


def make_slates(process: Process, seed: int) -> pl.DataFrame:
    """One row per shown work: slate_id, user_id, timestamp, position (from 0), item_id, propensity, slate_propensity, response.

    The policy is Plackett–Luce: the work at each position is drawn from those not shown above it with probability proportional to
    popularity ** logging_tilt, times 1 + logging_boost for works of the person's first favourite genre. `propensity` is that
    probability given the works above, `slate_propensity` the product over the slate: both exact, not estimated. `response` is 1 for the
    work clicked (at most one a slate), else 0. People read from the top and stop below each position with probability 1 - attention; among
    what they read and clicking nothing they choose by multinomial logit of their true affinity.
    """
    parameters = process.parameters
    if parameters.slate_size > len(process.shelf):
        raise UserError(f"slates of {parameters.slate_size} works do not fit a world of {len(process.shelf)} items; ask for more items")
    random = generator(seed, "world", "slates")
    users = np.repeat(np.arange(len(process.people)), parameters.slates_per_user)
    slot = random.integers(0, process.schedule.slots, len(users))
    items, propensity = _show(process, users, random)
    clicked = _respond(process, users, slot, items, random)
    size = parameters.slate_size
    time = process.schedule.start + slot * process.schedule.slot_seconds + random.integers(0, process.schedule.slot_seconds, len(users))
    width = max(6, len(str(max(0, len(users) - 1))))
    ids = pl.select(slate_id=pl.format("l{}", pl.int_range(len(users)).cast(pl.String).str.zfill(width)))["slate_id"]
    rows = np.repeat(np.arange(len(users)), size)
    return pl.DataFrame(
        [
            ids.gather(rows),
            process.people.frame["user_id"].gather(users[rows]),
            pl.Series("timestamp", time[rows]),
            pl.Series("position", np.tile(np.arange(size), len(users))),
            process.shelf.frame["item_id"].gather(items.reshape(-1)),
            pl.Series("propensity", propensity.reshape(-1)),
            pl.Series("slate_propensity", np.prod(propensity, axis=1)[rows]),
            pl.Series("response", (np.arange(size) == clicked[:, None]).reshape(-1).astype(np.int64)),
        ]
    )


def logging_weights(process: Process, user: int) -> np.ndarray:
    """Weight of every work in the logging policy for a person, float64 `[item]`: what the propensities come from."""
    boosted = process.shelf.genre == process.people.favourite[user]
    return _base(process) * (1 + process.parameters.logging_boost * boosted)


def _base(process: Process) -> np.ndarray:
    return process.shelf.popularity**process.parameters.logging_tilt


def _show(process: Process, users: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the slates, position by position; items and propensities, `[slate, position]`.

    A weight is its base plus, in the favourite genre, the boost: so one draw is a draw from everything or from that genre, and drawing
    again until the work is new to the slate gives the Plackett–Luce probability.
    """
    shelf, boost = process.shelf, process.parameters.logging_boost
    base = _base(process)
    order = np.argsort(shelf.genre, kind="stable")
    cumulative = np.cumsum(base[order])
    ends = np.cumsum(np.bincount(shelf.genre, minlength=int(process.people.early.shape[1])))
    genre = process.people.favourite[users]
    low = np.concatenate([[0.0], cumulative])[ends[genre] - np.diff(np.concatenate([[0], ends]))[genre]]
    high = np.concatenate([[0.0], cumulative])[ends[genre]]
    total = cumulative[-1] + boost * (high - low)
    items = np.full((len(users), process.parameters.slate_size), -1, dtype=np.int64)
    propensity = np.zeros(items.shape)
    left = total.copy()
    for position in range(items.shape[1]):
        waiting = np.arange(len(users))
        while len(waiting):
            target = random.random(len(waiting)) * total[waiting]
            beyond = target - cumulative[-1]
            target = np.where(beyond < 0, target, low[waiting] + beyond / max(boost, 1e-12))
            found = order[np.minimum(np.searchsorted(cumulative, target, side="right"), len(order) - 1)]
            fresh = (items[waiting, :position] != found[:, None]).all(axis=1)
            items[waiting[fresh], position] = found[fresh]
            waiting = waiting[~fresh]
        shown = items[:, position]
        weight = base[shown] * (1 + boost * (shelf.genre[shown] == genre))
        propensity[:, position] = weight / left
        left -= weight
    return items, propensity


def _respond(process: Process, users: np.ndarray, slot: np.ndarray, items: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Position clicked in each slate, -1 for none; int64 `[slate]`."""
    parameters, size = process.parameters, items.shape[1]
    progress = np.repeat(process.schedule.progress(slot), size)
    clusters = process.shelf.cluster[items.reshape(-1)]
    utility = process.people.affinity(np.repeat(users, size), progress, process.shelf, clusters).reshape(items.shape)
    read = np.cumprod(
        np.concatenate([np.ones((len(users), 1)), random.random((len(users), size - 1)) < parameters.attention], axis=1), axis=1
    )
    weights = np.exp(utility) * read
    nothing = np.full((len(users), 1), np.exp(parameters.no_click))
    cumulative = np.cumsum(np.concatenate([weights, nothing], axis=1), axis=1)
    choice = (cumulative < random.random((len(users), 1)) * cumulative[:, -1:]).sum(axis=1)
    return np.where(choice >= size, -1, choice)
