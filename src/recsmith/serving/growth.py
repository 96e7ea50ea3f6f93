"""New items without training: a copy of a recommender whose catalogue has become longer.

A model that generates codes gets codes for the new items from the run's own tokenizer. A model that works on item vectors and has no
weights per item reads the vectors of the new ones. For every other model a new item is scored like the items whose texts are most like
its own, and stands in a history for the most similar of them; an item without any text in common gets no score and is only shown by
pins and among the popular.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from recsmith.building import build_model
from recsmith.data import Catalogue, Log, Vocabulary
from recsmith.decoding import all_scores
from recsmith.errors import RecsmithError
from recsmith.protocols import HistoryBatch, SlateModel
from recsmith.recommender import Recommender
from recsmith.serving.accelerating import Acceleration

if TYPE_CHECKING:
    from recsmith.serving.text_neighbours import TextNeighbours

NEIGHBOURS = 10
"""Known items that lend their scores to a new one."""


class Growth:
    """A fitted recommender and what it has grown to; what is learned for growing is kept for the next time."""

    def __init__(self, base: Recommender) -> None:
        """`base`: the recommender as it was fitted, not one that has grown."""
        self.base = base
        self.counted: dict[str, int] = {}
        """Events of the feed that the run has been fitted with, by item: they are in its popularity already."""
        self.acceleration = Acceleration(base)
        """Which weights answer fastest, where the server is to find out."""
        self._texts: TextNeighbours | None = None
        self._last: tuple[str, Recommender, str] | None = None

    def grow(self, items: Sequence[Mapping[str, Any]]) -> tuple[Recommender, str]:
        """The recommender with those of `items` (`item_id`, `title`, `attributes`) that it does not know, and how they are answered.

        How is "codes", "vectors", "neighbours", "unscored" or "known". Old items keep their indices, codes and scores. Raises
        `RecsmithError` where the run does not allow it.
        """
        new = [item for item in items if self.base.log.items.index(item["item_id"]) < 0]
        if not new:
            return self.base, "known"
        key = repr([(item["item_id"], item["title"], item["attributes"]) for item in new])
        if self._last is None or self._last[0] != key:
            self._last = (key, *self._grown(new))
        return self._last[1:]

    def _grown(self, new: Sequence[Mapping[str, Any]]) -> tuple[Recommender, str]:
        old = _with_id_dtype(self.base, self.base.log.items.series([item["item_id"] for item in new]).dtype)
        vocabulary = old.log.items.extended(pl.Series([str(item["item_id"]) for item in new]).cast(old.log.items.dtype))
        added = as_catalogue(old, new, vocabulary.dtype)
        counts = np.concatenate([old.popularity, np.zeros(len(vocabulary) - old.items, dtype=old.popularity.dtype)])
        log = Log(old.log.users, vocabulary, old.log.histories)
        longer = replace(old, log=log, popularity=counts, catalogue=_joined(old.catalogue, added))
        model: Any = old.model
        if model.answers == "codes":
            return _with_codes(old, longer, added), "codes"
        if getattr(model, "inductive", False) and "vectors" in getattr(model, "reads", ()) and old.vectors is not None:
            return _with_vectors(old, longer), "vectors"
        rows, weights = self._neighbours(longer, old.items)
        make = NeighbourSlates if isinstance(model, SlateModel) else NeighbourScores
        scores = make(old.model, old.items, torch.from_numpy(rows), torch.from_numpy(weights)).to(old.device)
        return replace(longer, model=scores.eval()), "neighbours" if (weights > 0).any() else "unscored"

    def _neighbours(self, longer: Recommender, known: int) -> tuple[np.ndarray, np.ndarray]:
        """For each item behind the first `known`: the most similar of these, int64 `[new, n]`, and weights that sum to 1 (0: none)."""
        count, new = min(NEIGHBOURS, known), longer.items - known
        nothing = np.zeros((new, count), dtype=np.int64), np.zeros((new, count), dtype=np.float32)
        if longer.catalogue is None or not longer.catalogue.columns_of("text", "category", "list"):
            return nothing
        texts = longer.catalogue.texts(longer.log.items.ids[known:])
        if not any(texts):
            return nothing
        if self._texts is None:
            from recsmith.serving.text_neighbours import TextNeighbours  # here: a server without new items starts sooner without scipy

            self._texts = TextNeighbours(longer.catalogue.texts(longer.log.items.ids[:known]))
        rows, weights = self._texts.nearest(texts, count)
        total = weights.sum(axis=1, keepdims=True)
        return rows, np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)


def _with_id_dtype(recommender: Recommender, dtype: pl.DataType) -> Recommender:
    """The same items with ids as text, where a new id is text and the old ones were numbers."""
    if dtype == recommender.log.items.dtype:
        return recommender
    items = Vocabulary.in_order(recommender.log.items.ids.cast(dtype))
    catalogue = None if recommender.catalogue is None else recommender.catalogue.with_id_dtype(dtype)
    return replace(recommender, log=replace(recommender.log, items=items), catalogue=catalogue)


def _with_codes(old: Recommender, longer: Recommender, added: Catalogue) -> Recommender:
    """Codes by the run's tokenizer, and the same weights over the longer table."""
    from recsmith.tokens import assign_tokens

    assert old.codes is not None
    frame, _ = assign_tokens(old.state(), added)
    order = longer.log.items.indices(frame["item_id"]) - old.items
    table = np.empty((longer.items - old.items, old.codes.levels), dtype=old.codes.table.dtype)
    table[order] = frame.drop("item_id").to_numpy()
    codes = replace(old.codes, table=np.concatenate([old.codes.table, table]))
    model = build_model(old.recipe, items=longer.items, codes=codes, vectors=old.vectors)
    _load(model, old.model)
    return replace(longer, model=model.to(old.device).eval(), codes=codes)


