"""Writers of training data: what they promise, what they learn, and what may never reach them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import recsmith
from recsmith.augmentation import WRITERS, augment
from recsmith.cli.program import execute
from recsmith.data import Dataset, Histories, SplitConfig, ViewConfig, WrittenEvents
from recsmith.errors import ConfigError, DataError
from recsmith.protocols import Augmenter
from recsmith.testing.logs import ITEMS, checkerboard, cycles
from recsmith.training import batches, training_rows

FEW: dict[str, dict[str, Any]] = {
    "gan": {"dim": 16},
    "diffuasr": {"dim": 16, "dropout": 0.0},
    "diff4rec": {"latent": 16, "hidden": [16], "stage_epochs": 1},
}
SASREC = {"training": {"epochs": 3, "device": "cpu"}, "model": {"dim": 16, "layers": 1, "hidden": 16}}


def writer(name: str, **settings: Any) -> Augmenter:
    kind = WRITERS.get(name)
    made = kind(kind.Config(**{"events": 2, "epochs": 2, "batch_size": 16, "learning_rate": 0.01, **FEW[name], **settings}))
    assert isinstance(made, Augmenter)
    return made


def walks(users: int = 40, length: int = 7, *, rated: bool = False) -> Dataset:
    """Everybody walks round a circle of 12 items; item ids are not indices."""
    rows = [(user, 100 + (user + step) % 12, 1000.0 * step) for user in range(users) for step in range(length)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return Dataset.from_frame(frame.with_columns(rating=pl.lit(4.0)) if rated else frame, name="walks")


def longer(data: Dataset, name: str, **options: Any) -> Dataset:
    return augment(data, writer(name), name=name, view=ViewConfig(), split=options.pop("split", SplitConfig()), **options)


@pytest.mark.parametrize("name", list(FEW))
def test_what_is_written_fits(name: str) -> None:
    train = Histories.from_rows([[0, 1, 2], [], [3], [4, 5, 6, 7], list(range(10)), [2, 2, 3]])
    rows, enters = writer(name, longest=4).write(train, items=ITEMS, seed=3)
    assert len(rows) == len(train)
    assert rows.lengths.tolist() == [2, 0, 2, 2, 0, 2]  # nothing for nobody and for long histories
    assert enters.shape == rows.values.shape
    assert enters.min() == 0
    for row in range(len(train)):
        assert len(set(rows.row(row))) == len(rows.row(row))
        assert not set(rows.row(row)) & set(train.row(row))
    assert rows.values.max() < 10  # items without a training event are never written
    again, _ = writer(name, longest=4).write(train, items=ITEMS, seed=3)
    other, _ = writer(name, longest=4).write(train, items=ITEMS, seed=4)
    assert (again.values == rows.values).all()
    assert (other.values != rows.values).any()


@pytest.mark.parametrize("name", ["gan", "diff4rec"])
def test_set_writers_keep_to_a_persons_half(name: str) -> None:
    rows, _ = writer(name, epochs=60).write(checkerboard(), items=ITEMS, seed=1)
    assert (rows.values % 2 == rows.rows % 2).mean() > 0.75


def test_the_sequence_writer_continues_the_cycle_backwards() -> None:
    train = cycles()
    rows, _ = writer("diffuasr", epochs=60).write(train, items=ITEMS, seed=1)
    short = np.flatnonzero(rows.lengths == 2).tolist()
    before = [(train.row(row)[0] - rows.row(row)) % ITEMS for row in short]
    assert (np.stack(before) == [2, 1]).mean() > 0.6  # by chance: 1 / 11


def test_the_curriculum_lets_the_surest_in_first() -> None:
    made = writer("diff4rec", stages=3, stage_epochs=4, epochs=20)
    rows, enters = made.write(checkerboard(), items=ITEMS, seed=1)
    counts = {epoch: int((enters == epoch).sum()) for epoch in (0, 4, 8)}
    assert max(counts.values()) - min(counts.values()) <= 1
    assert made.figures()["events by epoch of entry"] == {str(epoch): count for epoch, count in counts.items()}
    right = rows.values % 2 == rows.rows % 2
    assert right[enters == 0].mean() >= right[enters == 8].mean()


def test_an_epoch_sees_what_has_entered() -> None:
    rows = training_rows(Histories.from_rows([[9, 8, 1, 2], [7, 3, 4]]), max_history=5, enters=np.array([0, 2, 0, 0, 1, 0, 0]))
    for epoch, events in enumerate([[9, 1, 2, 3, 4], [9, 1, 2, 7, 3, 4], [9, 8, 1, 2, 7, 3, 4]]):
        (batch,) = batches(rows, batch_size=2, seed=0, epoch=epoch)
        assert len(batch) == 2
        assert sorted(batch.items.tolist()) == sorted(events)


@pytest.mark.parametrize("name", list(FEW))
def test_what_is_held_out_is_neither_seen_nor_changed(name: str) -> None:
    data = walks()
    split = data.split()
    made = longer(data, name, seed=5)
    assert made.written is not None
    facts = made.written.facts
    assert (facts["writer"], facts["seed"], facts["source"]) == (name, 5, data.select(ViewConfig()).hash)
    assert facts["events"] == made.written.events.height
    after = made.split()
    for part in ("validation", "test"):
        old, new = getattr(split, part), getattr(after, part)
        for field in ("histories", "targets"):
            assert (getattr(old, field).values == getattr(new, field).values).all()
            assert (getattr(old, field).offsets == getattr(new, field).offsets).all()
        assert (old.users == new.users).all()
    assert (after.train.values == split.train.values).all()
    assert made.hash == data.hash
    # other people's held-out events: the writer cannot tell the difference
    last = pl.col("timestamp") >= 5000
    shuffled = data.interactions.with_columns(item_id=pl.when(last).then(100 + (pl.col("item_id") * 5 + 3) % 12).otherwise("item_id"))
    elsewhere = longer(replace(data, interactions=shuffled), name, seed=5)
    assert elsewhere.written is not None
    assert made.written.events.equals(elsewhere.written.events)


def test_written_events_stand_before_a_persons_own_with_times_and_weights() -> None:
    data = walks(users=3, length=4, rated=True)
    events = pl.DataFrame({"user_id": [2, 0, 2], "item_id": [105, 100, 104], "enters": [0, 3, 1]})
    log, split = data.log(), data.split()
    train, enters = WrittenEvents(events, {}).before(split.train, log)
    ids = [log.items.raw(train.row(row)).to_list() for row in range(3)]
    assert ids == [[100, 100, 101], [101, 102], [105, 104, 102, 103]]
    assert enters.tolist() == [3, 0, 0, 0, 0, 0, 1, 0, 0]
    assert train.times is not None
    assert train.times.tolist() == [-1000, 0, 1000, 0, 1000, -2000, -1000, 0, 1000]
    assert train.weights is not None
    assert (train.weights == 4).all()
    with pytest.raises(DataError, match="written events name people or items that the log does not have; write them again"):
        WrittenEvents(events.with_columns(item_id=pl.lit(999, pl.Int64)), {}).before(split.train, log)


@pytest.mark.parametrize("recipe", ["sasrec", "ease", "popularity", "hstu"])
def test_any_model_trains_on_it_and_is_measured_on_the_same(recipe: str, tmp_path: Path) -> None:
    settings = {} if recipe in ("ease", "popularity") else SASREC if recipe == "sasrec" else {"training": {"epochs": 1}}
    data = walks()
    made = longer(data, "diff4rec")
    made.save(tmp_path / "longer")
    reread = Dataset.from_path(tmp_path / "longer")
    assert reread.written is not None
    assert made.written is not None
    assert reread.written.events.equals(made.written.events)
    plain, fed = (recsmith.fit(recipe, source, settings=settings) for source in (data, reread))
    assert fed.card["augmentation"]["writer"] == "diff4rec"
    assert "augmentation" not in plain.card
    assert fed.card["data"]["hash"] == plain.card["data"]["hash"]
    assert (fed.popularity == plain.popularity).all()  # statistics are of real events
    scores = [model.recommend(users=[0, 1, 2], k=5)["score"].to_list() for model in (plain, fed)]
    assert scores[0] != scores[1]  # every model, counting ones too, has learned from what was written


def test_one_recipe_does_it_in_one_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    walks().save(tmp_path / "walks")
    common = ["--data", str(tmp_path / "walks"), "--set", "training.epochs=2", "--set", "model.dim=16"]
    part = [word for key in ("name=gan", "epochs=2", "events=2") for word in ("--set", f"augmentation.{key}")]
    assert execute(["run", "sasrec", *common, *part, "--out", str(tmp_path / "one"), "--json"]) == 0
    card = recsmith.load(tmp_path / "one").card
    assert card["augmentation"]["events"] == 80
    assert card["seconds"]["write events"] > 0
    assert "writer: gan" in (tmp_path / "one" / "card.md").read_text()
    writing = [
        "augment",
        "gan",
        "--data",
        str(tmp_path / "walks"),
        "--out",
        str(tmp_path / "longer"),
        "--set",
        "epochs=2",
        "--set",
        "events=2",
    ]
    assert execute(writing) == 0
    assert execute(["run", "sasrec", "--data", str(tmp_path / "longer"), *common[2:], "--out", str(tmp_path / "two"), "--json"]) == 0
    assert recsmith.load(tmp_path / "two").card["metrics"] == card["metrics"]
    assert "wrote" in capsys.readouterr().out


def test_user_mistakes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = walks()
    made = longer(data, "gan")
    with pytest.raises(DataError, match="the events that `gan` wrote come from another selection or split of this data"):
        recsmith.fit("popularity", made, settings={"split": {"name": "ratio"}})
    with pytest.raises(DataError, match="`walks` already holds events written by `gan`; give the data without them"):
        longer(made, "gan")
    with pytest.raises(ConfigError, match="already holds events written by `gan` and `popularity` has a section"):
        recsmith.fit("popularity", made, settings={"augmentation": {"name": "gan"}})
    with pytest.raises(ConfigError, match=r"section \[augmentation\] needs a `name`; allowed: `gan`"):
        recsmith.fit("popularity", data, settings={"augmentation": {"events": 2}})
    with pytest.raises(DataError, match="split `next-basket` trains on sessions, baskets or ratings"):
        longer(data, "gan", split=SplitConfig(name="next-basket"))
    with pytest.raises(DataError, match=r"writer `gan` wrote nothing: nobody fits its settings .*; raise `longest`"):
        augment(data, writer("gan", longest=1), name="gan", view=ViewConfig(), split=SplitConfig())
    with pytest.raises(DataError, match="written events need a column `enters` of type Int64"):
        WrittenEvents(pl.DataFrame({"user_id": [1], "item_id": [1]}), {})
    assert execute(["augment", "gann", "--data", "world", "--out", str(tmp_path / "out")]) == 2
    assert "unknown writer `gann`; did you mean `gan`?" in capsys.readouterr().err
