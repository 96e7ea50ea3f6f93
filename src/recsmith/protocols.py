"""Every contract of the library on one page: the values that cross package borders, and what each part promises.

Letters of the shapes: `batch` = rows of one call, `token` = events of all rows laid end to end, `item` = size of the
catalogue, `level` = position inside a semantic ID, `beam` = hypotheses kept per row, `k` = length of an answer.
Items and users are integers here (`Vocabulary` of `recsmith.data` turns raw ids into them and back); -1 means *unknown* or *none*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import torch
    from torch import Tensor

    from recsmith.config import Config
    from recsmith.data import Cases, Catalogue, Histories, ItemCodes, TrainingReviews
    from recsmith.data.item_facts import ItemFacts


# ---- values -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HistoryBatch:
    """Histories of one batch as tensors, packed without padding, oldest event first in each row."""

    items: Tensor
    """Item index of each event, int64 `[token]`."""
    offsets: Tensor
    """Row r is `items[offsets[r]:offsets[r + 1]]`; int64 `[batch + 1]`."""
    users: Tensor | None = None
    """User index of each row, -1 for people unseen in training; int64 `[batch]`."""
    times: Tensor | None = None
    """Seconds since the epoch of each event, float64 `[token]`."""
    weights: Tensor | None = None
    """Rating or strength of each event, float32 `[token]`."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def known(self) -> HistoryBatch:
        """The batch without events of unknown items (-1)."""
        known = self.items >= 0
        if known.all():
            return self
        before = known.cumsum(0)
        offsets = before[(self.offsets - 1).clamp(min=0)] * (self.offsets > 0)
        times, weights = (None if tensor is None else tensor[known] for tensor in (self.times, self.weights))
        return HistoryBatch(self.items[known], offsets, self.users, times, weights)

    def to(self, device: torch.device | str) -> HistoryBatch:
        """The same batch on another device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        return HistoryBatch(self.items.to(device), self.offsets.to(device), move(self.users), move(self.times), move(self.weights))


@dataclass(frozen=True)
class RankedLists:
    """Answers of equal length, best first; rows with fewer than k items end in item -1 with score -inf."""

    items: np.ndarray
    """Item index, int64 `[row, k]`."""
    scores: np.ndarray
    """Score of each item, higher is better, comparable inside a row; float32 `[row, k]`."""

    @classmethod
    def joined(cls, parts: Sequence[RankedLists], *, k: int = 0) -> RankedLists:
        """The rows of all parts, in order; without parts no row, of lists of length `k`."""
        import numpy as np

        if not parts:
            return cls(np.zeros((0, k), dtype=np.int64), np.zeros((0, k), dtype=np.float32))
        return cls(np.concatenate([part.items for part in parts]), np.concatenate([part.scores for part in parts]))


@dataclass(frozen=True)
class Limits:
    """What an answer may contain. Applied inside scoring or search, never by filtering a finished list."""

    exclude: Histories | None = None
    """Items forbidden per row (usually those already seen), one packed row per row of the batch."""
    allowed: np.ndarray | None = None
    """Items allowed for everybody, bool `[item]`; None allows all."""


# ---- models -------------------------------------------------------------------------------------------------------------


@runtime_checkable
class ScoreModel(Protocol):
    """A model (`torch.nn.Module`) that scores the whole catalogue. Built as `cls(config, items=number_of_items)`.

    A class that says `reads = ("vectors",)` or `("codes",)` is also given `vectors` (float32 `[item, dim]`) or `codes`. One that says
    `inductive = True` has no weights of its own per item: the same weights work over a longer catalogue.
    """

    Config: ClassVar[type[Config]]
    answers: ClassVar[Literal["scores"]]
    learns: ClassVar[Literal["closed-form", "gradient"]]
    config: Any

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`, higher is better; no masking. Rows may be empty and must then give finite scores."""
        ...


@runtime_checkable
class PartScorer(Protocol):
    """A `ScoreModel` whose `score` may leave items at -inf because it did not look at them.

    `recsmith.decoding.best_items` asks for the rest where a list would stay short.
    """

    def score_all(self, batch: HistoryBatch) -> Tensor:
        """Finite scores of the whole catalogue, `[batch, item]`; where `score` gives one, the same."""
        ...


@runtime_checkable
class InnerProductModel(Protocol):
    """A `ScoreModel` whose scores are inner products, so that the best items can be found without all scores.

    `score(batch)` is `queries(batch) @ vectors.T + bias` with the pair of `answer_vectors()`.
    """

    def queries(self, batch: HistoryBatch) -> Tensor:
        """One vector per row, `[batch, dim]`."""
        ...

    def answer_vectors(self) -> tuple[Tensor, Tensor | None]:
        """Vectors `[item, dim]` and, if there is one, the bias `[item]`; the same for every batch while the weights are the same."""
        ...


@runtime_checkable
class CodeModel(Protocol):
    """A model that generates an item as a sequence of codes. Built as `cls(config, codes=item_codes)`.

    A class that says `reads = ("vectors",)` is also given `vectors`, float32 `[item, dim]`.
    """

    Config: ClassVar[type[Config]]
    answers: ClassVar[Literal["codes"]]
    learns: ClassVar[Literal["gradient"]]
    config: Any

    def prefill(self, batch: HistoryBatch) -> Any:
        """Read the histories once; the returned state is opaque to decoders and holds one row per row of the batch."""
        ...

    def step(self, state: Any, level: int, parents: Tensor | None, last: Tensor | None) -> tuple[Tensor, Any]:
        """Logits over the codes of `level`, `[batch, beam, size of level]`, and the new state.

        `parents` `[batch, beam]` says which beam of the previous level each beam continues and `last` `[batch, beam]` the code
        that it chose there; both are None at level 0, where there is one beam per row.
        """
        ...


