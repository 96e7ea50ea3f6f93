"""`HybridCodes`: the ids of two tokenizers, one behind the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import polars as pl

from recsmith.config import Config
from recsmith.data import Catalogue, Histories, ItemCodes
from recsmith.errors import ArtifactError, UserError
from recsmith.item_tokenizers import TOKENIZERS
from recsmith.item_tokenizers.collisions import assign_new, with_collision_level
from recsmith.item_tokenizers.figures import code_figures
from recsmith.item_tokenizers.plain import json_bytes, json_value
from recsmith.protocols import BoundItemTokenizer, ItemTokenizer, Observer, Progress
from recsmith.seeding import derive_seed


class HybridConfig(Config):
    """Which two tokenizers."""

    first: str = "collaborative"
    """Name of the tokenizer whose codes come first."""
    second: str = "independent"
    """Name of the tokenizer whose codes come behind."""
    first_settings: dict[str, Any] = {}
    """Settings of the first tokenizer."""
    second_settings: dict[str, Any] = {}
    """Settings of the second tokenizer."""


class HybridCodes:
    """Hybrid indexing (Hua et al., 2023): two ids concatenated; their best was the collaborative path with an independent token.

    The collision levels of both are left out; one for the whole id follows at the end.
    """

    Config: ClassVar[type[HybridConfig]] = HybridConfig

    def __init__(self, config: HybridConfig | None = None) -> None:
        self.config: Any = self.Config() if config is None else config
        self.parts = [
            _built(self.config.first, self.config.first_settings, "first"),
            _built(self.config.second, self.config.second_settings, "second"),
        ]
        self._figures: dict[str, Any] = {}

    def bind(self, item_ids: pl.Series, catalogue: Catalogue | None) -> None:
        """Whose codes the next call asks for, passed on to the parts that want to know."""
        for part in self.parts:
            if isinstance(part, BoundItemTokenizer):
                part.bind(item_ids, catalogue)

    def observe(self, histories: Histories) -> None:
        """The training histories, passed on to the parts that learn from them."""
        for part in self.parts:
            if isinstance(part, Observer):
                part.observe(histories)

    def fit(self, vectors: np.ndarray, *, seed: int, progress: Progress | None = None) -> ItemCodes:
        """Fit both parts and join their codes; raises what they raise."""
        fitted = [part.fit(vectors, seed=derive_seed(seed, "hybrid", place), progress=progress) for place, part in enumerate(self.parts)]
        codes = with_collision_level(_joined(fitted), [size for part in fitted for size in part.sizes[:-1]])
        self._figures = {
            "tokenizer": type(self).__name__,
            **code_figures(codes),
            "parts": [part.figures() for part in self.parts],
            "own_sizes": [list(part.sizes) for part in fitted],
            "seed": seed,
        }
        return codes

    def assign(self, vectors: np.ndarray, *, taken: ItemCodes) -> ItemCodes:
        """Codes of new items by both parts, joined; refused where a part refuses."""
        if not self._figures:
            raise UserError("this HybridCodes has learned nothing yet; call fit or load_state first")
        if len(vectors) == 0:
            return ItemCodes(np.zeros((0, taken.levels), dtype=np.int64), taken.sizes)
        new, first = [], 0
        for part, sizes in zip(self.parts, self._figures["own_sizes"], strict=True):
            own = taken.table[:, first : first + len(sizes) - 1]
            # a part counts collisions among its own codes, so that it is told of as many as there are
            digits = with_collision_level(own, sizes[:-1]).table[:, -1]
            room = max(int(sizes[-1]), 2 * int(digits.max(initial=0)) + 2)
            new.append(part.assign(vectors, taken=ItemCodes(np.column_stack([own, digits]), (*sizes[:-1], room))))
            first += len(sizes) - 1
        return assign_new(_joined(new), taken)

    def state(self) -> dict[str, np.ndarray]:
        """The states of both parts and the figures."""
        states = {f"{place}.{name}": array for place, part in enumerate(self.parts) for name, array in part.state().items()}
        return {**states, "figures": json_bytes(self._figures)}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `state` gave. Raises `ArtifactError` when something is missing."""
        for place, part in enumerate(self.parts):
            prefix = f"{place}."
            part.load_state({name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)})
        if "figures" not in state:
            raise ArtifactError("the tokenizer's state lacks `figures`; fit it again")
        self._figures = json_value(state["figures"])

    def figures(self) -> dict[str, Any]:
        """Figures of the last fit: those of `code_figures`, and those of the `parts`."""
        return dict(self._figures)


def _built(name: str, settings: Mapping[str, Any], where: str) -> ItemTokenizer:
    make = TOKENIZERS.get(name)
    return make(make.Config.parse(settings, where=f"tokenizer.{where}_settings"))


def _joined(parts: list[ItemCodes]) -> np.ndarray:
    """The codes of all parts without their collision levels, int64 `[item, level]`."""
    return np.concatenate([part.table[:, :-1] for part in parts], axis=1)
