"""Prepared folders: a round trip, and what happens when something goes wrong."""

import errno
import json

import polars as pl
import pytest

from recsmith.data import Dataset
from recsmith.errors import ArtifactError, StorageError, UserError


@pytest.fixture
def data():
    return Dataset.from_frame(
        {"user": ["a", "b", "a"], "item": [1, 2, 3], "time": [1.5, 2.0, 3.0], "device": ["tv", None, "tv"]},
        catalogue={"item_id": [1, 2, 3], "title": ["A", "B", "C"], "genres": [["x"], [], ["y", "z"]]},
        users={"user_id": ["a", "b"], "age": [1, 2]},
        reviews={"user_id": ["a"], "item_id": [1], "text": ["fine"]},
        name="mini",
    )


def test_round_trip(data, tmp_path):
    folder = data.save(tmp_path / "deep" / "mini")
    back = Dataset.from_path(folder)
    assert back.hash == data.hash
    recomputed = Dataset(back.interactions, back.catalogue, back.users, back.reviews)
    assert recomputed.hash == data.hash
    assert back.name == "mini"
    assert back.catalogue.kinds == data.catalogue.kinds
    assert back.source["columns"] == data.source["columns"]
    assert back.source["prepared"] == str(folder)
    assert sorted(file.name for file in folder.iterdir()) == [
        "catalogue.parquet", "dataset.json", "interactions.parquet", "reviews.parquet", "users.parquet",
    ]  # fmt: skip
    assert [file.name for file in folder.parent.iterdir()] == ["mini"]


def test_the_log_alone(tmp_path):
    data = Dataset.from_frame({"user": [1, 2], "item": [1, 2]})
    back = Dataset.from_path(data.save(tmp_path / "log"))
    assert back.catalogue is None
    assert back.hash == data.hash


def test_an_older_one_is_replaced(data, tmp_path):
    other = Dataset.from_frame({"user": [1, 2], "item": [1, 2]})
    data.save(tmp_path / "x")
    other.save(tmp_path / "x")
    assert Dataset.from_path(tmp_path / "x").hash == other.hash
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_a_full_disk_leaves_the_older_one(data, tmp_path, monkeypatch):
    data.save(tmp_path / "x")

    def full(self, *arguments, **keywords):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(StorageError, match=r"could not write `.*x`: .*No space left on device; what was there before is unchanged"):
        Dataset.from_frame({"user": [1, 2], "item": [1, 2]}).save(tmp_path / "x")
    assert Dataset.from_path(tmp_path / "x").hash == data.hash
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_folders_of_others_are_not_overwritten(data, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"exists and is not a prepared data set; give a new folder with --out"):
        data.save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_changed_truncated_and_foreign_folders(data, tmp_path):
    folder = data.save(tmp_path / "x")
    with pytest.raises(UserError, match=r"is prepared: its columns have their final names"):
        Dataset.from_path(folder, columns={"user": "user_id"})
    content = (folder / "interactions.parquet").read_bytes()
    (folder / "interactions.parquet").write_bytes(content[:-20])
    with pytest.raises(ArtifactError, match=r"interactions.parquet` was changed or truncated since it was written"):
        Dataset.from_path(folder)
    (folder / "interactions.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"is incomplete: `interactions.parquet` is missing"):
        Dataset.from_path(folder)
    manifest = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**manifest, "version": 99}))
    with pytest.raises(ArtifactError, match=r"data format version 99; this recsmith reads 1; prepare the data again"):
        Dataset.from_path(folder)
    (folder / "dataset.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"cannot be read as JSON"):
        Dataset.from_path(folder)
    (folder / "dataset.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"is not a prepared data set of recsmith"):
        Dataset.from_path(folder)
