"""Search a recipe's settings on the validation part: every trial is a fit, the best one becomes the run, the search is stored with it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recsmith.config import merge
from recsmith.data import Dataset
from recsmith.errors import ConfigError, suggestion
from recsmith.fitting import Settings, build_recommender, measure, resolve_recipe, train_prepared
from recsmith.preparing import Prepared, prepare
from recsmith.protocols import Progress
from recsmith.recipe import Recipe
from recsmith.recommender import load
from recsmith.training.search import SearchResult, SearchSpace, search
from recsmith.writing import written_for

DATA_SECTIONS = ("view", "split", "augmentation", "encoder", "tokenizer", "text", "user_text", "writing")
"""Sections of a recipe that change what models are trained on; a trial that leaves them alone shares the preparation."""


def tune(
    recipe: str | Recipe,
    data: Dataset,
    *,
    out: str | Path,
    trials: int = 20,
    hours: float | None = None,
    seed: int = 0,
    settings: Settings | None = None,
    progress: Progress | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Try `trials` settings of the recipe's `search` section (the first trial is the recipe itself) or as many as fit into `hours`.

    The recipe's validation metric, over all validation cases, decides; the test part is looked at once, for the winner. Returns the
    card of the winning run, which stands in `out` with the space, budget and all trials under "search". The same call after a kill
    goes on where it stopped. Raises `ConfigError` when the recipe has nothing to search.
    """
    recipe = resolve_recipe(recipe, settings)
    if not recipe.search:
        raise ConfigError(f'recipe `{recipe.name}` has no [search] section; add one, such as "model.dropout" = {{ low = 0.0, high = 0.6 }}')
    out = Path(out)
    work = out.with_name(f".{out.name}.search")
    written = written_for(recipe, data, progress=progress)
    trial = _Trial(recipe, (data, written), prepare(recipe, written, seed=seed, progress=progress), seed, work / "best", command)
    space = SearchSpace.parse(recipe.search)
    found = search(
        trial,
        space,
        trials=trials,
        hours=hours,
        storage=work,
        seed=seed,
        metric=f"validation {trial.metric}",
        defaults=_settings_at(recipe, recipe.search),
        progress=progress,
    )
    return _finish(found, trial, out, work, progress)


class _Trial:
    """The objective of the search; keeps the best run so far as a folder, so that nothing is trained twice."""

    def __init__(
        self, recipe: Recipe, data: tuple[Dataset, Dataset], prepared: Prepared, seed: int, best: Path, command: str | None
    ) -> None:
        """`data` as given, and with what the recipe's writer adds; `prepared` from the latter."""
        self.recipe, self.prepared, self.seed, self.best, self.command = recipe, prepared, seed, best, command
        self.given, self.data = data
        self.metric = recipe.training.validation_metric

    def __call__(self, values: dict[str, Any]) -> float:
        recipe = self.recipe.with_settings(nested(values))
        shared = all(name.split(".")[0] not in DATA_SECTIONS for name in values)
        data = self.data if shared else written_for(recipe, self.given)
        prepared = self.prepared if shared else prepare(recipe, data, seed=self.seed)
        started = time.perf_counter()
        model, result = train_prepared(recipe, prepared, seed=self.seed)
        seconds = time.perf_counter() - started
        recommender = build_recommender(recipe, data, prepared, model, result, seed=self.seed, command=self.command)
        recommender.card["seconds"]["fit"] = seconds
        value = recommender.evaluate("validation").metrics[self.metric]
        if not self.best.exists() or value > load(self.best).card["tuned value"]:
            recommender.card["tuned value"] = value
            recommender.save(self.best)
        return value


def _settings_at(recipe: Recipe, names: Iterable[str]) -> dict[str, Any]:
    """The recipe's own values of the settings that are searched: the first trial."""
    table = recipe.table()
    found = {}
    for name in names:
        value: Any = table
        for part in name.split("."):
            if not isinstance(value, dict) or part not in value:
                raise ConfigError(f"the search names `{name}`, which is no setting of recipe `{recipe.name}`; {suggestion(part, value)}")
            value = value[part]
        found[name] = value
    return found


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """`{"model.dim": 64}` → `{"model": {"dim": 64}}`."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        for part in reversed(name.split(".")):
            value = {part: value}
        result = merge(result, value)
    return result


def _finish(found: SearchResult, trial: _Trial, out: Path, work: Path, progress: Progress | None) -> dict[str, Any]:
    recommender = load(trial.best)
    measure(recommender, progress=progress)
    card = recommender.card
    card.pop("tuned value", None)
    card["run"] = str(out)
    card["search"] = found.as_dict()
    recommender.save(out)
    shutil.rmtree(work, ignore_errors=True)
    return card
