"""A named set of recipes on one data set: run one after the other, resumable, ending in one table and one picture.

Each recipe's run is a folder of its own inside the set's folder. A finished run is not run again; one that was killed goes on where it
stopped; a recipe that the data do not fit (no ratings, no texts) is a row that says so, and the others go on.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recsmith import fitting
from recsmith.artifacts import open_folder, read_json, write_json
from recsmith.curve import draw_cost
from recsmith.data import Dataset
from recsmith.errors import ConfigError, DataError, UserError, suggestion
from recsmith.protocols import Progress
from recsmith.recipe import Recipe, load_recipe
from recsmith.recipe_files import set_folder, set_names
from recsmith.run_folder import RUN
from recsmith.training import Message

SUMMARY = "set.json"
COST_METRIC = "NDCG@10"


@dataclass(frozen=True)
class RecipeSet:
    """Recipes that are run together."""

    name: str
    title: str
    recipes: tuple[str, ...]


@dataclass(frozen=True)
class SetRow:
    """One recipe of a set and what came out."""

    recipe: str
    title: str
    run: str
    metrics: dict[str, float]
    """Test figures; empty where the recipe does not fit the data."""
    seconds: float | None
    """Wall time of the fit."""
    failure: str | None = None
    """Why there are no figures."""


def load_set(name: str) -> RecipeSet:
    """The set of that name. Raises `UserError` for an unknown one."""
    path = set_folder() / f"{name}.toml"
    if name not in set_names():
        raise UserError(f"unknown set of recipes `{name}`; {suggestion(name, set_names())}")
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    return RecipeSet(name, values["title"], tuple(values["recipes"]))


def run_set(
    name: str,
    data: Dataset,
    *,
    out: str | Path,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    message: Message | None = None,
    each: Callable[[SetRow], None] | None = None,
    command: str | None = None,
) -> list[SetRow]:
    """Run all recipes of a set; `each` is told every row as it comes, and the rows stand in `out/set.json` with a picture beside it.

    `settings` go to every recipe of the set. Raises `UserError` when `out` holds runs of other data, another seed or other settings, and
    `TrainingInterruptedError` after Ctrl-C; the same call goes on from there.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for recipe_name in load_set(name).recipes:
        recipe = load_recipe(recipe_name, settings=settings)
        rows.append(_row(recipe, data, out / recipe_name, seed=seed, progress=progress, message=message, command=command))
        if each is not None:
            each(rows[-1])
        write_json(out / SUMMARY, {"set": name, "data": data.name, "rows": [asdict(row) for row in rows]})
    draw_cost([(row.title, row.seconds, row.metrics.get(COST_METRIC)) for row in rows], out / "cost.png", metric=COST_METRIC)
    return rows


def _row(
    recipe: Recipe,
    data: Dataset,
    out: Path,
    *,
    seed: int,
    progress: Progress | None,
    message: Message | None,
    command: str | None,
) -> SetRow:
    card = finished_card(recipe, data, out, seed)
    if card is None:
        try:
            card = fitting.run(recipe, data, out=out, seed=seed, progress=progress, message=message, command=command)
        except (DataError, ConfigError) as error:
            return SetRow(recipe.name, recipe.title, str(out), {}, None, str(error))
    return SetRow(recipe.name, recipe.title, str(out), card["metrics"], card["seconds"]["fit"])


def finished_card(recipe: Recipe, data: Dataset, out: Path, seed: int) -> dict[str, Any] | None:
    """The card of an earlier run of the same, None where there is none yet. Raises `UserError` where `out` holds another run."""
    if not out.exists():
        return None
    folder = open_folder(out, RUN)
    card: dict[str, Any] = read_json(folder / "card.json")
    same = {
        "data": card["data"]["hash"] == data.select(recipe.view).hash,
        "seed": seed in card["seeds"],
        "written events": recipe.augmentation is not None or card.get("augmentation") == (data.written.facts if data.written else None),
        "settings": Recipe.build(read_json(folder / "config.json")) == recipe,  # a section that is newer than the run has its default
    }
    if not all(same.values()):
        other = " and ".join(what for what, equal in same.items() if not equal)
        raise UserError(f"`{out}` is a run with other {other}; give another --out, or delete it to run it again")
    return card if card.get("metrics") and not card["interrupted"] else None
