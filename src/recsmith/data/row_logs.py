"""Sessions and baskets as logs of their own, so that every protocol and model can take them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from recsmith.data.split import Log
from recsmith.data.views import Baskets, Sessions
from recsmith.data.vocabulary import Vocabulary


def session_log(sessions: Sessions) -> Log:
    """One row per session, known by its number; for the split `session-prefixes` with `session_gap` 0."""
    numbers = pl.Series("id", np.arange(len(sessions.histories)), dtype=pl.Int64)
    return Log(Vocabulary.in_order(numbers), sessions.items, sessions.histories)


def basket_log(baskets: Baskets) -> Log:
    """One row per user whose "times" are the numbers of the baskets, from 0: events of one basket share one, as `next-basket` needs it."""
    per_user = np.diff(baskets.user_offsets)
    number = np.arange(len(baskets.baskets)) - np.repeat(baskets.user_offsets[:-1], per_user)
    offsets = baskets.baskets.offsets[baskets.user_offsets]
    times = np.repeat(number, baskets.baskets.lengths).astype(np.float64)
    return Log(baskets.users, baskets.items, replace(baskets.baskets, offsets=offsets, times=times))