def _with_vectors(old: Recommender, longer: Recommender) -> Recommender:
    from recsmith.tokens import encode_as_recorded

    assert old.vectors is not None
    assert longer.catalogue is not None
    new = longer.log.items.ids[old.items :]
    vectors = np.concatenate([old.vectors, encode_as_recorded(old.state(), longer.catalogue, new)])
    model = build_model(old.recipe, items=longer.items, codes=old.codes, vectors=vectors)
    _load(model, old.model)
    return replace(longer, model=model.to(old.device).eval(), vectors=vectors)


def _load(model: torch.nn.Module, old: torch.nn.Module) -> None:
    """The old weights; what the new model was built with for more items stays."""
    fresh, kept = model.state_dict(), old.state_dict()
    same = {name: value for name, value in kept.items() if name in fresh and fresh[name].shape == value.shape}
    lost = sorted({name for name, _ in model.named_parameters()} - set(same))
    if lost:
        raise RecsmithError(f"weights {', '.join(lost)} have one row per item; new items need a new fit")
    model.load_state_dict({**fresh, **same})


class NeighbourScores(torch.nn.Module):
    """A model of a fixed catalogue over a longer one: the score of a new item is the weighted mean of those of its neighbours."""

    answers = "scores"

    def __init__(self, base: torch.nn.Module, known: int, rows: Tensor, weights: Tensor) -> None:
        """`rows` int64 and `weights` float32, both `[new item, neighbour]`; weights of 0 throughout: never scored."""
        super().__init__()
        self.base = base
        self.known = known
        stands_for = torch.where(weights.sum(dim=1) > 0, rows[:, 0], -1)
        self.register_buffer("rows", rows)
        self.register_buffer("weights", weights)
        self.register_buffer("place", torch.cat([torch.arange(known), stands_for]))
        self.config = base.config

    rows: Tensor
    weights: Tensor
    place: Tensor

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, known + new]`; -inf for new items without neighbours."""
        return self._with_lent(all_scores(self.base, self._without_new(batch)))  # what was not looked at cannot be lent

    def _with_lent(self, scores: Tensor) -> Tensor:
        """Scores `[batch, known]` with those of the new items behind."""
        lent = (scores[:, self.rows] * self.weights).sum(dim=2)
        return torch.cat([scores, lent.masked_fill(self.weights.sum(dim=1) == 0, -torch.inf)], dim=1)

    def _without_new(self, batch: HistoryBatch) -> HistoryBatch:
        """Histories in which new items are replaced by what they are most like, and left out where there is nothing."""
        items = self.place[batch.items]
        keep = items >= 0
        if keep.all():
            return replace(batch, items=items)
        before = torch.nn.functional.pad(keep.cumsum(0), (1, 0))
        times = None if batch.times is None else batch.times[keep]
        weights = None if batch.weights is None else batch.weights[keep]
        return HistoryBatch(items[keep], before[batch.offsets], batch.users, times, weights)


class NeighbourSlates(NeighbourScores):
    """The same for a `SlateModel`: in a slate, too, a new item stands for the known one that it is most like.

    A pinned item that is like none stands for the first item of the catalogue, for the model has no way to leave a slot out.
    """

    @property
    def conditioned(self) -> bool:
        """Whether the model can be asked for a response."""
        return bool(getattr(self.base, "conditioned", False))

    def open_slate(self, batch: HistoryBatch, size: int, generator: torch.Generator | None, **wanted: float) -> Any:
        """See `SlateModel`."""
        base: Any = self.base
        return base.open_slate(self._without_new(batch), size, generator, **wanted)

    def slot(self, state: Any, chosen: Tensor) -> Tensor:
        """Logits `[batch, known + new]`; -inf for new items without neighbours."""
        base: Any = self.base
        return self._with_lent(base.slot(state, self.place[chosen].clamp(min=0)))


def as_catalogue(recommender: Recommender, items: Sequence[Mapping[str, Any]], dtype: pl.DataType) -> Catalogue:
    """The new items in the columns of the old catalogue; attributes that it has no column for are left out here."""
    old = recommender.catalogue
    ids = pl.Series("item_id", [str(item["item_id"]) for item in items]).cast(dtype)
    if old is None:
        titles = [item["title"] for item in items]
        return Catalogue(pl.DataFrame([ids, pl.Series("title", titles, dtype=pl.String)]), {"title": "text"})
    columns = [ids]
    for name in old.frame.columns:
        if name == "item_id":
            continue
        values = [item["title"] if name == old.title_column and item["title"] else item["attributes"].get(name) for item in items]
        columns.append(typed_column(name, values, old.frame.schema[name]))
    return Catalogue(pl.DataFrame(columns), {name: kind for name, kind in old.kinds.items() if name != "item_id"})


def typed_column(name: str, values: Sequence[Any], dtype: pl.DataType | type[pl.DataType]) -> pl.Series:
    """Values that came as JSON as a column of a type; those that do not fit it are missing."""
    if dtype == pl.Boolean:
        return pl.Series(name, [value if isinstance(value, bool) else None for value in values], dtype=pl.Boolean)
    if isinstance(dtype, pl.List):
        lists = [None if value is None else [str(part) for part in (value if isinstance(value, list) else [value])] for value in values]
        return pl.Series(name, lists, dtype=pl.List(pl.String)).cast(dtype, strict=False)
    texts = [None if value is None or isinstance(value, list | dict) else str(value) for value in values]
    column = pl.Series(name, texts, dtype=pl.String)
    if isinstance(dtype, pl.Date | pl.Datetime):
        return column.str.to_datetime(strict=False).cast(dtype)
    return column.cast(dtype, strict=False)


def _joined(old: Catalogue | None, added: Catalogue) -> Catalogue:
    if old is None:
        return added
    rest = added.frame.filter(~pl.col("item_id").is_in(old.frame["item_id"].implode()))
    return Catalogue(pl.concat([old.frame, rest.select(old.frame.columns)]), dict(old.kinds))


__all__ = ["Growth", "NeighbourScores", "NeighbourSlates", "as_catalogue", "typed_column"]
