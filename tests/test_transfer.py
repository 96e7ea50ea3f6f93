"""Transfer between domains: a source whose grammar the target shares helps where the target is small, and every fit is made once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from recsmith import Dataset, load, transfer
from recsmith.cli.program import execute
from recsmith.errors import ConfigError, UserError
from recsmith.fitting import fit

TOPICS, DIM = 8, 16
SMALL: dict[str, Any] = {
    "model": {"dim": 16, "layers": 1, "heads": 2, "hidden": 32, "experts": 2, "dropout": 0.0, "adaptor_dropout": 0.1},
    "training": {"epochs": 8, "batch_size": 32, "learning_rate": 0.01, "validate_every": 2, "patience": 2},
}


def domain(name: str, *, items: int, people: int, seed: int) -> tuple[Dataset, pl.DataFrame]:
    """A log and the vectors of its items. In every domain the topics follow one another in one order, and an item shows its topic."""
    random = np.random.default_rng(seed)
    topics = np.arange(items) % TOPICS
    directions = np.random.default_rng(0).normal(size=(TOPICS, DIM))
    vectors = directions[topics] + 0.3 * random.normal(size=(items, DIM))
    order = np.random.default_rng(1).permutation(TOPICS)
    rows = []
    for person in range(people):
        start = random.integers(TOPICS)
        for step in range(8):
            item = random.choice(np.flatnonzero(topics == order[(start + step) % TOPICS]))
            rows.append((f"{name}-p{person}", f"{name}-{item}", step))
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    ids = [f"{name}-{item}" for item in range(items)]
    return Dataset.from_frame(frame, name=name), pl.DataFrame({"item_id": ids, "vector": vectors.tolist()})


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset, dict[str, Any]]:
    """Source, target, and settings that read the vectors of both."""
    source, first = domain("shoes", items=48, people=300, seed=2)
    target, second = domain("hats", items=40, people=160, seed=3)
    path = tmp_path_factory.mktemp("vectors") / "vectors.parquet"
    pl.concat([first, second]).write_parquet(path)
    return source, target, {**SMALL, "encoder": {"name": f"file:{path}"}}


@pytest.fixture(scope="module")
def found(domains: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[transfer.Transfer, Path]:
    source, target, settings = domains
    out = tmp_path_factory.mktemp("transfer") / "folder"
    return transfer.transfer("unisrec", source, target, out=out, shares=[1.0, 0.05], settings=settings), out


def test_a_source_with_the_same_grammar_helps_where_the_target_is_small(found: tuple[transfer.Transfer, Path]) -> None:
    small, whole = found[0].rows
    assert (small.share, whole.share) == (0.05, 1.0)
    assert (small.people, whole.people) == (8, 160)
    assert small.verdict == "better"
    assert small.pair.interval.low > 0
    assert small.pair.difference > 0.1
    assert small.pair.adjusted_p == pytest.approx(min(1, 2 * small.pair.p_value))  # Holm over both shares
    assert small.pair.value == pytest.approx(small.started["metrics"]["NDCG@10"])
    assert small.pair.pairs == whole.pair.pairs == 160


def test_the_pair_differs_in_its_start_alone(found: tuple[transfer.Transfer, Path]) -> None:
    """Same people, same cases, same settings; only the start is another."""
    for share in ("0.05", "1"):
        nothing, started = (load(found[1] / f"share-{share}" / name) for name in ("nothing", "started"))
        assert started.recipe.override(start=nothing.recipe.start) == nothing.recipe
        assert nothing.recipe.start.run is None
        assert started.card["start"]["weights left random"] == []
        assert np.array_equal(nothing.split().train.values, started.split().train.values)
        assert np.array_equal(nothing.popularity, np.bincount(nothing.split().train.values, minlength=40))


def test_shares_draw_people_and_leave_the_cases_alone(found: tuple[transfer.Transfer, Path]) -> None:
    small, whole = (load(found[1] / f"share-{share}" / "nothing").split() for share in ("0.05", "1"))
    assert (small.train.lengths > 0).sum() == 8
    kept = small.train.lengths > 0
    assert np.array_equal(small.train.lengths[kept], whole.train.lengths[kept])
    for part in ("validation", "test"):
        few, all_of_them = getattr(small, part), getattr(whole, part)
        assert np.array_equal(few.histories.values, all_of_them.histories.values)
        assert np.array_equal(few.targets.values, all_of_them.targets.values)
    assert small.config.hash != whole.config.hash


def test_finished_fits_are_not_repeated(found: tuple[transfer.Transfer, Path], domains: Any) -> None:
    source, target, settings = domains
    first, out = found
    written = {path: path.stat().st_mtime_ns for path in out.rglob("card.json")}
    assert len(written) == 5
    again = transfer.transfer("unisrec", source, target, out=out, shares=(0.05, 1.0), settings=settings)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("card.json")} == written
    assert again.as_dict() == first.as_dict() == json.loads((out / "transfer.json").read_text())
    with pytest.raises(UserError, match="is a run with other seed; give another --out"):
        transfer.transfer("unisrec", source, target, out=out, settings={**settings, "split": {"seed": 0}}, seed=1)


def test_runs_whose_source_is_gone_are_refused(domains: Any, tmp_path: Path) -> None:
    source, target, settings = domains
    (tmp_path / "out" / "share-1" / "started").mkdir(parents=True)
    with pytest.raises(UserError, match="started from a source run that is gone; give another folder"):
        transfer.transfer("unisrec", source, target, out=tmp_path / "out", settings=settings)


def test_what_cannot_be_a_transfer_is_refused_before_anything_is_fitted(
    domains: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, settings = domains
    monkeypatch.setattr(transfer, "recipe_names", lambda: ["popularity", "sasrec", "unisrec", "content-knn", "zesrec"])

    def ask(recipe: str = "unisrec", to: Dataset = target, **changed: Any) -> None:
        transfer.transfer(recipe, source, to, out=tmp_path / "out", **{"settings": settings, **changed})

    for recipe in ("sasrec", "content-knn", "popularity"):
        with pytest.raises(UserError, match=f"`{recipe}` learns something for each item.* recipes that can: unisrec, zesrec$"):
            ask(recipe, settings={})
    with pytest.raises(UserError, match=r"tfidf vectors, whose numbers mean something else in every catalogue.*encoder\.name=minilm"):
        ask(settings={"encoder": {"name": "tfidf"}})
    with pytest.raises(UserError, match="hold the same data; give two domains"):
        ask(to=source)
    for shares in ([], [0.0, 1.0], [1.5], [0.5, 0.5]):
        with pytest.raises(UserError, match=r"shares .* do not work; give different numbers above 0 and up to 1"):
            ask(shares=shares)
    with pytest.raises(ConfigError, match=r"`split\.train_share` is what a transfer varies"):
        ask(settings={**settings, "split": {"train_share": 0.5}})
    with pytest.raises(ConfigError, match=r"`start\.run` is what a transfer varies; leave it out"):
        ask(settings={**settings, "start": {"run": "runs/other"}})
    with pytest.raises(ConfigError, match="`training` cannot be set for the started fits alone: both fits have the same budget"):
        ask(started_settings={"training": {"epochs": 50}})
    assert not (tmp_path / "out").exists()


def test_the_command_prints_the_table_and_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two worlds of other seeds and the recipe that reads words; the source alone is fitted with another setting."""
    sizes = "items=60,events=1500,users="
    words = ["transfer", f"world:seed=1,{sizes}150", f"world:seed=2,{sizes}120", "--recipe", "text-is-all-you-need"]
    words += ["--shares", "0.2", "--out", str(tmp_path / "out"), "--set", "training.epochs=1", "--set", "model.dim=16"]
    words += ["--set", "model.layers=1", "--set-source", "model.mask_weight=0.5", "--set-started", "model.objective=finetune"]
    assert execute([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((tmp_path / "out" / "transfer.json").read_text())
    (row,) = document["rows"]
    assert row["difference"] == pytest.approx(row["started"]["value"] - row["nothing"]["value"])
    assert row["interval"][0] <= row["difference"] <= row["interval"][1]
    settings = {
        place: json.loads((tmp_path / "out" / place / "config.json").read_text())["model"]
        for place in ("source", "share-0.2/nothing", "share-0.2/started")
    }
    assert [part["mask_weight"] for part in settings.values()] == [0.5, 0.1, 0.1]
    assert [part["objective"] for part in settings.values()] == ["pretrain", "pretrain", "finetune"]
    assert execute(words) == 0
    shown = capsys.readouterr().out
    assert "from nothing" in shown
    assert "cases, leave-one-out, ranked over the full catalogue" in shown
    assert execute([*words, "--shares", "few"]) == 2
    assert "--shares 'few' is not a list of numbers" in capsys.readouterr().err


def test_the_words_of_the_source_do_not_become_those_of_the_target(tmp_path: Path) -> None:
    """Two catalogues of one size, with texts of one length: what a start takes over is what was learned, not what was read."""
    small = {"model": {"dim": 8, "layers": 1, "heads": 2, "hidden": 8}, "training": {"epochs": 1}}
    runs = {}
    for name, words in (("first", "red blue pink grey"), ("second", "cat dogs fish bird")):
        events = {"user_id": np.repeat(range(9), 4), "item_id": np.tile(range(4), 9), "timestamp": np.tile(range(4), 9)}
        catalogue = pl.DataFrame({"item_id": range(4), "title": words.split()})
        start = {} if name == "first" else {"start": {"run": str(tmp_path / "first")}}
        data = Dataset.from_frame(pl.DataFrame(events), catalogue=catalogue, name=name)
        runs[name] = fit("text-is-all-you-need", data, out=tmp_path / name, settings={**small, **start})
    table: Any = runs["second"].model.table
    assert table.texts == ["cat", "dogs", "fish", "bird"]
    assert torch.equal(table.offsets, torch.tensor([0, 3, 7, 11, 15]))
