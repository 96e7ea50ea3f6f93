"""From data and a recipe to a `Recommender`: prepare, train, and write down what happened."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsmith import rating
from recsmith.building import build_model, runtime_of
from recsmith.card import compare_with_reported, deviations, new_card
from recsmith.config import parse_assignments
from recsmith.data import (
    Cases,
    Dataset,
    Log,
    codes_fingerprint,
    item_categories,
    join_histories,
    popularity,
)
from recsmith.errors import ConfigError, TrainingInterruptedError
from recsmith.evaluation import Evaluation, evaluate_answer
from recsmith.item_tokenizers import tokenizer_card
from recsmith.measurement import account
from recsmith.nn.quantised_linear import weight_count
from recsmith.preparing import Prepared, prepare
from recsmith.protocols import FactReader, Observer, PeopleReader, Progress, ReviewReader, TextReader
from recsmith.recipe import Recipe, load_recipe
from recsmith.recommender import Recommender
from recsmith.seeding import derive_seed, generator
from recsmith.starting import start_model
from recsmith.training import Message, TrainingResult, learner_of, train
from recsmith.training import update as train_more
from recsmith.writing import written_for

Settings = Mapping[str, Any]


def fit(
    recipe: str | Recipe,
    data: Dataset,
    *,
    seed: int = 0,
    out: str | Path | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
    message: Message | None = None,
    command: str | None = None,
) -> Recommender:
    """Fit a recipe on the training part of `data`.

    With `out` the run is written there, training checkpoints beside it, and the same call after a kill goes on where it stopped.
    `settings` are nested as in a recipe file: `{"model": {"dim": 32}}`. `progress` is told how far the work is, `message` a line per
    validation. Raises `ConfigError` or `DataError` for what does not fit, and `TrainingInterruptedError` after Ctrl-C, when `out` has
    been written with the best weights so far.
    """
    recipe = resolve_recipe(recipe, settings)
    data = written_for(recipe, data, progress=progress)
    prepared = prepare(recipe, data, seed=seed, progress=progress)
    return _fit_prepared(recipe, data, prepared, seed=seed, out=_path(out), progress=progress, message=message, command=command)


def run(
    recipe: str | Recipe,
    data: Dataset,
    *,
    out: str | Path,
    seed: int = 0,
    settings: Settings | None = None,
    progress: Progress | None = None,
    message: Message | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """`fit`, then full-ranking validation and test, then the card; returns the card, which also stands in `out`."""
    recommender = fit(recipe, data, seed=seed, out=out, settings=settings, progress=progress, message=message, command=command)
    measure(recommender, progress=progress)
    recommender.save(out)
    return recommender.card


def measure(recommender: Recommender, *, progress: Progress | None = None) -> None:
    """Put the validation and test figures of a recommender into its card."""
    card = recommender.card
    for split, key in (("validation", "validation"), ("test", "metrics")):
        evaluation = recommender.evaluate(split, progress=progress)
        card[key] = dict(evaluation.metrics)
        card["seconds"][f"evaluate {split}"] = evaluation.seconds
    card["reported"] = compare_with_reported(recommender.recipe, card["data"]["name"], card["metrics"])
    if isinstance(recommender.model, TextReader):
        card["language"] = recommender.model.figures() | _invalid_share(evaluation, repeats=recommender.recipe.split.repeats_items)
    card |= account(recommender)


def _invalid_share(evaluation: Evaluation, *, repeats: bool) -> dict[str, float]:
    """Share of the items in the lists of the test that no list may hold: those of the person's history, unless the task repeats items.

    An item outside of the catalogue ends the evaluation with an error. Nothing where no lists were measured.
    """
    seen = evaluation.figures.get("already_seen", np.nan)
    return {} if np.isnan(seen) else {"invalid after grounding": 0.0 if repeats else seen}


def update(recommender: Recommender, data: Dataset, *, settings: Settings | None = None, progress: Progress | None = None) -> Recommender:
    """A warm-started copy of `recommender` that has also learned from new events.

    New people are added; events on items that the model does not know are left out and counted in the card (`fit` again to learn
    new items). Models without gradient are solved again on everything. Training uses all events, held-out ones included, because
    an updated model is for serving: its card carries no test figures.
    """
    recipe = recommender.recipe.with_settings(settings or {})
    log, unknown = _extended(recommender.log, data.select(recipe.view).log_for(recipe.split))
    model = build_model(recipe, items=recommender.items, codes=recommender.codes, vectors=recommender.vectors)
    model.load_state_dict(recommender.model.state_dict())
    if isinstance(model, Observer):
        model.observe(log.histories)
    card = {key: value for key, value in recommender.card.items() if key not in ("metrics", "validation", "reported", "curve")}
    started = time.perf_counter()
    if _closed_form(model):
        model.solve(log.histories)  # type: ignore[operator]
    else:
        users = np.arange(len(log.users))
        known = np.where(users < recommender.trained_users, users, -1)
        learner = learner_of(model, recipe.negatives, items=recommender.items)
        train_more(learner, log.histories, recipe.training, users=known, progress=progress, seed=recipe.training.seed)
    card["update"] = {
        "events": int(len(log.histories.values) - len(recommender.log.histories.values)),
        "events on unknown items, left out": unknown,
        "seconds": time.perf_counter() - started,
    }
    return Recommender(
        recipe=recipe,
        model=model.eval(),
        log=log,
        popularity=popularity(log.histories, recommender.items),
        catalogue=recommender.catalogue,
        codes=recommender.codes,
        tokenizer=recommender.tokenizer,
        vectors=recommender.vectors,
        card=card,
    )


def train_prepared(
    recipe: Recipe,
    prepared: Prepared,
    *,
    seed: int,
    checkpoint_folder: Path | None = None,
    progress: Progress | None = None,
    message: Message | None = None,
) -> tuple[torch.nn.Module, TrainingResult | None]:
    """The trained generator, and how gradient training went (None for closed-form models)."""
    model: Any = read_in(recipe, prepared, seed=seed)
    lessons, enters = prepared.lessons()
    learner = learner_of(model, recipe.negatives, items=len(prepared.log.items))
    if _closed_form(model):
        model.solve(lessons)
        return model.eval(), None
    learner.to(runtime_of(recipe).device)
    result = train(
        learner,
        lessons,
        recipe.training,
        validate=_validator(recipe, prepared, model, seed=seed),
        users=np.arange(len(lessons)),
        enters=enters,
        checkpoint_folder=checkpoint_folder,
        progress=progress,
        message=message,
        seed=seed,
    )
    return model.eval(), result


def read_in(recipe: Recipe, prepared: Prepared, *, seed: int) -> torch.nn.Module:
    """The generator before any training: made with random weights drawn from `seed`, and given all that it reads."""
    torch.manual_seed(derive_seed(seed, "weights"))
    model: Any = build_model(recipe, items=len(prepared.log.items), codes=prepared.codes, vectors=prepared.vectors)
    if isinstance(model, TextReader) and prepared.texts is not None:
        model.read(prepared.texts)
    if isinstance(model, FactReader) and prepared.item_facts is not None:
        model.read_facts(prepared.item_facts)
    if isinstance(model, ReviewReader) and prepared.reviews is not None:
        model.read_reviews(prepared.reviews)
    if isinstance(model, PeopleReader) and prepared.people is not None:
        model.read_people(prepared.people)
    start_model(model, recipe, prepared.vectors, facts=prepared.account.facts, seed=seed)
    if isinstance(model, Observer):
        model.observe(prepared.lessons()[0])
    return model


def _fit_prepared(
    recipe: Recipe,
    data: Dataset,
    prepared: Prepared,
    *,
    seed: int,
    out: Path | None,
    progress: Progress | None,
    message: Message | None,
    command: str | None,
) -> Recommender:
    checkpoints = None if out is None else out.with_name(f".{out.name}.training")
    started = time.perf_counter()
    model, result = train_prepared(recipe, prepared, seed=seed, checkpoint_folder=checkpoints, progress=progress, message=message)
    recommender = build_recommender(recipe, data, prepared, model, result, seed=seed, command=command)
    card = recommender.card
    card["seconds"]["fit"] = time.perf_counter() - started
    if out is not None:
        card["run"] = str(out)
        recommender.save(out)
    if card["interrupted"]:
        _raise_interrupted(out)
    if checkpoints is not None:
        shutil.rmtree(checkpoints, ignore_errors=True)
    return recommender


def build_recommender(
    recipe: Recipe,
    data: Dataset,
    prepared: Prepared,
    model: torch.nn.Module,
    result: TrainingResult | None,
    *,
    seed: int,
    command: str | None = None,
) -> Recommender:
    """The trained parts put together, with the card of how they came about (no test figures yet)."""
    card = new_card(recipe, data=prepared.account.facts["data"], seed=seed, command=command)
    card.update({key: value for key, value in prepared.account.facts.items() if key != "data"})
    card["seconds"] = dict(prepared.account.seconds)
    card["parameters"] = weight_count(model)
    card["deviations"] = deviations(type(model))
    card["interrupted"] = result is not None and result.interrupted
    if prepared.codes is not None:
        card["tokens"] = _token_facts(data, prepared)
    if result is not None:
        card["training"], card["curve"] = _training_facts(result), result.rows()
    return Recommender(
        recipe=recipe,
        model=model,
        log=prepared.log,
        popularity=popularity(prepared.split.train, prepared.split.items),
        catalogue=data.catalogue,
        codes=prepared.codes,
        tokenizer=prepared.tokenizer,
        vectors=prepared.vectors if "vectors" in getattr(model, "reads", ()) else None,
        card=card,
    )


def _token_facts(data: Dataset, prepared: Prepared) -> dict[str, Any]:
    """The tokenizer card; co-occurrence is that of the training events."""
    assert prepared.codes is not None
    categories = None if data.catalogue is None else item_categories(data.catalogue, prepared.log.items)
    figures = tokenizer_card(prepared.codes, vectors=prepared.vectors, categories=categories, histories=prepared.split.train)
    del figures["codes"]  # they stand under "tokenizer"
    return {"version": 1, "hash": codes_fingerprint(prepared.codes), **figures}


def _training_facts(result: TrainingResult) -> dict[str, Any]:
    return {
        "steps": result.steps,
        "batch size": result.batch_size,
        "best epoch": result.best_epoch,
        f"best watched {result.metric}": result.best_metric,
        "stopped because": result.stopped_because,
        "resumed": result.resumed,
        "seconds": result.seconds,
    }


def _raise_interrupted(out: Path | None) -> None:
    if out is None:
        raise TrainingInterruptedError("training was interrupted; nothing was written because no `out` folder was given")
    raise TrainingInterruptedError(
        f"training was interrupted; the best weights so far are kept in `{out}`; the same command goes on from here"
    )


def resolve_recipe(recipe: str | Recipe, settings: Settings | None) -> Recipe:
    """A recipe by name, path or value, with `settings` changed. Raises `ConfigError` for a dry run, which has no answers to learn from."""
    if isinstance(settings, list | tuple):
        settings = parse_assignments(settings)
    known = recipe.with_settings(settings or {}) if isinstance(recipe, Recipe) else load_recipe(recipe, settings=settings)
    if known.dry_run:
        raise ConfigError(
            f"`{known.name}` has a `backend.dry_run`, so its language model answers nothing and nothing can be fitted or measured; what it "
            "would cost say `recsmith run` and `recsmith.rehearsal.rehearse`; leave the setting out to ask"
        )
    return rating.watching(known)


def _validator(recipe: Recipe, prepared: Prepared, model: torch.nn.Module, *, seed: int) -> Callable[[], dict[str, float]] | None:
    cases = prepared.split.validation
    if len(cases) == 0:
        return None
    wanted = recipe.validation_cases
    if wanted is not None and wanted < len(cases):
        cases = cases.take(np.sort(generator(seed, "validation cases").permutation(len(cases))[:wanted]))
    watcher = Recommender(
        recipe=recipe,
        model=model,
        log=prepared.log,
        popularity=popularity(prepared.split.train, prepared.split.items),
        codes=prepared.codes,
    )

    def validate() -> dict[str, float]:
        was_training = model.training
        model.eval()
        metrics = _short_evaluation(watcher, cases)
        model.train(was_training)
        return metrics

    return validate


def _short_evaluation(recommender: Recommender, cases: Cases) -> dict[str, float]:
    """The metrics at the cutoff that the recipe watches; a smaller catalogue is ranked whole."""
    if recommender.recipe.split.name == rating.PROTOCOL:
        return rating.watched_errors(recommender.model, cases, trained_users=recommender.trained_users)
    wanted = recommender.recipe.training.validation_metric.partition("@")[2]
    cutoff = int(wanted) if wanted.isdigit() else 10
    k = min(cutoff, recommender.items)
    evaluation = evaluate_answer(recommender.answer, cases, item_count=recommender.items, ks=(k,), split="validation", protocol={})
    return {f"{name.partition('@')[0]}@{cutoff}": value for name, value in evaluation.metrics.items()}


def _closed_form(model: Any) -> bool:
    return bool(model.learns == "closed-form")


def _extended(log: Log, new: Log) -> tuple[Log, int]:
    """The old log with the new events behind, and how many events on unknown items were left out."""
    users = log.users.extended(new.users.ids)
    values = log.items.indices(new.items.ids)[new.histories.values]
    known = new.histories.with_values(values).where(values >= 0)
    joined = join_histories(len(users), (users.indices(log.users.ids), log.histories), (users.indices(new.users.ids), known))
    return Log(users, log.items, joined), int((values < 0).sum())


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)
