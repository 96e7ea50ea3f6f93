"""New items: systems over item texts against content k-NN, cold and warm items ranked together, with paired intervals.

    RECSMITH_DATA=… python benchmarks/retrieval_cold_start.py [--part movies|industrial|transfer] [--systems …] [--seed 0]

movies      ml-latest-small under the split item-cold-start: every target is an item without a training event
industrial  amazon-industrial: fit on its valid rows (a tenth of them, drawn by seed, validates), test on its test rows; the cases whose
            target stands in no valid row are shown apart
transfer    UniSRec on amazon-industrial, started from a contrastive run on amazon-beauty titles or from nothing, at 5 % and 100 % of rows

`hybrid` (industrial) is a cascade over dense, BM25 and co-occurrence candidates; `tiger:0.5` is TIGER with at most half of a list for items
without training events, whose codes were assigned from their texts (`tiger` treats all items alike). The settings are the recipes' own,
with fewer epochs; differences are against the better of the two content k-NN baselines.
"""

from __future__ import annotations

import argparse
import ast
import csv
import gzip
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recsmith.runtime import prepare_environment

prepare_environment()

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402

from recsmith.building import build_tokenizer  # noqa: E402
from recsmith.data import Cases, Catalogue, Dataset, Histories, Log, Split, SplitConfig, Vocabulary, popularity  # noqa: E402
from recsmith.encoders import encode_texts  # noqa: E402
from recsmith.evaluation import Evaluation, evaluate_answer  # noqa: E402
from recsmith.evaluation.significance import compare_with_baseline  # noqa: E402
from recsmith.fitting import build_recommender, fit, train_prepared  # noqa: E402
from recsmith.preparing import Account, Prepared  # noqa: E402
from recsmith.recipe import Recipe, load_recipe  # noqa: E402
from recsmith.retrieval import (  # noqa: E402
    Bm25Index,
    Cascade,
    CooccurrenceSource,
    DenseSource,
    ExactIndex,
    PopularitySource,
    Source,
    SparseSource,
)
from recsmith.seeding import derive_seed, generator  # noqa: E402

