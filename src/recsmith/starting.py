"""`start_model`: give an untrained model the weights that its recipe wants to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsmith.errors import ConfigError, UserError
from recsmith.nn.poly_attention import LateTable
from recsmith.nn.text_table import TextTable
from recsmith.recipe import Recipe
from recsmith.run_folder import RunState, read_run
from recsmith.training import start_items


def start_model(model: torch.nn.Module, recipe: Recipe, vectors: np.ndarray | None, *, facts: dict[str, Any], seed: int) -> None:
    """Overwrite weights as `recipe.start` says and note in `facts["start"]` what was taken.

    Raises `ConfigError` when vectors are wanted and the recipe has no encoder, `UserError` when the earlier run does not fit, and what
    `read_run` raises.
    """
    start = recipe.start
    if start.items != "random":
        if vectors is None:
            raise ConfigError(f"setting `start.items` = {start.items!r} needs item vectors; add a section [encoder] to `{recipe.name}`")
        start_items(model, vectors, start, seed=seed)
        facts["start"] = {"items": start.items}
    if start.run is not None:
        facts["start"] = {**facts.get("start", {}), **_take_over(model, recipe, read_run(Path(start.run)), start.run, facts)}


def _take_over(model: torch.nn.Module, recipe: Recipe, earlier: RunState, run: str, facts: dict[str, Any]) -> dict[str, Any]:
    if earlier.recipe.model.name != recipe.model.name:
        raise UserError(
            f"`{run}` holds the model `{earlier.recipe.model.name}`, which cannot start `{recipe.model.name}`; "
            f"give a run of `{recipe.model.name}`"
        )
    here, there = (source.get("encoder", {}).get("name") for source in (facts, earlier.card))
    if here != there:
        raise UserError(
            f"`{run}` was fitted on vectors of the encoder `{there}` and this run has those of `{here}`: their numbers mean different "
            "things; use the same encoder for both (tfidf differs between catalogues, minilm does not)"
        )
    own = {name: tensor for name, tensor in model.state_dict().items() if name not in _read_from_data(model)}
    taken = {name: tensor for name, tensor in earlier.weights.items() if name in own and own[name].shape == tensor.shape}
    if not taken:
        raise UserError(f"no weight of `{run}` fits this model: their sizes differ; give both runs the same settings under [model]")
    model.load_state_dict(taken, strict=False)
    return {"run": run, "weights taken": len(taken), "weights left random": sorted(set(own) - set(taken))}


def _read_from_data(model: torch.nn.Module) -> set[str]:
    """Names of what a model holds of its own data: the words of other items must not take their place, even where they are as many."""
    tables = [(name, part) for name, part in model.named_modules() if isinstance(part, TextTable | LateTable)]
    return {f"{name}.{key}" for name, part in tables for key in part.state_dict()}
