"""`PlainTokenizer`: what indexings without item vectors share — they go by behaviour, categories or a bare number."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import polars as pl

from recsmith.config import Config
from recsmith.data import Catalogue, Histories, ItemCodes, fingerprint
from recsmith.errors import ArtifactError, UserError
from recsmith.item_tokenizers.collisions import with_collision_level
from recsmith.item_tokenizers.figures import code_figures
from recsmith.protocols import Progress


class PlainConfig(Config):
    """What the settings of all plain indexings have in common: nothing but the base."""


class PlainTokenizer(ABC):
    """Items → codes without a look at their vectors, of which only the number of rows counts.

    A subclass makes the codes (`_index`) and says what it has to keep (`_learned`, `_restore`); new items are refused unless it can
    place them. `bind` tells whose codes are asked for, as for every tokenizer that looks items up.
    """

    Config: ClassVar[type[PlainConfig]] = PlainConfig
    no_new_items: ClassVar[str] = ""
    """Why this indexing has no code for new items; empty when it has."""

    def __init__(self, config: PlainConfig | None = None) -> None:
        self.config: Any = self.Config() if config is None else config
        self._bound: tuple[pl.Series, Catalogue | None] | None = None
        self._sizes: tuple[int, ...] = ()
        self._figures: dict[str, Any] = {}
        self._text: dict[str, str] = {}

    @abstractmethod
    def _index(self, items: int, *, seed: int) -> tuple[np.ndarray, Sequence[int]]:
        """Codes int64 `[item, level]` without the collision level, and the sizes of their levels."""

    def _place(self, items: int, taken: ItemCodes) -> ItemCodes:
        """Codes of `items` new items; only where `no_new_items` is empty."""
        raise UserError(f"{type(self).__name__} has no code for new items: {self.no_new_items}; fit again")

    def _learned(self) -> dict[str, Any]:
        """What new items need, as JSON values."""
        return {}

    def _restore(self, learned: Mapping[str, Any]) -> None:  # noqa: B027 - nothing to restore where nothing was learned
        """The inverse of `_learned`."""

    def bind(self, item_ids: pl.Series, catalogue: Catalogue | None) -> None:
        """Whose codes the next `fit` or `assign` asks for: raw ids, one per row."""
        self._bound = (item_ids, catalogue)

    def fit(self, vectors: np.ndarray, *, seed: int, progress: Progress | None = None) -> ItemCodes:
        """Codes of as many items as `vectors` has rows, all distinct."""
        self._text = {}
        prefixes, sizes = self._index(len(vectors), seed=seed)
        codes = with_collision_level(prefixes, sizes)
        self._sizes = codes.sizes
        self._figures = {"tokenizer": type(self).__name__, **code_figures(codes), "seed": seed, **self._text}
        return codes

    def assign(self, vectors: np.ndarray, *, taken: ItemCodes) -> ItemCodes:
        """Codes of new items, distinct from each other and from `taken`. Raises `UserError` where the indexing has none for them."""
        self._require_fitted()
        if taken.sizes[:-1] != self._sizes[:-1]:
            raise UserError(
                f"codes taken have sizes {taken.sizes[:-1]}, this tokenizer's are {self._sizes[:-1]}; pass the codes that it made"
            )
        if len(vectors) == 0:
            return ItemCodes(np.zeros((0, taken.levels), dtype=np.int64), taken.sizes)
        return self._place(len(vectors), taken)

    def state(self) -> dict[str, np.ndarray]:
        """Sizes, figures, and what new items need (JSON, as bytes)."""
        self._require_fitted()
        return {"content": json_bytes({"sizes": self._sizes, "figures": self._figures, "learned": self._learned()})}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `state` gave. Raises `ArtifactError` when it is missing."""
        if "content" not in state:
            raise ArtifactError("the tokenizer's state lacks `content`; fit it again")
        content = json_value(state["content"])
        self._sizes, self._figures = tuple(content["sizes"]), content["figures"]
        self._text = {name: self._figures[name] for name in ("text", "texts") if name in self._figures}
        self._restore(content["learned"])

    def figures(self) -> dict[str, Any]:
        """Figures of the last fit: those of `code_figures`."""
        return dict(self._figures)

    def _told(self, item_ids: pl.Series, catalogue: Catalogue, template: str) -> list[str]:
        """Texts of items by `template`, which is kept: items that come later are told by the template of the fit, whatever their catalogue
        has. The template and the hash of the texts of the fit stand in the figures."""
        texts = catalogue.texts(item_ids, template=self._text.get("text", template))
        self._text = self._text or {"text": template, "texts": fingerprint(texts)}
        return texts

    def _require_fitted(self) -> None:
        if not self._sizes:
            raise UserError(f"this {type(self).__name__} has learned nothing yet; call fit or load_state first")


class ObservingTokenizer(PlainTokenizer):
    """A plain indexing made from training histories, which `observe` hands in before `fit`."""

    def __init__(self, config: PlainConfig | None = None) -> None:
        super().__init__(config)
        self._histories: Histories | None = None

    def observe(self, histories: Histories) -> None:
        """The training histories, in item numbers of the next `fit`."""
        self._histories = histories

    def _observed(self, items: int) -> Histories:
        if self._histories is None:
            raise UserError(f"{type(self).__name__} goes by behaviour and has seen none; call observe(histories) before fit")
        if self._histories.values.max(initial=-1) >= items:
            raise UserError(f"the histories hold item {self._histories.values.max()}, but there are {items} items only; observe them anew")
        return self._histories


def json_bytes(value: Any) -> np.ndarray:
    """A JSON value as the bytes that a tokenizer's state may hold, uint8."""
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8).copy()


def json_value(array: np.ndarray) -> Any:
    """The inverse of `json_bytes`."""
    return json.loads(np.asarray(array).tobytes())


def number_digits(numbers: np.ndarray, *, base: int, digits: int) -> np.ndarray:
    """Numbers below base ** digits written in that base, the leading digit first; int64 `[number, digit]`."""
    powers = base ** np.arange(digits - 1, -1, -1, dtype=np.int64)
    return numbers[:, None] // powers % base