@runtime_checkable
class SlateModel(Protocol):
    """A model that fills a slate (a page, a basket, a bundle) slot by slot, so that each item can depend on those before it.

    It answers as a `ScoreModel` too. `recsmith.decoding.fill_slates` picks the items under limits and rules, and adds up the likelihood.
    A class that says `conditioned = True` has learned from people's responses: its `open_slate` also takes the keyword `wanted`, a
    response between the worst (0) and the best (1, the default) that training has seen.
    """

    def open_slate(self, batch: HistoryBatch, size: int, generator: torch.Generator | None) -> Any:
        """Read the histories once, for slates of `size` items; the state is opaque and holds one row per row of the batch.

        `generator` (in main memory) draws whatever is random in a slate as a whole (a latent); None takes the mean instead.
        """
        ...

    def slot(self, state: Any, chosen: Tensor) -> Tensor:
        """Logits over the catalogue for the next slot, `[batch, item]`, given the items `chosen` so far, int64 `[batch, filled]`.

        Nothing is masked: an item that was chosen may have any logit. Logits above -inf must be finite.
        """
        ...


@runtime_checkable
class ClosedForm(Protocol):
    """Learning in one go, from all histories."""

    def solve(self, histories: Histories) -> None:
        """Set the parameters from the training histories (row = user)."""
        ...


@runtime_checkable
class Differentiable(Protocol):
    """Learning by gradient; driven by `recsmith.training.train`."""

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean training loss of the batch, a scalar; `step` counts optimiser steps from 0 (for annealing)."""
        ...


@runtime_checkable
class Observer(Protocol):
    """A model or item tokenizer that looks at all training histories once before it learns (a graph model: at its graph)."""

    def observe(self, histories: Histories) -> None:
        """Take in the training histories (row = user); replaces what was observed before, and is saved with the weights."""
        ...


@runtime_checkable
class ReviewReader(Protocol):
    """A model that learns from what people wrote; it says `reads = ("reviews",)` and does without where there are none."""

    def read_reviews(self, reviews: TrainingReviews) -> None:
        """Take in the reviews of training events; called before `observe`."""
        ...


@runtime_checkable
class FactReader(Protocol):
    """A model that knows more of items than their words; it says `reads = ("facts",)`."""

    def read_facts(self, facts: ItemFacts) -> None:
        """Take in categories and places of the items; saved with the weights."""
        ...


@runtime_checkable
class PeopleReader(Protocol):
    """A model that learns from what is written about people; it says `reads = ("people",)`."""

    def read_people(self, vectors: np.ndarray) -> None:
        """Take in a vector per person, float32 `[user, dim]`, zeros where nothing is written; saved with the weights."""
        ...


@runtime_checkable
class TextReader(Protocol):
    """A model that works on the items' own words; it says `reads = ("texts",)`."""

    def read(self, texts: Sequence[str]) -> None:
        """Take in one text per item; replaces what was read before, and is saved with the weights."""
        ...

    def figures(self) -> dict[str, Any]:
        """Who spoke, what it cost and how many answers could not be used, for the card."""
        ...


# ---- the other parts, as callables and small protocols --------------------------------------------------------------------

Answer = Callable[["Cases", int], RankedLists]
"""Answers the cases with lists of length k: what an evaluator measures."""

Validate = Callable[[], Mapping[str, float]]
"""Validation metrics of the model as it is now, by name (`{"NDCG@10": .031, …}`): what a trainer watches."""

Encode = Callable[["list[str]"], "np.ndarray"]
"""Texts → float32 vectors `[text, dim]`."""

Progress = Callable[[str, int, int], None]
"""Called as `progress(what, done, total)`; display is the caller's business."""


@runtime_checkable
class ItemTokenizer(Protocol):
    """Item vectors → item codes. Built as `cls(config)`. One that is also an `Observer` is shown the training histories before `fit`."""

    Config: ClassVar[type[Config]]
    config: Any

    def fit(self, vectors: np.ndarray, *, seed: int, progress: Progress | None = None) -> ItemCodes:
        """Learn the codebooks on float32 `[item, dim]` and return the codes of these items, all distinct."""
        ...

    def assign(self, vectors: np.ndarray, *, taken: ItemCodes) -> ItemCodes:
        """Codes for new items without retraining, distinct from each other and from `taken`."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Everything learned, by name; `load_state` restores it."""
        ...

    def load_state(self, state: Mapping[str, np.ndarray]) -> None: ...

    def figures(self) -> dict[str, Any]:
        """Collision rate, usage and entropy per level, … of the last fit, for the card."""
        ...


@runtime_checkable
class Augmenter(Protocol):
    """A writer of training data. Built as `cls(config)`; what it writes is a function of the training events and the seed."""

    Config: ClassVar[type[Config]]
    config: Any

    def write(self, train: Histories, *, items: int, seed: int, progress: Progress | None = None) -> tuple[Histories, np.ndarray]:
        """Learn from the training histories (row = user), and return what is to stand before each row's own events.

        The result has a row per row of `train`, items below `items`, and for each of its events the epoch, from 0, in which it enters
        the training of a model, int64 `[event]`.
        """
        ...

    def figures(self) -> dict[str, Any]:
        """What is worth knowing about the last writing, for the card."""
        ...


@runtime_checkable
class BoundItemTokenizer(Protocol):
    """An item tokenizer that looks items up by raw id: `bind` comes before `fit` and `assign`, and vectors need not be given (dim 0)."""

    def bind(self, item_ids: pl.Series, catalogue: Catalogue | None) -> None:
        """Whose codes the next call asks for: raw ids, one per row of its vectors."""
        ...
