"""Fast paths for large logs: ids → indices, and stable sorting of events, without Python per row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsmith.data.vocabulary import Vocabulary


@dataclass(frozen=True)
class Codes:
    """The ids of a log as indices, in file order."""

    users: Vocabulary
    items: Vocabulary
    rows: np.ndarray
    """User index of each event, int64 `[event]`."""
    values: np.ndarray
    """Item index of each event, int64 `[event]`."""

    @classmethod
    def of(cls, events: pl.DataFrame) -> Codes:
        """The codes of a table with `user_id` and `item_id`."""
        (users, rows), (items, values) = encode(events["user_id"]), encode(events["item_id"])
        return cls(users, items, rows, values)

    def where(self, keep: np.ndarray) -> Codes:
        """The codes of the events with `keep` true (bool `[event]`): only the users and items that these have."""
        users, rows = _compact(self.users, self.rows[keep])
        items, values = _compact(self.items, self.values[keep])
        return Codes(users, items, rows, values)


def encode(ids: pl.Series) -> tuple[Vocabulary, np.ndarray]:
    """The vocabulary of a column without nulls, and the index of each value, int64 `[event]`."""
    return _encode_text(ids) if ids.dtype == pl.String else _encode_integers(ids)


def event_order(rows: np.ndarray, times: np.ndarray | None) -> np.ndarray:
    """Positions of the events sorted by row, then time, then place in the file; int64 `[event]`.

    `rows` are indices below 2³². Sorts by the least important key first, so each step only has to be stable.
    """
    if times is None or bool((times[1:] >= times[:-1]).all()):
        return _stable_order(rows)
    order = np.argsort(times, kind="stable")
    return order[_stable_order(rows[order])]


def _encode_integers(ids: pl.Series) -> tuple[Vocabulary, np.ndarray]:
    vocabulary = Vocabulary(ids)
    known = vocabulary.ids
    if known.is_empty() or int(known[-1]) - int(known[0]) > 4 * len(ids) + 1000:
        return vocabulary, vocabulary.indices(ids)
    # Dense integers: one look-up table is several times faster than a hash join.
    low, high = int(known[0]), int(known[-1])
    table = np.zeros(high - low + 1, dtype=np.int64)
    table[known.to_numpy() - low] = np.arange(len(known))
    return vocabulary, table[ids.to_numpy() - low]


def _encode_text(ids: pl.Series) -> tuple[Vocabulary, np.ndarray]:
    """Joins 64-bit hashes instead of the texts, then checks that no two texts shared one (else joins the texts)."""
    hashes = ids.hash(0).rename("hash")
    first = hashes.arg_unique()
    names = ids.gather(first)
    vocabulary = Vocabulary(names)
    known = pl.DataFrame({"hash": hashes.gather(first), "index": vocabulary.indices(names)})
    indices = hashes.to_frame().join(known, on="hash", how="left", maintain_order="left")["index"]
    if not (vocabulary.ids.gather(indices) == ids).all():
        vocabulary = Vocabulary(ids)
        return vocabulary, vocabulary.indices(ids)
    return vocabulary, indices.to_numpy()


def _compact(vocabulary: Vocabulary, indices: np.ndarray) -> tuple[Vocabulary, np.ndarray]:
    used = np.bincount(indices, minlength=len(vocabulary)) > 0
    if used.all():
        return vocabulary, indices
    return Vocabulary(vocabulary.ids.filter(pl.Series(used))), (np.cumsum(used) - 1)[indices]


def _stable_order(rows: np.ndarray) -> np.ndarray:
    """Two radix passes of 16 bits: NumPy's stable sort is linear for 16-bit integers only."""
    order = np.argsort((rows & 0xFFFF).astype(np.uint16), kind="stable")
    high = rows >> 16
    if not high.any():
        return order
    return order[np.argsort(high[order].astype(np.uint16), kind="stable")]
