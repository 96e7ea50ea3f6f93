"""`rehearse`: what the language models of a recipe would be asked, and what that would cost; nothing is asked, trained or saved."""

from __future__ import annotations

from typing import Any

from recsmith.data import Dataset
from recsmith.fitting import build_recommender, read_in
from recsmith.preparing import prepare
from recsmith.protocols import Progress
from recsmith.recipe import Recipe
from recsmith.writing import written_for


def rehearse(recipe: Recipe, data: Dataset, *, seed: int = 0, progress: Progress | None = None) -> dict[str, Any]:
    """The figures of a dry run of `recsmith run`: `backend`, `prompts`, `asked`, `cached`, tokens, `money`, …; {} where nobody is asked.

    Every language model of the recipe counts instead of asking. Where one writes into the data first, the figures are those of the
    writing alone: what a model asks about words that are not written cannot be known. Else the prompts of fit, validation and test are
    put together; models that learn by gradient are not trained, since training asks nothing that the rest does not ask.
    """
    recipe = Recipe.build(_all_dry(recipe.table()))
    before = len(data.source.get("written", []))
    written = written_for(recipe, data, progress=progress)
    entries = written.source.get("written", [])[before:]
    if entries and recipe.writing is not None and recipe.writing.backend.kind != "none":
        return dict(entries[-1]["cost"])
    prepared = prepare(recipe, written, seed=seed, progress=progress)
    model: Any = read_in(recipe, prepared, seed=seed)
    if model.learns == "closed-form":
        model.solve(prepared.lessons()[0])
    recommender = build_recommender(recipe, written, prepared, model.eval(), None, seed=seed)
    for split in ("validation", "test"):
        recommender.evaluate(split, progress=progress)
    figures = model.figures() if hasattr(model, "figures") else {}
    asked = figures if "prompts" in figures else figures.get("written by", {})
    return {name: asked[name] for name in _FIGURES if name in asked}


_FIGURES = ("backend", "prompts", "asked", "cached", "repeated", "prompt_tokens", "answer_tokens", "money", "currency")


def _all_dry(values: Any) -> Any:
    """Settings with every `dry_run` turned on."""
    if not isinstance(values, dict):
        return values
    return {key: True if key == "dry_run" else _all_dry(value) for key, value in values.items()}
