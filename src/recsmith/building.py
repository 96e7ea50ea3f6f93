"""The parts that a recipe names, built and not yet trained: the generator, the item tokenizer, where they run."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from recsmith.data import ItemCodes
from recsmith.errors import UserError
from recsmith.item_tokenizers import TOKENIZERS
from recsmith.models import MODELS
from recsmith.protocols import ItemTokenizer
from recsmith.recipe import PartConfig, Recipe
from recsmith.runtime import Runtime


def build_model(recipe: Recipe, *, items: int, codes: ItemCodes | None, vectors: np.ndarray | None = None) -> torch.nn.Module:
    """The untrained generator of a recipe, on the CPU."""
    make = MODELS.get(recipe.model.name)
    config = make.Config.parse(recipe.model.settings, where="model")
    reads = getattr(make, "reads", ())
    parts: dict[str, Any] = {"items": items} if make.answers == "scores" else {}
    if make.answers == "codes" or "codes" in reads:
        if codes is None:
            raise UserError(f"model `{recipe.model.name}` works on item codes; its recipe needs a [tokenizer] and item texts")
        parts["codes"] = codes
    if "vectors" in reads:
        if vectors is None:
            raise UserError(f"model `{recipe.model.name}` works on item vectors; its recipe needs an [encoder] and item texts")
        parts["vectors"] = vectors
    return make(config, **parts)


def build_tokenizer(part: PartConfig) -> ItemTokenizer:
    """The item tokenizer that a recipe names, not fitted."""
    make = TOKENIZERS.get(part.name)
    return make(make.Config.parse(part.settings, where="tokenizer"))


def runtime_of(recipe: Recipe) -> Runtime:
    """Device and precision as the recipe asks for them."""
    return Runtime.choose(recipe.training.device, recipe.training.precision)