BASELINES = ("content-knn-tfidf", "content-knn")
SYSTEMS = "popularity,content-knn-tfidf,content-knn,hybrid,sasrec,llm2sequential,zesrec,unisrec,alpharec"
METRIC = "NDCG@10"
SHORT = {"training": {"epochs": 30, "validate_every": 3, "patience": 3}}
TITLES = "{title}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["movies", "industrial", "transfer"], default="movies")
    parser.add_argument("--systems", default=SYSTEMS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    data = Path(os.environ["RECSMITH_DATA"])
    run = {"movies": movies, "industrial": industrial, "transfer": transfer}[arguments.part]
    run(data, arguments.systems.split(","), arguments.seed)


def recipe_of(name: str, settings: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe, shortened, with the same item text for all that read texts; `tiger:0.5` gives half of a list to cold items."""
    name, _, share = name.partition(":")
    recipe = load_recipe(name).with_settings(SHORT).with_settings(settings or {})
    recipe = recipe.with_settings({"decoding": {"cold_share": float(share)}}) if share else recipe
    return recipe if recipe.encoder is None else recipe.override(text=TITLES if recipe.text is None else recipe.text)


# ---- movies ---------------------------------------------------------------------------------------------------------------


def movies(folder: Path, systems: Iterable[str], seed: int) -> None:
    data = Dataset.from_path(folder / "ml-latest-small")
    found: dict[str, Evaluation] = {}
    for name in systems:
        if name == "hybrid":
            continue
        started = time.process_time()
        settings = {"split": {"name": "item-cold-start", "seed": seed}}
        recipe = recipe_of(name, settings).override(text=None)  # titles and genres
        found[name] = fit(recipe, data, seed=seed).evaluate("test")
        say(name, found[name], time.process_time() - started)
    table("ml-latest-small, item-cold-start: all targets are cold", found, None)


# ---- amazon-industrial ------------------------------------------------------------------------------------------------------


def industrial(folder: Path, systems: Iterable[str], seed: int) -> None:
    catalogue, train, test = read_industrial(folder / "amazon-industrial")
    cold = ~np.isin(test[1], np.concatenate([*train[0], train[1]]))
    print(f"{len(train[1]):,} rows to fit on, {len(test[1]):,} to test on, {cold.sum()} with a target that no valid row has")
    found: dict[str, Evaluation] = {}
    for name in systems:
        started = time.process_time()
        if name == "hybrid":
            found[name] = hybrid(catalogue, train, test, seed)
        else:
            found[name] = fit_rows(recipe_of(name), catalogue, train, test, seed)
        say(name, found[name], time.process_time() - started)
    for title, some in (("all", None), ("cold targets only", cold), ("warm targets only", ~cold)):
        table(f"amazon-industrial, {title}", found, some)


def transfer(folder: Path, systems: Iterable[str], seed: int) -> None:
    catalogue, train, test = read_industrial(folder / "amazon-industrial")
    source = Path(os.environ.get("TMPDIR", "/tmp")) / "recsmith-unisrec-beauty"
    if not source.exists():
        settings = {"model": {"objective": "contrastive"}, "training": {"epochs": 8, "validate_every": 2}}
        fit(recipe_of("unisrec", settings), Dataset.from_path(folder / "amazon-beauty"), seed=seed, out=source)
    found: dict[str, Evaluation] = {}
    for share in (0.05, 1.0):
        rows = generator(seed, "share of rows").permutation(len(train[1]))[: round(share * len(train[1]))]
        part = [train[0][row] for row in rows], train[1][rows]
        for start in ("beauty", "nothing"):
            started = time.process_time()
            recipe = recipe_of("unisrec", {"start": {"run": str(source)}} if start == "beauty" else {})
            name = f"from {start}, {share:.0%} of the rows"
            found[name] = fit_rows(recipe, catalogue, part, test, seed)
            say(name, found[name], time.process_time() - started)
    for told in ("5%", "100%"):
        pair = {name: evaluation for name, evaluation in found.items() if f", {told}" in name}
        table(f"UniSRec on amazon-industrial, {told} of the rows", pair, None, baseline=f"from nothing, {told} of the rows")


Rows = tuple[list[list[int]], np.ndarray]
"""Histories and the item that followed each."""


def read_industrial(folder: Path) -> tuple[Catalogue, Rows, Rows]:
    with gzip.open(next(folder.glob("*.item.json.gz")), "rt") as file:
        items = json.load(file)
    ids = sorted(map(int, items))
    catalogue = Catalogue(pl.DataFrame({"item_id": ids, "title": [items[str(number)]["title"] for number in ids]}))
    assert ids == list(range(len(ids)))
    return catalogue, read_rows(next(folder.glob("valid*.csv.gz"))), read_rows(next(folder.glob("test*.csv.gz")))


def read_rows(path: Path) -> Rows:
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    return [list(ast.literal_eval(row["history_item_id"])) for row in rows], np.array([int(row["item_id"]) for row in rows])


def fit_rows(recipe: Recipe, catalogue: Catalogue, train: Rows, test: Rows, seed: int) -> Evaluation:
    """Fit on rows (each a person) and measure on the test rows."""
    prepared = prepare_rows(recipe, catalogue, train, test, seed)
    data = Dataset(pl.DataFrame({"user_id": [0], "item_id": [0]}), catalogue=catalogue, name="amazon-industrial")
    model, result = train_prepared(recipe, prepared, seed=seed)
    recommender = build_recommender(recipe, data, prepared, model, result, seed=seed)
    cases, items = prepared.split.test, prepared.split.items
    return evaluate_answer(recommender.answer, cases, item_count=items, ks=(10,), split="test", protocol={})


def hybrid(catalogue: Catalogue, train: Rows, test: Rows, seed: int) -> Evaluation:
    """Dense, sparse and co-occurrence candidates fused by rank; nothing is trained and no text model is asked but the encoder."""
    prepared = prepare_rows(recipe_of("content-knn"), catalogue, train, test, seed)
    split, texts = prepared.split, catalogue.texts(prepared.log.items.ids, template=TITLES)
    assert prepared.vectors is not None
    dense, sparse = ExactIndex(), Bm25Index()
    dense.add(np.arange(split.items), prepared.vectors)
    sparse.add(np.arange(split.items), texts)
    sources: list[Source] = [
        DenseSource(dense, prepared.vectors),
        SparseSource(sparse, texts),
        CooccurrenceSource(split.train, items=split.items),
    ]
    cascade = Cascade(sources, fallback=PopularitySource(popularity(split.train, split.items)))
    return evaluate_answer(cascade.answer, split.test, item_count=split.items, ks=(10,), split="test", protocol={})


def prepare_rows(recipe: Recipe, catalogue: Catalogue, train: Rows, test: Rows, seed: int) -> Prepared:
    histories, targets = train
    validating = generator(seed, "validation rows").random(len(targets)) < 0.1
    fitted = Histories.from_rows([[*row, int(target)] for row, target, out in zip(histories, targets, validating) if not out])
    items = Vocabulary.in_order(catalogue.frame["item_id"].rename("id"))
    users = Vocabulary.in_order(pl.Series("id", range(len(fitted))))
    validation = cases_of([row for row, out in zip(histories, validating) if out], targets[validating])
    split = Split(SplitConfig(), fitted, validation, cases_of(*test), len(items), {})
    account = Account({"data": {"name": "amazon-industrial", "users": len(users), "items": len(items)}})
    vectors, codes, tokenizer = None, None, None
    if recipe.encoder is not None:
        encoded = encode_texts(catalogue.texts(items.ids, template=recipe.text), recipe.encoder)
        vectors, account.facts["encoder"] = encoded.vectors, {"name": encoded.encoder_name}
    if recipe.tokenizer is not None:
        assert vectors is not None
        tokenizer = build_tokenizer(recipe.tokenizer)
        codes = tokenizer.fit(vectors, seed=derive_seed(seed, "tokenizer"))
    return Prepared(Log(users, items, fitted), split, codes, tokenizer, vectors=vectors, account=account)


def cases_of(histories: list[list[int]], targets: np.ndarray) -> Cases:
    return Cases(np.full(len(targets), -1), Histories.from_rows(histories), Histories.from_rows([[int(target)] for target in targets]))


# ---- tables ---------------------------------------------------------------------------------------------------------------


def say(name: str, evaluation: Evaluation, seconds: float) -> None:
    print(
        f"  {name:32s} Recall@10 {evaluation.metrics['Recall@10']:.4f}  {METRIC} {evaluation.metrics[METRIC]:.4f}  {seconds:6.0f} s cpu",
        flush=True,
    )


def table(title: str, found: Mapping[str, Evaluation], some: np.ndarray | None, *, baseline: str | None = None) -> None:
    """Means, and paired differences from the baseline with 95 % intervals and p corrected by Holm."""
    values = {name: np.asarray(evaluation.per_case[METRIC])[slice(None) if some is None else some] for name, evaluation in found.items()}
    recalls = {
        name: np.asarray(evaluation.per_case["Recall@10"])[slice(None) if some is None else some] for name, evaluation in found.items()
    }
    baselines = [name for name in ([baseline] if baseline else BASELINES) if name in values]
    if not baselines:
        return
    best = max(baselines, key=lambda name: float(np.nanmean(values[name])))
    compared = compare_with_baseline(values[best], {name: array for name, array in values.items() if name != best})
    print(f"\n{title} ({len(values[best]):,} cases; against {best})")
    for name, array in values.items():
        line = f"{name:32s} Recall@10 {np.nanmean(recalls[name]):.4f}  {METRIC} {np.nanmean(array):.4f}"
        if name in compared:
            pair = compared[name]
            line += f"  {pair.difference:+.4f} [{pair.interval.low:+.4f}, {pair.interval.high:+.4f}]  {pair.verdict}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
